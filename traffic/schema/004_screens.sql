-- What screens read of hypertables that no roll-up holds, within the reach of the viewer.

-- Reports of one detector, lane by lane, as they came.
CREATE FUNCTION detector_reports(wanted int, since timestamptz, at timestamptz)
RETURNS TABLE (lane smallint, observed_at timestamptz, vehicles int, occupancy real, speed_kmh real, heavy int)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$ BEGIN
    IF NOT EXISTS (SELECT FROM detector d WHERE d.id = wanted AND sees_traffic(d.unit_id, d.corridor, at)) THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT r.lane, r.observed_at, r.vehicles, nullif(r.occupancy, 'NaN'), nullif(r.speed_kmh, 'NaN'), nullif(r.heavy, -1)
        FROM detector_report r WHERE r.detector = wanted AND r.observed_at > since ORDER BY r.lane, r.observed_at;
END $$;
REVOKE ALL ON FUNCTION detector_reports(int, timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION detector_reports(int, timestamptz, timestamptz) TO traffic_api;
