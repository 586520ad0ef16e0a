-- Dry runs: a queue of rules to be tried on stored records, one at a time for the whole instance.

-- name: lock
-- Held by the one process that runs them; it goes with its connection, so a crash frees it.
SELECT pg_try_advisory_lock(%(key)s);

-- name: unlock
SELECT pg_advisory_unlock(%(key)s);

-- name: is_run
-- Whether some process runs them now.
SELECT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = %(key)s::bigint::oid
        AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
);

-- name: ask
-- Bounded: no row where too many wait.
INSERT INTO dry_run (id, rule, from_at, to_at, state, unit_id, asked_by, asked_at)
SELECT %(id)s, %(rule)s, %(from_at)s, %(to_at)s, 'queued', %(unit_id)s, %(by)s, %(now)s
WHERE (SELECT count(*) FROM dry_run WHERE state IN ('queued', 'running')) < %(waiting_max)s;

-- name: read
SELECT id, rule, from_at, to_at, state, progress, result, error, unit_id, asked_by, asked_at, ended_at
FROM dry_run WHERE id = %(id)s;

-- name: cancel
UPDATE dry_run SET state = 'cancelled', ended_at = %(now)s WHERE id = %(id)s AND state IN ('queued', 'running');

-- name: interrupted
-- Whoever ran these is gone.
UPDATE dry_run SET state = 'failed', error = %(error)s, ended_at = %(now)s WHERE state = 'running';

-- name: take
UPDATE dry_run SET state = 'running', progress = 0
WHERE id = (SELECT id FROM dry_run WHERE state = 'queued' ORDER BY asked_at, id LIMIT 1) AND state = 'queued'
RETURNING id, rule, from_at, to_at, unit_id;

-- name: waiting
SELECT EXISTS (SELECT FROM dry_run WHERE state = 'queued');

-- name: progress
-- No row: it was cancelled.
UPDATE dry_run SET progress = %(progress)s WHERE id = %(id)s AND state = 'running';

-- name: done
UPDATE dry_run SET state = 'done', progress = 1, result = %(result)s, ended_at = %(now)s WHERE id = %(id)s AND state = 'running';

-- name: failed
UPDATE dry_run SET state = 'failed', error = %(error)s, ended_at = %(now)s WHERE id = %(id)s AND state = 'running';

-- name: forget
DELETE FROM dry_run WHERE ended_at < %(before)s;

-- name: passages
-- Stored passages of a span, in the order of event time.
COPY (SELECT observed_at, received_at, source_hash, plate_key, checkpoint, device, speed_kmh, length_m, plate_class, direction,
             lane, plate_color, vehicle_class, body_color, door, flags
      FROM passage WHERE observed_at >= {since} AND observed_at < {until} AND plate_key <> 0
      ORDER BY observed_at, checkpoint, source_hash) TO STDOUT (FORMAT BINARY)

-- name: passages_of_kinds
-- The same of registered vehicles of some kinds alone: most rules speak of these.
COPY (SELECT observed_at, received_at, source_hash, plate_key, checkpoint, device, speed_kmh, length_m, plate_class, direction,
             lane, plate_color, vehicle_class, body_color, door, flags
      FROM passage WHERE observed_at >= {since} AND observed_at < {until}
          AND plate_key IN (SELECT plate_key FROM key_vehicle WHERE enabled AND kind = ANY ({kinds}))
      ORDER BY observed_at, checkpoint, source_hash) TO STDOUT (FORMAT BINARY)

-- name: positions
COPY (SELECT observed_at, received_at, subject, lon, lat, speed_kmh, bearing_deg, device, subject_kind, class_group, door, flags
      FROM position WHERE observed_at >= {since} AND observed_at < {until} AND subject_kind = 1
          AND subject IN (SELECT plate_key FROM key_vehicle WHERE enabled AND kind = ANY ({kinds}))
      ORDER BY observed_at, subject) TO STDOUT (FORMAT BINARY)

-- name: alarms
COPY (SELECT observed_at, received_at, plate_key, bits, number, lon, lat, speed_kmh, device, class_group, door, source
      FROM device_alarm WHERE observed_at >= {since} AND observed_at < {until}
          AND plate_key IN (SELECT plate_key FROM key_vehicle WHERE enabled AND kind = ANY ({kinds}))
      ORDER BY observed_at, plate_key) TO STDOUT (FORMAT BINARY)
