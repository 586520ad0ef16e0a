-- The registry and the senders as screens ask for them, under the viewer's row-level policies.

-- name: vehicles
-- A page by plate. `q`: the plate's beginning, or a part of the company's name.
SELECT k.plate, k.class_group, k.kind, k.state, k.company, k.company_id, u.name AS unit, k.unit_id, k.inspection_until,
       k.scrap_by, k.insurance_until, k.violations_open, (extract(epoch FROM k.as_of) * 1000000)::bigint AS as_of, k.source,
       k.enabled
FROM key_vehicle k JOIN unit u ON u.id = k.unit_id
WHERE (k.plate COLLATE "C", k.class_group) > (%(plate)s, %(group)s)
    AND (%(begin)s::text IS NULL OR k.plate COLLATE "C" LIKE %(begin)s OR k.company LIKE %(part)s)
    AND (%(kind)s::text IS NULL OR k.kind = %(kind)s)
    AND (%(state)s::text IS NULL OR k.state = %(state)s)
    AND (%(company)s::int IS NULL OR k.company_id = %(company)s)
    AND (%(due_from)s::date IS NULL OR k.inspection_until >= %(due_from)s)
    AND (%(due_to)s::date IS NULL OR k.inspection_until <= %(due_to)s)
    AND (k.enabled OR NOT %(enabled)s)
ORDER BY k.plate COLLATE "C", k.class_group LIMIT %(limit)s;

-- name: vehicle
-- Class group 0: the plate's first.
SELECT k.plate, k.plate_key, k.class_group, k.plate_class, k.plate_color, k.kind, k.state, k.company, k.company_id,
       k.unit_id, u.name AS unit, k.vin, k.brand, k.body_color, k.vehicle_class, k.seats, k.inspection_until, k.scrap_by,
       k.insurance_until, k.violations_open, k.ex_commercial, k.route_kind, k.route_km, k.source, k.enabled,
       (extract(epoch FROM k.as_of) * 1000000)::bigint AS as_of
FROM key_vehicle k JOIN unit u ON u.id = k.unit_id
WHERE k.plate_key = %(key)s AND %(group)s IN (0, k.class_group) ORDER BY k.class_group LIMIT 1;

-- name: vehicle_findings
SELECT kind, count(*) AS count FROM finding
WHERE plate_key = %(key)s AND class_group = %(group)s AND raised_at >= %(since)s AND state = 'active' GROUP BY kind
ORDER BY count DESC, kind;

-- name: vehicle_query
SELECT (extract(epoch FROM asked_at) * 1000000)::bigint AS asked_at, outcome,
       (extract(epoch FROM as_of) * 1000000)::bigint AS as_of, took_ms, body ->> 'reason' AS reason
FROM registry_query WHERE plate_key = %(key)s AND class_group = %(group)s ORDER BY registry_query.asked_at DESC, id DESC LIMIT 1;

-- name: permits
SELECT p.number, p.kind, p.plate, p.class_group, (extract(epoch FROM p.valid_from) * 1000000)::bigint AS valid_from,
       (extract(epoch FROM p.valid_to) * 1000000)::bigint AS valid_to, p.hours, p.weekdays, p.roads, p.goods, p.source,
       (extract(epoch FROM p.as_of) * 1000000)::bigint AS as_of
FROM permit p
WHERE p.enabled AND ((p.plate_key = %(key)s AND p.class_group = %(group)s) OR p.company_id = %(company)s)
ORDER BY p.valid_to DESC, p.number LIMIT %(limit)s;

-- name: companies
SELECT c.id, c.code, c.name, c.kind, c.unit_id, u.name AS unit, c.licence, c.licence_until, c.contact, c.phone,
       (extract(epoch FROM c.as_of) * 1000000)::bigint AS as_of, c.source,
       (SELECT count(*) FROM key_vehicle k WHERE k.company_id = c.id AND k.enabled) AS vehicles
FROM company c JOIN unit u ON u.id = c.unit_id
WHERE c.id > %(id)s AND (%(part)s::text IS NULL OR c.name LIKE %(part)s OR c.code LIKE %(begin)s)
ORDER BY c.id LIMIT %(limit)s;

-- name: company
SELECT c.id, c.code, c.name, c.kind, c.unit_id, u.name AS unit, c.licence, c.licence_until, c.contact, c.phone,
       (extract(epoch FROM c.as_of) * 1000000)::bigint AS as_of, c.source,
       (SELECT count(*) FROM key_vehicle k WHERE k.company_id = c.id AND k.enabled) AS vehicles
FROM company c JOIN unit u ON u.id = c.unit_id WHERE c.id = %(id)s;

-- name: company_drivers
SELECT licence, name, class, licence_until, qualification, qualification_until, unit_id
FROM driver WHERE company_id = %(id)s AND enabled ORDER BY id LIMIT %(limit)s;

