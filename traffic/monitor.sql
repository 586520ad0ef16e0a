-- Statements of the monitor: what sensors said is kept, and each half minute the picture of the roads.

-- name: reports_merge
-- Reports of a batch wait in a table of this connection, where `revision` counts how often one changed within the batch.
-- New intervals are added; a later copy with other content takes the place of the one before, under the next revision.
WITH told AS (
    INSERT INTO detector_report AS r (observed_at, received_at, detector, device, lane, period_s, vehicles, heavy,
        occupancy, speed_kmh, door, flags, revision)
    SELECT observed_at, received_at, detector, device, lane, period_s, vehicles, heavy, occupancy, speed_kmh, door, flags, 0
    FROM staged_detector_report WHERE revision = 0
    ON CONFLICT (detector, lane, observed_at) DO UPDATE SET received_at = excluded.received_at, device = excluded.device,
        period_s = excluded.period_s, vehicles = excluded.vehicles, heavy = excluded.heavy, occupancy = excluded.occupancy,
        speed_kmh = excluded.speed_kmh, door = excluded.door, flags = excluded.flags, revision = least(r.revision, 32766) + 1
    WHERE r.received_at <= excluded.received_at
        AND (r.period_s, r.vehicles, r.heavy, r.occupancy, r.speed_kmh, r.flags)
            IS DISTINCT FROM (excluded.period_s, excluded.vehicles, excluded.heavy, excluded.occupancy, excluded.speed_kmh, excluded.flags)
    RETURNING r.revision
)
SELECT count(*) FILTER (WHERE revision = 0), count(*) FILTER (WHERE revision > 0) FROM told;

-- name: reports_again
-- The last word of intervals that changed within one batch.
UPDATE detector_report r SET received_at = i.received_at, device = i.device, period_s = i.period_s, vehicles = i.vehicles,
    heavy = i.heavy, occupancy = i.occupancy, speed_kmh = i.speed_kmh, door = i.door, flags = i.flags,
    revision = least(r.revision + i.revision::int, 32767)
FROM staged_detector_report i
WHERE i.revision > 0 AND r.detector = i.detector AND r.lane = i.lane AND r.observed_at = i.observed_at
    AND r.received_at <= i.received_at;

-- name: weather_write
-- A station's word on a stretch at one time; a later copy with other content takes its place.
INSERT INTO weather_report AS w (station, observed_at, received_at, valid_to, device, road_id, from_stake_m, to_stake_m,
    direction, kind, visibility_m, precipitation, intensity_mm_h, temperature_c, wind_ms, surface, note, unit_id)
VALUES (%(station)s, %(observed_at)s, %(received_at)s, %(valid_to)s, %(device)s, %(road_id)s, %(from_stake_m)s,
    %(to_stake_m)s, %(direction)s, %(kind)s, %(visibility_m)s, %(precipitation)s, %(intensity_mm_h)s, %(temperature_c)s,
    %(wind_ms)s, %(surface)s, %(note)s, %(unit_id)s)
ON CONFLICT (device, station, observed_at, road_id, from_stake_m, direction) DO UPDATE SET
    received_at = excluded.received_at, valid_to = excluded.valid_to, to_stake_m = excluded.to_stake_m, kind = excluded.kind,
    visibility_m = excluded.visibility_m, precipitation = excluded.precipitation, intensity_mm_h = excluded.intensity_mm_h,
    temperature_c = excluded.temperature_c, wind_ms = excluded.wind_ms, surface = excluded.surface, note = excluded.note
WHERE w.received_at < excluded.received_at
    AND (w.valid_to, w.to_stake_m, w.kind, w.visibility_m, w.precipitation, w.intensity_mm_h, w.temperature_c, w.wind_ms,
         w.surface, w.note)
        IS DISTINCT FROM (excluded.valid_to, excluded.to_stake_m, excluded.kind, excluded.visibility_m,
            excluded.precipitation, excluded.intensity_mm_h, excluded.temperature_c, excluded.wind_ms, excluded.surface,
            excluded.note);

-- name: works_of_code
-- Whose the works are that are known under a code.
SELECT device, unit_id FROM road_work WHERE code = %(code)s;

-- name: works_write
-- An older word changes nothing.
INSERT INTO road_work AS w (code, road_id, from_stake_m, to_stake_m, direction, lanes_closed, from_at, to_at, kind, contact,
    state, unit_id, device, observed_at, received_at)
VALUES (%(code)s, %(road_id)s, %(from_stake_m)s, %(to_stake_m)s, %(direction)s, %(lanes_closed)s, %(from_at)s, %(to_at)s,
    %(kind)s, %(contact)s, %(state)s, %(unit_id)s, %(device)s, %(observed_at)s, %(received_at)s)
