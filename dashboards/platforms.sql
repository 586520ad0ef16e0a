-- Statements of the API about other platforms: words to them, and subscriptions both ways.

-- name: platforms
-- JT/T 809 platforms of the viewer's line of units, with what was last heard of them.
SELECT d.code, d.name, d.unit_id, d.enabled, s.state, s.seen_at, s.peer
FROM device d LEFT JOIN device_status s ON s.device_id = d.id
WHERE d.kind = 'jt809' AND d.unit_id = ANY (%(units)s) ORDER BY d.code;

-- name: platform
-- One of them, by its code.
SELECT id, name, enabled FROM device WHERE kind = 'jt809' AND code = %(code)s AND unit_id = ANY (%(units)s);

-- name: finding_seen
-- Whether the viewer sees this finding.
SELECT count(*) AS seen FROM finding WHERE id = %(id)s;

-- name: word_ask
-- A word for a platform; the door that holds its link says it.
INSERT INTO terminal_message (platform, kind, body, finding_id, state, asked_by, unit_id, asked_at, until, audience)
VALUES (%(platform)s, %(kind)s, %(body)s, %(finding)s, 'queued', %(by)s, %(unit)s, %(now)s, %(until)s, %(audience)s)
RETURNING id;

-- name: words
-- Words to a platform, newest first.
SELECT id, platform, kind, body, finding_id AS finding, state, answer, asked_by, unit_id, asked_at, until, sent_at, answered_at
FROM terminal_message WHERE platform = %(code)s AND id < %(before)s ORDER BY id DESC LIMIT %(limit)s;

-- name: word
-- One of them.
SELECT id, platform, kind, body, finding_id AS finding, state, answer, asked_by, unit_id, asked_at, until, sent_at, answered_at
FROM terminal_message WHERE id = %(id)s AND platform IS NOT NULL;

-- name: subscriptions
-- Both ways, of the platforms of the viewer's subtree.
SELECT s.id, s.direction, d.code AS device, d.name AS device_name, s.title, s.resource, s.checkpoints, s.receive_addr,
    s.interval_s, s.begins_at, s.ends_at, s.status, s.changed_at, s.last_ok_at, s.last_error, s.told, s.sent, s.lost,
    (SELECT coalesce(sum(o.records), 0) FROM subscription_outbox o WHERE o.subscription = s.id)::bigint AS waiting,
    (SELECT min(o.written_at) FROM subscription_outbox o WHERE o.subscription = s.id) AS waiting_since
FROM subscription s JOIN device d ON d.id = s.device_id
WHERE d.unit_id = ANY (%(below)s) AND (%(id)s::text IS NULL OR s.id = %(id)s) ORDER BY s.changed_at DESC, s.id LIMIT 500;

-- name: partner
-- A platform with a door of its own.
SELECT id, name, link FROM device
WHERE kind = 'gat1400' AND enabled AND code = %(code)s AND unit_id = ANY (%(below)s);

-- name: subscribe
-- Ours elsewhere; the forwarder tells the other side.
INSERT INTO subscription (id, direction, device_id, title, detail, resource, receive_addr, interval_s, begins_at, ends_at,
    status, changed_at, told)
VALUES (%(id)s, 'in', %(device)s, %(title)s, '13', %(resource)s, %(receive_addr)s, %(interval_s)s, %(now)s, %(ends_at)s,
    0, %(now)s, false);

-- name: renew
-- It lasts longer; the forwarder tells the other side.
UPDATE subscription SET ends_at = %(ends_at)s, status = 0, told = false, changed_at = %(now)s
WHERE id = %(id)s AND direction = 'in';

-- name: end
-- Over, whichever side it began on; of ours the forwarder tells the other side.
UPDATE subscription SET status = 1, told = (direction = 'out'), changed_at = %(now)s WHERE id = %(id)s AND status = 0;

-- name: tell_workers
-- Workers and doors read subscriptions again.
UPDATE version SET value = value + 1 WHERE name = 'subscription';
