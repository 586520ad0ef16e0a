-- Subscriptions of GA/T 1400: what a worker puts out in a batch's transaction, and how the forwarder empties it.

-- name: active
-- Subscriptions that others have here and that stand; their times are looked at when passages come.
SELECT id, device_id, checkpoints, begins_at, ends_at FROM subscription WHERE direction = 'out' AND status = 0 ORDER BY id;

-- name: put_out
-- One packed batch for one subscription.
INSERT INTO subscription_outbox (subscription, body, records, written_at)
VALUES (%(subscription)s, %(body)s, %(records)s, %(at)s) RETURNING id;

-- name: trim
-- The oldest of a subscription that waited too long, or behind which too many wait, are given up and counted.
WITH behind AS (
    SELECT id, written_at, sum(records) OVER (ORDER BY id DESC) AS records
    FROM subscription_outbox WHERE subscription = %(subscription)s),
gone AS (
    DELETE FROM subscription_outbox WHERE id IN (
        SELECT id FROM behind WHERE records > %(records_max)s OR written_at < %(since)s)
    RETURNING records)
UPDATE subscription SET lost = lost + (SELECT coalesce(sum(records), 0) FROM gone)
WHERE id = %(subscription)s AND EXISTS (SELECT FROM gone);

-- name: lead
-- One forwarder at work; the lock lasts as long as the connection.
SELECT pg_try_advisory_lock(%(lock)s);

-- name: outgoing
-- Subscriptions of others with their receivers, and whether anything waits.
SELECT s.id, s.title, s.receive_addr, s.interval_s, s.device_id,
    EXISTS (SELECT FROM subscription_outbox o WHERE o.subscription = s.id)
FROM subscription s JOIN device d ON d.id = s.device_id
WHERE s.direction = 'out' AND s.status = 0 AND d.enabled;

-- name: partners
-- Platforms that we speak to, with what we show there.
SELECT id, code, link, link_secret FROM device WHERE kind = 'gat1400' AND enabled AND link ? 'address';

-- name: incoming
-- Our subscriptions elsewhere: which the other side has to be told of, and which stand.
SELECT id, title, resource, receive_addr, interval_s, begins_at, ends_at, status, told, last_ok_at IS NOT NULL, device_id
FROM subscription WHERE direction = 'in' AND (NOT told OR status = 0) ORDER BY changed_at, id;

-- name: oldest
-- What waits longest of a subscription.
SELECT id, body, records FROM subscription_outbox WHERE subscription = %(subscription)s ORDER BY id LIMIT %(limit)s;

-- name: taken
-- The receiver has it.
WITH gone AS (DELETE FROM subscription_outbox WHERE id = ANY (%(ids)s) RETURNING records)
UPDATE subscription SET sent = sent + (SELECT coalesce(sum(records), 0) FROM gone), last_ok_at = %(at)s, last_error = ''
WHERE id = %(subscription)s;

-- name: given_up
-- The receiver refuses it for good.
WITH gone AS (DELETE FROM subscription_outbox WHERE id = ANY (%(ids)s) RETURNING records)
UPDATE subscription SET lost = lost + (SELECT coalesce(sum(records), 0) FROM gone), last_error = %(error)s
WHERE id = %(subscription)s;

-- name: troubled
-- Why it does not go on.
UPDATE subscription SET last_error = %(error)s WHERE id = %(subscription)s AND last_error <> %(error)s;

-- name: told
-- The other side knows; a change that came meanwhile is told next.
UPDATE subscription SET told = (changed_at = %(changed_at)s), last_ok_at = %(at)s, last_error = ''
WHERE id = %(subscription)s;

-- name: changed_at
-- Which change is being told.
SELECT changed_at FROM subscription WHERE id = %(subscription)s;

-- name: expire
-- Those whose time is over.
WITH ended AS (UPDATE subscription SET status = 2, told = true WHERE status = 0 AND ends_at <= %(at)s RETURNING id)
UPDATE version SET value = value + 1 WHERE name = 'subscription' AND EXISTS (SELECT FROM ended);

-- name: sweep
-- What waits of a subscription that ended goes to nobody; a worker may have put some out before it heard.
DELETE FROM subscription_outbox o USING subscription s WHERE s.id = o.subscription AND s.status <> 0;

-- name: checkpoints
-- Checkpoints as a MotorVehicleObject names them.
SELECT id, code, bearing_deg FROM checkpoint;

-- name: network_version
-- Grows when checkpoints change.
SELECT value FROM version WHERE name = 'network';
