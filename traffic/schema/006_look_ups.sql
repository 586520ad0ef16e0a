-- Look-ups of personal data in hypertables: each says who asks and why, is written to the audit by the function itself,
-- and reaches the checkpoints of the viewer's subtree alone unless the caller has the right to look beyond.

CREATE FUNCTION reachable_checkpoints(at timestamptz) RETURNS int[]
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    WITH RECURSIVE below AS (
        SELECT viewer_unit() AS unit
        UNION
        SELECT p.unit_id FROM below b JOIN unit_parent p ON p.parent_id = b.unit WHERE p.valid_from <= at AND p.valid_to > at
    )
    SELECT coalesce(array_agg(c.id), '{}') FROM checkpoint c JOIN below b ON b.unit = c.unit_id $$;

-- Who looked at what, and why; raises where somebody would look without saying who and why.
CREATE FUNCTION note_look_up(person int, act text, why text, subject text, many int, at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$ BEGIN
    IF viewer_unit() IS NULL OR person IS NULL OR length(btrim(coalesce(why, ''))) < 4 THEN
        RAISE EXCEPTION 'a look-up needs a person, a unit and a purpose' USING ERRCODE = '42501';
    END IF;
    INSERT INTO audit (at, person_id, unit_id, action, purpose, subject, outcome)
    VALUES (at, person, viewer_unit(), act, why, subject, many || ' records');
END $$;

-- Where a plate was read, newest first, from before a place in that order. `classes`: of plates (GA 24.7);
-- null: all of them. A reading without a class belongs to every group.
CREATE FUNCTION plate_track(person int, why text, wanted bigint, classes smallint[], since timestamptz, until timestamptz,
                            before_hash bigint, rows_max int, beyond boolean, at timestamptz)
RETURNS TABLE (observed_at timestamptz, source_hash bigint, checkpoint int, direction smallint, lane smallint,
               speed_kmh real, plate_class smallint, vehicle_class smallint, body_color smallint, images text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE gates int[] := CASE WHEN beyond THEN NULL ELSE reachable_checkpoints(at) END; many int;
BEGIN
    RETURN QUERY
        WITH page AS MATERIALIZED (
            SELECT p.observed_at, p.source_hash, p.checkpoint, p.direction, p.lane, nullif(p.speed_kmh, 'NaN') AS speed_kmh,
                   p.plate_class, p.vehicle_class, p.body_color, p.flags
            FROM passage p
            WHERE p.plate_key = wanted AND p.plate_key <> 0 AND p.observed_at >= since AND p.observed_at <= until
                AND (p.observed_at < until OR p.source_hash < before_hash)
                AND (classes IS NULL OR p.plate_class = 0 OR p.plate_class = ANY (classes))
                AND (gates IS NULL OR p.checkpoint = ANY (gates))
            ORDER BY p.observed_at DESC, p.source_hash DESC LIMIT rows_max
        )
        SELECT g.observed_at, g.source_hash, g.checkpoint, g.direction, g.lane, g.speed_kmh, g.plate_class,
               g.vehicle_class, g.body_color,
               CASE WHEN g.flags & 1 = 1 THEN (SELECT e.images FROM passage_extra e
                   WHERE e.source_hash = g.source_hash AND e.observed_at = g.observed_at LIMIT 1) END
        FROM page g ORDER BY g.observed_at DESC, g.source_hash DESC;
    GET DIAGNOSTICS many = ROW_COUNT;
    PERFORM note_look_up(person, CASE WHEN beyond THEN 'look_up_beyond' ELSE 'look_up' END, why, 'plate ' || wanted, many, at);
END $$;

-- What one checkpoint saw, newest first.
CREATE FUNCTION checkpoint_passages(person int, why text, wanted int, since timestamptz, until timestamptz,
                                    before_hash bigint, rows_max int, beyond boolean, at timestamptz)
RETURNS TABLE (observed_at timestamptz, source_hash bigint, plate_key bigint, direction smallint, lane smallint,
               speed_kmh real, plate_class smallint, vehicle_class smallint, body_color smallint, images text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE many int;
BEGIN
    IF NOT beyond AND NOT wanted = ANY (reachable_checkpoints(at)) THEN
        PERFORM note_look_up(person, 'look_up', why, 'checkpoint ' || wanted || ' out of reach', 0, at);
        RETURN;
    END IF;
    RETURN QUERY
        WITH page AS MATERIALIZED (
            SELECT p.observed_at, p.source_hash, p.plate_key, p.direction, p.lane, nullif(p.speed_kmh, 'NaN') AS speed_kmh,
                   p.plate_class, p.vehicle_class, p.body_color, p.flags
            FROM passage p
            WHERE p.checkpoint = wanted AND p.observed_at >= since AND p.observed_at <= until
                AND (p.observed_at < until OR p.source_hash < before_hash)
            ORDER BY p.observed_at DESC, p.source_hash DESC LIMIT rows_max
        )
        SELECT g.observed_at, g.source_hash, g.plate_key, g.direction, g.lane, g.speed_kmh, g.plate_class,
               g.vehicle_class, g.body_color,
               CASE WHEN g.flags & 1 = 1 THEN (SELECT e.images FROM passage_extra e
                   WHERE e.source_hash = g.source_hash AND e.observed_at = g.observed_at LIMIT 1) END
        FROM page g ORDER BY g.observed_at DESC, g.source_hash DESC;
    GET DIAGNOSTICS many = ROW_COUNT;
    PERFORM note_look_up(person, CASE WHEN beyond THEN 'look_up_beyond' ELSE 'look_up' END, why, 'checkpoint ' || wanted, many, at);
END $$;

REVOKE ALL ON FUNCTION note_look_up(int, text, text, text, int, timestamptz),
    plate_track(int, text, bigint, smallint[], timestamptz, timestamptz, bigint, int, boolean, timestamptz),
    checkpoint_passages(int, text, int, timestamptz, timestamptz, bigint, int, boolean, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reachable_checkpoints(timestamptz),
    plate_track(int, text, bigint, smallint[], timestamptz, timestamptz, bigint, int, boolean, timestamptz),
    checkpoint_passages(int, text, int, timestamptz, timestamptz, bigint, int, boolean, timestamptz) TO traffic_api;
