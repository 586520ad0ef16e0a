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
FROM position_latest p JOIN key_vehicle k ON k.plate_key = p.subject AND k.class_group = p.class_group AND k.enabled
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
SELECT id::text, level, state, (extract(epoch FROM first_at) * 1000000)::bigint, audience, visibility, addressees,
       shelf IS NOT NULL,
       verification IS NULL AND (level = %(gravest)s OR kind = ANY (%(looked_at_first)s)
           OR coalesce(grounds -> 'detail' -> 'match' ->> 'how', '') = ANY (%(unsure)s))
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
-- The viewer of this transaction, and the instance's time, by which units lie below it; forgotten at its end.
SELECT set_config('traffic.unit', %(unit)s, true), set_config('traffic.clearance', %(clearance)s, true),
       set_config('traffic.at', %(at)s, true);

-- name: scope_of_session
-- The same for a connection that works for one viewer alone.
SELECT set_config('traffic.unit', %(unit)s, false), set_config('traffic.clearance', %(clearance)s, false),
       set_config('traffic.at', %(at)s, false);

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

-- ---------------------------------------------------------------- roads
-- `below`: the viewer's unit and all below it. What one of these owns, or has along its corridor, is its business: the
-- same rule as in the audiences that writers store and as sees_traffic().

-- name: link_facts
SELECT l.id, r.code AS road, r.id AS road_id, r.name AS road_name, r.name_en AS road_name_en, l.direction, l.from_stake_m,
       l.to_stake_m, l.length_m, l.lanes, l.limit_kmh, l.unit_id, u.name AS unit, u.name_en AS unit_en
FROM link l JOIN road r ON r.id = l.road_id JOIN unit u ON u.id = l.unit_id
WHERE l.id = %(id)s AND (l.unit_id = ANY (%(below)s) OR l.corridor && %(below)s::int[]);

-- name: link_state
SELECT (extract(epoch FROM cycle_at) * 1000000)::bigint AS cycle_at, (extract(epoch FROM observed_at) * 1000000)::bigint AS observed_at, level, speed_kmh, flow_vph, density_vkm, travel_s,
       travel_p90_s, heavy_share, confidence, sources, risk, risk_level, risk_next, risk_next_level, grounds
FROM link_state WHERE link_id = %(id)s;

-- name: link_series
SELECT (extract(epoch FROM bucket) * 1000000)::bigint AS at, speed_kmh, flow_vph, travel_s FROM link_series(%(id)s, %(since)s, %(at)s, 'minute', %(at)s);

-- name: link_usual
-- The mean of the same quarter of an hour in some weeks before.
SELECT avg(s.speed_kmh) AS speed_kmh, avg(s.flow_vph) AS flow_vph
FROM unnest(%(quarters)s::timestamptz[]) AS q(begin)
CROSS JOIN LATERAL link_series(%(id)s, q.begin, q.begin + interval '1 second', 'quarter', %(at)s) s;

-- name: link_sensors
-- Detectors on the link and checkpoints over it (of these the direction of the link), with the health of each lane.
SELECT s.kind, s.id, s.code, s.name, s.name_en, s.stake_m, h.lane, h.state, h.reason, h.trust, (extract(epoch FROM h.since) * 1000000)::bigint AS since, h.detail
FROM (
    SELECT 'detector' AS kind, d.id, d.code, d.name, d.name_en, d.stake_m, NULL::smallint AS lane
    FROM detector d WHERE d.link_id = %(id)s AND (d.unit_id = ANY (%(below)s) OR d.corridor && %(below)s::int[])
    UNION ALL
    SELECT 'checkpoint', c.id, c.code, c.name, c.name_en, c.stake_m, l.direction
    FROM link l JOIN checkpoint c ON c.road_id = l.road_id
        AND c.stake_m BETWEEN least(l.from_stake_m, l.to_stake_m) AND greatest(l.from_stake_m, l.to_stake_m)
    WHERE l.id = %(id)s AND (c.unit_id = ANY (%(below)s) OR c.corridor && %(below)s::int[])
) s LEFT JOIN sensor_health h ON h.sensor_kind = s.kind AND h.sensor_id = s.id AND (s.lane IS NULL OR h.lane = s.lane)
ORDER BY s.kind, s.id, h.lane;

