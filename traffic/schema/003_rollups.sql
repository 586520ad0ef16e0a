-- Roll-ups of links, checkpoints, units and indices by 1 minute, 15 minutes, 1 hour and 1 day (of Asia/Shanghai), and how
-- long each kind of data is kept. Own roll-ups in both editions of TimescaleDB; where the edition has them, compression
-- and policies come on top.
--
-- The finest level is written by who learns it; whatever is coarser is computed anew from the next finer one for each
-- bucket that is marked in rollup_dirty. Sums and counts are kept, never means: so a bucket is the sum of its parts.
-- Nothing here tells of one vehicle or of a restricted matter.

-- ---------------------------------------------------------------- links, from the 30 s cycles in which they were known
CREATE TABLE link_minute (
    bucket      timestamptz NOT NULL,                -- begin
    link        int NOT NULL,
    cycles      int NOT NULL,                        -- in which its state was known; at level 1..5:
    level_1     int NOT NULL,
    level_2     int NOT NULL,
    level_3     int NOT NULL,
    level_4     int NOT NULL,
    level_5     int NOT NULL,
    speeds      int NOT NULL,                        -- cycles with a speed, and the sum and the least of them
    speed_sum   double precision NOT NULL,
    speed_min   real NOT NULL,                       -- NaN: none
    flows       int NOT NULL,
    flow_sum    double precision NOT NULL,           -- vehicles/h
    travels     int NOT NULL,
    travel_sum  double precision NOT NULL,           -- s
    travel_max  real NOT NULL,
    heavies     int NOT NULL,
    heavy_sum   double precision NOT NULL,           -- shares
    risks       int NOT NULL,
    risk_sum    double precision NOT NULL,
    risk_max    real NOT NULL,
    confidence_sum double precision NOT NULL,        -- over all cycles
    source      smallint NOT NULL DEFAULT 0          -- 0: measured here; 1: history that was brought in (backfill)
);
-- ---------------------------------------------------------------- indices of the province (scope 0), units (1), roads (2)
CREATE TABLE index_minute (
    bucket      timestamptz NOT NULL,
    scope       smallint NOT NULL CHECK (scope IN (0, 1, 2)),
    scope_id    int NOT NULL,
    cycles      int NOT NULL,
    indexes     int NOT NULL,                        -- cycles in which enough was known for one
    index_sum   double precision NOT NULL,
    index_max   real NOT NULL,
    usuals      int NOT NULL,
    usual_sum   double precision NOT NULL,
    speeds      int NOT NULL,
    speed_sum   double precision NOT NULL,
    loads       int NOT NULL,
    load_sum    double precision NOT NULL,           -- vehicle-kilometres/h
    congested_km_sum double precision NOT NULL,      -- over all cycles, as what follows
    known_share_sum  double precision NOT NULL,
    risk_1_sum  bigint NOT NULL,                     -- links at risk level 1..4
    risk_2_sum  bigint NOT NULL,
    risk_3_sum  bigint NOT NULL,
    risk_4_sum  bigint NOT NULL,
    source      smallint NOT NULL DEFAULT 0
);
-- ---------------------------------------------------------------- checkpoints (finest: checkpoint_minute) and units
CREATE TABLE checkpoint_quarter (
    bucket      timestamptz NOT NULL,
    checkpoint  int NOT NULL,
    direction   smallint NOT NULL,
    class       smallint NOT NULL,                   -- of vehicles: road_readings.VehicleGroup
    passages    bigint NOT NULL,
    measured    bigint NOT NULL,
    speed_sum   double precision NOT NULL,
    source      smallint NOT NULL DEFAULT 0
);
CREATE TABLE unit_quarter (                          -- of its checkpoints and those of all units below it at that time
    bucket      timestamptz NOT NULL,
    unit        int NOT NULL,
    class       smallint NOT NULL,
    passages    bigint NOT NULL,
    measured    bigint NOT NULL,
    speed_sum   double precision NOT NULL,
    source      smallint NOT NULL DEFAULT 0
);
CREATE TABLE link_quarter (LIKE link_minute INCLUDING DEFAULTS);
CREATE TABLE link_hour (LIKE link_minute INCLUDING DEFAULTS);
CREATE TABLE link_day (LIKE link_minute INCLUDING DEFAULTS);
CREATE TABLE index_quarter (LIKE index_minute INCLUDING ALL);
CREATE TABLE index_hour (LIKE index_minute INCLUDING ALL);
CREATE TABLE index_day (LIKE index_minute INCLUDING ALL);
CREATE TABLE checkpoint_hour (LIKE checkpoint_quarter INCLUDING DEFAULTS);
CREATE TABLE checkpoint_day (LIKE checkpoint_quarter INCLUDING DEFAULTS);
CREATE TABLE unit_hour (LIKE unit_quarter INCLUDING DEFAULTS);
CREATE TABLE unit_day (LIKE unit_quarter INCLUDING DEFAULTS);

