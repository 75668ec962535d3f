-- Every statement that Python sends to the engine. The one exception is the text of a step, which is the user's.

-- name: hello
SELECT df_engine.hello_v1()

-- name: register
INSERT INTO df.ingress_workers (key_hash, release, interpreter, host, pid, slots, lease_seconds, only_role)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING instance_id

-- name: claim
SELECT * FROM df_engine.claim_v1(%s, %s, %s, %s, %s, %s, %s, %s::pg_catalog.oid[])

-- name: load
SELECT * FROM df_engine.load_v1(%s, %s, %s::pg_catalog.json)

-- name: bodies
SELECT body FROM df_engine.bodies_v1(%s, %s, %s, %s::pg_catalog.json)

-- name: commit_turns
SELECT outcome, head, clock FROM df_engine.commit_turns_v1(%s, %s, %s::pg_catalog.json)

-- name: complete
SELECT outcome, head, clock FROM df_engine.complete_v1(%s, %s, %s::pg_catalog.int2, %s, %s, %s, %s, %s, %s)

-- name: fail
SELECT outcome, head, clock FROM df_engine.fail_v1(%s, %s, %s::pg_catalog.int2, %s, %s, %s, %s, %s, %s, %s)

-- name: autocommit
SELECT df_engine.autocommit_v1(%s, %s, %s::pg_catalog.int2, %s, %s, %s)

-- name: retake
SELECT df_engine.retake_v1(%s, %s, %s::pg_catalog.int2, %s, %s, %s, %s)

-- name: park
SELECT df_engine.park_v1(%s, %s, %s::pg_catalog.int2, %s, %s)

-- name: beat
SELECT instance_id, seq, token_hash FROM df_engine.beat_v1(%s, %s, %s)

-- name: alive
SELECT df_engine.alive_v1(%s, %s, %s)

-- name: reap
SELECT df_engine.reap_v1(%s, %s)

-- name: prune
SELECT df_engine.prune_v1(%s, %s)

-- name: idle
SELECT df_engine.idle_v1(%s, %s, %s)

-- name: release
SELECT df_engine.release_v1(%s, %s, %s::pg_catalog.bytea[])

-- name: postpone
SELECT df_engine.postpone_v1(%s, %s, %s::pg_catalog.bytea[])

-- name: deregister
SELECT df_engine.deregister_v1(%s, %s)

-- name: session
SELECT df_engine.session_v1(%s, %s, %s::pg_catalog.oid, %s, %s)

-- name: dead_sessions
SELECT worker_id, owner_name, backend_pid, backend_start FROM df_engine.dead_sessions_v1(%s, %s)

-- name: forget_sessions
SELECT df_engine.forget_sessions_v1(%s, %s, %s, %s)

-- name: role_state
SELECT * FROM df_engine.role_state_v1(%s::pg_catalog.oid, %s)

-- name: login_trouble
SELECT kind, reason FROM df_engine.login_trouble_v1(%s, %s, %s, %s)

-- name: block
SELECT df_engine.block_v1(%s, %s, %s::pg_catalog.oid, %s)

-- name: http_policy
SELECT df_engine.http_policy_v1(%s::pg_catalog.oid::pg_catalog.regrole)

-- name: secrets
SELECT name, sealed FROM df_engine.secrets_v1(%s, %s, %s::pg_catalog.oid, %s)

-- name: listen
LISTEN df_wake

-- name: run_step
SELECT df_engine.run_step_v1(%s, %s, %s::pg_catalog.int2, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s)

-- name: begin
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE

-- name: limit_time
SET LOCAL statement_timeout = '60s'

-- name: no_transaction_timeout
SET transaction_timeout = 0

-- name: marked
SELECT pg_catalog.current_setting(%s, true), pg_catalog.pg_is_in_recovery(),
    pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())

-- name: pooled_session
SELECT pg_catalog.set_config('datestyle', 'ISO', false) OPERATOR(pg_catalog.||) pg_catalog.set_config('timezone', 'UTC', false),
    pg_catalog.pg_is_in_recovery(), pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())

-- name: server_started
SELECT pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())

-- name: own_timeout
RESET statement_timeout

-- name: pooled_step
SELECT pg_catalog.set_config('client_encoding', 'UTF8', false),
    pg_catalog.set_config('standard_conforming_strings', 'on', false)

-- name: begin_step
SELECT df_engine.begin_step_v1(%s)

-- name: finish
SELECT df_engine.finish_v1(%s, %s::pg_catalog.int2, %s, %s, %s, %s, %s, %s, %s, %s,
    %s, %s, %s, %s, %s, %s, %s, %s)

-- name: no_rows
SELECT WHERE false

-- name: commit
COMMIT

-- name: rollback
ROLLBACK

-- name: reset_session
SELECT df_engine.reset_session_v1(%s)

-- name: type_names
SELECT t.oid::pg_catalog.int8, CASE WHEN t.typtype OPERATOR(pg_catalog.<>) 'p' THEN pg_catalog.format_type(t.oid, NULL) END
FROM pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.oid[])

-- name: check_jsonb
SELECT pg_catalog.length((%s::pg_catalog.jsonb)::pg_catalog.text)

-- name: become
SELECT pg_catalog.set_config('role', %s, %s)

-- name: who_am_i
SELECT pg_catalog.pg_backend_pid(), r.oid::pg_catalog.int8 FROM pg_catalog.pg_roles r
WHERE r.rolname OPERATOR(pg_catalog.=) current_user

-- name: own_backend
SELECT df_engine.iso(a.backend_start) FROM pg_catalog.pg_stat_activity a
WHERE a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()

-- name: end_backend
SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
WHERE a.pid OPERATOR(pg_catalog.=) %s AND a.backend_start OPERATOR(pg_catalog.=) %s