-- name: events
SELECT id, kind, state, level, revision, link_id AS link, road_id AS road, direction, head_stake_m, tail_stake_m,
       unit_id AS unit, (extract(epoch FROM started_at) * 1000000)::bigint AS started_at, (extract(epoch FROM changed_at) * 1000000)::bigint AS changed_at, (extract(epoch FROM ended_at) * 1000000)::bigint AS ended_at,
       (extract(epoch FROM observed_at) * 1000000)::bigint AS observed_at, confidence, grounds
FROM road_event
WHERE (%(state)s = 'all' OR state = %(state)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND changed_at <= %(before)s AND (changed_at, id) < (%(before)s, %(before_id)s)
ORDER BY changed_at DESC, id DESC LIMIT %(limit)s;

-- name: event
SELECT id, kind, state, level, revision, link_id AS link, road_id AS road, direction, head_stake_m, tail_stake_m,
       unit_id AS unit, (extract(epoch FROM started_at) * 1000000)::bigint AS started_at, (extract(epoch FROM changed_at) * 1000000)::bigint AS changed_at, (extract(epoch FROM ended_at) * 1000000)::bigint AS ended_at,
       (extract(epoch FROM observed_at) * 1000000)::bigint AS observed_at, confidence, grounds
FROM road_event WHERE id = %(id)s;

-- name: event_revisions
SELECT revision, (extract(epoch FROM changed_at) * 1000000)::bigint AS changed_at, body FROM road_event_revision
WHERE event_id = %(id)s ORDER BY revision DESC LIMIT %(limit)s;

-- name: sensors
-- The worst first: failed, silent, suspect.
SELECT h.sensor_kind AS kind, h.sensor_id AS id, s.code, s.name, s.name_en, r.code AS road, s.stake_m, s.unit_id, h.lane,
       h.state, h.reason, h.trust, (extract(epoch FROM h.since) * 1000000)::bigint AS since, h.detail
FROM sensor_health h JOIN LATERAL (
    SELECT d.code, d.name, d.name_en, d.road_id, d.stake_m, d.unit_id FROM detector d
    WHERE h.sensor_kind = 'detector' AND d.id = h.sensor_id
    UNION ALL
    SELECT c.code, c.name, c.name_en, c.road_id, c.stake_m, c.unit_id FROM checkpoint c
    WHERE h.sensor_kind = 'checkpoint' AND c.id = h.sensor_id
) s ON true JOIN road r ON r.id = s.road_id
WHERE %(state)s = 'all' OR h.state = %(state)s OR (%(state)s = 'bad' AND h.state <> 'ok')
ORDER BY array_position(ARRAY['failed', 'silent', 'suspect', 'ok'], h.state), h.since DESC, h.sensor_kind, h.sensor_id, h.lane
LIMIT %(limit)s;

-- name: sensor_counts
SELECT state, count(*) FROM sensor_health GROUP BY state;

-- name: detector_facts
SELECT d.id, d.code, d.name, d.name_en, d.kind, r.code AS road, d.stake_m, d.direction, d.link_id, d.lanes, d.period_s,
       d.lon, d.lat, d.unit_id
FROM detector d JOIN road r ON r.id = d.road_id
WHERE d.id = %(id)s AND (d.unit_id = ANY (%(below)s) OR d.corridor && %(below)s::int[]);

-- name: detector_health
SELECT lane, state, reason, trust, (extract(epoch FROM since) * 1000000)::bigint AS since, detail FROM sensor_health
WHERE sensor_kind = 'detector' AND sensor_id = %(id)s ORDER BY lane;

-- name: detector_reports
SELECT lane, (extract(epoch FROM observed_at) * 1000000)::bigint AS at, vehicles, occupancy, speed_kmh, heavy
FROM detector_reports(%(id)s, %(since)s, %(at)s);

-- name: checkpoint_facts
SELECT id FROM checkpoint WHERE id = %(id)s AND (unit_id = ANY (%(below)s) OR corridor && %(below)s::int[]);

-- name: road_ref
SELECT id, code, name, name_en FROM road WHERE id = %(id)s;

-- name: trend_link
SELECT (extract(epoch FROM bucket) * 1000000)::bigint AS bucket_us, speed_kmh, flow_vph, travel_s, congested::float8 / nullif(cycles, 0) AS congested,
       heavy_share, risk, risk_max, confidence
FROM link_series(%(id)s, %(since)s, %(until)s, %(width)s, %(at)s);

-- name: trend_checkpoint
SELECT (extract(epoch FROM bucket) * 1000000)::bigint AS bucket_us, passages, speed_kmh
FROM checkpoint_series(%(id)s, NULL, NULL, %(since)s, %(until)s, %(width)s, %(at)s);

-- name: trend_unit
SELECT (extract(epoch FROM bucket) * 1000000)::bigint AS bucket_us, passages FROM unit_series(%(id)s, NULL, %(since)s, %(until)s, %(width)s, %(at)s);

-- name: trend_index
SELECT (extract(epoch FROM bucket) * 1000000)::bigint AS bucket_us, index, usual, speed_kmh, vehicle_km_h, congested_km, known_share, risk_1, risk_2, risk_3,
       risk_4
FROM index_series(%(scope)s, %(id)s, %(since)s, %(until)s, %(width)s, %(at)s);

-- name: weather_in_force
SELECT w.id, w.station, w.kind, (extract(epoch FROM w.observed_at) * 1000000)::bigint AS observed_at, (extract(epoch FROM w.valid_to) * 1000000)::bigint AS valid_to, r.code AS road, w.road_id,
       w.from_stake_m, w.to_stake_m, w.direction, w.visibility_m, w.precipitation, w.intensity_mm_h, w.temperature_c,
       w.wind_ms, w.surface, w.note, w.unit_id
FROM weather_report w JOIN road r ON r.id = w.road_id
WHERE w.valid_to > %(now)s AND (w.unit_id = ANY (%(below)s) OR EXISTS (
    SELECT FROM link l WHERE l.road_id = w.road_id AND (w.direction = 0 OR l.direction = w.direction)
        AND least(l.from_stake_m, l.to_stake_m) <= w.to_stake_m AND greatest(l.from_stake_m, l.to_stake_m) >= w.from_stake_m
        AND (l.unit_id = ANY (%(below)s) OR l.corridor && %(below)s::int[])))
ORDER BY w.observed_at DESC, w.id DESC LIMIT %(limit)s;

-- name: road_works
SELECT w.id, w.code, w.kind, w.state, r.code AS road, w.road_id, w.from_stake_m, w.to_stake_m, w.direction, w.lanes_closed,
       (extract(epoch FROM w.from_at) * 1000000)::bigint AS from_at, (extract(epoch FROM w.to_at) * 1000000)::bigint AS to_at, w.contact, w.unit_id, w.revision
FROM road_work w JOIN road r ON r.id = w.road_id
WHERE CASE WHEN %(state)s = 'current' THEN w.state IN ('planned', 'active') AND w.to_at > %(now)s ELSE w.state = %(state)s END
    AND (w.unit_id = ANY (%(below)s) OR EXISTS (
    SELECT FROM link l WHERE l.road_id = w.road_id AND l.direction = w.direction
        AND least(l.from_stake_m, l.to_stake_m) <= w.to_stake_m AND greatest(l.from_stake_m, l.to_stake_m) >= w.from_stake_m
        AND (l.unit_id = ANY (%(below)s) OR l.corridor && %(below)s::int[])))
ORDER BY w.from_at, w.id LIMIT %(limit)s;

-- ---------------------------------------------------------------- areas
-- name: area_indices
SELECT scope_id AS unit, (extract(epoch FROM cycle_at) * 1000000)::bigint AS at, index, usual_index AS usual, speed_kmh, congested_km, known_share, vehicle_km_h,
       risk_links
FROM road_index WHERE scope = 'unit' AND scope_id = ANY (%(units)s) AND cycle_at > %(since)s
UNION ALL
SELECT %(top)s, (extract(epoch FROM cycle_at) * 1000000)::bigint, index, usual_index, speed_kmh, congested_km, known_share, vehicle_km_h, risk_links
FROM road_index WHERE scope = 'province' AND %(top)s::int IS NOT NULL AND cycle_at > %(since)s;

-- name: area_events
SELECT unit_id AS unit, kind, count(*) FROM road_event WHERE state = 'open' GROUP BY 1, 2;

-- name: area_crews
SELECT c.unit_id AS unit, count(*) AS total, count(*) FILTER (WHERE p.observed_at > %(since)s) AS fresh
FROM crew c LEFT JOIN position_latest p ON p.subject_kind = 2 AND p.subject = c.id
WHERE c.unit_id = ANY (%(below)s) GROUP BY 1;

-- ---------------------------------------------------------------- places
-- name: roads
SELECT id, code, name, name_en FROM road ORDER BY id;

-- name: chainages
SELECT road_id, piece, from_stake_m, to_stake_m, from_m FROM chainage;

-- name: links
SELECT id, road_id, direction, from_stake_m, to_stake_m, length_m, lanes, limit_kmh, unit_id, geometry, from_node, to_node,
       corridor, piece
FROM link ORDER BY id;

-- name: search
-- By name or code, best first: the whole, its begin, any part of it; at the same rank the higher kind, then the shorter.
SELECT kind, id, title, title_en, detail, road, stake_m, direction, lon, lat, unit_id
FROM (
    SELECT 'unit' AS kind, 1 + u.level / 10.0 AS weight, u.id, u.name AS title, u.name_en AS title_en, u.code AS detail, NULL AS road,
           NULL::int AS stake_m, NULL::smallint AS direction, NULL::float8 AS lon, NULL::float8 AS lat, u.id AS unit_id
    FROM unit u WHERE u.id = ANY (%(below)s)
    UNION ALL
    SELECT 'checkpoint', 2, c.id, c.name, c.name_en, c.code, r.code, c.stake_m, 0, c.lon, c.lat, c.unit_id
    FROM checkpoint c JOIN road r ON r.id = c.road_id WHERE c.unit_id = ANY (%(below)s) OR c.corridor && %(below)s::int[]
    UNION ALL
    SELECT 'object', 3, o.id, o.name, o.name_en, o.code, r.code, o.stake_m, o.direction, o.lon, o.lat, o.unit_id
    FROM roadside_object o JOIN road r ON r.id = o.road_id WHERE o.enabled AND o.unit_id = ANY (%(below)s)
    UNION ALL
    SELECT 'crew', 4, w.id, w.name, w.name_en, w.code, NULL, NULL, NULL, NULL, NULL, w.unit_id
    FROM crew w WHERE w.unit_id = ANY (%(below)s)
    UNION ALL
    SELECT 'detector', 5, d.id, d.name, d.name_en, d.code, r.code, d.stake_m, d.direction, d.lon, d.lat, d.unit_id
    FROM detector d JOIN road r ON r.id = d.road_id WHERE d.unit_id = ANY (%(below)s) OR d.corridor && %(below)s::int[]
) s CROSS JOIN LATERAL (
    SELECT min(CASE WHEN lower(name) = %(text)s THEN 0 WHEN starts_with(lower(name), %(text)s) THEN 1 ELSE 2 END) AS rank
    FROM unnest(ARRAY[s.title, s.title_en, s.detail]) name WHERE strpos(lower(name), %(text)s) > 0
) m
WHERE m.rank IS NOT NULL
ORDER BY m.rank, s.weight, length(s.title), s.title, s.id LIMIT %(limit)s;

-- name: map_link_lines
SELECT l.id, r.code AS road, r.id AS road_id, l.direction, l.from_stake_m, l.to_stake_m, l.length_m, l.lanes, l.limit_kmh,
       l.unit_id, l.geometry
FROM link l JOIN road r ON r.id = l.road_id
WHERE l.unit_id = ANY (%(below)s) OR l.corridor && %(below)s::int[] ORDER BY l.id;

-- name: map_detectors
SELECT d.id, d.code, d.name, d.name_en, d.kind, r.code AS road, d.stake_m, d.direction, d.link_id, d.lanes, d.lon, d.lat,
       d.unit_id
FROM detector d JOIN road r ON r.id = d.road_id
WHERE d.unit_id = ANY (%(below)s) OR d.corridor && %(below)s::int[] ORDER BY d.id;

-- name: map_objects
SELECT o.id, o.kind, o.code, o.name, o.name_en, r.code AS road, o.stake_m, o.direction, o.lon, o.lat, o.unit_id, o.facts,
       o.enabled
FROM roadside_object o JOIN road r ON r.id = o.road_id WHERE o.unit_id = ANY (%(below)s) ORDER BY o.id;

-- name: map_crews
SELECT id, code, name, name_en, unit_id, plate FROM crew WHERE unit_id = ANY (%(below)s) ORDER BY id;

-- name: map_stamp
-- Changes with every object that is added or changed: camera lists come while the network stays as it is.
SELECT count(*), max(changed_at) FROM roadside_object;

-- ---------------------------------------------------------------- refused records
-- name: quarantine
SELECT q.id, (extract(epoch FROM q.received_at) * 1000000)::bigint AS received_at, q.door, q.device_id,
       d.code AS device_code, d.name AS device_name, q.unit_id, q.position, q.field, q.reason, q.detail, q.body, q.state,
       (extract(epoch FROM q.closed_at) * 1000000)::bigint AS closed_at, q.closed_by
FROM quarantine q LEFT JOIN device d ON d.id = q.device_id
WHERE q.id < %(before)s AND q.state = %(state)s ORDER BY q.id DESC LIMIT %(limit)s;

-- name: quarantine_take
-- One person at a time works on a record.
SELECT id, device_id, state, door FROM quarantine WHERE id = %(id)s FOR UPDATE;

-- name: quarantine_close
UPDATE quarantine SET state = %(state)s, closed_at = %(at)s, closed_by = %(by)s WHERE id = %(id)s AND state = 'open';

-- ---------------------------------------------------------------- look-ups: the functions write the audit
-- name: look_up_plate
SELECT (extract(epoch FROM observed_at) * 1000000)::bigint AS at, source_hash, checkpoint, direction, lane,
       round(speed_kmh::numeric, 1)::float8 AS speed_kmh, plate_class, vehicle_class, body_color, images
FROM plate_track(%(person)s, %(purpose)s, %(plate_key)s, %(classes)s::smallint[], %(since)s, %(until)s, %(before_hash)s,
                 %(limit)s, %(beyond)s, %(now)s);

-- name: look_up_checkpoint
SELECT (extract(epoch FROM observed_at) * 1000000)::bigint AS at, source_hash, plate_key, direction, lane,
       round(speed_kmh::numeric, 1)::float8 AS speed_kmh, plate_class, vehicle_class, body_color, images
FROM checkpoint_passages(%(person)s, %(purpose)s, %(checkpoint)s, %(since)s, %(until)s, %(before_hash)s, %(limit)s,
                         %(beyond)s, %(now)s);

-- name: finding_as_purpose
-- A finding that the viewer sees, with whom it is about and where it was seen.
SELECT plate_key, grounds FROM finding WHERE id = %(id)s;
