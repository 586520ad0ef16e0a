-- People. Sessions, tickets and lock-outs are leases of trust: they use the database's real time, so that a drill at
-- another rate neither ends nor prolongs them. Audit rows carry domain time like every other record.

-- name: attempt_begin
-- Count an attempt as failed before it is judged; no row where the login is locked or does not exist.
SELECT id, password_hash, disabled, unit_id FROM login_attempt(%(login)s, %(failures_max)s, %(locked_s)s);

-- name: lock_left
SELECT ceil(extract(epoch FROM locked_until - clock_timestamp()))::int FROM person
WHERE login = %(login)s AND locked_until > clock_timestamp();

-- name: attempt_good
UPDATE person SET failures = 0, locked_until = '1970-01-01 00:00:00+00' WHERE id = %(person_id)s;

-- name: session_open
INSERT INTO session (token_hash, person_id, created_at, expires_at, peer)
VALUES (%(token_hash)s, %(person_id)s, clock_timestamp(), clock_timestamp() + make_interval(secs => %(session_s)s), %(peer)s);

-- name: session_bound
-- A person has at most so many sessions; the oldest end first. What ended a day ago is forgotten.
WITH too_many AS (
    SELECT token_hash FROM session WHERE person_id = %(person_id)s AND revoked_at IS NULL AND expires_at > clock_timestamp()
    ORDER BY created_at DESC OFFSET %(sessions_max)s
), gone AS (
    DELETE FROM session WHERE person_id = %(person_id)s
        AND least(expires_at, coalesce(revoked_at, expires_at)) < clock_timestamp() - interval '1 day'
)
UPDATE session SET revoked_at = clock_timestamp() WHERE token_hash IN (SELECT token_hash FROM too_many);

-- name: session_actors
-- Who stands behind these sessions, as far as they are good: one look for all.
SELECT s.token_hash, p.id, p.login, p.name, p.unit_id, p.role, p.clearance
FROM session s JOIN person p ON p.id = s.person_id
WHERE s.token_hash = ANY (%(hashes)s) AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp() AND NOT p.disabled;

-- name: session_close
UPDATE session SET revoked_at = clock_timestamp() WHERE token_hash = %(token_hash)s AND revoked_at IS NULL;

-- name: ticket_open
-- Old tickets go at the same time: a ticket lasts seconds.
WITH gone AS (DELETE FROM socket_ticket WHERE expires_at < clock_timestamp())
INSERT INTO socket_ticket (ticket_hash, session, expires_at)
VALUES (%(ticket_hash)s, %(session)s, clock_timestamp() + make_interval(secs => %(ticket_s)s));

-- name: ticket_use
-- The row goes with its first use, whoever else tries at the same time.
DELETE FROM socket_ticket WHERE ticket_hash = %(ticket_hash)s RETURNING session, expires_at > clock_timestamp();

-- name: audit
INSERT INTO audit (at, person_id, unit_id, action, purpose, subject, outcome)
VALUES (%(at)s, %(person_id)s, %(unit_id)s, %(action)s, %(purpose)s, %(subject)s, %(outcome)s);

-- name: unit_name
SELECT id, name, name_en, level FROM unit WHERE id = %(id)s;
