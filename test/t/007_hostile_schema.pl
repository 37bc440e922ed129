# A superuser creates the extension in a schema in which somebody else may
# create objects, and has: nothing of the extension may come to use them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new;
my $node = clearout_node('main', $api, extension => 0);

sub sql { return value_of($node, @_) }

sql(q{
	CREATE ROLE attacker;
	CREATE SCHEMA home;
	GRANT CREATE, USAGE ON SCHEMA home TO attacker;
	CREATE TABLE trace (who name);
	GRANT INSERT ON trace TO PUBLIC;
	SET ROLE attacker;
	-- operators for arguments for which the server has none that fit exactly
	DO $plant$
	DECLARE
		types constant text[] := '{int2,int4,int8,float4,float8,numeric,text,varchar,name,bool,oid,date,timestamptz,timestamp,interval,jsonb,text[],int8[]}';
		operators constant text[] := '{+,-,*,/,%,=,<>,<,>,<=,>=,||,~,!~,->,->>}';
		l text;
		r text;
		o text;
		planted integer := 0;
		result text;
	BEGIN
		FOREACH l IN ARRAY types LOOP
			FOREACH r IN ARRAY types LOOP
				EXECUTE format('CREATE FUNCTION home.seize_boolean(%s, %s) RETURNS boolean LANGUAGE plpgsql AS'
					' $f$ BEGIN INSERT INTO public.trace VALUES (current_user); RETURN true; END $f$', l, r);
				EXECUTE format('CREATE FUNCTION home.seize_float(%s, %s) RETURNS float8 LANGUAGE plpgsql AS'
					' $f$ BEGIN INSERT INTO public.trace VALUES (current_user); RETURN 1; END $f$', l, r);
				FOREACH o IN ARRAY operators LOOP
					IF NOT EXISTS (SELECT FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace
							AND oprname = o AND oprleft = l::regtype AND oprright = r::regtype) THEN
						result := CASE WHEN o IN ('=', '<>', '<', '>', '<=', '>=', '~', '!~') THEN 'boolean' ELSE 'float' END;
						EXECUTE format('CREATE OPERATOR home.%s (FUNCTION = home.seize_%s, LEFTARG = %s, RIGHTARG = %s)', o, result, l, r);
						planted := planted + 1;
					END IF;
				END LOOP;
			END LOOP;
		END LOOP;
		RAISE NOTICE '% operators', planted;
	END $plant$;
	-- functions that the extension's own ones fit only with their defaults
	CREATE FUNCTION home.clearout_fresh_since(text) RETURNS timestamptz LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.trace VALUES (current_user); RETURN now(); END $$;
	CREATE FUNCTION home.clearout_enqueue(text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
	CREATE FUNCTION home.clearout_enqueue(text[]) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
	CREATE FUNCTION home.clearout_verify(text) RETURNS text LANGUAGE sql AS 'SELECT $$valid$$';
	CREATE FUNCTION home.clearout_report_page(jsonb) RETURNS text LANGUAGE sql AS 'SELECT $$$$';
	CREATE FUNCTION home.clearout_report_data() RETURNS jsonb LANGUAGE sql AS 'SELECT $${}$$::jsonb';
	CREATE FUNCTION home.clearout_normalize(varchar) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN INSERT INTO public.trace VALUES (current_user); RETURN 'evil@x.test'; END $$;
	-- and such as the server has for other types
	CREATE FUNCTION home.sum(integer) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
	CREATE FUNCTION home.round(float4) RETURNS float8 LANGUAGE sql AS 'SELECT 1::float8';
	CREATE FUNCTION home.format(text, name) RETURNS text LANGUAGE sql AS 'SELECT $$x$$';
	CREATE FUNCTION home.format(text, name, name) RETURNS text LANGUAGE sql AS 'SELECT $$x$$';
	CREATE FUNCTION home.format(text, name, name, text) RETURNS text LANGUAGE sql AS 'SELECT $$x$$';
	CREATE FUNCTION home.concat(text, text) RETURNS text LANGUAGE sql AS 'SELECT $$x$$';
	CREATE FUNCTION home.left(text, bigint) RETURNS text LANGUAGE sql AS 'SELECT $$x$$';
	CREATE FUNCTION home.generate_series(integer, bigint) RETURNS SETOF integer LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION home.to_char(timestamptz, name) RETURNS text LANGUAGE sql AS 'SELECT $$x$$';
	RESET ROLE;
	CREATE EXTENSION clearout SCHEMA home});

# A body in text is only understood when it is run, so those are run below.
is(sql(q{
	WITH member AS (
		SELECT d.classid, d.objid FROM pg_depend d WHERE d.deptype = 'e'
			AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout')),
	-- rules of views, defaults and constraints of tables
	part AS (
		SELECT classid, objid FROM member
		UNION SELECT d.classid, d.objid FROM pg_depend d JOIN member m ON d.refclassid = m.classid AND d.refobjid = m.objid
			WHERE d.deptype IN ('i', 'a', 'n') AND d.classid <> 'pg_extension'::regclass)
	SELECT string_agg(DISTINCT pg_describe_object(d.refclassid, d.refobjid, 0) || ' by ' || pg_describe_object(p.classid, p.objid, 0), E'\n')
	FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
	WHERE (d.refclassid = 'pg_operator'::regclass AND (SELECT oprowner FROM pg_operator WHERE oid = d.refobjid) = 'attacker'::regrole)
		OR (d.refclassid = 'pg_proc'::regclass AND (SELECT proowner FROM pg_proc WHERE oid = d.refobjid) = 'attacker'::regrole)}),
	'', 'no object of the extension depends on one of his');

foreach my $statement (
	'SELECT * FROM home.clearout_status', 'SELECT * FROM home.clearout_summary', 'SELECT * FROM home.clearout_usage',
	'SELECT * FROM home.clearout_jobs', 'SELECT * FROM home.clearout_handler_status', 'SELECT * FROM home.clearout_watches',
	'SELECT home.clearout_report_data(NULL::text[])', q{SELECT length(home.clearout_report(NULL::text, NULL::text))},
	q{SELECT length(home.clearout_report('SELECT email FROM home.clearout_results'::text, 'x'::text))},
	q{SELECT home.clearout_grant('attacker'::regrole, 'read'::text)}, q{SELECT home.clearout_revoke('attacker'::regrole, 'read'::text)},
	q{SELECT home.clearout_set_budget('attacker'::regrole, 10::bigint)}, q{SELECT home.clearout_set_budget('attacker'::regrole, NULL::bigint)},
	q{SELECT home.clearout_unverified('home.clearout_queue'::regclass, 'email'::name, NULL::interval)},
	q{SELECT home.clearout_refresh(NULL::interval, NULL::bigint, 0)}, q{SELECT home.clearout_expire('1 year'::interval, NULL::bigint)},
	q{SELECT home.clearout_forget('jane@x.test'::text)}, q{SELECT home.clearout_retry(), home.clearout_pause(), home.clearout_resume()},
	q{SELECT home.clearout_bulk_verify(ARRAY['list-1@x.test']::text[], NULL::interval, NULL::text, false)},
	q{SELECT home.clearout_enqueue('jane@x.test'::text, 0)}, q{SELECT home.clearout_enqueue(ARRAY['joe@x.test']::text[], 0)})
{
	is(sqlstate($node, qq{
			INSERT INTO home.clearout_results (email, status, verified_at, source) VALUES ('stored\@x.test', 'valid', now(), 'instant') ON CONFLICT DO NOTHING;
			SET search_path = home, public; $statement}), '00000', "$statement: runs");
	is(sql('SELECT count(*) FROM public.trace'), 0, 'without him');
	sql('TRUNCATE public.trace');
}

# A table with a column that his function fits better.
sql(q{CREATE TABLE customer (email varchar(100), status text);
	INSERT INTO customer VALUES ('Stored@x.test'), ('watched@x.test'), ('malformed');
	SELECT home.clearout_watch('customer'::regclass, 'email'::name, 'status'::name)});
is(sql('SELECT count(*) FROM public.trace'), 0, 'a table is watched without him');
is(sql(q{SELECT string_agg(status, ' ' ORDER BY email) FROM customer WHERE email <> 'watched@x.test'}), 'valid invalid', 'what is known is there');
ok($node->poll_query_until('postgres', q{SELECT status IS NOT NULL FROM customer WHERE email = 'watched@x.test'}), 'and the rest comes')
  or diag sql('SELECT row_to_json(w) FROM home.clearout_watches w');
is(sql('SELECT count(*) FROM public.trace'), 0, 'without him');

# The worker's own statements.
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM home.clearout_results WHERE email IN ('jane@x.test', 'joe@x.test', 'list-1@x.test')}), 'answers are stored');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM home.clearout_queue}), 'the queue is empty');
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM home.clearout_usage}), 'usage is written');
is(sql('SELECT count(*) FROM public.trace'), 0, 'without him');
$node->stop;
done_testing();
