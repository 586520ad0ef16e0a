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

-- name: desk_list
-- Of each rule its newest version as people left it, and the version that is in force now, if one is.
SELECT r.*, (
    SELECT CASE WHEN v.state = 'armed' THEN v.version END FROM rule v
    WHERE v.id = r.id AND v.state <> 'draft' AND v.valid_from <= %(at)s AND v.valid_to > %(at)s
    ORDER BY v.version DESC LIMIT 1
) AS in_force
FROM (
    SELECT DISTINCT ON (id) id, version, kind, name, clause, parameters, unit_id, state, level, scope, schedule, exemptions,
           lateness_s, note, valid_from, least(valid_to, timestamptz '9999-12-31 00:00:00+00') AS valid_to, changed_at, changed_by
    FROM rule WHERE %(id)s::int IS NULL OR id = %(id)s ORDER BY id, version DESC
) AS r ORDER BY r.id;

-- name: desk_versions
-- Every version of one rule, newest first.
SELECT id, version, kind, name, clause, parameters, unit_id, state, level, scope, schedule, exemptions, lateness_s, note,
       valid_from, least(valid_to, timestamptz '9999-12-31 00:00:00+00') AS valid_to, changed_at, changed_by
FROM rule WHERE id = %(id)s ORDER BY version DESC LIMIT %(limit)s;

-- name: desk_number
-- People's rules are numbered behind those that come with the system.
SELECT nextval('rule_number')::int;

-- name: desk_insert
-- A version comes right behind the one that its author saw, or not at all.
INSERT INTO rule (id, version, kind, name, clause, parameters, unit_id, state, level, scope, schedule, exemptions, lateness_s,
    note, valid_from, valid_to, changed_at, changed_by)
SELECT %(id)s, %(based_on)s + 1, %(kind)s, %(name)s, %(clause)s, %(parameters)s, %(unit_id)s, %(state)s, %(level)s, %(scope)s,
    %(schedule)s, %(exemptions)s, %(lateness_s)s, %(note)s, %(valid_from)s,
    coalesce(%(valid_to)s, timestamptz '9999-12-31 00:00:00+00'), %(now)s, %(by)s
WHERE coalesce((SELECT max(version) FROM rule WHERE id = %(id)s), 0) = %(based_on)s;

-- name: desk_changed
-- Workers read the rules anew within a second.
UPDATE version SET value = value + 1 WHERE name = %(name)s;

-- name: desk_fired
-- How often the rule has spoken on each local day, as far as the viewer may see.
SELECT to_char(raised_at AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD') AS day, count(*) AS count
FROM finding WHERE kind = %(kind)s AND rule_id = %(id)s AND raised_at > %(since)s GROUP BY 1 ORDER BY 1;

-- name: fences_shown
-- Fences as people tend them, also those that are off.
SELECT id, code, name, kind, shape, unit_id, unit_id AS unit, enabled, changed_at, changed_by
FROM fence WHERE %(id)s::int IS NULL OR id = %(id)s ORDER BY id;

-- name: fence_insert
INSERT INTO fence (code, name, kind, shape, unit_id, enabled, changed_at, changed_by)
VALUES (%(code)s, %(name)s, %(kind)s, %(shape)s, %(unit_id)s, %(enabled)s, %(now)s, %(by)s) RETURNING id;

-- name: fence_update
-- Nothing where somebody else changed it since it was seen.
UPDATE fence SET code = %(code)s, name = %(name)s, kind = %(kind)s, shape = %(shape)s, unit_id = %(unit_id)s,
    enabled = %(enabled)s, changed_at = %(now)s, changed_by = %(by)s
WHERE id = %(id)s AND (%(seen)s::timestamptz IS NULL OR changed_at = %(seen)s);

-- name: holidays
SELECT day, kind, name FROM holiday ORDER BY day;

-- name: calendar_version
SELECT value FROM version WHERE name = 'calendar';

-- name: holidays_clear
DELETE FROM holiday;

-- name: holiday_insert
INSERT INTO holiday (day, kind, name) VALUES (%(day)s, %(kind)s, %(name)s);
