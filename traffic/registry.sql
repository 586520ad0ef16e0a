-- The registry of key vehicles: what the stream reads of it, and how imports and answers of the platform are written.

-- name: registry_version
SELECT value FROM version WHERE name = 'registry';

-- name: registry_changed
-- Vehicles whose row changed behind a version, in the widths of the columns of vehicles/registry.py: names by their place
-- in its lists (one that it does not know is the last), days by the moment at which they end in China.
COPY (
    SELECT (plate_key << 3) | class_group, enabled,
           (coalesce(array_position({kinds}::text[], kind), cardinality({kinds}::text[])) - 1)::smallint,
           (coalesce(array_position({states}::text[], state), 1) - 1)::smallint,
           plate_class, plate_color, vehicle_class, body_color,
           coalesce((extract(epoch FROM (inspection_until + 1)::timestamp AT TIME ZONE 'Asia/Shanghai') * 1000000)::bigint, {never}),
           coalesce((extract(epoch FROM (scrap_by + 1)::timestamp AT TIME ZONE 'Asia/Shanghai') * 1000000)::bigint, {never}),
           ex_commercial, unit_id, coalesce(company_id, 0),
           (coalesce(array_position({route_kinds}::text[], route_kind), cardinality({route_kinds}::text[])) - 1)::smallint,
           coalesce(route_km, 'NaN'::real), (extract(epoch FROM as_of) * 1000000)::bigint
    FROM key_vehicle WHERE version > {since}
) TO STDOUT (FORMAT BINARY);

-- name: units_by_code
SELECT code, id FROM unit WHERE valid_from <= %(at)s AND valid_to > %(at)s;

-- name: road_codes
SELECT code FROM road;

-- name: companies_by_code
SELECT code, id, name FROM company WHERE code = ANY (%(codes)s);

-- name: version_turn
-- Locked until the end of the transaction: who writes next waits here.
SELECT value FROM version WHERE name = %(name)s FOR UPDATE;

-- name: version_raise
UPDATE version SET value = value + 1 WHERE name = %(name)s RETURNING value;

-- name: rows_compare
-- What a table says of each of the rows: whether it holds it, whether it would change, since when and where from it is known.
SELECT {their_keys}, {first} IS NOT NULL, ({old}) IS DISTINCT FROM ({new}), t.as_of, t.source
FROM jsonb_populate_recordset(null::{table}, %(rows)s::jsonb) s LEFT JOIN {table} t ON {same};

-- name: rows_insert
-- A row that is there already, but hidden from the writer, is left alone; the caller sees that its key does not come back.
INSERT INTO {table} ({columns}, source, as_of{more}{version})
SELECT {columns}, %(source)s, %(as_of)s{more_values}{version_value} FROM jsonb_populate_recordset(null::{table}, %(rows)s::jsonb)
ON CONFLICT DO NOTHING RETURNING {keys};

-- name: rows_update
UPDATE {table} t SET {changes}, source = %(source)s, as_of = %(as_of)s{version_change}
FROM jsonb_populate_recordset(null::{table}, %(rows)s::jsonb) s WHERE {same};

-- name: rows_touch
-- Nothing changed, but it is known to be so at a later time.
UPDATE {table} t SET source = %(source)s, as_of = %(as_of)s
FROM jsonb_populate_recordset(null::{table}, %(rows)s::jsonb) s
WHERE {same} AND (t.as_of < %(as_of)s OR t.source <> %(source)s);

-- name: query_add
-- What the platform said, or why it said nothing.
INSERT INTO registry_query (plate_key, class_group, asked_at, outcome, as_of, took_ms, body)
VALUES (%(plate_key)s, %(class_group)s, %(asked_at)s, %(outcome)s, %(as_of)s, %(took_ms)s, %(body)s);

-- name: query_newest
SELECT asked_at, outcome, as_of, took_ms, body FROM registry_query
WHERE plate_key = %(plate_key)s AND class_group = %(class_group)s ORDER BY asked_at DESC, id DESC LIMIT 1;

-- name: queries_forget
-- Old answers of a vehicle that has newer ones.
DELETE FROM registry_query q WHERE asked_at < %(before)s AND EXISTS (
    SELECT FROM registry_query n WHERE n.plate_key = q.plate_key AND n.class_group = q.class_group AND n.asked_at > q.asked_at);

-- name: due
-- Vehicles whose papers end soon or have ended, and that were not asked about lately; the longest unasked first.
SELECT k.plate, CASE WHEN k.plate_class > 0 THEN k.plate_class ELSE k.class_group END
FROM key_vehicle k LEFT JOIN LATERAL (
    SELECT q.asked_at FROM registry_query q
    WHERE q.plate_key = k.plate_key AND q.class_group = k.class_group AND q.outcome NOT IN ('unreachable', 'refused')
    ORDER BY q.asked_at DESC LIMIT 1
) q ON true
WHERE k.enabled AND k.inspection_until <= %(until)s AND (q.asked_at IS NULL OR q.asked_at < %(asked_before)s)
ORDER BY q.asked_at NULLS FIRST, k.inspection_until, k.plate_key LIMIT %(limit)s;

-- name: sent_add
-- In the order of devices, so that no two writers wait for each other; a writer has rows of its own.
INSERT INTO device_hour (device, hour, slot, records, skew_sum_s)
SELECT device, to_timestamp(%(hour_us)s / 1000000.0), %(slot)s, records, sum
FROM unnest(%(devices)s::int[], %(records)s::bigint[], %(sums)s::float8[]) AS t(device, records, sum) ORDER BY device
ON CONFLICT (device, hour, slot) DO UPDATE
SET records = device_hour.records + excluded.records, skew_sum_s = device_hour.skew_sum_s + excluded.skew_sum_s;
