-- The spine: units, the province's network, devices, the bus's offsets, passages, findings, feed, people.
-- Run once by the migrator, as the owner of the database, inside one transaction.
--
-- Roles: traffic_writer (workers, doors) writes; traffic_api reads through row-level security and has no grant on
-- hypertables; traffic_hub reads the whole feed and hands on only what the audience allows. A process takes its role
-- at connection (`options=-c role=...`), so that RESET ROLE leads back to it.

CREATE EXTENSION IF NOT EXISTS timescaledb;

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'traffic_writer') THEN CREATE ROLE traffic_writer NOLOGIN; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'traffic_api') THEN CREATE ROLE traffic_api NOLOGIN; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'traffic_hub') THEN CREATE ROLE traffic_hub NOLOGIN; END IF;
    EXECUTE format('GRANT traffic_writer, traffic_api, traffic_hub TO %I', current_user);
END $$;

-- The instance: its epoch changes when the database is made anew, so that no client resumes with an alien cursor.
CREATE TABLE instance (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch      uuid NOT NULL DEFAULT gen_random_uuid(),
    partitions smallint NOT NULL
);

-- ---------------------------------------------------------------- units (单位), valid in time
CREATE TABLE unit (
    id         int PRIMARY KEY,
    code       text NOT NULL UNIQUE,                 -- 12-digit organisation code
    name       text NOT NULL,
    name_en    text NOT NULL,
    level      smallint NOT NULL CHECK (level BETWEEN 1 AND 4),   -- corps, detachment, brigade, squadron
    branch     text NOT NULL CHECK (branch IN ('territorial', 'expressway')),
    adcode     int,                                  -- the division that it polices, where there is one
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT '9999-12-31 00:00:00+00'
);
CREATE TABLE unit_parent (
    unit_id    int NOT NULL REFERENCES unit,
    parent_id  int NOT NULL REFERENCES unit,
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT '9999-12-31 00:00:00+00',
    PRIMARY KEY (unit_id, valid_from),
    CHECK (unit_id <> parent_id)
);

-- ---------------------------------------------------------------- the network
CREATE TABLE division (                              -- prefectures and counties
    adcode     int PRIMARY KEY,
    parent     int,
    name       text NOT NULL,
    name_en    text NOT NULL,
    level      smallint NOT NULL CHECK (level IN (1, 2, 3)),      -- province, prefecture, county
    boundary   jsonb NOT NULL                        -- GeoJSON geometry, WGS-84
);
CREATE TABLE road (
    id          int PRIMARY KEY,
    code        text NOT NULL UNIQUE,                -- G1, G102, S26
    name        text NOT NULL,
    name_en     text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('expressway', 'trunk')),
    approximate boolean NOT NULL                     -- true: drawn from a table of places, not surveyed
);
CREATE TABLE link (                                  -- one direction of a stretch between two junctions
    id           int PRIMARY KEY,
    road_id      int NOT NULL REFERENCES road,
    direction    smallint NOT NULL CHECK (direction IN (1, 2)),   -- 1: stakes increase, 2: they decrease
    from_stake_m int NOT NULL,
    to_stake_m   int NOT NULL,
    length_m     int NOT NULL CHECK (length_m > 0),
    lanes        smallint NOT NULL CHECK (lanes > 0),
    limit_kmh    smallint NOT NULL CHECK (limit_kmh > 0),
    unit_id      int NOT NULL REFERENCES unit,
    geometry     jsonb NOT NULL                      -- [[lon, lat], ...] in the direction of travel, WGS-84
);
CREATE TABLE checkpoint (                            -- 卡口
    id          int PRIMARY KEY,
    code        text NOT NULL UNIQUE,                -- TollgateID, 20 digits
    name        text NOT NULL,
    name_en     text NOT NULL,
    road_id     int NOT NULL REFERENCES road,
    stake_m     int NOT NULL,
    bearing_deg real NOT NULL,                       -- of direction 1 at this place
    lanes       smallint NOT NULL,                   -- of each direction
    limit_kmh   smallint NOT NULL,
    lon         double precision NOT NULL,
    lat         double precision NOT NULL,
    unit_id     int NOT NULL REFERENCES unit,
    corridor    int[] NOT NULL DEFAULT '{}',         -- neighbouring units that see its traffic (no personal data)
    inter_provincial boolean NOT NULL DEFAULT false
);
CREATE TABLE section (                               -- 区间: a measured pair of checkpoints
    id              int PRIMARY KEY,
    from_checkpoint int NOT NULL REFERENCES checkpoint,
    to_checkpoint   int NOT NULL REFERENCES checkpoint,
    length_m        int NOT NULL CHECK (length_m > 0),
    limit_kmh       smallint NOT NULL,
    UNIQUE (from_checkpoint, to_checkpoint)
);

