-- Statements of the roll-ups (traffic/rollups.py). Braces are filled with names of tables.

-- name: links_minute
-- What one cycle knew of each link is added to its minute.
INSERT INTO link_minute AS kept SELECT * FROM {staged}
ON CONFLICT (link, bucket) DO UPDATE SET cycles = kept.cycles + excluded.cycles,
    level_1 = kept.level_1 + excluded.level_1, level_2 = kept.level_2 + excluded.level_2,
    level_3 = kept.level_3 + excluded.level_3, level_4 = kept.level_4 + excluded.level_4,
    level_5 = kept.level_5 + excluded.level_5,
    speeds = kept.speeds + excluded.speeds, speed_sum = kept.speed_sum + excluded.speed_sum,
    speed_min = least(kept.speed_min, excluded.speed_min),
    flows = kept.flows + excluded.flows, flow_sum = kept.flow_sum + excluded.flow_sum,
    travels = kept.travels + excluded.travels, travel_sum = kept.travel_sum + excluded.travel_sum,
    travel_max = greatest(kept.travel_max, excluded.travel_max),
    heavies = kept.heavies + excluded.heavies, heavy_sum = kept.heavy_sum + excluded.heavy_sum,
    risks = kept.risks + excluded.risks, risk_sum = kept.risk_sum + excluded.risk_sum,
    risk_max = greatest(kept.risk_max, excluded.risk_max),
    confidence_sum = kept.confidence_sum + excluded.confidence_sum;

-- name: indices_minute
INSERT INTO index_minute AS kept SELECT * FROM {staged}
ON CONFLICT (scope, scope_id, bucket) DO UPDATE SET cycles = kept.cycles + excluded.cycles,
    indexes = kept.indexes + excluded.indexes, index_sum = kept.index_sum + excluded.index_sum,
    index_max = greatest(kept.index_max, excluded.index_max),
    usuals = kept.usuals + excluded.usuals, usual_sum = kept.usual_sum + excluded.usual_sum,
    speeds = kept.speeds + excluded.speeds, speed_sum = kept.speed_sum + excluded.speed_sum,
    loads = kept.loads + excluded.loads, load_sum = kept.load_sum + excluded.load_sum,
    congested_km_sum = kept.congested_km_sum + excluded.congested_km_sum,
    known_share_sum = kept.known_share_sum + excluded.known_share_sum,
    risk_1_sum = kept.risk_1_sum + excluded.risk_1_sum, risk_2_sum = kept.risk_2_sum + excluded.risk_2_sum,
    risk_3_sum = kept.risk_3_sum + excluded.risk_3_sum, risk_4_sum = kept.risk_4_sum + excluded.risk_4_sum;

-- name: mark
-- These buckets changed. Nothing is looked at and nobody is waited for.
INSERT INTO rollup_dirty (subject, width, bucket, due)
SELECT %(subject)s, %(width)s, timestamptz 'epoch' + t.bucket * interval '1 microsecond',
       timestamptz 'epoch' + t.due * interval '1 microsecond'
FROM unnest(%(buckets)s::bigint[], %(dues)s::bigint[]) AS t(bucket, due);

-- name: alone
-- One job computes; another one finds nothing to do.
SELECT pg_try_advisory_xact_lock(%(lock)s);

-- name: wait_alone
SELECT pg_advisory_xact_lock(%(lock)s);

-- name: take
-- Marks of the oldest buckets that are due, all of each. Whoever marked them has committed, so that what follows sees
-- the data; who commits later marks anew.
WITH due AS (
    SELECT subject, bucket FROM rollup_dirty WHERE width = %(width)s
    GROUP BY 1, 2 HAVING min(due) <= %(now)s ORDER BY 2, 1 LIMIT %(limit)s
), taken AS (
    DELETE FROM rollup_dirty d USING due
    WHERE d.width = %(width)s AND d.subject = due.subject AND d.bucket = due.bucket RETURNING d.subject, d.bucket
)
SELECT DISTINCT subject, (extract(epoch FROM bucket) * 1000000)::bigint FROM taken ORDER BY 2, 1;

-- name: kept_days
-- How many days the parts of a quarter of an hour are kept.
SELECT what, keep_days FROM retention WHERE what IN ('link_minute', 'checkpoint_minute', 'index_minute');

-- name: is_history
-- History that was brought in has no finer parts: it stays.
SELECT EXISTS (SELECT FROM {coarse} WHERE bucket = %(since)s AND source <> 0);