ON CONFLICT (code) DO UPDATE SET road_id = excluded.road_id, from_stake_m = excluded.from_stake_m,
    to_stake_m = excluded.to_stake_m, direction = excluded.direction, lanes_closed = excluded.lanes_closed,
    from_at = excluded.from_at, to_at = excluded.to_at, kind = excluded.kind, contact = excluded.contact,
    state = excluded.state, unit_id = excluded.unit_id, device = excluded.device, observed_at = excluded.observed_at,
    received_at = excluded.received_at, revision = w.revision + 1
WHERE (w.observed_at, w.received_at) < (excluded.observed_at, excluded.received_at)
    AND (w.road_id, w.from_stake_m, w.to_stake_m, w.direction, w.lanes_closed, w.from_at, w.to_at, w.kind, w.contact, w.state)
        IS DISTINCT FROM (excluded.road_id, excluded.from_stake_m, excluded.to_stake_m, excluded.direction,
            excluded.lanes_closed, excluded.from_at, excluded.to_at, excluded.kind, excluded.contact, excluded.state);

-- name: object_of_code
SELECT kind FROM roadside_object WHERE code = %(code)s;

-- name: camera_write
INSERT INTO roadside_object AS o (kind, code, name, name_en, road_id, stake_m, direction, lon, lat, unit_id, facts, enabled,
    changed_at, changed_by)
VALUES ('camera', %(code)s, %(name)s, %(name)s, %(road_id)s, %(stake_m)s, %(direction)s, %(lon)s, %(lat)s, %(unit_id)s,
    %(facts)s, %(enabled)s, %(changed_at)s, %(changed_by)s)
ON CONFLICT (code) DO UPDATE SET name = excluded.name, road_id = excluded.road_id, stake_m = excluded.stake_m,
    direction = excluded.direction, lon = excluded.lon, lat = excluded.lat, unit_id = excluded.unit_id,
    facts = excluded.facts, enabled = excluded.enabled, changed_at = excluded.changed_at, changed_by = excluded.changed_by
WHERE o.kind = 'camera' AND o.changed_at < excluded.changed_at
    AND (o.name, o.road_id, o.stake_m, o.direction, o.lon, o.lat, o.unit_id, o.facts, o.enabled)
        IS DISTINCT FROM (excluded.name, excluded.road_id, excluded.stake_m, excluded.direction, excluded.lon, excluded.lat,
            excluded.unit_id, excluded.facts, excluded.enabled);

-- name: network_changed
UPDATE version SET value = value + 1 WHERE name = 'network';

-- ---------------------------------------------------------------- what a cycle rests on beside reports

-- name: flows
-- Minutes of each checkpoint that had ended by the cycle; one index scan a checkpoint, because a chunk is far larger.
SELECT c.id, m.direction, (extract(epoch FROM m.minute) * 1e6)::bigint, m.class, sum(m.passages)::bigint,
    sum(m.measured)::bigint, sum(m.speed_sum), sum(m.readable)::bigint
FROM checkpoint c JOIN LATERAL (
    SELECT * FROM checkpoint_minute WHERE checkpoint = c.id AND minute >= %(since)s AND minute <= %(until)s
) m ON true
GROUP BY 1, 2, 3, 4 HAVING sum(m.passages) > 0 ORDER BY 1, 3, 2, 4;

-- name: travel
SELECT s.id, (extract(epoch FROM t.bucket) * 1e6)::bigint, t.seconds
FROM section s JOIN LATERAL (
    SELECT * FROM travel_time WHERE section = s.id AND bucket > %(since)s AND bucket <= %(until)s
) t ON true
ORDER BY s.id, t.bucket, t.slot;

-- name: signs_of_life
-- Of senders that say that they live also when nothing passes.
SELECT s.device_id, (extract(epoch FROM s.seen_at) * 1e6)::bigint
FROM device_status s JOIN device d ON d.id = s.device_id WHERE d.kind = 'gat1400' AND s.state <> 'unregistered';

-- name: weather_in_force
-- The newest word of each source on each stretch, while it holds.
SELECT * FROM (
    SELECT DISTINCT ON (device, station, kind, road_id, from_stake_m, direction) *
    FROM weather_report WHERE valid_to > %(at)s AND observed_at <= %(at)s
    ORDER BY device, station, kind, road_id, from_stake_m, direction, observed_at DESC
) newest ORDER BY observed_at DESC, id DESC LIMIT %(limit)s;

-- name: works_in_force
-- Active, or to begin within the hour.
SELECT * FROM road_work WHERE state IN ('planned', 'active') AND to_at > %(at)s AND from_at <= %(soon)s
ORDER BY from_at, id LIMIT %(limit)s;

