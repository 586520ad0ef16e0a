-- Statements of the stream workers. Leases alone use the database's real time.

-- name: worker_seen
-- A worker says that it lives; how many do decides the fair share of partitions.
INSERT INTO worker (name, seen_at) VALUES (%(name)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at;

-- name: workers_alive
-- Workers seen within a lease; the long dead are forgotten by the same look.
WITH gone AS (DELETE FROM worker WHERE seen_at < clock_timestamp() - interval '1 hour')
SELECT count(*) FROM worker WHERE seen_at > clock_timestamp() - make_interval(secs => %(lease_s)s);

-- name: worker_gone
DELETE FROM worker WHERE name = %(name)s;

-- name: lease_renew
-- Prolong what is still mine; what does not come back was taken by another.
UPDATE partition SET until = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE id IN (SELECT id FROM partition WHERE owner = %(name)s ORDER BY id FOR UPDATE) RETURNING id, epoch;

-- name: lease_acquire
-- Take at most %(want)s partitions of a kind whose lease ran out. The epoch fences the one before.
UPDATE partition SET owner = %(name)s, epoch = epoch + 1, until = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE id IN (SELECT id FROM partition WHERE kind = %(kind)s AND until < clock_timestamp() ORDER BY id LIMIT %(want)s
             FOR UPDATE SKIP LOCKED)
RETURNING id, epoch, generation, bus_offset, feed_seq,
    (extract(epoch FROM observed_until) * 1e6)::bigint, snapshot_generation, snapshot_offset;

-- name: lease_release
UPDATE partition SET owner = NULL, until = '1970-01-01 00:00:00+00'
WHERE id IN (SELECT id FROM partition WHERE id = ANY (%(ids)s) AND owner = %(name)s ORDER BY id FOR UPDATE);

-- name: advance
-- First statement of a batch: every partition moves on from where this owner believes it to be, or none does.
WITH mine AS (
    SELECT * FROM unnest(%(ids)s::smallint[], %(epochs)s::bigint[], %(generations)s::int[], %(offsets)s::bigint[],
                         %(to_generations)s::int[], %(to_offsets)s::bigint[], %(observed)s::bigint[])
           AS t(id, epoch, generation, bus_offset, to_generation, to_offset, observed_us)
), locked AS (
    SELECT p.id FROM partition p JOIN mine USING (id)
    WHERE p.epoch = mine.epoch AND p.generation = mine.generation AND p.bus_offset = mine.bus_offset
    ORDER BY p.id FOR UPDATE OF p
)
UPDATE partition p SET generation = mine.to_generation, bus_offset = mine.to_offset, committed_at = clock_timestamp(),
    until = clock_timestamp() + make_interval(secs => %(lease_s)s),
    observed_until = greatest(p.observed_until, to_timestamp(mine.observed_us / 1e6))
FROM mine, locked WHERE p.id = mine.id AND locked.id = p.id;

-- name: feed_moved
-- Last statement of a batch: where each partition's feed stands now.
UPDATE partition SET feed_seq = t.seq FROM unnest(%(ids)s::smallint[], %(seqs)s::bigint[]) AS t(id, seq)
WHERE partition.id = t.id;

-- name: snapshot_stands
UPDATE partition SET snapshot_generation = generation, snapshot_offset = bus_offset
WHERE id = %(id)s AND epoch = %(epoch)s AND generation = %(generation)s AND bus_offset = %(bus_offset)s;

-- name: snapshot_write
INSERT INTO snapshot (kind, logical, format, taken_at, body)
VALUES (%(kind)s, %(logical)s, %(format)s, %(taken_at)s, %(body)s)
ON CONFLICT (kind, logical) DO UPDATE SET format = excluded.format, taken_at = excluded.taken_at, body = excluded.body;

-- name: snapshot_read
SELECT kind, logical, body FROM snapshot WHERE logical = ANY (%(logicals)s);

-- name: gap
INSERT INTO bus_gap (partition, generation, from_counter, to_counter, reason, detected_at)
VALUES (%(partition)s, %(generation)s, %(from_counter)s, %(to_counter)s, %(reason)s, %(detected_at)s);

-- name: batch_log
INSERT INTO batch (partition, generation, to_offset, from_offset, rule_version, watchlist_version, network_version, committed_at)
VALUES (%(partition)s, %(generation)s, %(to_offset)s, %(from_offset)s, %(rule)s, %(watchlist)s, %(network)s, clock_timestamp());

-- name: stored_already
-- Which of these records the table holds, with what it holds: the last word on "stored exactly once".
SELECT w.number, p.observed_at, p.source_hash, p.checkpoint, p.plate_key, p.plate_class, p.direction, p.lane,
       p.speed_kmh, p.length_m, p.plate_color, p.vehicle_class, p.body_color, p.door, p.device, p.received_at
FROM unnest(%(numbers)s::int[], %(checkpoints)s::int[], %(times)s::bigint[], %(hashes)s::bigint[])
     AS w(number, checkpoint, us, source_hash)
JOIN passage p ON p.checkpoint = w.checkpoint AND p.source_hash = w.source_hash
    AND p.observed_at = timestamptz 'epoch' + w.us * interval '1 microsecond';

-- name: source_add
-- A further door or device; the one that the passage itself names is none.
INSERT INTO passage_source (observed_at, source_hash, door, device, received_at)
SELECT %(observed_at)s, %(source_hash)s, %(door)s, %(device)s, %(received_at)s
WHERE NOT EXISTS (SELECT FROM passage p WHERE p.checkpoint = %(checkpoint)s AND p.observed_at = %(observed_at)s
                  AND p.source_hash = %(source_hash)s AND p.door = %(door)s AND p.device = %(device)s)
ON CONFLICT DO NOTHING;

-- name: amendments_of
-- What a passage said before, the newest first.
SELECT before, received_at FROM passage_amendment
WHERE source_hash = %(source_hash)s AND observed_at = %(observed_at)s ORDER BY revision DESC;

-- name: amendment_write
INSERT INTO passage_amendment (observed_at, source_hash, revision, before, after, received_at, door, device)
SELECT %(observed_at)s, %(source_hash)s, count(*) + 1, %(before)s, %(after)s, %(received_at)s, %(door)s, %(device)s
FROM passage_amendment WHERE source_hash = %(source_hash)s AND observed_at = %(observed_at)s;

-- name: roll_up
-- The minute's figures of each checkpoint and class, in the slot of this writer; and what is coarser must be computed anew.
WITH marked AS (
    INSERT INTO rollup_dirty (subject, width, bucket, due)
    SELECT 2, 1, timestamptz 'epoch' + t.bucket * interval '1 microsecond', timestamptz 'epoch' + t.due * interval '1 microsecond'
    FROM unnest(%(quarters)s::bigint[], %(dues)s::bigint[]) AS t(bucket, due)
)
INSERT INTO checkpoint_minute (minute, checkpoint, direction, class, slot, passages, measured, speed_sum, readable)
SELECT timestamptz 'epoch' + t.minute_us * interval '1 microsecond', t.checkpoint, t.direction, t.class, %(slot)s, t.passages, t.measured, t.speed_sum,
    t.readable
FROM unnest(%(minutes)b::bigint[], %(checkpoints)b::int[], %(directions)b::smallint[], %(classes)b::smallint[], %(passages)b::int[],
            %(measured)b::int[], %(sums)b::float8[], %(readable)b::int[])
    AS t(minute_us, checkpoint, direction, class, passages, measured, speed_sum, readable)
ON CONFLICT (checkpoint, minute, direction, class, slot) DO UPDATE SET passages = checkpoint_minute.passages + excluded.passages,
    measured = checkpoint_minute.measured + excluded.measured, speed_sum = checkpoint_minute.speed_sum + excluded.speed_sum,
    readable = checkpoint_minute.readable + excluded.readable;

-- name: positions_add
-- Each position once: of a subject there is one for each moment.
INSERT INTO position SELECT * FROM {staged} ON CONFLICT DO NOTHING;

-- name: alarms_add
-- Each alarm once, however often its terminal or platform sends it.
INSERT INTO device_alarm SELECT * FROM {staged} ON CONFLICT DO NOTHING;

-- name: quiet_checkpoints
-- Checkpoints that see nothing: who does not pass them has not necessarily stayed away.
SELECT DISTINCT sensor_id FROM sensor_health WHERE sensor_kind = 'checkpoint' AND state IN ('silent', 'failed');

-- name: positions_latest
-- The newest word of each subject wins, whatever came first; of two of one moment the same one always.
INSERT INTO position_latest AS kept (subject_kind, subject, class_group, observed_at, received_at, lon, lat, speed_kmh,
    bearing_deg, road_id, stake_m, direction, unit_id, audience)
SELECT t.subject_kind, t.subject, t.class_group, timestamptz 'epoch' + t.observed_us * interval '1 microsecond',
       timestamptz 'epoch' + t.received_us * interval '1 microsecond', t.lon, t.lat, nullif(t.speed_kmh, 'NaN'),
       nullif(t.bearing_deg, 'NaN'), nullif(t.road_id, 0), CASE WHEN t.road_id <> 0 THEN t.stake_m END,
       nullif(t.direction, 0), t.unit_id, t.audience::int[]
FROM unnest(%(subject_kind)b::smallint[], %(subject)b::bigint[], %(class_group)b::smallint[], %(observed_at)b::bigint[],
            %(received_at)b::bigint[], %(lon)b::float8[], %(lat)b::float8[], %(speed_kmh)b::real[], %(bearing_deg)b::real[],
            %(roads)b::int[], %(stakes)b::int[], %(directions)b::smallint[], %(units)b::int[], %(audiences)b::text[])
     AS t(subject_kind, subject, class_group, observed_us, received_us, lon, lat, speed_kmh, bearing_deg, road_id, stake_m,
          direction, unit_id, audience)
ON CONFLICT (subject_kind, subject, class_group) DO UPDATE SET observed_at = excluded.observed_at,
    received_at = excluded.received_at, lon = excluded.lon, lat = excluded.lat, speed_kmh = excluded.speed_kmh,
    bearing_deg = excluded.bearing_deg, road_id = excluded.road_id, stake_m = excluded.stake_m,
    direction = excluded.direction, unit_id = excluded.unit_id, audience = excluded.audience
WHERE (excluded.observed_at, excluded.received_at, excluded.lon, excluded.lat, coalesce(excluded.speed_kmh, -1), coalesce(excluded.bearing_deg, -1))
    > (kept.observed_at, kept.received_at, kept.lon, kept.lat, coalesce(kept.speed_kmh, -1), coalesce(kept.bearing_deg, -1))
RETURNING subject_kind, subject, class_group;

-- name: travel_times
-- Vehicles by section and 30 s in the slot of this writer, with the times of the first of them.
INSERT INTO travel_time AS kept (bucket, section, slot, vehicles, seconds)
SELECT timestamptz 'epoch' + t.bucket_us * interval '1 microsecond', t.section, %(slot)s, t.vehicles, t.seconds::real[]
FROM unnest(%(sections)b::int[], %(buckets)b::bigint[], %(vehicles)b::int[], %(seconds)b::text[]) AS t(section, bucket_us, vehicles, seconds)
ON CONFLICT (section, bucket, slot) DO UPDATE SET vehicles = kept.vehicles + excluded.vehicles,
    seconds = CASE WHEN cardinality(kept.seconds) < %(samples_max)s
                   THEN (kept.seconds || excluded.seconds)[1:%(samples_max)s] ELSE kept.seconds END;

-- name: travel_time_back
-- Late data took these back: each counts one less, and one sample of its time goes.
INSERT INTO travel_time AS kept (bucket, section, slot, vehicles, seconds)
VALUES (%(bucket)s, %(section)s, %(slot)s, -%(vehicles)s, '{}')
ON CONFLICT (section, bucket, slot) DO UPDATE SET vehicles = kept.vehicles - %(vehicles)s,
    seconds = ARRAY(SELECT one FROM (
        SELECT k.one, k.place, row_number() OVER (PARTITION BY k.one ORDER BY k.place)
                   <= (SELECT count(*) FROM unnest(%(seconds)s::real[]) AS gone(one) WHERE gone.one = k.one) AS goes
        FROM unnest(kept.seconds) WITH ORDINALITY AS k(one, place)) AS sample WHERE NOT goes ORDER BY place);

-- name: odd_plates
INSERT INTO odd_plate (plate_key, plate) SELECT * FROM unnest(%(keys)s::bigint[], %(plates)s::text[])
ON CONFLICT DO NOTHING;

-- name: odd_plates_read
SELECT plate_key, plate FROM odd_plate WHERE plate_key = ANY (%(keys)s);

-- name: quarantine_write
INSERT INTO quarantine (received_at, door, device_id, unit_id, position, field, reason, detail, body, audience)
VALUES (%(received_at)s, %(door)s, %(device_id)s, %(unit_id)s, %(position)s, %(field)s, %(reason)s, %(detail)s, %(body)s, %(audience)s);

-- name: quarantine_bound
-- Keep the newest rows: closed ones go first, then the oldest open ones. Counted, because it is a loss.
WITH too_many AS (
    SELECT id, state FROM quarantine ORDER BY (state = 'open') DESC, id DESC OFFSET %(rows_max)s
), gone AS (DELETE FROM quarantine q USING too_many t WHERE q.id = t.id RETURNING t.state)
INSERT INTO counter (name, value) SELECT 'quarantine_dropped_open', count(*) FILTER (WHERE state = 'open') FROM gone
ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value;

-- name: device_seen
-- The newest word of a device wins; an older one that comes late changes nothing.
INSERT INTO device_status (device_id, seen_at, state, peer)
SELECT %(device_id)s, %(seen_at)s, %(state)s, %(peer)s WHERE EXISTS (SELECT FROM device WHERE id = %(device_id)s)
ON CONFLICT (device_id) DO UPDATE SET seen_at = excluded.seen_at, state = excluded.state, peer = excluded.peer
WHERE device_status.seen_at <= excluded.seen_at;

-- name: findings_read
SELECT * FROM finding WHERE id = ANY (%(ids)s) ORDER BY id FOR UPDATE;

-- name: deeds_done
-- Which of these deeds a revision tells of already.
SELECT cause ->> 'deed' FROM finding_revision
WHERE finding_id = ANY (%(ids)s) AND cause ->> 'deed' = ANY (%(deeds)s);

-- name: shelves_ended
SELECT id FROM finding WHERE shelf IS NOT NULL AND (shelf ->> 'until')::bigint <= %(now_us)s ORDER BY id LIMIT %(limit)s;

-- name: checkpoint_verdicts_add
INSERT INTO checkpoint_verdict AS kept (checkpoint, day, valid, misread)
SELECT t.checkpoint, t.day, sum(t.valid), sum(t.misread)
FROM unnest(%(checkpoints)s::int[], %(days)s::date[], %(valid)s::int[], %(misread)s::int[]) AS t(checkpoint, day, valid, misread)
GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (checkpoint, day) DO UPDATE SET valid = kept.valid + excluded.valid, misread = kept.misread + excluded.misread;

-- name: checkpoint_records
-- Of each checkpoint the worst health of its directions, and what verification said of its readings of late.
SELECT coalesce(h.id, v.id), h.trust, coalesce(v.valid, 0)::int, coalesce(v.misread, 0)::int
FROM (SELECT sensor_id AS id, min(trust)::float8 AS trust FROM sensor_health WHERE sensor_kind = 'checkpoint' GROUP BY 1) h
FULL JOIN (SELECT checkpoint AS id, sum(valid) AS valid, sum(misread) AS misread FROM checkpoint_verdict
           WHERE day >= %(since)s GROUP BY 1) v ON v.id = h.id;

-- name: pictures_wait
-- The addresses of pictures that these observations came with; the records of this batch are stored before this.
INSERT INTO finding_picture (finding_id, record, number, address, state)
SELECT w.finding_id, w.record, i.number, i.address, 'waiting'
FROM unnest(%(findings)s::uuid[], %(records)s::text[], %(times)s::bigint[], %(hashes)s::bigint[]) AS w(finding_id, record, us, hash)
JOIN passage_extra e ON e.source_hash = w.hash AND e.observed_at = timestamptz 'epoch' + w.us * interval '1 microsecond'
CROSS JOIN LATERAL unnest(e.images) WITH ORDINALITY AS i(address, number)
WHERE i.address <> ''
ON CONFLICT DO NOTHING;

-- name: finding_write
INSERT INTO finding (id, kind, partition, plate_key, class_group, anchor, revision, change, state, level, rule_id, rule_version,
    confidence, first_at, observed_at, raised_at, grounds, audience, visibility, addressees, verification, shelf)
VALUES (%(id)s, %(kind)s, %(partition)s, %(plate_key)s, %(class_group)s, %(anchor)s, %(revision)s, %(change)s, %(state)s, %(level)s,
    %(rule_id)s, %(rule_version)s, %(confidence)s, %(first_at)s, %(observed_at)s, %(raised_at)s, %(grounds)s, %(audience)s,
    %(visibility)s, %(addressees)s, %(verification)s, %(shelf)s)
ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, change = excluded.change, state = excluded.state,
    level = excluded.level, rule_id = excluded.rule_id, rule_version = excluded.rule_version,
    confidence = excluded.confidence, first_at = excluded.first_at,
    observed_at = excluded.observed_at, raised_at = excluded.raised_at, grounds = excluded.grounds, audience = excluded.audience,
    visibility = excluded.visibility, addressees = excluded.addressees, verification = excluded.verification,
    shelf = excluded.shelf;

-- name: finding_revision_write
INSERT INTO finding_revision (finding_id, revision, change, raised_at, cause, grounds)
VALUES (%(id)s, %(revision)s, %(change)s, %(raised_at)s, %(cause)s, %(grounds)s);

-- name: feed_write
-- All rows of a batch at once; audiences and bodies come as text in binary arrays, which are cheap to hand over.
INSERT INTO feed (partition, seq, at, topic, kind, key, audience, visibility, addressees, body)
SELECT t.partition, t.seq, %(at)s, t.topic, t.kind, t.key, t.audience::int[], t.visibility, t.addressees::int[], t.body::jsonb
FROM unnest(%(partitions)s::smallint[], %(seqs)s::bigint[], %(topics)b::text[], %(kinds)b::text[], %(keys)b::text[],
            %(audiences)b::text[], %(visibilities)s::smallint[], %(addressees)b::text[], %(bodies)b::text[])
     AS t(partition, seq, topic, kind, key, audience, visibility, addressees, body);

-- name: feed_prune
DELETE FROM feed WHERE partition = ANY (%(ids)s) AND at < %(before)s;

-- name: batch_prune
DELETE FROM batch WHERE partition = ANY (%(ids)s) AND committed_at < clock_timestamp() - interval '31 days';

-- name: versions
SELECT name, value FROM version;

-- name: checkpoints_with_audience
-- Each checkpoint with its owner and everyone who sees its findings (owner and all above) and its traffic (corridor too).
WITH RECURSIVE above AS (
    SELECT u.id AS unit_id, u.id AS ancestor FROM unit u
    UNION
    SELECT a.unit_id, p.parent_id FROM above a JOIN unit_parent p ON p.unit_id = a.ancestor
    WHERE p.valid_from <= %(at)s AND p.valid_to > %(at)s
), line AS (SELECT unit_id, array_agg(ancestor ORDER BY ancestor) AS units FROM above GROUP BY unit_id)
SELECT c.id, c.unit_id, line.units,
       ARRAY(SELECT DISTINCT a.ancestor FROM above a WHERE a.unit_id = c.unit_id OR a.unit_id = ANY (c.corridor) ORDER BY 1) AS traffic
FROM checkpoint c JOIN line ON line.unit_id = c.unit_id;

-- name: units_above
WITH RECURSIVE above AS (
    SELECT u.id AS unit_id, u.id AS ancestor FROM unit u
    UNION
    SELECT a.unit_id, p.parent_id FROM above a JOIN unit_parent p ON p.unit_id = a.ancestor
    WHERE p.valid_from <= %(at)s AND p.valid_to > %(at)s
)
SELECT unit_id, array_agg(ancestor ORDER BY ancestor) FROM above GROUP BY unit_id;

-- name: device_units
SELECT id, unit_id FROM device;

-- name: links
SELECT id, road_id, direction, from_stake_m, to_stake_m, length_m, lanes, limit_kmh, unit_id, geometry, corridor FROM link;

-- name: crews
SELECT id, unit_id FROM crew;

-- name: checkpoint_facts
SELECT id, road_id, stake_m, limit_kmh, lon, lat FROM checkpoint;

-- name: rests
-- Where vehicles may stand: service areas and toll plazas.
SELECT lon, lat FROM roadside_object WHERE kind IN ('service_area', 'toll_station') AND enabled;

-- name: road_codes
SELECT id, code FROM road;

-- name: sections
SELECT id, from_checkpoint, to_checkpoint, length_m, limit_kmh FROM section;

-- name: rules
-- Of each rule the newest version that holds, if it is armed: a draft counts for nothing.
SELECT id, version, kind, name, clause, parameters FROM (
    SELECT DISTINCT ON (id) id, version, kind, name, clause, parameters, state FROM rule
    WHERE state <> 'draft' AND valid_from <= %(at)s AND valid_to > %(at)s ORDER BY id, version DESC
) AS newest WHERE state = 'armed' ORDER BY id;

-- name: watchlist
SELECT id, number, plate, plate_key, class_group, category, level, facts, intercept, unit_id, visibility, audience,
       addressees, valid_from, valid_to, version, misread
FROM watchlist_entry WHERE state = 'active' AND valid_to > %(at)s;

-- name: passages_of_plates
-- What the past half hour holds of newly watched plates.
COPY (SELECT observed_at, received_at, source_hash, plate_key, checkpoint, device, speed_kmh, length_m, plate_class, direction,
             lane, plate_color, vehicle_class, body_color, door, flags
      FROM passage WHERE plate_key = ANY ({keys}) AND observed_at > {after}) TO STDOUT (FORMAT BINARY)

-- name: passages_since
-- What a vehicle state is rebuilt from when its snapshot cannot be used.
COPY (SELECT observed_at, received_at, source_hash, plate_key, checkpoint, device, speed_kmh, length_m, plate_class, direction,
             lane, plate_color, vehicle_class, body_color, door, flags
      FROM passage WHERE plate_key <> 0 AND observed_at > {after}) TO STDOUT (FORMAT BINARY)

-- name: key_passages_between
-- What the state of key vehicles is rebuilt from; a plate can stand in the registry with one class and be read with none.
COPY (SELECT observed_at, received_at, source_hash, plate_key, checkpoint, device, speed_kmh, length_m, plate_class, direction,
             lane, plate_color, vehicle_class, body_color, door, flags
      FROM passage p WHERE observed_at > {after} AND observed_at <= {until} AND plate_key <> 0
          AND EXISTS (SELECT FROM key_vehicle k WHERE k.plate_key = p.plate_key)
      ORDER BY observed_at) TO STDOUT (FORMAT BINARY)

-- name: key_positions_between
COPY (SELECT observed_at, received_at, subject, lon, lat, speed_kmh, bearing_deg, device, subject_kind, class_group, door,
             flags
      FROM position p WHERE observed_at > {after} AND observed_at <= {until} AND subject_kind = 1
          AND EXISTS (SELECT FROM key_vehicle k WHERE k.plate_key = p.subject)
      ORDER BY observed_at) TO STDOUT (FORMAT BINARY)
