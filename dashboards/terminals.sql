-- Statements of the API about terminals of vehicles. Row-level policies show those of the viewer's units.

-- name: terminals
-- A page of them, newest first; `like`: the beginning of plate or telephone number.
SELECT t.id, t.phone, t.plate, t.class_group, t.maker, t.model, t.unit_id, t.enabled,
       (extract(epoch FROM s.seen_at) * 1000000)::bigint AS seen_at,
       CASE WHEN s.terminal_id IS NOT NULL THEN s.door <> '' AND s.seen_at > %(silent)s END AS online
FROM terminal t LEFT JOIN terminal_status s ON s.terminal_id = t.id
WHERE t.id < %(before)s AND (%(plate)s::text IS NULL OR t.plate LIKE %(plate)s OR t.phone LIKE %(phone)s)
ORDER BY t.id DESC LIMIT %(limit)s;

-- name: terminal
-- One, with what was last heard of it, and where its vehicle is as far as the viewer may know.
SELECT t.id, t.phone, t.plate, t.class_group, t.plate_color, t.maker, t.model, t.number, t.unit_id, u.name AS unit, t.enabled,
       (extract(epoch FROM t.registered_at) * 1000000)::bigint AS registered_at,
       (extract(epoch FROM s.seen_at) * 1000000)::bigint AS seen_at,
       CASE WHEN s.terminal_id IS NOT NULL THEN s.door <> '' AND s.seen_at > %(silent)s END AS online,
       s.protocol, s.peer, (extract(epoch FROM s.since) * 1000000)::bigint AS since, s.mileage_km, s.fuel_l,
       CASE WHEN p.subject IS NOT NULL THEN jsonb_build_object(
           'at', (extract(epoch FROM p.observed_at) * 1000000)::bigint, 'lon', p.lon, 'lat', p.lat,
           'speed_kmh', nullif(p.speed_kmh, 'NaN'), 'bearing_deg', nullif(p.bearing_deg, 'NaN'), 'road', p.road_id,
           'stake_m', p.stake_m, 'direction', p.direction) END AS position
FROM terminal t JOIN unit u ON u.id = t.unit_id
     LEFT JOIN terminal_status s ON s.terminal_id = t.id
     LEFT JOIN LATERAL (
         SELECT * FROM position_latest l
         WHERE l.subject_kind = 1 AND l.subject = t.plate_key AND (t.class_group = 0 OR l.class_group = t.class_group)
         ORDER BY l.observed_at DESC LIMIT 1) p ON true
WHERE t.id = %(id)s;

-- name: texts
-- Texts to one terminal, newest first.
SELECT m.id, m.terminal_id AS terminal, m.kind, m.state, m.body, m.answer, m.finding_id AS finding, m.asked_by, m.unit_id,
       (extract(epoch FROM m.asked_at) * 1000000)::bigint AS asked_at,
       (extract(epoch FROM m.until) * 1000000)::bigint AS until,
       (extract(epoch FROM m.sent_at) * 1000000)::bigint AS sent_at,
       (extract(epoch FROM m.answered_at) * 1000000)::bigint AS answered_at
FROM terminal_message m WHERE m.terminal_id = %(terminal)s ORDER BY m.id DESC LIMIT %(limit)s;

-- name: text
-- One of them.
SELECT m.id, m.terminal_id AS terminal, m.kind, m.state, m.body, m.answer, m.finding_id AS finding, m.asked_by, m.unit_id,
       (extract(epoch FROM m.asked_at) * 1000000)::bigint AS asked_at,
       (extract(epoch FROM m.until) * 1000000)::bigint AS until,
       (extract(epoch FROM m.sent_at) * 1000000)::bigint AS sent_at,
       (extract(epoch FROM m.answered_at) * 1000000)::bigint AS answered_at
FROM terminal_message m WHERE m.id = %(id)s AND m.terminal_id IS NOT NULL;

-- name: texts_open
-- How many wait for this terminal.
SELECT count(*) AS count FROM terminal_message WHERE terminal_id = %(terminal)s AND state IN ('queued', 'sent') AND until > %(now)s;

-- name: finding_seen
-- Whether the viewer sees this finding.
SELECT EXISTS (SELECT FROM finding WHERE id = %(id)s) AS seen;

-- name: text_ask
-- A text for a terminal; the door that holds its connection says it.
INSERT INTO terminal_message (terminal_id, kind, body, finding_id, state, asked_by, unit_id, asked_at, until, audience)
VALUES (%(terminal)s, 'text', %(body)s, %(finding)s, 'queued', %(by)s, %(unit)s, %(now)s, %(until)s, %(audience)s)
RETURNING id;

-- name: enter
-- A terminal as people enter it; one that is known is changed. Its own number and its code are not theirs to tell.
INSERT INTO terminal (phone, plate_key, class_group, plate, plate_color, unit_id, enabled)
VALUES (%(phone)s, %(plate_key)s, %(class_group)s, %(plate)s, %(plate_color)s, %(unit)s, %(enabled)s)
ON CONFLICT (phone) DO UPDATE SET plate_key = excluded.plate_key, class_group = excluded.class_group, plate = excluded.plate,
    plate_color = excluded.plate_color, unit_id = excluded.unit_id, enabled = excluded.enabled
RETURNING id;