-- ---------------------------------------------------------------- devices: who may send
CREATE TABLE device (
    id          int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    code        text NOT NULL UNIQUE,                -- GA/T 1400 device id (20 digits), or a name for native senders
    name        text NOT NULL,
    unit_id     int NOT NULL REFERENCES unit,        -- it may report for checkpoints of this unit's subtree
    kind        text NOT NULL CHECK (kind IN ('gat1400', 'native')),
    secret      bytea NOT NULL,                      -- gat1400: HA1, encrypted with the application's key; native: sha256 of the key
    time_zone   text NOT NULL DEFAULT 'Asia/Shanghai',
    enabled     boolean NOT NULL DEFAULT true,
    changed_at  timestamptz NOT NULL,
    changed_by  text NOT NULL
);
CREATE TABLE device_status (                         -- written by workers from what the doors put on the bus
    device_id     int PRIMARY KEY REFERENCES device,
    seen_at       timestamptz NOT NULL,
    state         text NOT NULL CHECK (state IN ('registered', 'alive', 'unregistered')),
    peer          text
);

-- ---------------------------------------------------------------- versions of what rules rest on
CREATE TABLE version (
    name  text PRIMARY KEY,                          -- 'rule', 'watchlist', 'network', 'device'
    value bigint NOT NULL DEFAULT 1
);
INSERT INTO version (name) VALUES ('rule'), ('watchlist'), ('network'), ('device');

CREATE TABLE rule (
    id         int NOT NULL,
    version    int NOT NULL,
    kind       text NOT NULL,                        -- 'watch_hit', 'section_speed'
    name       text NOT NULL,
    clause     text NOT NULL,                        -- the norm or order that it stands on
    parameters jsonb NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT '9999-12-31 00:00:00+00',
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL,
    PRIMARY KEY (id, version)
);

CREATE TABLE watchlist_entry (                       -- 布控
    id          bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    number      text NOT NULL UNIQUE,
    plate       text NOT NULL,
    plate_key   bigint NOT NULL,
    class_group smallint NOT NULL DEFAULT 0,         -- 0: any
    category    smallint NOT NULL CHECK (category IN (1, 2, 3)),  -- 涉案, 违法, 管控
    level       smallint NOT NULL CHECK (level BETWEEN 1 AND 4),
    facts       text NOT NULL,
    intercept   boolean NOT NULL,
    unit_id     int NOT NULL REFERENCES unit,        -- applicant
    visibility  smallint NOT NULL DEFAULT 0 CHECK (visibility IN (0, 1)),
    audience    int[] NOT NULL,
    addressees  int[] NOT NULL DEFAULT '{}',
    state       text NOT NULL CHECK (state IN ('active', 'withdrawn')),
    valid_from  timestamptz NOT NULL,
    valid_to    timestamptz NOT NULL,
    version     bigint NOT NULL,                     -- of the list when this entry last changed
    applied_by  text NOT NULL,
    approved_by text NOT NULL CHECK (approved_by <> applied_by)
);

