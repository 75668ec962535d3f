-- Schemas and tables of the engine. Run once, by the migration that creates them; later changes are migrations.
--
-- Everything about an instance is keyed by (bucket, instance_id): bucket is the first byte of the id, so that the
-- tables can be distributed by it without a transaction of the engine ever needing two buckets.

CREATE SCHEMA IF NOT EXISTS df;
CREATE SCHEMA IF NOT EXISTS df_engine;

CREATE TABLE df_engine.settings (
    name text PRIMARY KEY,
    value text NOT NULL,
    default_value text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('int', 'bool', 'text', 'seconds')),
    low numeric,
    high numeric,
    hidden boolean NOT NULL DEFAULT false,
    description text NOT NULL
);

CREATE TABLE df_engine.vars (
    owner regrole NOT NULL,
    name text NOT NULL,
    value text,
    PRIMARY KEY (owner, name)
);

-- What df.start was given. Never updated.
CREATE TABLE df_engine.starts (
    bucket smallint NOT NULL,
    instance_id text NOT NULL CHECK (instance_id ~ '^[0-9a-f]{8,32}$'),
    owner regrole NOT NULL,
    database text,
    label text,
    graph text NOT NULL,
    variables text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, instance_id)
);
CREATE INDEX starts_by_time ON df_engine.starts (created_at DESC, instance_id);
CREATE INDEX starts_by_owner ON df_engine.starts (owner, created_at DESC, instance_id);
CREATE INDEX starts_by_label ON df_engine.starts (label, created_at DESC, instance_id) WHERE label IS NOT NULL;

-- The head of each instance: which execution, and how far its history goes. Every append updates it, under its lock.
-- No CHECK constraints here, on history and on tasks: the server parses their text again for every statement, which made
-- up a quarter of a step (measured). The functions are the only writers, and df.check() tests the same rules.
CREATE TABLE df_engine.instances (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    owner regrole NOT NULL,
    database text,
    queue text NOT NULL DEFAULT 'default',
    interpreter smallint NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    execution_id integer NOT NULL DEFAULT 1,
    head_seq integer NOT NULL DEFAULT 0,
    parked text,
    updated_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (bucket, instance_id)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX instances_ended ON df_engine.instances (ended_at, instance_id) WHERE ended_at IS NOT NULL;

-- The truth. Append-only: by privilege, and by the trigger in engine_append.sql.
CREATE TABLE df_engine.history (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    execution_id integer NOT NULL,
    seq integer NOT NULL,
    kind text NOT NULL,
    payload text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, instance_id, execution_id, seq)
);

-- Raw result texts, columns in declared order; (execution_id, seq) is the event that brought it about.
CREATE TABLE df_engine.results (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    execution_id integer NOT NULL,
    seq integer NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (bucket, instance_id, execution_id, seq)
);

