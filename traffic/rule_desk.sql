-- Rules as data: what workers load, and what people who tend them read and write. Rows of `rule` are only ever inserted.

-- name: rules_in_force
-- Of each rule the newest version that was armed or put off and holds at this time, if it is armed: a draft never counts.
SELECT * FROM (
    SELECT DISTINCT ON (id) id, version, kind, name, clause, parameters, unit_id, state, level, scope, schedule, exemptions,
           lateness_s
    FROM rule WHERE state <> 'draft' AND valid_from <= %(at)s AND valid_to > %(at)s AND kind = ANY (%(kinds)s)
    ORDER BY id, version DESC
) AS newest WHERE state = 'armed' ORDER BY id;

-- name: next_change
-- The next moment at which a version that is known already begins or ends.
SELECT min(moment) FROM (
    SELECT valid_from AS moment FROM rule WHERE state <> 'draft' AND valid_from > %(at)s
    UNION ALL
    SELECT valid_to FROM rule WHERE state <> 'draft' AND valid_to > %(at)s AND valid_to < 'infinity'
) AS moments WHERE moment < timestamptz '9999-01-01 00:00:00+00';

-- name: ground_checkpoints
SELECT id, road_id, stake_m, unit_id, lon, lat FROM checkpoint ORDER BY id;

-- name: ground_roads
SELECT id, code, kind FROM road;

-- name: ground_units
WITH RECURSIVE below AS (
    SELECT u.id AS unit_id, u.id AS member FROM unit u
    UNION
    SELECT b.unit_id, p.unit_id FROM below b JOIN unit_parent p ON p.parent_id = b.member
    WHERE p.valid_from <= %(at)s AND p.valid_to > %(at)s
)
SELECT unit_id, array_agg(member) FROM below GROUP BY unit_id;

-- name: ground_holidays
SELECT day, kind FROM holiday;

-- name: fences
SELECT id, code, name, kind, shape, unit_id FROM fence WHERE enabled ORDER BY id;

-- name: permits
-- Permits that held at this time or later; what ended before is of no use to a live picture.
SELECT id, kind, plate_key, class_group, valid_from, valid_to, hours, weekdays, roads
FROM permit WHERE enabled AND valid_to > %(since)s ORDER BY plate_key, id;
