-- Lists that grow: a line more is a line more, whoever else adds one.
\pset footer off
\pset format unaligned
-- Rules that hold for every object of the extension, whoever adds the next one.
CREATE VIEW member_function AS
SELECT p.oid, p.oid::regprocedure::text AS name, p.prolang, p.prosecdef, p.proconfig, p.prosqlbody, p.proacl
FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout')
	AND d.deptype = 'e';
SELECT count(*) > 10 AS functions FROM member_function;

-- What a function's text means must not depend on the caller's search_path.
-- C functions look nothing up by it (those that run SQL set their own), and a
-- body that was parsed when it was created has no names left to look up; the
-- others carry a search_path that ends with the temporary schema.  The one that
-- has none runs its caller's query, and names all else with its schema.
SELECT f.name, l.lanname, f.proconfig
FROM member_function f JOIN pg_language l ON l.oid = f.prolang
WHERE l.lanname NOT IN ('c', 'internal') AND f.prosqlbody IS NULL
	AND 'search_path=pg_catalog, pg_temp' <> ALL (coalesce(f.proconfig, '{}'))
ORDER BY f.name COLLATE "C";

-- None runs with other rights than those of its caller without a fixed path.
SELECT name FROM member_function
WHERE prosecdef AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%')
ORDER BY name COLLATE "C";

-- What everybody may execute: pure, local and free.
SELECT name FROM member_function
WHERE EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', 10))) AS a WHERE a.grantee = 0)
ORDER BY name COLLATE "C";

-- No table, view or sequence is for everybody, and none is for TRIGGER or
-- REFERENCES: what others hang on our tables would run as the worker.
SELECT c.relname, a.privilege_type, a.grantee::regrole
FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	CROSS JOIN aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) AS a
WHERE d.refclassid = 'pg_extension'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout')
	AND d.deptype = 'e'
	AND (a.grantee = 0 OR a.grantee <> c.relowner AND a.privilege_type IN ('TRIGGER', 'REFERENCES', 'TRUNCATE'))
ORDER BY 1, 2, 3;

-- A view shows what its owner may see; none of ours hides that from a planner
-- that pushes a caller's function down, since none filters by the caller.
SELECT c.relname, pg_get_viewdef(c.oid) ~* 'current_user|session_user|pg_has_role' AS filters_by_role
FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout')
	AND d.deptype = 'e' AND c.relkind = 'v'
	AND pg_get_viewdef(c.oid) ~* 'current_user|session_user|pg_has_role'
	AND NOT coalesce(c.reloptions && ARRAY['security_barrier=true', 'security_barrier=on'], false)
ORDER BY 1;

-- Somebody who may create objects in the extension's schema can add some of
-- the same name, for other types, and put a schema of his own in front.
CREATE ROLE regress_clearout_attacker;
CREATE SCHEMA regress_clearout_evil AUTHORIZATION regress_clearout_attacker;
SELECT extnamespace::regnamespace AS home FROM pg_extension WHERE extname = 'clearout' \gset
GRANT CREATE, USAGE ON SCHEMA :home TO regress_clearout_attacker;
SET ROLE regress_clearout_attacker;
CREATE TABLE regress_clearout_evil.trace (who name);
GRANT INSERT ON regress_clearout_evil.trace TO PUBLIC;
GRANT USAGE ON SCHEMA regress_clearout_evil TO PUBLIC;
CREATE FUNCTION regress_clearout_evil.seize() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO regress_clearout_evil.trace VALUES (current_user);
	RETURN true;
END $$;
-- in the extension's own schema, where the arguments are not quite those
CREATE FUNCTION :home.clearout_privileges(what varchar, VARIADIC more text[] DEFAULT '{}')
RETURNS TABLE (privilege text, object text) LANGUAGE sql AS
$$ SELECT 'ALL', 'SCHEMA ' || quote_ident('public') FROM regress_clearout_evil.seize() $$;
CREATE FUNCTION :home.clearout_origin(integer) RETURNS bigint LANGUAGE sql AS
$$ SELECT 1::bigint FROM regress_clearout_evil.seize() $$;
CREATE FUNCTION :home.clearout_normalize(email varchar) RETURNS text LANGUAGE sql AS
$$ SELECT 'evil@example.com'::text FROM regress_clearout_evil.seize() $$;
-- in front of everything
CREATE FUNCTION regress_clearout_evil.format(text, name) RETURNS text LANGUAGE sql AS
$$ SELECT 'x'::text FROM regress_clearout_evil.seize() $$;
CREATE FUNCTION regress_clearout_evil.now() RETURNS timestamptz LANGUAGE sql AS
$$ SELECT 'epoch'::timestamptz FROM regress_clearout_evil.seize() $$;
CREATE FUNCTION regress_clearout_evil.seize_text(text, text) RETURNS boolean LANGUAGE sql AS
$$ SELECT regress_clearout_evil.seize() $$;
CREATE OPERATOR regress_clearout_evil.= (FUNCTION = regress_clearout_evil.seize_text, LEFTARG = text, RIGHTARG = text);
CREATE TABLE regress_clearout_evil.clearout_results (email text, status text);
CREATE TABLE regress_clearout_evil.clearout_queue (email text);
RESET ROLE;

CREATE ROLE regress_clearout_victim;
CREATE TEMP TABLE clearout_results (email text, status text);
CREATE TEMP TABLE clearout_queue (email text);
SET search_path = pg_temp, regress_clearout_evil, pg_catalog, :home;
INSERT INTO :home.clearout_results (email, status, verified_at, source)
VALUES ('stored@example.com', 'valid', pg_catalog.now(), 'instant');
SELECT status, source FROM :home.clearout_verify('Stored@Example.com'::text);
SELECT :home.clearout_normalize('Jane@Example.com'::text);
SELECT :home.clearout_enqueue('queued@example.com'::text);
SELECT count(*) FROM :home.clearout_queue;
SELECT :home.clearout_refresh();
SELECT :home.clearout_retry();
SELECT :home.clearout_pause();
SELECT :home.clearout_resume();
SELECT state IS NOT NULL AS state FROM :home.clearout_status;
SELECT :home.clearout_grant('regress_clearout_victim', 'admin');
SELECT pg_catalog.has_table_privilege('regress_clearout_victim', pg_catalog.concat(:'home', '.clearout_results'), 'select');
SELECT :home.clearout_revoke('regress_clearout_victim', 'admin');
SELECT * FROM regress_clearout_evil.trace;
SELECT count(*) FROM regress_clearout_evil.clearout_queue;
SELECT count(*) FROM pg_temp.clearout_queue;
RESET search_path;
DROP TABLE pg_temp.clearout_queue, pg_temp.clearout_results;

DELETE FROM clearout_queue;
DELETE FROM clearout_results;
SET client_min_messages = warning;
DROP OWNED BY regress_clearout_attacker CASCADE;
DROP OWNED BY regress_clearout_victim;
DROP ROLE regress_clearout_attacker, regress_clearout_victim;
DROP VIEW member_function;