-- ---------------------------------------------------------------- the bus's place in the database
CREATE TABLE partition (
    id           smallint PRIMARY KEY,
    epoch        bigint NOT NULL DEFAULT 0,          -- fencing: grows with each new owner
    owner        text,
    until        timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',        -- real time (leases only)
    generation   int NOT NULL DEFAULT 0,             -- of the counter; 0: never opened; grows when a gap closed the old one
    bus_offset   bigint NOT NULL DEFAULT 0,          -- last counter committed
    feed_seq     bigint NOT NULL DEFAULT 0,
    observed_until timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',      -- newest event time stored through this partition
    snapshot_generation int NOT NULL DEFAULT 0,      -- where the snapshot pages of this partition stand
    snapshot_offset     bigint NOT NULL DEFAULT 0,
    committed_at timestamptz                         -- real time of the last commit
);
CREATE TABLE worker (name text PRIMARY KEY, seen_at timestamptz NOT NULL);
CREATE TABLE bus_gap (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition    smallint NOT NULL,
    generation   int NOT NULL,
    from_counter bigint NOT NULL,
    to_counter   bigint,                             -- null: unknown
    reason       text NOT NULL,
    detected_at  timestamptz NOT NULL
);
CREATE TABLE snapshot (
    logical    smallint PRIMARY KEY,                 -- 0..63
    format     smallint NOT NULL,
    taken_at   timestamptz NOT NULL,
    body       bytea STORAGE EXTERNAL NOT NULL       -- uncompressed: ten times faster to write, and rewritten each half minute
);
CREATE TABLE batch (                                 -- what each committed stretch of the bus was judged with
    partition         smallint NOT NULL,
    generation        int NOT NULL,
    to_offset         bigint NOT NULL,
    from_offset       bigint NOT NULL,
    rule_version      bigint NOT NULL,
    watchlist_version bigint NOT NULL,
    network_version   bigint NOT NULL,
    committed_at      timestamptz NOT NULL,
    PRIMARY KEY (partition, generation, to_offset)
);

