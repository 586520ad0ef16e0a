-- Statements of the process that copies pictures.

-- name: claim
-- Pictures whose time has come, for this copier for a while; one that dies gives them back by that.
UPDATE finding_picture p SET due_at = %(until)s, tries = p.tries + 1
FROM (SELECT finding_id, record, number FROM finding_picture WHERE state = 'waiting' AND due_at <= %(now)s
      ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) w
WHERE p.finding_id = w.finding_id AND p.record = w.record AND p.number = w.number
RETURNING p.finding_id, p.record, p.number, p.address, p.tries;

-- name: done
UPDATE finding_picture SET state = %(state)s, sha256 = %(sha256)s, media_type = %(media_type)s, bytes = %(bytes)s,
    error = %(error)s, copied_at = %(copied_at)s, due_at = %(due_at)s
WHERE finding_id = %(finding)s AND record = %(record)s AND number = %(number)s AND state = 'waiting';
