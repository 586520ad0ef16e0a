-- What a replay reads of its source beside the hypertables, which are copied whole.

-- name: weather
SELECT station, observed_at, received_at, valid_to, device, unit_id, road_id, from_stake_m, to_stake_m, direction, kind,
       visibility_m, precipitation, intensity_mm_h, temperature_c, wind_ms, surface, note
FROM weather_report WHERE received_at >= %(since)s AND received_at < %(until)s ORDER BY received_at;

-- name: works
-- Only the last word on each is kept, so that a replay knows works as they were told last.
SELECT code, observed_at, received_at, device, unit_id, road_id, from_stake_m, to_stake_m, direction, lanes_closed,
       from_at, to_at, kind, contact, state
FROM road_work WHERE received_at >= %(since)s AND received_at < %(until)s ORDER BY received_at;

-- name: span
-- From when to when there are stored passages or detector reports.
SELECT least((SELECT min(observed_at) FROM passage), (SELECT min(observed_at) FROM detector_report)),
       greatest((SELECT max(observed_at) FROM passage), (SELECT max(observed_at) FROM detector_report));
