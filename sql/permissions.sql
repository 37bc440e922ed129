-- Lists that grow: a line more is a line more, whoever else adds one.
\pset footer off
\pset format unaligned
-- Nothing that spends credits or reads addresses is for everybody.
CREATE ROLE regress_clearout_plain;
CREATE ROLE regress_clearout_verifier;
CREATE ROLE regress_clearout_reader;
CREATE ROLE "regress clearout admin";
CREATE ROLE regress_clearout_monitor IN ROLE pg_monitor;

-- What a role may do with the extension.
CREATE FUNCTION may(role name) RETURNS TABLE (privilege text, object text)
LANGUAGE sql AS $$
	SELECT 'EXECUTE', p.oid::regprocedure::text
	FROM pg_proc p WHERE proname LIKE 'clearout%' AND has_function_privilege(role, p.oid, 'EXECUTE')
	UNION ALL
	SELECT w, c.oid::regclass::text
	FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS w
	WHERE relname LIKE 'clearout%' AND relkind IN ('r', 'v') AND has_table_privilege(role, c.oid, w)
	ORDER BY 1, 2
$$;
SELECT * FROM may('regress_clearout_plain');
SELECT * FROM may('regress_clearout_monitor');

INSERT INTO clearout_results (email, status, verified_at, source)
VALUES ('valid@example.com', 'valid', now(), 'instant');

SET ROLE regress_clearout_plain;
SELECT clearout_normalize('Valid@Example.com');
\set VERBOSITY sqlstate
SELECT clearout_verify('valid@example.com');	-- 42501, stored or not
SELECT clearout_verify('malformed');	-- 42501
SELECT * FROM clearout_results;	-- 42501
SELECT * FROM clearout_spill;	-- 42501
SELECT * FROM clearout_status;	-- 42501
SELECT * FROM clearout_status_info();	-- 42501
SELECT clearout_grant('regress_clearout_plain', 'verify');	-- 42501
SELECT clearout_revoke('regress_clearout_plain', 'verify');	-- 42501
SELECT * FROM clearout_privileges('verify');	-- 42501
\set VERBOSITY default
RESET ROLE;

-- Who may verify learns about the address he names, and nothing else.
SELECT clearout_grant('regress_clearout_verifier', 'verify');
SELECT * FROM may('regress_clearout_verifier') EXCEPT SELECT * FROM may('regress_clearout_plain') ORDER BY 1, 2;
SET ROLE regress_clearout_verifier;
SELECT v.email, v.status, v.source FROM clearout_verify('Valid@example.com') AS v;
\set VERBOSITY sqlstate
SELECT clearout_verify('other@example.com');	-- VC001
SELECT * FROM clearout_results;	-- 42501
\set VERBOSITY default
RESET ROLE;

-- Who may read cannot spend.
SELECT clearout_grant('regress_clearout_reader', 'read');
SELECT * FROM may('regress_clearout_reader') EXCEPT SELECT * FROM may('regress_clearout_plain') ORDER BY 1, 2;
SET ROLE regress_clearout_reader;
SELECT email, status FROM clearout_results;
SELECT count(*) FROM clearout_spill;
SELECT count(*) FROM clearout_status;
\set VERBOSITY sqlstate
SELECT clearout_verify('valid@example.com');	-- 42501
DELETE FROM clearout_results;	-- 42501
\set VERBOSITY default
RESET ROLE;

-- An admin does both, and can remove answers; TRIGGER is for nobody.
SELECT clearout_grant('"regress clearout admin"', 'admin');
SELECT * FROM may('regress clearout admin') EXCEPT SELECT * FROM may('regress_clearout_plain') ORDER BY 1, 2;
SET ROLE "regress clearout admin";
DELETE FROM clearout_results WHERE email = 'valid@example.com' RETURNING email;
\set VERBOSITY sqlstate
SELECT clearout_verify('valid@example.com');	-- VC001
TRUNCATE clearout_results;	-- 42501
\set VERBOSITY default
RESET ROLE;

SET ROLE regress_clearout_monitor;
SELECT count(*) FROM clearout_status;
RESET ROLE;

-- Who may have handlers called reads the answers, and tends no others'.
CREATE ROLE regress_clearout_reactor;
SELECT clearout_grant('regress_clearout_reactor', 'react');
SELECT * FROM may('regress_clearout_reactor') EXCEPT SELECT * FROM may('regress_clearout_plain') ORDER BY 1, 2;
SELECT clearout_revoke('regress_clearout_reactor', 'react');
REVOKE USAGE ON SCHEMA public FROM regress_clearout_reactor;
DROP ROLE regress_clearout_reactor;

-- To take one word back leaves what another one has given.
CREATE ROLE regress_clearout_both;
SELECT clearout_grant('regress_clearout_both', 'enqueue'), clearout_grant('regress_clearout_both', 'find');
CREATE TABLE before AS SELECT * FROM may('regress_clearout_both');
SELECT clearout_revoke('regress_clearout_both', 'find');
SELECT * FROM before EXCEPT SELECT * FROM may('regress_clearout_both') ORDER BY 1, 2;
SELECT clearout_grant('regress_clearout_both', 'find');
SELECT clearout_revoke('regress_clearout_both', 'enqueue');
SELECT * FROM before EXCEPT SELECT * FROM may('regress_clearout_both') ORDER BY 1, 2;
SELECT clearout_revoke('regress_clearout_both', 'find');
SELECT count(*) FROM (SELECT * FROM may('regress_clearout_both') EXCEPT SELECT * FROM may('regress_clearout_plain')) AS m;
-- ... but from an admin any word is taken, and with "admin" all of them.
SELECT clearout_grant('regress_clearout_both', 'admin'), clearout_revoke('regress_clearout_both', 'find');
SELECT * FROM before EXCEPT SELECT * FROM may('regress_clearout_both') ORDER BY 1, 2;
SELECT clearout_revoke('regress_clearout_both', 'admin');
SELECT count(*) FROM (SELECT * FROM may('regress_clearout_both') EXCEPT SELECT * FROM may('regress_clearout_plain')) AS m;
DROP TABLE before;
REVOKE USAGE ON SCHEMA public FROM regress_clearout_both;
DROP ROLE regress_clearout_both;

-- A word that is none; nothing is granted then.
\set SHOW_CONTEXT never
SELECT clearout_grant('regress_clearout_plain', 'everything');
SELECT clearout_revoke('regress_clearout_plain', 'everything');
\set VERBOSITY sqlstate
SELECT clearout_grant('regress_clearout_nobody', 'read');	-- 42704
\set VERBOSITY default
SELECT clearout_grant('regress_clearout_plain', NULL);

-- Taken back, a role has what everybody has.
SELECT clearout_revoke('regress_clearout_verifier', 'verify');
SELECT clearout_revoke('regress_clearout_reader', 'read');
SELECT clearout_revoke('"regress clearout admin"', 'admin');
SELECT r.rolname, m.*
FROM pg_roles r, may(r.rolname) AS m
WHERE r.rolname IN ('regress_clearout_verifier', 'regress_clearout_reader', 'regress clearout admin')
	AND (m.privilege, m.object) NOT IN (SELECT privilege, object FROM may('regress_clearout_plain'));

DROP FUNCTION may;
REVOKE USAGE ON SCHEMA public FROM regress_clearout_verifier, regress_clearout_reader, "regress clearout admin";
DROP ROLE regress_clearout_plain, regress_clearout_verifier, regress_clearout_reader,
	"regress clearout admin", regress_clearout_monitor;
