-- Statements of the doors for JT/T 809 platforms: words that wait for them, and what they answered.

-- name: claim
-- Words for the platforms that are linked here; each is sent by one door, at most once.
UPDATE terminal_message SET state = 'sent', sent_at = %(now)s
WHERE id IN (
    SELECT id FROM terminal_message
    WHERE state = 'queued' AND platform = ANY (%(codes)s) AND until > %(now)s
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id, platform, kind, body, asked_at, until;

-- name: give_back
-- The link broke before the word was out.
UPDATE terminal_message SET state = 'queued', sent_at = NULL WHERE id = %(id)s AND state = 'sent';

-- name: failed
-- It cannot be said at all.
UPDATE terminal_message SET state = 'failed', answer = %(answer)s WHERE id = %(id)s AND state = 'sent';

-- name: answered
-- An answer that comes after its time still counts as one; the number is all that travels of an id.
UPDATE terminal_message SET state = 'answered', answer = answer || %(answer)s, answered_at = %(now)s
WHERE platform = %(platform)s AND kind = %(kind)s AND id %% 4294967296 = %(number)s
    AND (state IN ('sent', 'answered') OR state = 'expired' AND until > %(now)s - interval '1 day');

-- name: expire
-- A warning that was sent is done: nobody answers it.
UPDATE terminal_message SET state = 'expired'
WHERE platform IS NOT NULL AND state IN ('queued', 'sent') AND until <= %(now)s AND NOT (kind = 'warn' AND state = 'sent');
