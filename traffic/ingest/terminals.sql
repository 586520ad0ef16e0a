-- Statements of the door for terminals (JT/T 808).

-- name: version
-- Grows with each change of the terminals as they were entered.
SELECT value FROM version WHERE name = 'terminal';

-- name: senders
-- Each unit with terminals has one sender of kind jt808: records and refusals of its terminals stand under it.
WITH made AS (
    INSERT INTO device (code, name, unit_id, kind, secret, changed_at, changed_by)
    SELECT DISTINCT 'jt808-' || t.unit_id, u.name || '车载终端', t.unit_id, 'jt808', ''::bytea, %(at)s::timestamptz, 'doors'
    FROM terminal t JOIN unit u ON u.id = t.unit_id
    WHERE NOT EXISTS (SELECT FROM device d WHERE d.code = 'jt808-' || t.unit_id)
    ON CONFLICT (code) DO NOTHING
    RETURNING id
)
UPDATE version SET value = value + 1 WHERE name = 'device' AND EXISTS (SELECT FROM made);

-- name: terminals
-- Terminals (all, or one telephone number's) with the class group that the vehicle is registered under.
SELECT t.id, ltrim(t.phone, '0'), t.plate_key,
       coalesce(nullif(t.class_group, 0), (SELECT min(k.class_group) FROM key_vehicle k WHERE k.plate_key = t.plate_key AND k.enabled), 0),
       t.plate, t.plate_color, t.unit_id, d.id, t.number, t.code_hash, t.enabled AND d.enabled
FROM terminal t JOIN device d ON d.code = 'jt808-' || t.unit_id
WHERE %(phone)s::text IS NULL OR ltrim(t.phone, '0') = %(phone)s;

-- name: register
-- A new code, unless another process heard the terminal a moment ago. Its own number is believed once.
UPDATE terminal t
SET code_hash = %(code_hash)s, maker = %(maker)s, model = %(model)s, registered_at = %(at)s,
    number = CASE WHEN t.number = '' THEN %(number)s ELSE t.number END
WHERE t.id = %(id)s AND t.enabled
  AND NOT EXISTS (SELECT FROM terminal_status s
                  WHERE s.terminal_id = t.id AND s.door NOT IN ('', %(door)s) AND s.seen_at > %(alive_since)s)
RETURNING t.number;

-- name: unregister
-- The code is no longer good.
UPDATE terminal SET code_hash = NULL WHERE id = %(id)s;

-- name: heard
-- What this process heard of many terminals. One that left is no word about a process that holds it now.
INSERT INTO terminal_status AS s (terminal_id, door, peer, protocol, since, seen_at, mileage_km, fuel_l)
SELECT n.id, CASE WHEN n.held THEN %(door)s ELSE '' END, n.peer, n.protocol, n.since, n.seen_at, n.mileage_km, n.fuel_l
FROM unnest(%(ids)s::int[], %(held)s::boolean[], %(peers)s::text[], %(protocols)s::smallint[], %(since)s::timestamptz[],
            %(seen)s::timestamptz[], %(mileage)s::real[], %(fuel)s::real[])
     AS n (id, held, peer, protocol, since, seen_at, mileage_km, fuel_l)
WHERE EXISTS (SELECT FROM terminal t WHERE t.id = n.id)
ON CONFLICT (terminal_id) DO UPDATE
SET door = excluded.door, peer = excluded.peer, protocol = excluded.protocol, since = excluded.since,
    seen_at = greatest(s.seen_at, excluded.seen_at), mileage_km = coalesce(excluded.mileage_km, s.mileage_km),
    fuel_l = coalesce(excluded.fuel_l, s.fuel_l)
WHERE excluded.door <> '' OR s.door = %(door)s;

-- name: messages_waiting
-- Texts for terminals that this process holds, oldest first.
SELECT m.id, m.terminal_id, m.body
FROM terminal_message m JOIN terminal_status s ON s.terminal_id = m.terminal_id
WHERE m.state = 'queued' AND m.kind = 'text' AND m.until > %(at)s AND s.door = %(door)s
ORDER BY m.id LIMIT %(limit)s;

-- name: messages_claim
-- Whoever claims one sends it; nobody else does.
UPDATE terminal_message SET state = 'sent', sent_at = %(at)s,
       answer = answer || jsonb_build_object('tries', coalesce((answer ->> 'tries')::int, 0) + 1)
WHERE id = ANY (%(ids)s) AND state = 'queued' RETURNING id;

-- name: messages_answered
-- What terminals said to them (result 0: taken).
UPDATE terminal_message m
SET state = CASE WHEN n.result = 0 THEN 'answered' ELSE 'failed' END, answered_at = n.at,
    answer = m.answer || jsonb_build_object('result', n.result)
FROM unnest(%(ids)s::bigint[], %(results)s::int[], %(at)s::timestamptz[]) AS n (id, result, at)
WHERE m.id = n.id AND m.state IN ('queued', 'sent');

-- name: messages_refused
-- What cannot be said to a terminal of this protocol.
UPDATE terminal_message SET state = 'failed', answered_at = %(at)s, answer = answer || %(answer)s WHERE id = %(id)s AND state = 'sent';

-- name: messages_overdue
-- Unanswered ones are said again a few times (the connection or the process may have gone), and all have an end.
UPDATE terminal_message
SET state = CASE WHEN until <= %(at)s THEN 'expired' WHEN (answer ->> 'tries')::int >= %(tries)s THEN 'failed' ELSE 'queued' END
WHERE terminal_id IS NOT NULL AND state IN ('queued', 'sent') AND (until <= %(at)s OR (state = 'sent' AND sent_at < %(again_before)s));
