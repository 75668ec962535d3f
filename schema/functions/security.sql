-- What stands at the end of every installation, whatever default privileges the database has: nobody but the owner holds
-- anything on the engine's tables, nobody holds a whole ingress view (its owner column would be theirs to write), and of
-- the functions that run with the owner's rights only those listed here can be called by others.
--
-- Everything else that others may call in df_engine is SECURITY INVOKER: it can do what its caller can do.

DO $$
DECLARE
    -- SECURITY DEFINER, for everybody who may use the schema. Each proves who asks: by a worker's key, by a lease's token,
    -- by the login of the session, or it answers nothing that is not everybody's to know.
    _definers constant text[] := ARRAY[
        'alive_v1', 'autocommit_v1', 'beat_v1', 'block_v1', 'bodies_v1', 'claim_v1', 'commit_turns_v1', 'complete_v1',
        'dead_sessions_v1', 'deregister_v1', 'fail_v1', 'finish_step_v1', 'finish_v1', 'forget_sessions_v1', 'hello_v1',
        'http_policy_v1', 'idle_v1', 'load_v1', 'login_trouble_v1', 'observes', 'park_v1', 'postpone_v1', 'prune_v1',
        'reap_v1', 'release_v1', 'retake_v1', 'role_state_v1', 'secret_key_v1', 'secrets_v1', 'session_v1', 'setting'];
    -- SECURITY INVOKER, and of no use to anybody but the owner.
    _internal constant text[] := ARRAY[
        'append_facts', 'apply_turn', 'begin_execution', 'check_owner', 'check_proxy', 'check_seq', 'checked_setting',
        'clear_work', 'drain_inbox', 'drain_instance', 'drop_work', 'end_instance_waits', 'end_wait', 'ensure_turn',
        'finish', 'finish_step', 'fire_instance', 'fire_timers', 'floor_of', 'free_connections', 'http_may_call', 'http_rule_concerns',
        'http_rule_problem', 'http_rules', 'instance_result', 'is_admin', 'keep_floor', 'may_ask_about', 'new_id', 'proxy_of',
        'prune_batch', 'prune_ended', 'prune_executions', 'prune_iterations', 'prune_results', 'require_variable', 'result_text',
        'retention_bound', 'schedule', 'token_hash', 'wait_target', 'wake', 'warn_of_blocks', 'wake_holders', 'worker_of',
        'worker_privileges'];
    _f record;
    _r record;
BEGIN
    FOR _f IN SELECT p.oid::regprocedure AS name,
                     CASE WHEN p.prorettype = 'trigger'::regtype THEN false
                          WHEN p.prosecdef THEN p.proname = ANY (_definers)
                          ELSE p.proname <> ALL (_internal) END AS is_public
              FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'df_engine'::regnamespace LOOP
        EXECUTE format(CASE WHEN _f.is_public THEN 'GRANT EXECUTE ON FUNCTION %s TO PUBLIC'
                            ELSE 'REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC' END, _f.name);
    END LOOP;
    FOR _r IN SELECT c.oid::regclass AS name, c.relkind, a.grantee,
                     CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS who
              FROM pg_catalog.pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
              WHERE a.grantee <> c.relowner
                AND (c.relnamespace = 'df_engine'::regnamespace AND c.relkind IN ('r', 'p', 'S')
                         AND c.relname <> 'alembic_version'
                     OR c.relnamespace = 'df'::regnamespace AND (c.relkind IN ('r', 'p', 'S')
                         OR starts_with(c.relname, 'ingress_')))
              GROUP BY 1, 2, 3, 4 LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', CASE _r.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                       _r.name, _r.who);
    END LOOP;
END $$;