-- name: clear
DELETE FROM {coarse} WHERE bucket >= %(since)s AND bucket < %(until)s;

-- What follows computes all buckets of a stretch; those of every width begin with a day of Asia/Shanghai.

-- name: links_anew
INSERT INTO {coarse} SELECT time_bucket(%(width)s, bucket, timestamptz '2000-01-01 00:00+08'), link,
    sum(cycles), sum(level_1), sum(level_2), sum(level_3), sum(level_4), sum(level_5), sum(speeds), sum(speed_sum),
    min(speed_min), sum(flows), sum(flow_sum), sum(travels), sum(travel_sum), max(travel_max), sum(heavies),
    sum(heavy_sum), sum(risks), sum(risk_sum), max(risk_max), sum(confidence_sum), max(source)
FROM {fine} WHERE bucket >= %(since)s AND bucket < %(until)s GROUP BY 1, 2;

-- name: indices_anew
INSERT INTO {coarse} SELECT time_bucket(%(width)s, bucket, timestamptz '2000-01-01 00:00+08'), scope,
    scope_id, sum(cycles), sum(indexes), sum(index_sum), max(index_max), sum(usuals), sum(usual_sum), sum(speeds),
    sum(speed_sum), sum(loads), sum(load_sum), sum(congested_km_sum), sum(known_share_sum), sum(risk_1_sum),
    sum(risk_2_sum), sum(risk_3_sum), sum(risk_4_sum), max(source)
FROM {fine} WHERE bucket >= %(since)s AND bucket < %(until)s GROUP BY 1, 2, 3;

-- name: checkpoints_anew
INSERT INTO {coarse} SELECT time_bucket(%(width)s, bucket, timestamptz '2000-01-01 00:00+08'), checkpoint,
    direction, class, sum(passages), sum(measured), sum(speed_sum), max(source)
FROM {fine} WHERE bucket >= %(since)s AND bucket < %(until)s GROUP BY 1, 2, 3, 4 HAVING sum(passages) <> 0;

-- name: checkpoints_from_minutes
-- The slots of all writers together.
INSERT INTO checkpoint_quarter SELECT time_bucket(%(width)s, minute, timestamptz '2000-01-01 00:00+08'),
    checkpoint, direction, class, sum(passages), sum(measured), sum(speed_sum), 0
FROM checkpoint_minute WHERE minute >= %(since)s AND minute < %(until)s
GROUP BY 1, 2, 3, 4 HAVING sum(passages) <> 0;

-- name: units_from_checkpoints
-- Of each owner and every unit above it at the time of the bucket.
INSERT INTO unit_quarter
WITH RECURSIVE own AS (
    SELECT q.bucket, c.unit_id, q.class, sum(q.passages) AS passages, sum(q.measured) AS measured,
           sum(q.speed_sum) AS speed_sum, max(q.source) AS source
    FROM checkpoint_quarter q JOIN checkpoint c ON c.id = q.checkpoint
    WHERE q.bucket >= %(since)s AND q.bucket < %(until)s GROUP BY 1, 2, 3
), above AS (
    SELECT DISTINCT bucket, unit_id, unit_id AS unit FROM own
    UNION
    SELECT a.bucket, a.unit_id, p.parent_id FROM above a JOIN unit_parent p ON p.unit_id = a.unit
    WHERE p.valid_from <= a.bucket AND p.valid_to > a.bucket
)
SELECT bucket, above.unit, own.class, sum(own.passages), sum(own.measured), sum(own.speed_sum), max(own.source)
FROM own JOIN above USING (bucket, unit_id) GROUP BY 1, 2, 3;

-- name: units_anew
INSERT INTO {coarse} SELECT time_bucket(%(width)s, bucket, timestamptz '2000-01-01 00:00+08'), unit, class,
    sum(passages), sum(measured), sum(speed_sum), max(source)
FROM {fine} WHERE bucket >= %(since)s AND bucket < %(until)s GROUP BY 1, 2, 3;

-- name: history_clear
DELETE FROM {coarse} WHERE bucket = ANY (%(buckets)s);

-- name: usual
-- What each link was like in quarters of an hour like this one: medians of the means.
COPY (SELECT link, count(*), coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY speed_sum / speeds) FILTER (WHERE speeds > 0), 'NaN'),
             coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY flow_sum / flows) FILTER (WHERE flows > 0), 'NaN')
      FROM link_quarter WHERE bucket = ANY ({buckets}) GROUP BY link) TO STDOUT (FORMAT BINARY)
