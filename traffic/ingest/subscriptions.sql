-- Statements of the doors about subscriptions that others have here.

-- name: subscribe
-- New, or changed by the device that has it; what waits of it stays.
INSERT INTO subscription (id, direction, device_id, title, detail, resource, checkpoints, receive_addr, interval_s,
    begins_at, ends_at, status, changed_at)
VALUES (%(id)s, 'out', %(device_id)s, %(title)s, '13', %(resource)s, %(checkpoints)s, %(receive_addr)s, %(interval_s)s,
    %(begins_at)s, %(ends_at)s, 0, %(now)s)
ON CONFLICT (id) DO UPDATE SET title = excluded.title, resource = excluded.resource, checkpoints = excluded.checkpoints,
    receive_addr = excluded.receive_addr, interval_s = excluded.interval_s, begins_at = excluded.begins_at,
    ends_at = excluded.ends_at, status = 0, changed_at = excluded.changed_at
WHERE subscription.direction = 'out' AND subscription.device_id = excluded.device_id;

-- name: count_of_device
-- How many a device has that stand.
SELECT count(*) FROM subscription WHERE device_id = %(device_id)s AND direction = 'out' AND status = 0 AND id <> %(id)s;

-- name: cancel
-- Its end, by the device that has it.
UPDATE subscription SET status = 1, changed_at = %(now)s
WHERE id = %(id)s AND direction = 'out' AND device_id = %(device_id)s AND status <> 1;

-- name: drop_waiting
-- What waits of a subscription that ended goes to nobody.
DELETE FROM subscription_outbox WHERE subscription = %(id)s;

-- name: is_known
-- Whether the device has it, ended or not.
SELECT count(*) FROM subscription WHERE id = %(id)s AND direction = 'out' AND device_id = %(device_id)s;

-- name: list_of_device
-- What a device has here.
SELECT id, title, resource, receive_addr, interval_s, begins_at, ends_at,
    CASE WHEN status = 0 AND ends_at <= %(now)s THEN 2 ELSE status END
FROM subscription WHERE device_id = %(device_id)s AND direction = 'out' ORDER BY id LIMIT 1000;

-- name: tell_workers
-- Workers and doors read subscriptions again.
UPDATE version SET value = value + 1 WHERE name = 'subscription';
