-- Statements of usual times (traffic/usual_times.py).

-- name: alone
-- One process learns; another one finds nothing to do.
SELECT pg_try_advisory_xact_lock(%(lock)s);

-- name: learned_at
SELECT learned_at FROM usual_time_learned;

-- name: checkpoints
SELECT id, road_id, stake_m, limit_kmh, lon, lat FROM checkpoint ORDER BY id LIMIT %(most)s;

-- name: links
SELECT id, road_id, direction, from_stake_m, to_stake_m, length_m, lanes, limit_kmh, unit_id, piece, from_node, to_node
FROM link ORDER BY id;

-- name: link_speeds
-- Of each link and local hour the middle speed of the last days, and that of its quick days.
SELECT link, extract(hour FROM bucket AT TIME ZONE 'Asia/Shanghai')::int,
       percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY speed_sum / speeds)
FROM link_hour WHERE bucket >= %(since)s AND speeds > 0 GROUP BY 1, 2;

-- name: section_times
-- Of each measured pair and local hour: how many times, the middle one and that of the quick sixth (one standard deviation
-- below the middle). Samples of one half minute in twenty; the slow half says nothing of how fast one can be, and a few
-- clones among the quick move a sixth by little.
SELECT s.from_checkpoint, s.to_checkpoint, s.length_m, extract(hour FROM t.bucket AT TIME ZONE 'Asia/Shanghai')::int,
       count(*), percentile_cont(ARRAY[0.5, 0.1587]) WITHIN GROUP (ORDER BY took)
FROM travel_time t JOIN section s ON s.id = t.section, unnest(t.seconds[1:16]) AS took
WHERE t.bucket >= %(since)s AND t.bucket = time_bucket('10 minutes', t.bucket)
GROUP BY 1, 2, 3, 4;

-- name: forget
DELETE FROM usual_time;

-- name: learned
INSERT INTO usual_time_learned (learned_at) VALUES (%(at)s) ON CONFLICT (one) DO UPDATE SET learned_at = excluded.learned_at;

-- name: bump
UPDATE version SET value = value + 1 WHERE name = 'usual_times';

-- name: suspects
-- Checkpoints whose clock is distrusted now.
SELECT DISTINCT sensor_id FROM sensor_health WHERE sensor_kind = 'checkpoint' AND reason = 'clock_skew';
