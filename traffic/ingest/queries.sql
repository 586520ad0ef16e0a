-- Statements of the doors: what they must know of senders and checkpoints.

-- name: versions
-- Grow with each change of what the catalogue is made from.
SELECT name, value FROM version WHERE name IN ('device', 'network') ORDER BY name;

-- name: devices
-- Senders with their secrets (for the doors' own role).
SELECT id, code, unit_id, kind, secret, time_zone, enabled FROM device ORDER BY id;

-- name: devices_without_secrets
-- Senders as the API may see them, to judge a corrected record again.
SELECT id, code, unit_id, kind, ''::bytea, 'Asia/Shanghai', enabled FROM device ORDER BY id;

-- name: gates
-- Checkpoints with the heading of direction 1.
SELECT id, code, bearing_deg, unit_id FROM checkpoint ORDER BY id;

-- name: parents
-- The unit tree as it is now.
SELECT unit_id, parent_id FROM unit_parent WHERE valid_from <= %(at)s AND valid_to > %(at)s;