DO $$ DECLARE t record; BEGIN
    FOR t IN SELECT s.subject || '_' || w.width AS name, s.keys, w.chunk
        FROM (VALUES ('link', 'link'), ('index', 'scope, scope_id'), ('checkpoint', 'checkpoint, direction, class'),
                     ('unit', 'unit, class')) AS s(subject, keys),
             (VALUES ('minute', interval '1 day'), ('quarter', interval '7 days'), ('hour', interval '30 days'),
                     ('day', interval '365 days')) AS w(width, chunk)
        WHERE NOT (s.subject IN ('checkpoint', 'unit') AND w.width = 'minute')
    LOOP
        PERFORM create_hypertable(t.name::regclass, 'bucket', chunk_time_interval => t.chunk, create_default_indexes => false);
        EXECUTE format('ALTER TABLE %I ADD UNIQUE (%s, bucket)', t.name, t.keys);
        EXECUTE format('CREATE INDEX ON %I (bucket)', t.name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO traffic_writer', t.name);
    END LOOP;
END $$;

-- Buckets whose parts changed. Writers only add, in the transaction of their data, and never wait for one another; the
-- one job takes marks and computes the bucket anew in one transaction, so that no mark of later data is lost.
CREATE TABLE rollup_dirty (
    subject smallint NOT NULL CHECK (subject IN (1, 2, 3)),        -- links, checkpoints (and units), indices
    width   smallint NOT NULL CHECK (width IN (1, 2, 3)),          -- 15 min, 1 h, 1 day
    bucket  timestamptz NOT NULL,
    due     timestamptz NOT NULL                     -- domain time from which on it is worth the work
);
GRANT SELECT, INSERT, DELETE ON rollup_dirty TO traffic_writer;

-- position_latest is updated all the time: room in its pages lets that happen in place
ALTER TABLE position_latest SET (fillfactor = 50);

-- ---------------------------------------------------------------- reading, within the reach of the viewer
-- Whether the viewer's unit owns it, stands above the owner or a neighbour along the corridor, or is such a neighbour.
CREATE FUNCTION sees_traffic(owner int, corridor int[], at timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    WITH RECURSIVE above AS (
        SELECT unnest(array_append(corridor, owner)) AS unit
        UNION
        SELECT p.parent_id FROM above a JOIN unit_parent p ON p.unit_id = a.unit
        WHERE p.valid_from <= at AND p.valid_to > at
    )
    SELECT coalesce(viewer_unit() IN (SELECT unit FROM above), false) $$;

CREATE FUNCTION rollup_name(subject text, width text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    IF width IN ('minute', 'quarter', 'hour', 'day') THEN
        RETURN subject || '_' || width;
    END IF;
    RAISE EXCEPTION 'roll-ups have the widths minute, quarter, hour and day, not %', width USING ERRCODE = '22023';
END $$;

CREATE FUNCTION link_series(wanted int, since timestamptz, until timestamptz, width text, at timestamptz)
RETURNS TABLE (bucket timestamptz, cycles int, congested int, speed_kmh double precision, speed_min_kmh real,
               flow_vph double precision, travel_s double precision, travel_max_s real, heavy_share double precision,
               risk double precision, risk_max real, confidence double precision, source smallint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$ BEGIN
    IF NOT EXISTS (SELECT FROM link l WHERE l.id = wanted AND sees_traffic(l.unit_id, l.corridor, at)) THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT bucket, cycles, level_3 + level_4 + level_5, speed_sum / nullif(speeds, 0), nullif(speed_min, ''NaN''),
                flow_sum / nullif(flows, 0), travel_sum / nullif(travels, 0),
                CASE WHEN travels > 0 THEN travel_max END, heavy_sum / nullif(heavies, 0), risk_sum / nullif(risks, 0),
                CASE WHEN risks > 0 THEN risk_max END, confidence_sum / nullif(cycles, 0), source
         FROM %I WHERE link = $1 AND bucket >= $2 AND bucket < $3 ORDER BY bucket', rollup_name('link', width))
    USING wanted, since, until;
END $$;

-- Class null: all together; direction null: both.
CREATE FUNCTION checkpoint_series(wanted int, toward smallint, group_of smallint, since timestamptz, until timestamptz,
                                  width text, at timestamptz)
RETURNS TABLE (bucket timestamptz, passages bigint, measured bigint, speed_kmh double precision, source smallint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$ BEGIN
    IF NOT EXISTS (SELECT FROM checkpoint c WHERE c.id = wanted AND sees_traffic(c.unit_id, c.corridor, at)) THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT %s AS bucket, sum(passages)::bigint, sum(measured)::bigint, sum(speed_sum) / nullif(sum(measured), 0),
                %s FROM %I
         WHERE checkpoint = $1 AND ($2 IS NULL OR direction = $2) AND ($3 IS NULL OR class = $3)
             AND %1$s >= $4 AND %1$s < $5
         GROUP BY 1 HAVING sum(passages) <> 0 ORDER BY 1',
        CASE WHEN width = 'minute' THEN 'minute' ELSE 'bucket' END,
        CASE WHEN width = 'minute' THEN '0::smallint' ELSE 'max(source)' END, rollup_name('checkpoint', width))
    USING wanted, toward, group_of, since, until;
END $$;

-- A unit of the viewer's subtree. Minutes are added up from the checkpoints that the unit and those below it own now.
CREATE FUNCTION unit_series(wanted int, group_of smallint, since timestamptz, until timestamptz, width text, at timestamptz)
RETURNS TABLE (bucket timestamptz, passages bigint, measured bigint, speed_kmh double precision, source smallint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$ BEGIN
    IF NOT sees_traffic(wanted, '{}', at) THEN
        RETURN;
    END IF;
    IF width = 'minute' THEN
        RETURN QUERY
        WITH RECURSIVE below AS (
            SELECT wanted AS unit
            UNION
            SELECT p.unit_id FROM below b JOIN unit_parent p ON p.parent_id = b.unit
            WHERE p.valid_from <= at AND p.valid_to > at
        )
        SELECT m.minute, sum(m.passages)::bigint, sum(m.measured)::bigint, sum(m.speed_sum) / nullif(sum(m.measured), 0), 0::smallint
        FROM below b JOIN checkpoint c ON c.unit_id = b.unit JOIN checkpoint_minute m ON m.checkpoint = c.id
        WHERE m.minute >= since AND m.minute < until AND (group_of IS NULL OR m.class = group_of)
        GROUP BY 1 HAVING sum(m.passages) <> 0 ORDER BY 1;
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT bucket, sum(passages)::bigint, sum(measured)::bigint, sum(speed_sum) / nullif(sum(measured), 0), max(source)
         FROM %I WHERE unit = $1 AND ($2 IS NULL OR class = $2) AND bucket >= $3 AND bucket < $4
         GROUP BY 1 HAVING sum(passages) <> 0 ORDER BY 1', rollup_name('unit', width))
    USING wanted, group_of, since, until;
END $$;

-- Indices of roads and of the province are for everyone, those of a unit for the unit and all above it.
CREATE FUNCTION index_series(scope_of text, wanted int, since timestamptz, until timestamptz, width text, at timestamptz)
RETURNS TABLE (bucket timestamptz, cycles int, index double precision, index_max real, usual double precision,
               speed_kmh double precision, vehicle_km_h double precision, congested_km double precision,
               known_share double precision, risk_1 double precision, risk_2 double precision, risk_3 double precision,
               risk_4 double precision, source smallint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$ BEGIN
    IF viewer_unit() IS NULL OR (scope_of = 'unit' AND NOT sees_traffic(wanted, '{}', at)) THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT bucket, cycles, index_sum / nullif(indexes, 0), CASE WHEN indexes > 0 THEN index_max END,
                usual_sum / nullif(usuals, 0), speed_sum / nullif(speeds, 0), load_sum / nullif(loads, 0),
                congested_km_sum / nullif(cycles, 0), known_share_sum / nullif(cycles, 0),
                risk_1_sum::float8 / nullif(cycles, 0), risk_2_sum::float8 / nullif(cycles, 0),
                risk_3_sum::float8 / nullif(cycles, 0), risk_4_sum::float8 / nullif(cycles, 0), source
         FROM %I WHERE scope = $1 AND scope_id = $2 AND bucket >= $3 AND bucket < $4 ORDER BY bucket',
        rollup_name('index', width))
    USING array_position(ARRAY['province', 'unit', 'road'], scope_of) - 1, wanted, since, until;
END $$;

REVOKE ALL ON FUNCTION link_series(int, timestamptz, timestamptz, text, timestamptz),
    checkpoint_series(int, smallint, smallint, timestamptz, timestamptz, text, timestamptz),
    unit_series(int, smallint, timestamptz, timestamptz, text, timestamptz),
    index_series(text, int, timestamptz, timestamptz, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION link_series(int, timestamptz, timestamptz, text, timestamptz),
    checkpoint_series(int, smallint, smallint, timestamptz, timestamptz, text, timestamptz),
    unit_series(int, smallint, timestamptz, timestamptz, text, timestamptz),
    index_series(text, int, timestamptz, timestamptz, text, timestamptz) TO traffic_api;

-- ---------------------------------------------------------------- how long what is kept
-- Data as everything: who may, changes a row, and the next look acts on it. Compression (in the Community edition alone)
-- keeps the rows of one `segment` together, ordered as the look-ups come.
CREATE TABLE retention (
    what       text PRIMARY KEY,                     -- table
    time_column text NOT NULL,
    keep_days  int CHECK (keep_days >= 1),           -- null: for ever
    pack_days  int CHECK (pack_days >= 1),           -- older chunks are compressed; null: never
    segment    text NOT NULL DEFAULT '',
    sort       text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
    changed_by text NOT NULL DEFAULT 'default'
);
INSERT INTO retention (what, time_column, keep_days, pack_days, segment, sort) VALUES
    -- Of old passages tracks of one plate are asked for: sorted by plate, the bounds of each packed block lead to it.
    ('passage',             'observed_at', 90,   7,    'checkpoint', 'plate_key, observed_at, source_hash'),
    ('passage_extra',       'observed_at', 90,   7,    '', 'source_hash, observed_at'),
    ('passage_source',      'observed_at', 90,   7,    '', 'source_hash, observed_at, door, device'),
    ('passage_amendment',   'observed_at', 400,  null, '', ''),
    ('detector_report',     'observed_at', 30,   3,    'detector, lane', 'observed_at'),
    ('position',            'observed_at', 30,   3,    'subject_kind, subject, class_group', 'observed_at'),
    ('travel_time',         'bucket',      30,   3,    'section', 'bucket, slot'),
    ('checkpoint_minute',   'minute',      30,   14,   'checkpoint', 'minute, direction, class, slot'),
    ('link_minute',         'bucket',      30,   3,    'link', 'bucket'),
    ('index_minute',        'bucket',      30,   3,    'scope, scope_id', 'bucket'),
    ('link_quarter',        'bucket',      400,  31,   'link', 'bucket'),
    ('checkpoint_quarter',  'bucket',      400,  31,   'checkpoint', 'bucket, direction, class'),
    ('unit_quarter',        'bucket',      400,  31,   'unit', 'bucket, class'),
    ('index_quarter',       'bucket',      400,  31,   'scope, scope_id', 'bucket'),
    ('link_hour',           'bucket',      1830, 62,   'link', 'bucket'),
    ('checkpoint_hour',     'bucket',      1830, 62,   'checkpoint', 'bucket, direction, class'),
    ('unit_hour',           'bucket',      1830, 62,   'unit', 'bucket, class'),
    ('index_hour',          'bucket',      1830, 62,   'scope, scope_id', 'bucket'),
    ('link_day',            'bucket',      null, null, '', ''),
    ('checkpoint_day',      'bucket',      null, null, '', ''),
    ('unit_day',            'bucket',      null, null, '', ''),
    ('index_day',           'bucket',      null, null, '', ''),
    ('weather_report',      'valid_to',    400,  null, '', ''),
    ('bus_gap',             'detected_at', 400,  null, '', '');
GRANT SELECT, UPDATE ON retention TO traffic_writer;
GRANT SELECT ON retention TO traffic_api, traffic_hub;

CREATE FUNCTION is_hypertable(what text) RETURNS boolean LANGUAGE sql STABLE SET search_path = public, pg_temp AS
    $$ SELECT EXISTS (SELECT FROM timescaledb_information.hypertables h
                      WHERE h.hypertable_schema = 'public' AND h.hypertable_name = what) $$;

-- Drop what is older than its time, by the domain's clock; how many chunks (of plain tables: rows) went.
CREATE FUNCTION retention_drop(wanted text, at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE r retention; gone bigint;
BEGIN
    SELECT * INTO r FROM retention WHERE what = wanted AND keep_days IS NOT NULL;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF is_hypertable(r.what) THEN
        SELECT count(*) INTO gone FROM drop_chunks(format('%I', r.what)::regclass, older_than => at - make_interval(days => r.keep_days));
    ELSE
        EXECUTE format('DELETE FROM %I WHERE %I < $1', r.what, r.time_column) USING at - make_interval(days => r.keep_days);
        GET DIAGNOSTICS gone = ROW_COUNT;
    END IF;
    RETURN gone;
END $$;

-- Whether this TimescaleDB can compress and run policies (Community edition).
CREATE FUNCTION has_policies() RETURNS boolean LANGUAGE sql STABLE SET search_path = public, pg_temp AS
    $$ SELECT coalesce(current_setting('timescaledb.license', true) = 'timescale', false) $$;

-- Tell TimescaleDB how to compress a table. Statements as text: the Apache edition need not understand them.
CREATE FUNCTION retention_compressible(wanted text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE r retention;
BEGIN
    SELECT * INTO r FROM retention WHERE what = wanted AND pack_days IS NOT NULL;
    IF NOT FOUND OR NOT has_policies() OR NOT is_hypertable(wanted) THEN
        RETURN false;
    END IF;
    IF NOT EXISTS (SELECT FROM timescaledb_information.compression_settings s
                   WHERE s.hypertable_schema = 'public' AND s.hypertable_name = wanted) THEN
        EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
                       r.what, r.segment, r.sort);
    END IF;
    RETURN true;
END $$;

-- Days after which TimescaleDB's own job drops ('policy_retention') or compresses ('policy_compression'); null: no job.
CREATE FUNCTION policy_days(wanted text, job text) RETURNS int LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT (extract(epoch FROM coalesce(config ->> 'drop_after', config ->> 'compress_after')::interval) / 86400)::int
    FROM timescaledb_information.jobs j
    WHERE j.hypertable_schema = 'public' AND j.hypertable_name = wanted AND j.proc_name = job $$;

-- Community edition, real time: TimescaleDB's own jobs compress and drop. A job is made anew only where its row says
-- otherwise now, because each new one runs at once. True: something was changed.
CREATE FUNCTION retention_policies(wanted text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE r retention; changed boolean := false;
BEGIN
    SELECT * INTO r FROM retention WHERE what = wanted;
    IF NOT FOUND OR NOT has_policies() OR NOT is_hypertable(wanted) THEN
        RETURN false;
    END IF;
    IF policy_days(wanted, 'policy_retention') IS DISTINCT FROM r.keep_days THEN
        changed := true;
        EXECUTE 'SELECT remove_retention_policy($1, if_exists => true)' USING wanted::regclass;
        IF r.keep_days IS NOT NULL THEN
            EXECUTE 'SELECT add_retention_policy($1, drop_after => $2)' USING wanted::regclass, make_interval(days => r.keep_days);
        END IF;
    END IF;
    IF policy_days(wanted, 'policy_compression') IS DISTINCT FROM r.pack_days THEN
        changed := true;
        EXECUTE 'SELECT remove_compression_policy($1, if_exists => true)' USING wanted::regclass;
        IF retention_compressible(wanted) THEN
            EXECUTE 'SELECT add_compression_policy($1, compress_after => $2)' USING wanted::regclass, make_interval(days => r.pack_days);
        END IF;
    END IF;
    RETURN changed;
END $$;

-- Community edition, another clock than the real one: TimescaleDB's jobs, which go by real time, must not run.
CREATE FUNCTION retention_no_policies(wanted text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$ BEGIN
    IF has_policies() AND is_hypertable(wanted) THEN
        EXECUTE 'SELECT remove_retention_policy($1, if_exists => true)' USING wanted::regclass;
        EXECUTE 'SELECT remove_compression_policy($1, if_exists => true)' USING wanted::regclass;
    END IF;
END $$;

-- Compress by the domain's time; how many chunks.
CREATE FUNCTION retention_compress(wanted text, at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE packed bigint; days int;
BEGIN
    IF NOT retention_compressible(wanted) THEN
        RETURN 0;
    END IF;
    SELECT pack_days INTO days FROM retention WHERE what = wanted;
    EXECUTE 'SELECT count(compress_chunk(c)) FROM show_chunks($1, older_than => $2) AS c
             JOIN timescaledb_information.chunks i ON format(''%I.%I'', i.chunk_schema, i.chunk_name)::regclass = c
             WHERE NOT i.is_compressed'
        INTO packed USING wanted::regclass, at - make_interval(days => days);
    RETURN packed;
END $$;

REVOKE ALL ON FUNCTION retention_drop(text, timestamptz), retention_compressible(text), retention_policies(text),
    retention_no_policies(text), retention_compress(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retention_drop(text, timestamptz), retention_policies(text), retention_no_policies(text),
    retention_compress(text, timestamptz) TO traffic_writer;
