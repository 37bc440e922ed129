-- Lists that grow: a line more is a line more, whoever else adds one.
\pset footer off
\pset format unaligned
-- The extension can be created in any schema, moved, and dropped without a
-- trace.  The test database has it already.
SELECT extversion, nspname, extrelocatable
FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
WHERE extname = 'clearout';

-- What it consists of, without what comes with a table by itself.
CREATE VIEW member AS
SELECT d.classid, d.objid, i.type, i.identity
FROM pg_depend d
	CROSS JOIN pg_identify_object(d.classid, d.objid, 0) i
WHERE d.refclassid = 'pg_extension'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout')
	AND d.deptype = 'e'
	AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
		WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
			AND (t.typelem <> 0 OR c.relkind <> 'c'));

SELECT type, identity FROM member ORDER BY type, identity COLLATE "C";

-- Each of these says what it is for; an identity sequence goes with its column.
SELECT type, identity
FROM member
WHERE type <> 'sequence' AND obj_description(objid, classid::regclass::name) IS NULL
ORDER BY type, identity COLLATE "C";

SELECT m.identity, a.attname
FROM member m LEFT JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
	JOIN pg_attribute a ON a.attrelid = coalesce(t.typrelid, m.objid)
WHERE (m.classid = 'pg_class'::regclass AND m.type IN ('table', 'view') OR t.typtype = 'c')
	AND a.attnum > 0 AND NOT a.attisdropped
	AND col_description(a.attrelid, a.attnum) IS NULL
ORDER BY m.identity COLLATE "C", a.attnum;

-- Every table has a primary key, and its rows go into a dump.
SELECT m.identity,
	EXISTS (SELECT FROM pg_index WHERE indrelid = m.objid AND indisprimary) AS primary_key,
	m.objid = ANY (e.extconfig) AS dumped
FROM member m, pg_extension e
WHERE m.type IN ('table', 'sequence') AND e.extname = 'clearout'
ORDER BY m.identity COLLATE "C";

-- clearout_results, clearout_spill and clearout_result begin with the same
-- columns, which the library takes for granted.
SELECT count(*) AS relations, count(DISTINCT columns) AS kinds
FROM (
	SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relname IN ('clearout_results', 'clearout_spill', 'clearout_result')
		AND a.attnum BETWEEN 1 AND 20
	GROUP BY c.oid
) AS relations;

-- Move it to a schema whose name needs quotes, with its rows.
INSERT INTO clearout_results (email, status, verified_at, source)
VALUES ('moved@example.com', 'valid', now(), 'instant');
CREATE SCHEMA "We ird";
ALTER EXTENSION clearout SET SCHEMA "We ird";
SELECT email, status, source FROM "We ird".clearout_verify('moved@example.com');
SELECT "We ird".clearout_normalize('Moved@Example.com');
CREATE ROLE regress_clearout_install;
SELECT "We ird".clearout_grant('regress_clearout_install', 'admin');
SELECT has_function_privilege('regress_clearout_install',
	'"We ird".clearout_verify(text, interval, interval, text)', 'execute');
SELECT "We ird".clearout_revoke('regress_clearout_install', 'admin');
SELECT state IS NOT NULL AS state FROM "We ird".clearout_status;

-- Dropped: nothing is left.
DROP VIEW member;
DROP EXTENSION clearout;
REVOKE USAGE ON SCHEMA "We ird" FROM regress_clearout_install;
DROP ROLE regress_clearout_install;
CREATE VIEW left_over AS
SELECT 'relation' AS type, relname AS name FROM pg_class WHERE relname LIKE 'clearout%'
UNION ALL SELECT 'function', proname FROM pg_proc WHERE proname LIKE 'clearout%'
UNION ALL SELECT 'type', typname FROM pg_type WHERE typname LIKE '%clearout%';
SELECT * FROM left_over;

-- Made in that schema from the start, then dropped together with it.
CREATE EXTENSION clearout SCHEMA "We ird";
INSERT INTO "We ird".clearout_results (email, status, verified_at, source)
VALUES ('valid@example.com', 'valid', now(), 'instant');
SELECT email, status, source FROM "We ird".clearout_verify('Valid@Example.com');
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA "We ird" CASCADE;
RESET client_min_messages;
SELECT * FROM left_over;
DROP VIEW left_over;

-- Rolled back, it has never been there.
BEGIN;
CREATE EXTENSION clearout;
ROLLBACK;
SELECT count(*) FROM pg_extension WHERE extname = 'clearout';

-- For the tests that follow.
CREATE EXTENSION clearout;
