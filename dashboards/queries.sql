-- What screens are made of. The hub's statements run as its own role and see all; those of the API stand under the
-- viewer's row-level policies (traffic.unit and traffic.clearance are set for the transaction).

-- name: gates
-- Where checkpoints lie.
SELECT id, unit_id, lon, lat FROM checkpoint ORDER BY id;

-- name: link_owners
SELECT id, unit_id, corridor FROM link ORDER BY id;

-- name: link_boxes
-- The box that holds each link's line.
SELECT l.id, min((p ->> 0)::float8), min((p ->> 1)::float8), max((p ->> 0)::float8), max((p ->> 1)::float8)
FROM link l CROSS JOIN LATERAL jsonb_array_elements(l.geometry) p GROUP BY l.id;

-- name: crews
SELECT id, unit_id FROM crew ORDER BY id;

-- name: link_states
-- The newest cycle's word of each link, as the feed tells it.
SELECT (extract(epoch FROM cycle_at) * 1000000)::bigint, link_id, level, round(speed_kmh::numeric, 1)::float8,
       round(flow_vph::numeric)::float8, round(density_vkm::numeric, 1)::float8, round(travel_s::numeric, 1)::float8,
       round(travel_p90_s::numeric, 1)::float8, round(confidence::numeric, 2)::float8,
       (extract(epoch FROM observed_at) * 1000000)::bigint, risk_level, risk_next_level
FROM link_state;

-- name: road_indices
SELECT scope, scope_id, (extract(epoch FROM cycle_at) * 1000000)::bigint, index, usual_index, speed_kmh, congested_km,
       known_share, vehicle_km_h, risk_links
FROM road_index;

-- name: road_events_of_late
-- Open events, and those that ended since: as cards, each with who may see it.
SELECT id::text, kind, state, level, revision, link_id, road_id, direction, head_stake_m, tail_stake_m, unit_id,
       (extract(epoch FROM started_at) * 1000000)::bigint, (extract(epoch FROM changed_at) * 1000000)::bigint,
       (extract(epoch FROM ended_at) * 1000000)::bigint, (extract(epoch FROM observed_at) * 1000000)::bigint,
       confidence, grounds, audience
FROM road_event WHERE state = 'open' OR ended_at > %(since)s ORDER BY changed_at DESC LIMIT %(limit)s;

-- name: crew_positions
SELECT audience, subject::int, (extract(epoch FROM observed_at) * 1000000)::bigint, lon, lat, speed_kmh, bearing_deg,
       road_id, stake_m, direction
FROM position_latest WHERE subject_kind = 2 AND observed_at > %(since)s LIMIT %(limit)s;

-- name: vehicle_positions
-- Of key vehicles alone: nobody else's way is shown.
SELECT p.audience, k.plate, p.class_group, k.kind, (extract(epoch FROM p.observed_at) * 1000000)::bigint, p.lon, p.lat,
       p.speed_kmh, p.bearing_deg, p.road_id, p.stake_m
FROM position_latest p JOIN key_vehicle k ON k.plate_key = p.subject AND k.class_group = p.class_group
WHERE p.subject_kind = 1 AND p.observed_at > %(since)s LIMIT %(limit)s;

-- name: senders
-- Senders with a keepalive: their word about silence counts.
SELECT id, unit_id FROM device WHERE kind = 'gat1400' AND enabled;

-- name: signs_of_life
SELECT device_id, state, (extract(epoch FROM seen_at) * 1000000)::bigint FROM device_status;

-- name: flow
SELECT checkpoint, (extract(epoch FROM bucket) * 1000000)::bigint, direction, passages, measured, speed_sum
FROM checkpoint_flow(%(since)s);

-- name: findings_of_day
-- What the day's counts rest on; the newest when there are more than the bound.
SELECT id::text, level, state, (extract(epoch FROM first_at) * 1000000)::bigint, audience, visibility, addressees
FROM finding WHERE raised_at >= %(since)s AND first_at >= %(since)s ORDER BY raised_at DESC LIMIT %(limit)s;