-- name: reports_since
-- What a state is warmed with when it cannot be restored.
COPY (SELECT observed_at, received_at, detector, device, lane, period_s, vehicles, heavy, occupancy, speed_kmh, door, flags
      FROM detector_report WHERE observed_at > {since} ORDER BY observed_at DESC LIMIT {limit}) TO STDOUT (FORMAT BINARY)

-- ---------------------------------------------------------------- the network as the cycle sees it

-- name: roads
SELECT id, code, name, name_en, kind, approximate FROM road;

-- name: links
SELECT id, road_id, direction, from_stake_m, to_stake_m, length_m, lanes, limit_kmh, unit_id, from_node, to_node, corridor
FROM link ORDER BY id;

-- name: checkpoints
SELECT id, code, name, name_en, road_id, stake_m, bearing_deg, lanes, limit_kmh, lon, lat, unit_id, corridor, inter_provincial
FROM checkpoint ORDER BY id;

-- name: detectors
SELECT id, code, name, name_en, kind, road_id, stake_m, direction, link_id, lanes, lon, lat, unit_id, period_s, corridor
FROM detector ORDER BY id;

-- name: keepalive_units
-- Units of senders with a keepalive.
SELECT id, unit_id FROM device WHERE kind = 'gat1400' AND enabled;

-- ---------------------------------------------------------------- the picture

-- name: links_told
-- What was last said of each link.
SELECT link_id, (extract(epoch FROM observed_at) * 1e6)::bigint, level, speed_kmh, flow_vph, density_vkm, travel_s, travel_p90_s,
    heavy_share, confidence, sources, risk, risk_level, risk_next, risk_next_level
FROM link_state;

-- name: last_cycle
-- When the last cycle was, whoever owned the roads then.
SELECT coalesce((extract(epoch FROM max(cycle_at)) * 1e6)::bigint, 0) FROM link_state;

-- name: links_write
-- Links of which something else is to be said; NaN: not known.
INSERT INTO link_state (link_id, cycle_at, observed_at, level, speed_kmh, flow_vph, density_vkm, travel_s, travel_p90_s,
    heavy_share, confidence, sources, risk, risk_level, risk_next, risk_next_level, grounds, audience)
SELECT t.link, %(at)s, timestamptz 'epoch' + nullif(t.observed, 0) * interval '1 microsecond', t.level,
    nullif(t.speed, 'NaN'), nullif(t.flow, 'NaN'), nullif(t.density, 'NaN'), nullif(t.travel, 'NaN'), nullif(t.p90, 'NaN'),
    nullif(t.heavy, 'NaN'), t.confidence, t.sources, nullif(t.risk, 'NaN'), t.risk_level, nullif(t.risk_next, 'NaN'),
    t.risk_next_level, t.grounds::jsonb, t.audience::int[]
FROM unnest(%(link)b::int[], %(observed)b::bigint[], %(level)b::smallint[], %(speed)b::float4[], %(flow)b::float4[],
            %(density)b::float4[], %(travel)b::float4[], %(p90)b::float4[], %(heavy)b::float4[], %(confidence)b::float4[],
            %(sources)b::smallint[], %(risk)b::float4[], %(risk_level)b::smallint[], %(risk_next)b::float4[],
            %(risk_next_level)b::smallint[], %(grounds)b::text[], %(audience)b::text[])
     AS t(link, observed, level, speed, flow, density, travel, p90, heavy, confidence, sources, risk, risk_level, risk_next,
          risk_next_level, grounds, audience)
ON CONFLICT (link_id) DO UPDATE SET cycle_at = excluded.cycle_at, observed_at = excluded.observed_at, level = excluded.level,
    speed_kmh = excluded.speed_kmh, flow_vph = excluded.flow_vph, density_vkm = excluded.density_vkm,
    travel_s = excluded.travel_s, travel_p90_s = excluded.travel_p90_s, heavy_share = excluded.heavy_share,
    confidence = excluded.confidence, sources = excluded.sources, risk = excluded.risk, risk_level = excluded.risk_level,
    risk_next = excluded.risk_next, risk_next_level = excluded.risk_next_level, grounds = excluded.grounds,
    audience = excluded.audience;

-- name: links_stand
-- Of all others the same holds at this cycle.
UPDATE link_state SET cycle_at = %(at)s WHERE cycle_at <> %(at)s;

-- name: event_write
-- A revision that is not newer changes nothing.
INSERT INTO road_event AS e (id, kind, state, level, revision, link_id, road_id, direction, head_stake_m, tail_stake_m, unit_id,
    started_at, changed_at, ended_at, observed_at, confidence, grounds, audience)
