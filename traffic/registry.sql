-- The registry of key vehicles: what the stream reads of it, and how imports and answers of the platform are written.

-- name: registry_version
SELECT value FROM version WHERE name = 'registry';

-- name: registry_changed
-- Vehicles whose row changed behind a version, as columns of vehicles/registry.py: names by their place in its lists
-- (one that it does not know is the last), days by the moment at which they end in China.
SELECT (plate_key << 3) | class_group, enabled,
       coalesce(array_position(%(kinds)s::text[], kind), cardinality(%(kinds)s::text[])) - 1,
       coalesce(array_position(%(states)s::text[], state), 1) - 1,
       plate_class, plate_color, vehicle_class, body_color,
       coalesce((extract(epoch FROM (inspection_until + 1)::timestamp AT TIME ZONE 'Asia/Shanghai') * 1000000)::bigint, %(never)s),
       coalesce((extract(epoch FROM (scrap_by + 1)::timestamp AT TIME ZONE 'Asia/Shanghai') * 1000000)::bigint, %(never)s),
       ex_commercial, unit_id, coalesce(company_id, 0),
       coalesce(array_position(%(route_kinds)s::text[], route_kind), cardinality(%(route_kinds)s::text[])) - 1,
       coalesce(route_km, 'NaN'::real), (extract(epoch FROM as_of) * 1000000)::bigint
FROM key_vehicle WHERE version > %(since)s ORDER BY plate_key, class_group;