-- name: network_version
SELECT value FROM version WHERE name = 'network';

-- name: look_partitions
-- Leases and progress, by real time.
SELECT id, until, committed_at, clock_timestamp(), generation, bus_offset, kind FROM partition ORDER BY id;

-- name: look_parts
SELECT kind, instance, seen_at, figures, clock_timestamp() FROM part WHERE seen_at > clock_timestamp() - interval '1 hour';

-- name: parts_seen
-- The newest heartbeat of any door and of any monitor.
SELECT clock_timestamp(), max(seen_at) FILTER (WHERE kind = 'doors'), max(seen_at) FILTER (WHERE kind = 'monitor')
FROM part;

-- name: scope
-- The viewer of this transaction; forgotten at its end.
SELECT set_config('traffic.unit', %(unit)s, true), set_config('traffic.clearance', %(clearance)s, true);

-- name: findings_newest
SELECT * FROM finding WHERE raised_at <= %(before)s AND (raised_at, id) < (%(before)s, %(before_id)s)
ORDER BY raised_at DESC, id DESC LIMIT %(limit)s;

-- name: finding
SELECT * FROM finding WHERE id = %(id)s;

-- name: finding_revisions
SELECT revision, change, (extract(epoch FROM raised_at) * 1000000)::bigint AS raised_at, cause, grounds
FROM finding_revision WHERE finding_id = %(id)s ORDER BY revision DESC LIMIT %(limit)s;

-- name: odd_plates
SELECT plate_key, plate FROM odd_plates(%(keys)s);

-- name: checkpoint_names
SELECT c.id, c.code, c.name, c.name_en, r.code AS road, c.stake_m FROM checkpoint c JOIN road r ON r.id = c.road_id
WHERE c.id = ANY (%(ids)s) ORDER BY c.id;

-- name: units
SELECT id, code, name, name_en, level, branch, adcode, valid_from, valid_to FROM unit;

-- name: unit_parents
SELECT unit_id, parent_id, valid_from, valid_to FROM unit_parent;

-- name: map_checkpoints
SELECT c.id, c.code, c.name, c.name_en, r.code AS road, c.stake_m, c.lon, c.lat, c.lanes, c.limit_kmh, c.unit_id,
       u.name AS unit, u.name_en AS unit_en
FROM checkpoint c JOIN road r ON r.id = c.road_id JOIN unit u ON u.id = c.unit_id
WHERE c.id = ANY (%(ids)s) ORDER BY c.id;

-- name: map_links
-- One direction is enough to draw a road.
SELECT r.id, r.code, r.name, r.name_en, r.kind, r.approximate, l.geometry
FROM link l JOIN road r ON r.id = l.road_id
WHERE l.direction = 1 ORDER BY r.id, l.from_stake_m, l.id;

-- name: map_divisions
SELECT adcode, parent, name, name_en, level, boundary FROM division ORDER BY level, adcode;

-- name: quarantine
SELECT q.id, (extract(epoch FROM q.received_at) * 1000000)::bigint AS received_at, q.door, q.device_id,
       d.code AS device_code, d.name AS device_name, q.unit_id, q.position, q.field, q.reason, q.detail, q.body, q.state,
       (extract(epoch FROM q.closed_at) * 1000000)::bigint AS closed_at, q.closed_by
FROM quarantine q LEFT JOIN device d ON d.id = q.device_id
WHERE q.id < %(before)s AND q.state = %(state)s ORDER BY q.id DESC LIMIT %(limit)s;

-- name: quarantine_take
-- One person at a time works on a record.
SELECT id, device_id, state FROM quarantine WHERE id = %(id)s FOR UPDATE;

-- name: quarantine_close
UPDATE quarantine SET state = %(state)s, closed_at = %(at)s, closed_by = %(by)s WHERE id = %(id)s AND state = 'open';
