-- Statements of the doors: what they must know of senders, checkpoints and the roads.

-- name: versions
-- Grow with each change of what the catalogue is made from.
SELECT name, value FROM version WHERE name IN ('device', 'network', 'registry', 'subscription') ORDER BY name;

-- name: devices
-- Senders with their secrets (for the doors' own role).
SELECT id, code, unit_id, kind, secret, time_zone, enabled, link FROM device ORDER BY id;

-- name: devices_without_secrets
-- Senders as the API may see them, to judge a corrected record again.
SELECT id, code, unit_id, kind, ''::bytea, 'Asia/Shanghai', enabled, link FROM device ORDER BY id;

-- name: awaited
-- Subscriptions of ours at other platforms, whose notifications are welcome.
SELECT id, device_id FROM subscription WHERE direction = 'in' AND status = 0 AND ends_at > %(at)s;

-- name: gates
-- Checkpoints with the heading of direction 1.
SELECT id, code, bearing_deg, unit_id FROM checkpoint ORDER BY id;

-- name: parents
-- The unit tree as it is now.
SELECT unit_id, parent_id FROM unit_parent WHERE valid_from <= %(at)s AND valid_to > %(at)s;

-- name: registered
-- Vehicles whose row of the registry changed behind a version: key, class (where none is stored, the group's own), colour.
COPY (
    SELECT (plate_key << 3) | class_group, CASE WHEN plate_class > 0 THEN plate_class ELSE class_group END, plate_color, enabled
    FROM key_vehicle WHERE version > {since}
) TO STDOUT (FORMAT BINARY);

-- name: detectors
-- Detectors with their owners.
SELECT id, code, unit_id, lanes FROM detector ORDER BY id;

-- name: crews
-- Crews with their units.
SELECT id, code, unit_id FROM crew ORDER BY id;

-- name: objects
-- Codes that are taken at the roadside: a camera list may not name another thing's.
SELECT code, kind, unit_id FROM roadside_object;

-- name: roads
-- Roads by code.
SELECT code, id FROM road;

-- name: links
-- Links with their lines, to find places.
SELECT id, road_id, direction, from_stake_m, to_stake_m, length_m, lanes, limit_kmh, unit_id, geometry, piece
FROM link ORDER BY id;

-- name: chainage
-- Where the stakes of a road jump.
SELECT road_id, piece, from_stake_m, to_stake_m, from_m FROM chainage ORDER BY road_id, piece;