VALUES (%(id)s, %(kind)s, %(state)s, %(level)s, %(revision)s, %(link)s, %(road)s, %(direction)s, %(head_stake_m)s,
    %(tail_stake_m)s, %(unit)s, %(started_at)s, %(changed_at)s, %(ended_at)s, %(observed_at)s, %(confidence)s, %(grounds)s,
    %(audience)s)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, level = excluded.level, revision = excluded.revision,
    link_id = excluded.link_id, road_id = excluded.road_id, direction = excluded.direction,
    head_stake_m = excluded.head_stake_m, tail_stake_m = excluded.tail_stake_m, unit_id = excluded.unit_id,
    changed_at = excluded.changed_at, ended_at = excluded.ended_at, observed_at = excluded.observed_at,
    confidence = excluded.confidence, grounds = excluded.grounds, audience = excluded.audience
WHERE e.revision < excluded.revision;

-- name: event_revision_write
INSERT INTO road_event_revision (event_id, revision, changed_at, body) VALUES (%(id)s, %(revision)s, %(changed_at)s, %(body)s)
ON CONFLICT DO NOTHING;

-- name: events_prune
-- Events that ended long ago go with their revisions; what they led to keeps copies of its own.
DELETE FROM road_event WHERE state = 'ended' AND changed_at < %(before)s;

-- name: events_open
-- Events that nobody has ended; asked for when the memory of what is wrong was lost.
SELECT id, kind, state, level, revision, link_id, road_id, direction, head_stake_m, tail_stake_m, unit_id,
    (extract(epoch FROM started_at) * 1e6)::bigint AS started_us, (extract(epoch FROM changed_at) * 1e6)::bigint AS changed_us,
    (extract(epoch FROM observed_at) * 1e6)::bigint AS observed_us, confidence, grounds
FROM road_event WHERE state = 'open' ORDER BY changed_at, id;

-- name: health_write
INSERT INTO sensor_health (sensor_kind, sensor_id, lane, state, reason, trust, since, detail, audience)
VALUES (%(kind)s, %(id)s, %(lane)s, %(state)s, %(reason)s, %(trust)s, %(since)s, %(detail)s, %(audience)s)
ON CONFLICT (sensor_kind, sensor_id, lane) DO UPDATE SET state = excluded.state, reason = excluded.reason,
    trust = excluded.trust, since = excluded.since, detail = excluded.detail, audience = excluded.audience;

-- name: health_prune
-- Sensors that left the network are neither well nor ill.
DELETE FROM sensor_health WHERE (sensor_kind = 'detector' AND NOT sensor_id = ANY (%(detectors)s))
    OR (sensor_kind = 'checkpoint' AND NOT sensor_id = ANY (%(checkpoints)s));

-- name: indices_told
SELECT scope, scope_id, index, usual_index, speed_kmh, congested_km, known_share, vehicle_km_h, risk_links FROM road_index;

-- name: indices_write
INSERT INTO road_index (scope, scope_id, cycle_at, index, speed_kmh, usual_index, congested_km, known_share, vehicle_km_h,
    risk_links, audience)
SELECT t.scope, t.id, %(at)s, t.index, t.speed_kmh, t.usual, t.congested_km, t.known_share, t.vehicle_km_h,
    t.risk_links::smallint[], t.audience::int[]
FROM unnest(%(scope)b::text[], %(id)b::int[], %(index)b::float8[], %(speed_kmh)b::float8[], %(usual)b::float8[],
            %(congested_km)b::float8[], %(known_share)b::float8[], %(vehicle_km_h)b::float8[], %(risk_links)b::text[],
            %(audience)b::text[])
     AS t(scope, id, index, speed_kmh, usual, congested_km, known_share, vehicle_km_h, risk_links, audience)
ON CONFLICT (scope, scope_id) DO UPDATE SET cycle_at = excluded.cycle_at, index = excluded.index,
    speed_kmh = excluded.speed_kmh, usual_index = excluded.usual_index, congested_km = excluded.congested_km,
    known_share = excluded.known_share, vehicle_km_h = excluded.vehicle_km_h, risk_links = excluded.risk_links,
    audience = excluded.audience;

-- name: lease_longer
-- Last statement of a cycle: writing a large province's picture may take as long as a lease.
UPDATE partition SET until = clock_timestamp() + make_interval(secs => %(lease_s)s) WHERE id = %(id)s AND epoch = %(epoch)s;

-- name: snapshot_write
INSERT INTO monitor_snapshot (format, generation, bus_offset, taken_at, body)
VALUES (%(format)s, %(generation)s, %(bus_offset)s, %(taken_at)s, %(body)s)
ON CONFLICT (one) DO UPDATE SET format = excluded.format, generation = excluded.generation, bus_offset = excluded.bus_offset,
    taken_at = excluded.taken_at, body = excluded.body;

-- name: snapshot_read
SELECT format, generation, bus_offset, (extract(epoch FROM taken_at) * 1e6)::bigint, body FROM monitor_snapshot;