-- ---------------------------------------------------------------- passages (过车记录)
-- Identity: (observed_at, source_hash), source_hash = hash(device, source's id). The unique index serves look-ups by
-- checkpoint and is the last word on "stored exactly once"; it stands on observed_at too because hypertables ask for it.
CREATE TABLE passage (
    observed_at  timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    source_hash  bigint NOT NULL,
    plate_key    bigint NOT NULL,                    -- 0: unreadable; < 0: in odd_plate
    checkpoint   int NOT NULL,
    device       int NOT NULL,
    speed_kmh    real NOT NULL,                      -- NaN: not measured
    length_m     real NOT NULL,                      -- NaN: not measured
    plate_class  smallint NOT NULL,                  -- GA 24.7 code; 0: uncertain
    direction    smallint NOT NULL,                  -- 1: stakes increase, 2: decrease, 0: unknown
    lane         smallint NOT NULL,                  -- from the median, 0: unknown
    plate_color  smallint NOT NULL,                  -- JT/T 697.7 code, 0: unknown
    vehicle_class smallint NOT NULL,                 -- GA 24.4: letter * 100 + number, 0: unknown
    body_color   smallint NOT NULL,                  -- 0: unknown
    door         smallint NOT NULL,                  -- 1 GA/T 1400, 2 native
    flags        smallint NOT NULL                   -- 1: has passage_extra
);
SELECT create_hypertable('passage', 'observed_at', chunk_time_interval => interval '1 day', create_default_indexes => false);
CREATE UNIQUE INDEX passage_once ON passage (checkpoint, observed_at, source_hash);
CREATE INDEX passage_by_plate ON passage (plate_key, observed_at) WHERE plate_key <> 0;

CREATE TABLE passage_extra (                         -- what few need: raw plate where folding changed it, pictures
    observed_at timestamptz NOT NULL,
    source_hash bigint NOT NULL,
    plate_raw   text,
    images      text[]
);
SELECT create_hypertable('passage_extra', 'observed_at', chunk_time_interval => interval '1 day', create_default_indexes => false);
CREATE INDEX passage_extra_by_id ON passage_extra (source_hash, observed_at);

CREATE TABLE passage_source (                        -- a passage that came by a second door or device
    observed_at timestamptz NOT NULL,
    source_hash bigint NOT NULL,
    door        smallint NOT NULL,
    device      int NOT NULL,
    received_at timestamptz NOT NULL,
    UNIQUE (source_hash, observed_at, door, device)
);
SELECT create_hypertable('passage_source', 'observed_at', chunk_time_interval => interval '1 day', create_default_indexes => false);

CREATE TABLE passage_amendment (                     -- the same passage sent again with other content
    observed_at timestamptz NOT NULL,
    source_hash bigint NOT NULL,
    revision    int NOT NULL,
    before      jsonb NOT NULL,
    after       jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    door        smallint NOT NULL,                   -- who sent this copy: without a source's id another device can
    device      int NOT NULL,
    UNIQUE (source_hash, observed_at, revision)
);
SELECT create_hypertable('passage_amendment', 'observed_at', chunk_time_interval => interval '1 day', create_default_indexes => false);

CREATE TABLE odd_plate (plate_key bigint PRIMARY KEY, plate text NOT NULL);

-- Own roll-up, in the batch's transaction. `slot` is the writer's lowest partition: two workers never touch one row.
CREATE TABLE checkpoint_minute (
    minute     timestamptz NOT NULL,
    checkpoint int NOT NULL,
    direction  smallint NOT NULL,
    slot       smallint NOT NULL,
    passages   int NOT NULL,
    measured   int NOT NULL,                         -- of them with a speed
    speed_sum  double precision NOT NULL,            -- km/h
    UNIQUE (checkpoint, minute, direction, slot)
);
SELECT create_hypertable('checkpoint_minute', 'minute', chunk_time_interval => interval '7 days', create_default_indexes => false);

-- ---------------------------------------------------------------- quarantine: what was refused, and why
CREATE TABLE quarantine (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    door        smallint NOT NULL,
    device_id   int,
    unit_id     int,                                 -- of the device
    position    int NOT NULL,                        -- index in its request
    field       text NOT NULL,
    reason      text NOT NULL,
    detail      text NOT NULL,
    body        bytea NOT NULL,                      -- the record as it came, cut at 8 KiB
    state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'corrected', 'dismissed')),
    closed_at   timestamptz,
    closed_by   text,
    audience    int[] NOT NULL
);
CREATE INDEX quarantine_newest ON quarantine (id DESC) WHERE state = 'open';
CREATE TABLE counter (name text PRIMARY KEY, value bigint NOT NULL);   -- e.g. quarantine rows dropped at the bound

-- ---------------------------------------------------------------- findings and the feed
CREATE TABLE finding (
    id            uuid PRIMARY KEY,                  -- hash(kind, subject, anchor of the episode)
    kind          text NOT NULL,
    partition     smallint NOT NULL,
    plate_key     bigint NOT NULL,
    class_group   smallint NOT NULL,
    anchor        text NOT NULL,
    revision      int NOT NULL,
    change        text NOT NULL CHECK (change IN ('new', 'updated', 'corrected', 'retracted', 'superseded_by')),
    state         text NOT NULL CHECK (state IN ('active', 'retracted')),
    level         smallint NOT NULL,                 -- 1 gravest .. 4
    rule_id       int NOT NULL,
    rule_version  int NOT NULL,
    confidence    real NOT NULL,
    first_at      timestamptz NOT NULL,              -- of its observations
    observed_at   timestamptz NOT NULL,              -- newest of its observations
    raised_at     timestamptz NOT NULL,              -- when this revision was made
    grounds       jsonb NOT NULL,
    audience      int[] NOT NULL,
    visibility    smallint NOT NULL,
    addressees    int[] NOT NULL
);
CREATE INDEX finding_newest ON finding (raised_at DESC);
CREATE TABLE finding_revision (
    finding_id uuid NOT NULL REFERENCES finding,
    revision   int NOT NULL,
    change     text NOT NULL,
    raised_at  timestamptz NOT NULL,
    cause      jsonb NOT NULL,                       -- what made it: the late observation, the amendment
    grounds    jsonb NOT NULL,
    PRIMARY KEY (finding_id, revision)
);
CREATE TABLE feed (
    partition  smallint NOT NULL,
    seq        bigint NOT NULL,                      -- dense within the partition
    at         timestamptz NOT NULL,
    topic      text NOT NULL CHECK (topic IN ('roads', 'alerts', 'cases', 'units', 'duty', 'figures')),
    kind       text NOT NULL,                        -- 'flow', 'finding', 'device'
    key        text NOT NULL,
    audience   int[] NOT NULL,
    visibility smallint NOT NULL,
    addressees int[] NOT NULL,
    body       jsonb NOT NULL,
    PRIMARY KEY (partition, seq)
);
CREATE INDEX feed_by_age ON feed (partition, at);
CREATE INDEX feed_alerts ON feed (partition, seq) WHERE topic = 'alerts';   -- for readers who come back: flow is most of the feed