-- Work to be done. seq 0 (lane and kind 'turn') is the turn of an instance; any other is the event that scheduled the
-- activity (lane 'sql' or 'http'). worker_id, token_hash and leased_at are set together.
CREATE TABLE df_engine.tasks (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    seq integer NOT NULL,
    execution_id integer NOT NULL,
    task_no bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
    lane text NOT NULL,
    kind text NOT NULL,
    owner regrole NOT NULL,
    database text,
    queue text NOT NULL,
    interpreter smallint NOT NULL,
    input text,
    attempt integer NOT NULL DEFAULT 1,
    losses integer NOT NULL DEFAULT 0,
    autocommit boolean NOT NULL DEFAULT false,
    queued_at timestamptz NOT NULL,
    first_failed_at timestamptz,
    visible_at timestamptz NOT NULL,
    worker_id bigint,
    token_hash bytea,
    leased_at timestamptz,
    PRIMARY KEY (bucket, instance_id, seq)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX tasks_ready ON df_engine.tasks (lane, task_no) WHERE worker_id IS NULL;
CREATE INDEX tasks_leased ON df_engine.tasks (worker_id) WHERE worker_id IS NOT NULL;

CREATE TABLE df_engine.timers (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    seq integer NOT NULL,
    execution_id integer NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, instance_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX timers_due ON df_engine.timers (due_at);

-- Messages that are not yet facts. The row is itself the work item. No foreign key, no unique key: a sender locks nothing.
CREATE TABLE df_engine.inbox (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    message_id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    body text NOT NULL,
    sent_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX inbox_order ON df_engine.inbox (message_id);
CREATE INDEX inbox_of ON df_engine.inbox (bucket, instance_id, message_id);

-- df.wait_for_instance: who waits for whom. Waiting creates the row, the end of the other consumes it.
CREATE TABLE df_engine.instance_waits (
    bucket smallint NOT NULL,
    instance_id text NOT NULL,
    execution_id integer NOT NULL,
    seq integer NOT NULL,
    target_bucket smallint NOT NULL,
    target_id text NOT NULL,
    PRIMARY KEY (bucket, instance_id, seq)
);
CREATE INDEX instance_waits_target ON df_engine.instance_waits (target_bucket, target_id);

-- A turn as a worker commits it: what it was decided from (x execution, h head), the events, and the work that they ask
-- for. "one_*" is a single step that stays with the worker; "next*" begins the following execution (continue-as-new).
CREATE TYPE df_engine.turn AS (
    b smallint,
    i text,
    t text,
    x integer,
    h integer,
    kinds text[],
    payloads text[],
    status text,
    one_seq integer,
    one_lane text,
    one_kind text,
    one_input text,
    one_token text,
    activities json,
    timers json,
    waits json,
    dropped integer[],
    next text,
    next_kinds text[],
    next_payloads text[]
);

-- One row a worker process; it alone is beaten, never its tasks.
CREATE TABLE df_engine.workers (
    worker_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login regrole NOT NULL,
    serves_all boolean NOT NULL,
    key_hash bytea NOT NULL UNIQUE,
    release text NOT NULL,
    interpreter smallint NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    slots integer NOT NULL,
    lease_seconds double precision NOT NULL CHECK (lease_seconds BETWEEN 1 AND 3600),
    started_at timestamptz NOT NULL,
    beat_at timestamptz NOT NULL,
    idle boolean NOT NULL DEFAULT false,
    draining boolean NOT NULL DEFAULT false
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);

-- The sessions a worker opened for its steps, so that whoever takes over can end them.
CREATE TABLE df_engine.sessions (
    worker_id bigint NOT NULL,
    owner regrole NOT NULL,
    backend_pid integer NOT NULL,
    backend_start timestamptz NOT NULL,
    PRIMARY KEY (worker_id, backend_pid)
);

-- Why a worker cannot log in as a role; shown by df.waiting.
CREATE TABLE df_engine.role_blocks (
    worker_id bigint NOT NULL,
    owner regrole NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (worker_id, owner)
);

-- Logins that serve every role's steps (and never own any), and proxy logins that stand in for one role.
CREATE TABLE df_engine.service_logins (login regrole PRIMARY KEY);
CREATE TABLE df_engine.proxies (
    login regrole PRIMARY KEY,
    owner regrole NOT NULL
);

-- Secrets of roles, sealed with one of the public keys; the private ones are with the workers.
CREATE TABLE df_engine.secret_keys (
    key_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_key bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);
CREATE TABLE df_engine.secrets (
    owner regrole NOT NULL,
    name text NOT NULL,
    sealed bytea NOT NULL,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (owner, name)
);

-- Roles that see everybody's workflows; those that operate may cancel, resume and signal them too.
CREATE TABLE df_engine.observers (
    role regrole PRIMARY KEY,
    operates boolean NOT NULL
);
CREATE TABLE df_engine.http_policy (
    rule_no integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    role_name text,
    action text NOT NULL CHECK (action IN ('allow', 'deny')),
    host text,
    network cidr,
    port_low integer CHECK (port_low BETWEEN 1 AND 65535),
    port_high integer CHECK (port_high BETWEEN 1 AND 65535),
    note text
);