-- name: company_findings
SELECT f.kind, count(*) AS count
FROM finding f JOIN key_vehicle k ON k.plate_key = f.plate_key AND k.class_group = f.class_group
WHERE k.company_id = %(id)s AND f.raised_at >= %(since)s AND f.state = 'active' GROUP BY f.kind ORDER BY count DESC, f.kind;

-- name: viewer_units
SELECT viewer_units();

-- ---------------------------------------------------------------- senders
-- name: devices
-- Senders of the viewer's units, a page by code, with their last sign of life and what they sent and had refused of late.
-- What lies below a unit is worked out once for each owner, not for each sensor.
WITH page AS (
    SELECT d.id, d.code, d.name, d.kind, d.unit_id, d.enabled, s.seen_at, s.peer,
           CASE WHEN NOT d.enabled THEN 'off' WHEN s.device_id IS NULL THEN 'never'
                WHEN s.state = 'unregistered' THEN 'unregistered'
                WHEN s.seen_at < %(quiet_before)s THEN 'quiet' ELSE 'alive' END AS state
    FROM device d LEFT JOIN device_status s ON s.device_id = d.id
    WHERE d.unit_id = ANY ((SELECT viewer_units())::int[]) AND d.code > %(code)s AND (%(id)s::int IS NULL OR d.id = %(id)s)
        AND (%(kind)s::text IS NULL OR d.kind = %(kind)s)
        AND (%(begin)s::text IS NULL OR d.code LIKE %(begin)s OR d.name LIKE %(part)s)
), shown AS (SELECT * FROM page WHERE %(state)s::text IS NULL OR state = %(state)s ORDER BY code LIMIT %(limit)s
), owners AS MATERIALIZED (SELECT u.unit_id, units_below(u.unit_id) AS below FROM (SELECT DISTINCT unit_id FROM shown) u
), trusted AS (
    SELECT o.unit_id, avg(h.trust) AS trust, count(*) FILTER (WHERE h.state <> 'ok') AS doubtful, count(*) AS sensors
    FROM owners o JOIN (
        SELECT h.trust, h.state, c.unit_id FROM sensor_health h JOIN checkpoint c ON c.id = h.sensor_id WHERE h.sensor_kind = 'checkpoint'
        UNION ALL
        SELECT h.trust, h.state, d.unit_id FROM sensor_health h JOIN detector d ON d.id = h.sensor_id WHERE h.sensor_kind = 'detector'
    ) h ON h.unit_id = ANY (o.below) GROUP BY o.unit_id
), sent AS (
    SELECT device, sum(records)::bigint AS records, sum(skew_sum_s) / nullif(sum(records), 0) AS skew_s
    FROM device_hour WHERE hour >= %(since)s AND device IN (SELECT id FROM shown) GROUP BY device
), refused AS (
    SELECT device_id, jsonb_object_agg(reason, count) AS reasons FROM (
        SELECT device_id, reason, count(*) AS count FROM quarantine
        WHERE received_at >= %(since)s AND device_id IN (SELECT id FROM shown) GROUP BY device_id, reason
    ) r GROUP BY device_id
)
SELECT s.id, s.code, s.name, s.kind, s.unit_id, u.name AS unit, s.enabled, s.state, s.peer,
       (extract(epoch FROM s.seen_at) * 1000000)::bigint AS seen_at, coalesce(n.records, 0) AS records_24h,
       coalesce(r.reasons, '{}') AS refused_24h, round(t.trust::numeric, 3)::float8 AS trust, coalesce(t.doubtful, 0) AS doubtful_sensors,
       coalesce(t.sensors, 0) AS sensors, round(n.skew_s::numeric, 1)::float8 AS skew_s
FROM shown s JOIN unit u ON u.id = s.unit_id LEFT JOIN trusted t ON t.unit_id = s.unit_id
LEFT JOIN sent n ON n.device = s.id LEFT JOIN refused r ON r.device_id = s.id ORDER BY s.code;

-- name: device_refused
SELECT id, (extract(epoch FROM received_at) * 1000000)::bigint AS received_at, door, position, field, reason, detail, body,
       state
FROM quarantine WHERE device_id = %(id)s AND id < %(before)s ORDER BY id DESC LIMIT %(limit)s;

-- name: device_sensors
-- The sensors that it may report for and that are not well.
SELECT h.sensor_kind AS kind, h.sensor_id AS id, coalesce(c.name, d.name) AS name, coalesce(c.name_en, d.name_en) AS name_en,
       h.lane, h.state, h.reason, h.trust, (extract(epoch FROM h.since) * 1000000)::bigint AS since
FROM sensor_health h
LEFT JOIN checkpoint c ON h.sensor_kind = 'checkpoint' AND c.id = h.sensor_id
LEFT JOIN detector d ON h.sensor_kind = 'detector' AND d.id = h.sensor_id
WHERE h.state <> 'ok' AND coalesce(c.unit_id, d.unit_id) = ANY ((SELECT units_below(%(unit)s))::int[])
ORDER BY h.trust, h.sensor_kind, h.sensor_id LIMIT %(limit)s;