-- ---------------------------------------------------------------- people
CREATE TABLE person (
    id            int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    login         text NOT NULL UNIQUE,
    name          text NOT NULL,
    unit_id       int NOT NULL REFERENCES unit,
    role          text NOT NULL CHECK (role IN ('commander', 'dispatcher', 'analyst', 'crew', 'administrator', 'auditor')),
    clearance     smallint NOT NULL DEFAULT 0,
    password_hash text NOT NULL,
    disabled      boolean NOT NULL DEFAULT false,
    failures      int NOT NULL DEFAULT 0,
    locked_until  timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00'
);
CREATE TABLE session (
    token_hash bytea PRIMARY KEY,
    person_id  int NOT NULL REFERENCES person,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    peer       text NOT NULL,
    revoked_at timestamptz
);
CREATE TABLE socket_ticket (
    ticket_hash bytea PRIMARY KEY,
    session     bytea NOT NULL REFERENCES session ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL
);
CREATE TABLE audit (                                 -- who looked at or did what, and why
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    person_id int,
    unit_id   int,
    action    text NOT NULL,
    purpose   text,
    subject   text NOT NULL,
    outcome   text NOT NULL
);
CREATE TABLE part (                                  -- heartbeat of each process, and its figures
    kind     text NOT NULL,                          -- 'worker', 'doors', 'api', 'twin'
    instance text NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at  timestamptz NOT NULL,                   -- real time
    figures  jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (kind, instance)
);

-- ---------------------------------------------------------------- row-level security
-- Same rule as traffic/audience.py. Unset settings mean no rows.
CREATE FUNCTION viewer_unit() RETURNS int LANGUAGE sql STABLE AS
    $$ SELECT nullif(current_setting('traffic.unit', true), '')::int $$;
CREATE FUNCTION viewer_clearance() RETURNS int LANGUAGE sql STABLE AS
    $$ SELECT coalesce(nullif(current_setting('traffic.clearance', true), '')::int, 0) $$;
CREATE FUNCTION visible(audience int[], visibility smallint, addressees int[]) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN visibility = 0 THEN coalesce(viewer_unit() = ANY (audience), false)
                ELSE viewer_clearance() >= visibility AND coalesce(viewer_unit() = ANY (addressees), false) END $$;

