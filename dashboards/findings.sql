-- Findings as people read them. All statements stand under the viewer's row-level policies.

-- name: list
-- `open`: what a person must still look at.
SELECT * FROM finding
WHERE raised_at <= %(before)s AND (raised_at, id) < (%(before)s, %(before_id)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(level)s::int IS NULL OR level = %(level)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(plate_key)s::bigint IS NULL OR plate_key = %(plate_key)s)
    AND CASE %(shelved)s WHEN 'no' THEN shelf IS NULL WHEN 'only' THEN shelf IS NOT NULL ELSE true END
    AND CASE WHEN %(verification)s::text IS NULL THEN true
             WHEN %(verification)s = 'open' THEN verification IS NULL AND state = 'active'
                 AND (level = %(gravest)s OR kind = ANY (%(looked_at_first)s)
                      OR grounds -> 'detail' -> 'match' ->> 'how' = ANY (%(unsure)s))
             ELSE verification ->> 'verdict' = %(verification)s END
ORDER BY raised_at DESC, id DESC LIMIT %(limit)s;

-- name: shelved
SELECT count(*) FROM finding WHERE shelf IS NOT NULL AND state = 'active';

-- name: one
SELECT * FROM finding WHERE id = %(id)s;

-- name: rule
SELECT id, version, kind, name, clause, parameters, lateness_s, level FROM rule WHERE id = %(id)s AND version = %(version)s;

-- name: revisions
SELECT revision, change, (extract(epoch FROM raised_at) * 1000000)::bigint AS raised_at, cause, grounds
FROM finding_revision WHERE finding_id = %(id)s ORDER BY revision DESC LIMIT %(limit)s;

-- name: checkpoints
SELECT c.id, c.code, c.name, c.name_en, r.code AS road, c.road_id, c.stake_m, c.lon, c.lat
FROM checkpoint c JOIN road r ON r.id = c.road_id WHERE c.id = ANY (%(ids)s) ORDER BY c.id;

-- name: links
-- What lies between two stakes of a road, in both directions.
SELECT road_id, direction, from_stake_m, to_stake_m, geometry FROM link
WHERE road_id = ANY (%(roads)s) AND greatest(from_stake_m, to_stake_m) >= %(low)s AND least(from_stake_m, to_stake_m) <= %(high)s
ORDER BY road_id, direction, least(from_stake_m, to_stake_m), id LIMIT %(limit)s;

-- name: pictures
SELECT record, number, state, encode(sha256, 'hex') AS sha256, media_type, error FROM finding_picture
WHERE finding_id = %(id)s ORDER BY record DESC, number LIMIT %(limit)s;

-- name: picture
-- Whether a finding that the viewer may see has this picture.
SELECT media_type FROM finding_picture WHERE sha256 = %(sha256)s AND state = 'copied' LIMIT 1;

-- name: sensors
-- The worst direction of each checkpoint as the monitor sees it, and what verification said of its readings of late.
SELECT c.id, h.state, h.reason, h.trust, coalesce(v.valid, 0)::int AS valid, coalesce(v.misread, 0)::int AS misread
FROM unnest(%(ids)s::int[]) AS c(id)
LEFT JOIN LATERAL (SELECT state, reason, trust::float8 FROM sensor_health WHERE sensor_kind = 'checkpoint' AND sensor_id = c.id
                   ORDER BY trust LIMIT 1) h ON true
LEFT JOIN LATERAL (SELECT sum(valid) AS valid, sum(misread) AS misread FROM checkpoint_verdict
                   WHERE checkpoint = c.id AND day >= %(since)s) v ON true;

-- name: terminal
-- How often cameras saw the vehicle where its terminal was not.
SELECT count(*) FROM finding WHERE kind = 'position_mismatch' AND plate_key = %(plate_key)s AND state = 'active'
    AND raised_at >= %(since)s AND coalesce(verification ->> 'verdict', 'valid') = 'valid';

-- name: registry
-- The registry's words about the vehicle, with their date.
SELECT k.plate, k.class_group, k.kind, k.state, k.inspection_until::text, k.scrap_by::text, k.insurance_until::text,
       k.ex_commercial, k.route_kind, k.violations_open, k.source, (extract(epoch FROM k.as_of) * 1000000)::bigint AS as_of,
       u.name AS unit, u.name_en AS unit_en, c.id AS company_id, coalesce(c.name, k.company) AS company
FROM key_vehicle k JOIN unit u ON u.id = k.unit_id LEFT JOIN company c ON c.id = k.company_id
WHERE k.plate_key = %(plate_key)s AND (%(class_group)s = 0 OR k.class_group = %(class_group)s) AND k.enabled
ORDER BY k.class_group LIMIT 1;

-- name: deed
-- The revision that tells of this deed.
SELECT revision FROM finding_revision WHERE finding_id = %(id)s AND cause ->> 'deed' = %(deed)s;