DO $$ DECLARE t text; BEGIN
    FOREACH t IN ARRAY ARRAY['finding', 'feed', 'watchlist_entry'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY reader ON %I FOR SELECT TO traffic_api USING (visible(audience, visibility, addressees))', t);
        EXECUTE format('CREATE POLICY writer ON %I FOR ALL TO traffic_writer USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
CREATE POLICY hub ON feed FOR SELECT TO traffic_hub USING (true);
CREATE POLICY hub ON finding FOR SELECT TO traffic_hub USING (true);     -- to count the day's alerts for each view
ALTER TABLE quarantine ENABLE ROW LEVEL SECURITY;
ALTER TABLE quarantine FORCE ROW LEVEL SECURITY;
CREATE POLICY reader ON quarantine FOR SELECT TO traffic_api USING (viewer_unit() = ANY (audience));
CREATE POLICY closer ON quarantine FOR UPDATE TO traffic_api USING (viewer_unit() = ANY (audience));
CREATE POLICY writer ON quarantine FOR ALL TO traffic_writer USING (true) WITH CHECK (true);
ALTER TABLE finding_revision ENABLE ROW LEVEL SECURITY;
ALTER TABLE finding_revision FORCE ROW LEVEL SECURITY;
CREATE POLICY reader ON finding_revision FOR SELECT TO traffic_api
    USING (EXISTS (SELECT FROM finding WHERE finding.id = finding_revision.finding_id));
CREATE POLICY writer ON finding_revision FOR ALL TO traffic_writer USING (true) WITH CHECK (true);

-- Flow by 10 s of event time, for the hub alone: it hands on what each viewer's unit may see. One index scan for each
-- checkpoint, because a day's chunk is far larger than a minute of it.
CREATE FUNCTION checkpoint_flow(since timestamptz)
RETURNS TABLE (checkpoint int, bucket timestamptz, direction smallint, passages bigint, measured bigint, speed_sum double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.id, p.bucket, p.direction, p.passages, p.measured, p.speed_sum
    FROM checkpoint c CROSS JOIN LATERAL (
        SELECT time_bucket('10 seconds', observed_at) AS bucket, passage.direction, count(*) AS passages,
               count(*) FILTER (WHERE speed_kmh <> 'NaN') AS measured,
               coalesce(sum(speed_kmh::float8) FILTER (WHERE speed_kmh <> 'NaN'), 0) AS speed_sum
        FROM passage WHERE passage.checkpoint = c.id AND observed_at >= since GROUP BY 1, 2
    ) p $$;

-- The text of odd plates, for a reader who holds their keys from findings that it may see.
CREATE FUNCTION odd_plates(keys bigint[]) RETURNS TABLE (plate_key bigint, plate text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT o.plate_key, o.plate FROM odd_plate o WHERE o.plate_key = ANY (keys) $$;

-- One attempt to log in: counted as failed before it is judged, so that many at once are not more than the bound allows.
-- No row: there is no such login, or it is locked. Password hashes are read here alone, one login at a time.
CREATE FUNCTION login_attempt(wanted text, failures_max int, locked_s int)
RETURNS TABLE (id int, password_hash text, disabled boolean, unit_id int)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE person p SET
        failures = CASE WHEN p.failures + 1 >= failures_max THEN 0 ELSE p.failures + 1 END,
        locked_until = CASE WHEN p.failures + 1 >= failures_max
                            THEN clock_timestamp() + make_interval(secs => locked_s) ELSE p.locked_until END
    WHERE p.login = wanted AND p.locked_until <= clock_timestamp()
    RETURNING p.id, p.password_hash, p.disabled, p.unit_id $$;

GRANT USAGE ON SCHEMA public TO traffic_writer, traffic_api, traffic_hub;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO traffic_writer;
REVOKE ALL ON person, session, socket_ticket, audit FROM traffic_writer;   -- doors face every camera: no persons there
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO traffic_writer, traffic_api;
GRANT SELECT ON instance, unit, unit_parent, division, road, link, checkpoint, section, rule, version, device_status,
    watchlist_entry, partition, bus_gap, finding, finding_revision, feed, part, counter TO traffic_api, traffic_hub;
GRANT SELECT (id, code, name, unit_id, kind, time_zone, enabled) ON device TO traffic_api, traffic_hub;
GRANT SELECT, UPDATE (state, closed_at, closed_by) ON quarantine TO traffic_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON session, socket_ticket TO traffic_api;
GRANT SELECT (id, login, name, unit_id, role, clearance, disabled, locked_until), UPDATE (failures, locked_until)
    ON person TO traffic_api;
GRANT INSERT ON audit TO traffic_api;
GRANT INSERT, UPDATE ON part TO traffic_api;
REVOKE ALL ON FUNCTION checkpoint_flow(timestamptz), odd_plates(bigint[]), login_attempt(text, int, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION checkpoint_flow(timestamptz) TO traffic_hub;
GRANT EXECUTE ON FUNCTION odd_plates(bigint[]), login_attempt(text, int, int) TO traffic_api;
