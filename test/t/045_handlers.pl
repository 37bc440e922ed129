# Functions of users that are called with stored answers: each answer is
# delivered, as the role that asked for it, and whatever such a function does,
# answers and calls go on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(is_up wait_until worker_pid);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $SOON = 90;

$ENV{PGOPTIONS} = '-c client_min_messages=warning';

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $node = clearout_node('main', $api,
	handler_timeout => '30s',
	handler_attempts => 2,
	conf => "autovacuum = off\nlog_statement = none\nrestart_after_crash = on\nmax_prepared_transactions = 5\n");

sub sql { return value_of($node, @_) }

sub eventually
{
	my ($sql, $expected, $what) = @_;
	my $seen;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($SOON, sub { $seen = sql($sql); $seen eq $expected });
	is($seen, $expected, $what);
}

sub enqueue { return sql('SELECT clearout_enqueue(ARRAY[' . join(', ', map { "'$_\@x.test'" } @_) . '])') }

sub seen
{
	my ($names, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually(q{SELECT coalesce(string_agg(DISTINCT split_part(email, '@', 1), ' '), '') FROM app.log}, $names, $what);
}

# In milliseconds: short only where functions hang, so that a busy machine has
# time for all others.
sub set_timeout
{
	sql("ALTER SYSTEM SET clearout.handler_timeout = $_[0]");
	$node->reload;
	return;
}

sub reactor_pid { return sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'clearout reactor'}) }

# As nobody in particular, who owns the functions.
$node->safe_psql('postgres', q{
	CREATE ROLE app LOGIN;
	CREATE ROLE other LOGIN;
	CREATE SCHEMA app AUTHORIZATION app;
	SELECT clearout_grant('app', 'react');
	SET SESSION AUTHORIZATION app;
	CREATE TABLE app.log (n bigint GENERATED ALWAYS AS IDENTITY, email text, status text, source text, who name, path text, xid xid8);
	CREATE FUNCTION app.note(r public.clearout_result) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.log (email, status, source, who, path, xid)
		VALUES (r.email, r.status, r.source, current_user, current_setting('search_path'), pg_current_xact_id());
	END $$;
	CREATE FUNCTION app.note_all(r public.clearout_result[]) RETURNS bigint LANGUAGE sql AS $$
		WITH w AS (INSERT INTO app.log (email, status, source, who, path, xid)
			SELECT a.email, a.status, a.source, current_user, 'all', pg_current_xact_id() FROM unnest(r) AS a RETURNING 1)
		SELECT count(*) FROM w
	$$;
	CREATE FUNCTION app.bad(r public.clearout_result) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF r.email LIKE '%throw%' THEN RAISE EXCEPTION 'no % here', r.email; END IF;
		IF r.email LIKE '%hang%' THEN PERFORM pg_sleep(60); END IF;
		IF r.email LIKE '%deaf%' THEN
			BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
			LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;
		END IF;
		IF r.email LIKE '%end%' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
		PERFORM app.note(r);
	END $$;
});
my $as = 'SET SESSION AUTHORIZATION app; SET client_min_messages = warning;';

subtest 'registering' => sub {
	is(sqlstate($node, q{SET SESSION AUTHORIZATION other; SELECT clearout_add_handler('app.note(clearout_result)')}), '42501', 'not for everybody');
	foreach my $case (
		[ '42P13', q{CREATE FUNCTION app.f1(text) RETURNS void LANGUAGE sql AS ''; SELECT clearout_add_handler('app.f1(text)')} ],
		[ '42P13', q{CREATE FUNCTION app.f2(clearout_result, text DEFAULT '') RETURNS void LANGUAGE sql AS ''; SELECT clearout_add_handler('app.f2(clearout_result, text)')} ],
		[ '42P13', q{CREATE FUNCTION app.f3(clearout_result) RETURNS SETOF text LANGUAGE sql AS 'SELECT ''x'''; SELECT clearout_add_handler('app.f3(clearout_result)')} ],
		[ '42P13', q{CREATE PROCEDURE app.f4(clearout_result) LANGUAGE sql AS ''; SELECT clearout_add_handler('app.f4(clearout_result)')} ],
		[ '42P13', q{CREATE FUNCTION app.f5(anyelement) RETURNS void LANGUAGE sql AS ''; SELECT clearout_add_handler('app.f5(anyelement)')} ],
		[ '42883', q{SELECT clearout_add_handler('app.nothing(clearout_result)')} ],
		[ '00000', q{SELECT clearout_add_handler(NULL)} ],
		[ '25006', q{BEGIN READ ONLY; SELECT clearout_add_handler('app.note(clearout_result)')} ])
	{
		is(sqlstate($node, "$as $case->[1]"), $case->[0], $case->[1]);
	}

	# Who may not call the function, or not read the answers, cannot have it done.
	$node->safe_psql('postgres', q{SELECT clearout_grant('other', 'react')});
	is(sqlstate($node, q{SET SESSION AUTHORIZATION other; SELECT clearout_add_handler('app.note(clearout_result)'::regprocedure)}), '42501', 'no right on the schema');
	$node->safe_psql('postgres', q{GRANT USAGE ON SCHEMA app TO other; REVOKE EXECUTE ON FUNCTION app.note(clearout_result) FROM PUBLIC});
	is(sqlstate($node, q{SET SESSION AUTHORIZATION other; SELECT clearout_add_handler('app.note(clearout_result)')}), '42501', 'nor on the function');
	$node->safe_psql('postgres', q{GRANT EXECUTE ON FUNCTION app.note(clearout_result) TO other; REVOKE SELECT ON clearout_results FROM other});
	is(sqlstate($node, q{SET SESSION AUTHORIZATION other; SELECT clearout_add_handler('app.note(clearout_result)')}), '42501', 'nor on the answers');
	is(sqlstate($node, q{SET SESSION AUTHORIZATION other; INSERT INTO clearout_handlers (schema_name, function_name, takes_array, owner_name, role_name)
		VALUES ('app', 'note', false, 'app', 'postgres')}), '42501', 'nobody writes the table');

	enqueue('valid-before');
	eventually('SELECT count(*) FROM clearout_results', 1, 'an answer');
	is(sql('SELECT count(*) FROM clearout_outbox'), 0, 'without handlers nothing is written');
	is(reactor_pid(), '', 'nor is there a process');

	like(sql("$as SELECT clearout_add_handler('app.note(clearout_result)')"), qr/^\d+$/, 'registered');
	is(sqlstate($node, "$as SELECT clearout_add_handler('app.note(clearout_result)')"), '42710', 'not twice');
	is(sql("$as SELECT function || ' ' || role_name || ' ' || state FROM clearout_handler_status"), 'app.note(clearout_result) app ready', 'shown to its role');
	is(sql('SET SESSION AUTHORIZATION other; SELECT count(*) FROM clearout_handler_status'), 0, 'and not to others');
	is(sqlstate($node, q{SET SESSION AUTHORIZATION other; SELECT clearout_drop_handler('app.note(clearout_result)')}), '42501', 'others cannot drop it');
};

subtest 'delivery' => sub {
	enqueue(map { "valid-$_" } 1 .. 200);
	eventually('SELECT count(*) FROM app.log', 200, 'each answer');
	is(sql('SELECT count(DISTINCT email) FROM app.log'), 200, 'once');
	is(sql(q{SELECT DISTINCT status || ' ' || source || ' ' || who || ' ' || path FROM app.log}), 'valid stored app pg_catalog, pg_temp', 'as the role, with a pinned search_path');
	cmp_ok(sql('SELECT count(DISTINCT xid) FROM app.log'), '<', 150, 'many in one transaction');
	eventually('SELECT count(*) FROM clearout_outbox', 0, 'the outbox is empty');
	is(sql(q{SELECT delivered FROM clearout_handler_status}), 200, 'they are counted');

	is(sql(q{SELECT status FROM clearout_verify('invalid-now@x.test')}), 'invalid', 'an answer that somebody waits for');
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'invalid-now@x.test'}, 1, 'is delivered too');
	sql(q{SELECT clearout_verify('invalid-now@x.test')});
	sleep 0.2;
	is(sql(q{SELECT count(*) FROM app.log WHERE email = 'invalid-now@x.test'}), 1, 'one that was stored already is not');

	# A row that was enqueued before its answer came and committed after it:
	# whoever enqueued it is told.
	my $session = $node->background_psql('postgres', timeout => 180);
	$session->query_safe(q{BEGIN; SELECT clearout_enqueue('valid-race@x.test')});
	sql(q{SELECT clearout_verify('valid-race@x.test')});
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-race@x.test'}, 1, 'the answer comes first');
	$session->query_safe('COMMIT');
	$session->quit;
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-race@x.test'}, 2, 'the row of the queue second');
	is($api->calls('valid-race@x.test'), 1, 'by one call');

	# By way of the spill: delivered when it is merged, once.
	sql(q{SELECT clearout_verify('valid-spill@x.test')});
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-spill@x.test'}, 1, 'an answer');
	$session = $node->background_psql('postgres', timeout => 180);
	$session->query_safe(q{BEGIN; SELECT FROM clearout_results WHERE email = 'valid-spill@x.test' FOR UPDATE});
	sql(q{SELECT clearout_verify('valid-spill@x.test', max_age => '0')});
	is(sql('SELECT count(*) FROM clearout_spill'), 1, 'another lies aside');
	sleep 0.2;
	is(sql(q{SELECT count(*) FROM app.log WHERE email = 'valid-spill@x.test'}), 1, 'and is not delivered yet');
	$session->query_safe('COMMIT');
	$session->quit;
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-spill@x.test'}, 2, 'merged, it is');

	# Tables of ours that are locked: the answer goes aside, nobody waits.
	$session = $node->background_psql('postgres', timeout => 180);
	$session->query_safe(q{BEGIN; LOCK TABLE clearout_outbox, clearout_handlers IN ACCESS EXCLUSIVE MODE});
	my $begin = time;
	is(sql(q{SELECT status FROM clearout_verify('valid-locked@x.test')}), 'valid', 'the outbox is locked: an answer comes all the same');
	cmp_ok(time - $begin, '<', 30, 'soon');
	$session->query_safe('COMMIT');
	$session->quit;
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-locked@x.test'}, 1, 'and is delivered afterwards');
};

subtest 'an array at a time' => sub {
	sql('TRUNCATE app.log');
	is(sql("$as SELECT clearout_drop_handler('app.note(clearout_result)')"), 't', 'one is dropped');
	is(sql("$as SELECT clearout_drop_handler('app.note(clearout_result)')"), 'f', 'once');
	like(sql("$as SELECT clearout_add_handler('app.note_all(clearout_result[])')"), qr/^\d+$/, 'another is registered');
	enqueue(map { "valid-a$_" } 1 .. 500);
	eventually('SELECT count(*) FROM app.log', 500, 'each answer');
	is(sql('SELECT count(DISTINCT email) FROM app.log'), 500, 'once');
	cmp_ok(sql('SELECT count(DISTINCT xid) FROM app.log'), '<', 150, 'in few transactions');
	is(sql("$as SELECT clearout_drop_handler('app.note_all(clearout_result[])')"), 't', 'dropped');
};

subtest 'what goes wrong' => sub {
	sql('TRUNCATE app.log');
	my $id = sql("$as SELECT clearout_add_handler('app.bad(clearout_result)')");

	set_timeout(1000);
	enqueue(qw(valid-b1 valid-throw valid-b2 valid-hang valid-b3));
	seen('valid-b1 valid-b2 valid-b3', 'neighbours of what it throws and hangs on are delivered');
	eventually("SELECT string_agg(split_part(email, '\@', 1) || ' ' || attempts, ', ' ORDER BY email) FROM clearout_outbox WHERE failed_at IS NOT NULL",
		'valid-hang 2, valid-throw 2', 'these end after the attempts allowed');
	is(sql(q{SELECT string_agg(last_error, ' ' ORDER BY email) FROM clearout_outbox}),
		'The call took longer than 1000 ms (clearout.handler_timeout). no valid-throw@x.test here', 'with their errors');
	is(sql("$as SELECT failed FROM clearout_handler_status"), 2, 'the role sees how many');
	is(sql("$as SELECT string_agg(split_part(email, '\@', 1), ' ' ORDER BY email) FROM clearout_handler_failures"), 'valid-hang valid-throw', 'and which');
	is(sqlstate($node, "$as SELECT * FROM clearout_outbox"), '42501', 'not the table');
	is(sql(q{SELECT status FROM clearout_results WHERE email = 'valid-throw@x.test'}), 'valid', 'the answer is not touched');
	unlike(slurp_file($node->logfile), qr/valid-throw\@x\.test/, 'no address in the log');

	# A handler that hangs holds up no call.
	set_timeout(60_000);
	enqueue('valid-hang2');
	my $hangs = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clearout reactor' AND state = 'active' AND query LIKE '%app.bad%'};
	eventually($hangs, 1, 'it hangs');
	my $since = sql(q{SELECT query_start FROM pg_stat_activity WHERE backend_type = 'clearout reactor'});
	is(sql(q{SELECT status FROM clearout_verify('valid-meanwhile@x.test')}), 'valid', 'a call meanwhile');
	is(sql("$hangs AND query_start = '$since'"), 1, 'does not wait for it');
	set_timeout(1000);
	sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'clearout reactor'});
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-meanwhile@x.test'}, 1, 'and is delivered');

	# What catches the cancel: the process ends, and the next one knows.
	enqueue('valid-deaf', 'valid-b4');
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-b4@x.test'}, 1, 'the neighbour of one that cannot be cancelled');
	eventually(q{SELECT attempts || ' ' || last_error FROM clearout_outbox WHERE email = 'valid-deaf@x.test' AND failed_at IS NOT NULL},
		'2 The process was ended during the call.', 'which ends with the process');

	# As a superuser, one can end the process.
	$node->safe_psql('postgres', q{CREATE FUNCTION public.ends(r clearout_result) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN PERFORM app.bad(r); END $$; SELECT clearout_add_handler('public.ends(clearout_result)')});
	enqueue('valid-end', 'valid-b5');
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-b5@x.test'}, 2, 'the neighbour of one that ends the process, by both handlers');
	eventually(q{SELECT string_agg((role_name = 'app')::text || ' ' || attempts, ', ' ORDER BY role_name = 'app') FROM clearout_outbox o JOIN clearout_handlers h ON h.id = o.handler WHERE email = 'valid-end@x.test' AND failed_at IS NOT NULL},
		'false 2, true 2', 'both fail');
	# the words depend on the release
	like(sql(q{SELECT o.last_error FROM clearout_outbox o JOIN clearout_handlers h ON h.id = o.handler WHERE email = 'valid-end@x.test' AND role_name = 'app'}),
		qr/superuser|permission denied/, 'a plain role cannot');
	is(sql(q{SELECT clearout_drop_handler('public.ends(clearout_result)')}), 't', 'dropped');

	# Mended, all of it is delivered.
	$node->safe_psql('postgres', q{SET ROLE app; CREATE OR REPLACE FUNCTION app.bad(r public.clearout_result) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM app.note(r); END $$});
	cmp_ok(sql("$as SELECT clearout_retry_handlers()"), '>=', 5, 'another chance');
	eventually(q{SELECT count(*) FROM clearout_outbox}, 0, 'nothing is left');
	is(sql(q{SELECT count(DISTINCT email) FROM app.log WHERE email ~ 'throw|hang|deaf|end'}), 5, 'all is delivered');
	is(sql("SELECT clearout_drop_handler_by_id($id)"), 't', 'dropped by its number');
	set_timeout(30_000);
};

subtest 'rights' => sub {
	sql('TRUNCATE app.log');
	sql("$as SELECT clearout_add_handler('app.note(clearout_result)')");
	my @cases = (
		[ 'EXECUTE lost', 'REVOKE EXECUTE ON FUNCTION app.note(clearout_result) FROM app; ALTER FUNCTION app.note(clearout_result) OWNER TO other',
			'ALTER FUNCTION app.note(clearout_result) OWNER TO app; GRANT EXECUTE ON FUNCTION app.note(clearout_result) TO app', qr/belongs to another role/ ],
		[ 'no right to execute', 'REVOKE EXECUTE ON FUNCTION app.note(clearout_result) FROM app', 'GRANT EXECUTE ON FUNCTION app.note(clearout_result) TO app', qr/may not execute the function app.note/ ],
		[ 'answers not readable', 'REVOKE SELECT ON clearout_results FROM app', 'GRANT SELECT ON clearout_results TO app', qr/role "app" may not read clearout_results/ ],
		[ 'function renamed', 'ALTER FUNCTION app.note(clearout_result) RENAME TO old', 'ALTER FUNCTION app.old(clearout_result) RENAME TO note', qr/function app.note\(clearout_result\) does not exist/ ],
		[ 'role renamed', 'ALTER ROLE app RENAME TO gone', 'ALTER ROLE gone RENAME TO app', qr/role "app" does not exist/ ]);
	my $n = 0;

	foreach my $case (@cases)
	{
		my ($what, $break, $mend, $error) = @$case;

		$n++;
		$node->safe_psql('postgres', $break);
		enqueue("valid-r$n");
		eventually(q{SELECT last_error IS NOT NULL AND failures > 0 FROM clearout_handlers}, 't', "$what: the handler fails");
		like(sql('SELECT last_error FROM clearout_handlers'), $error, "$what: and says why");
		is(sql('SELECT count(*) FROM clearout_outbox WHERE failed_at IS NULL AND attempts = 0'), 1, "$what: the answer waits, and is not blamed");
		is(sql(q{SELECT status FROM clearout_verify('valid-r@x.test', max_age => '0')}), 'valid', "$what: calls go on");
		$node->safe_psql('postgres', $mend);
		sql('SELECT clearout_retry_handlers()');
		eventually("SELECT count(*) FROM app.log WHERE email = 'valid-r$n\@x.test'", 1, "$what: mended, it is delivered");
		eventually('SELECT count(*) FROM clearout_outbox', 0, "$what: nothing is left");
		sql('UPDATE clearout_handlers SET last_error = NULL');
	}

	# The function runs as the role, and cannot become another, nor leave
	# behind what would run as one.
	$node->safe_psql('postgres', q{
		CREATE TABLE public.secret (x int);
		SET SESSION AUTHORIZATION app;
		CREATE TABLE app.tried (what text, state text);
		CREATE TABLE app.parent (id int PRIMARY KEY);
		CREATE TABLE app.child (id int REFERENCES app.parent DEFERRABLE INITIALLY DEFERRED);
		CREATE FUNCTION app.deferred() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.tried VALUES ('deferred as ' || current_user, ''); RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER t AFTER INSERT ON app.parent DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.deferred();
		CREATE FUNCTION app.evil(r public.clearout_result) RETURNS void LANGUAGE plpgsql AS $$
		DECLARE command text;
		BEGIN
			FOREACH command IN ARRAY ARRAY['RESET ROLE', 'SET ROLE postgres', 'SET SESSION AUTHORIZATION DEFAULT',
				'SELECT FROM public.secret', 'SET session_replication_role = replica', 'INSERT INTO app.parent VALUES (1)', 'INSERT INTO app.child VALUES (1)',
				'CREATE TEMP TABLE x (i int)', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', 'SET CONSTRAINTS ALL DEFERRED', 'INSERT INTO app.parent VALUES (2)',
				'SET search_path = app', 'SET statement_timeout = 0', 'SELECT pg_advisory_lock(1)', 'RESET ALL']
			LOOP
				BEGIN
					EXECUTE command;
					INSERT INTO app.tried VALUES (command, 'done');
				EXCEPTION WHEN OTHERS THEN
					INSERT INTO app.tried VALUES (command, SQLSTATE);
				END;
			END LOOP;
			IF current_user <> 'app' THEN INSERT INTO app.tried VALUES ('user', current_user); END IF;
		END $$;
		SELECT public.clearout_add_handler('app.evil(public.clearout_result)');
	});
	enqueue('valid-evil');
	eventually(q{SELECT count(*) FROM app.tried WHERE what = 'RESET ALL'}, 1, 'it has tried');
	is(sql(q{SELECT string_agg(what || ': ' || state, E'\n') FROM app.tried}), join("\n",
		'RESET ROLE: 42501', 'SET ROLE postgres: 42501', 'SET SESSION AUTHORIZATION DEFAULT: 42501', 'SELECT FROM public.secret: 42501',
		'SET session_replication_role = replica: 42501', 'deferred as app: ', 'INSERT INTO app.parent VALUES (1): done', 'INSERT INTO app.child VALUES (1): done',
		'CREATE TEMP TABLE x (i int): 42501', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1: 42501', 'SET CONSTRAINTS ALL DEFERRED: done',
		'INSERT INTO app.parent VALUES (2): 42501',
		'SET search_path = app: done', 'SET statement_timeout = 0: done', 'SELECT pg_advisory_lock(1): done', 'RESET ALL: done'), 'what it may and what not')
		or diag sql('SELECT last_error FROM clearout_handlers');
	is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0, 'no lock is left');
	enqueue('valid-after');
	eventually(q{SELECT path FROM app.log WHERE email = 'valid-after@x.test'}, 'pg_catalog, pg_temp', 'nor a setting');
	sql("$as SELECT clearout_drop_handler('app.evil(clearout_result)')");
};

subtest 'locks' => sub {
	# In a deadlock with a session the handler is the victim; what it waits
	# for in vain is tried again, and counts as no failure.
	$node->safe_psql('postgres', q{SET ROLE app;
		CREATE TABLE app.account (id text PRIMARY KEY, n int DEFAULT 0); INSERT INTO app.account VALUES ('a'), ('b');
		CREATE FUNCTION app.both(r public.clearout_result) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			UPDATE app.account SET n = n + 1 WHERE id = 'a';
			UPDATE app.account SET n = n + 1 WHERE id = 'b';
		END $$;
		SELECT public.clearout_add_handler('app.both(public.clearout_result)')});
	my $session = $node->background_psql('postgres', on_error_stop => 0, timeout => 180);
	$session->query_safe(q{BEGIN; UPDATE app.account SET n = n + 100 WHERE id = 'b'});
	enqueue('valid-locks');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'clearout reactor')}), 'it waits for a row');
	$session->query_safe(q{UPDATE app.account SET n = n + 100 WHERE id = 'a'});
	$session->query_safe('COMMIT');
	$session->quit;
	eventually('SELECT string_agg(n::text, $$ $$) FROM app.account', '101 101', 'both have done their work');
	is(sql(q{SELECT max(failures) FROM clearout_handlers}), 0, 'no failure');
	sql("$as SELECT clearout_drop_handler('app.both(clearout_result)')");
};

subtest 'the process' => sub {
	sql('TRUNCATE app.log');
	enqueue('valid-p1');
	eventually('SELECT count(*) FROM app.log', 1, 'delivered');
	is(sql(q{SELECT application_name || ' ' || datname FROM pg_stat_activity WHERE backend_type = 'clearout reactor'}), 'clearout reactor postgres', 'in pg_stat_activity');
	eventually(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clearout reactor'}, 0, 'with nothing to do it leaves');

	# Commands that want nobody connected.
	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	$node->safe_psql('shop', q{CREATE EXTENSION clearout;
		CREATE FUNCTION slow(r clearout_result) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
			BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(60); END; END $$;
		SELECT clearout_add_handler('slow(clearout_result)');
		SELECT clearout_grant('app', 'react')});
	set_timeout(60_000);
	my $calling = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clearout reactor' AND datname = 'shop' AND state = 'active'};
	is(value_of($node, q{SELECT clearout_enqueue('valid-s1@x.test')}, 'shop'), 't', 'in another database');
	eventually($calling, 1, 'a handler runs');
	my $begin = time;
	$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
	cmp_ok(time - $begin, '<', 30, 'CREATE DATABASE ... TEMPLATE does not wait for it');
	eventually($calling, 1, 'it is called again');
	$begin = time;
	$node->safe_psql('postgres', 'ALTER DATABASE shop RENAME TO store');
	cmp_ok(time - $begin, '<', 30, 'nor does RENAME');
	$calling =~ s/shop/store/;
	eventually($calling, 1, 'it is called again');

	# The copy does nothing until told to.
	ok(worker_pid($node, 'copy'), 'the copy has a worker');
	is(value_of($node, q{SELECT count(*) FROM clearout_outbox}, 'copy'), 1, 'and the row');
	is(value_of($node, q{SELECT state FROM clearout_handler_status}, 'copy'), 'copied', 'it says so');
	value_of($node, q{SELECT status FROM clearout_verify('valid-c1@x.test')}, 'copy');
	is(value_of($node, q{SELECT count(*) FROM clearout_outbox}, 'copy'), 2, 'answers there are noted');
	sleep 1;
	is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clearout reactor' AND datname = 'copy' AND state = 'active'}), 0, 'and not delivered');
	value_of($node, q{CREATE TABLE got (email text); CREATE OR REPLACE FUNCTION slow(r clearout_result) RETURNS void LANGUAGE sql AS 'INSERT INTO public.got VALUES (r.email)'; SELECT clearout_resume()}, 'copy');
	ok(wait_until($SOON, sub { value_of($node, 'SELECT count(*) FROM got', 'copy') == 2 }), 'adopted, both are');

	$begin = time;
	is(sqlstate($node, 'DROP EXTENSION clearout CASCADE', 'store'), '00000', 'DROP EXTENSION');
	cmp_ok(time - $begin, '<', 30, 'does not wait');
	is(sqlstate($node, 'CREATE EXTENSION clearout', 'store'), '00000', 'created again');
	value_of($node, q{CREATE FUNCTION slow(r clearout_result) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(60)'; SELECT clearout_add_handler('slow(clearout_result)')}, 'store');
	ok(worker_pid($node, 'store'), 'a worker');
	value_of($node, q{SELECT clearout_enqueue('valid-s2@x.test')}, 'store');
	eventually($calling, 1, 'a handler runs');
	$begin = time;
	is(sqlstate($node, 'DROP DATABASE store'), '00000', 'DROP DATABASE');
	cmp_ok(time - $begin, '<', 30, 'does not wait');
	is(sqlstate($node, 'DROP DATABASE copy'), '00000', 'and the copy');
	set_timeout(30_000);
};

subtest 'crash' => sub {
	sql('TRUNCATE app.log');
	# some are delivered, and it has begun with another
	my ($locker, $victim);
	$api->hold(pattern => 'valid-k*', after => 150);
	enqueue(map { "valid-k$_" } 1 .. 300);
	ok(wait_until($SOON, sub { sql('SELECT count(*) > 20 FROM app.log') eq 't' }), 'deliveries are under way');
	$locker = $node->background_psql('postgres', on_error_stop => 0, timeout => 180);
	$locker->query_safe('BEGIN; LOCK TABLE app.log IN SHARE ROW EXCLUSIVE MODE');
	$api->release;
	ok(wait_until($SOON, sub { $victim = sql(q{SELECT min(a.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.backend_type = 'clearout reactor'}) }),
		'one is being made');
	kill 'KILL', $victim if $victim;
	eval { $locker->quit };
	ok(wait_until(60, sub { is_up($node) }), 'the server recovers');
	eventually('SELECT count(*) FROM clearout_queue', 0, 'the queue is worked off');
	eventually('SELECT count(*) FROM clearout_outbox', 0, 'and the outbox');
	is(sql('SELECT count(DISTINCT email) || $$ $$ || count(*) FROM app.log'), '300 300', 'each is delivered, with its effect once');

	# What a restart finds.
	my $session = $node->background_psql('postgres', timeout => 180);
	$session->query_safe('BEGIN; LOCK TABLE app.log IN ACCESS EXCLUSIVE MODE');
	enqueue('valid-restart');
	eventually('SELECT count(*) FROM clearout_outbox', 1, 'one waits');
	$node->stop('immediate');
	eval { $session->quit };
	$node->start;
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-restart@x.test'}, 1, 'is delivered after the start');
};

subtest 'no process to be had' => sub {
	sql(q{ALTER SYSTEM SET max_worker_processes = 3});
	$node->restart;
	ok(worker_pid($node), 'room for the launchers, ours and the server\'s, and the worker');
	enqueue('valid-room');
	eventually(q{SELECT hindrance FROM clearout_handler_status}, 'No background worker is free: max_worker_processes is used up.', 'it says what is missing');
	is(sql('SELECT count(*) FROM clearout_outbox'), 1, 'the row waits');
	sql(q{ALTER SYSTEM RESET max_worker_processes});
	$node->restart;
	eventually(q{SELECT count(*) FROM app.log WHERE email = 'valid-room@x.test'}, 1, 'and is delivered when there is room');
};

subtest 'NOTIFY' => sub {
	my $listener = $node->background_psql('postgres', timeout => 180);
	$listener->query_safe('LISTEN answers');
	sql(q{SELECT clearout_verify('valid-n0@x.test')});
	my $pid = worker_pid($node);
	sql(q{ALTER DATABASE postgres SET clearout.notify_channel = 'answers'});
	ok(wait_until($SOON, sub { my $new = worker_pid($node); $new && $new != $pid }), 'a worker that sees the setting');
	is(sql(q{SELECT status FROM clearout_verify('valid-n1@x.test')}), 'valid', 'an answer');
	my $id = sql(q{SELECT id FROM clearout_results WHERE email = 'valid-n1@x.test'});
	my $heard = '';
	wait_until($SOON, sub { $heard .= $listener->query('SELECT 1'); $heard =~ /notification/ });
	like($heard, qr/Asynchronous notification "answers" with payload "$id" received/, 'the number of the row');
	unlike($heard, qr/x\.test/, 'and no address');

	# Many, which are committed in groups.
	enqueue(map { "valid-n-$_" } 1 .. 300);
	eventually(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-n-%'}, 300, 'many answers');
	my %numbers = map { $_ => 1 } split /\n/, sql(q{SELECT id FROM clearout_results WHERE email LIKE 'valid-n-%'});
	my %told;
	wait_until($SOON, sub { my $more = $listener->query('SELECT 1'); $told{$_} = 1 foreach $more =~ /with payload "(\d+)" received/g; keys %told >= 300 });
	is_deeply(\%told, \%numbers, 'the number of each');
	$listener->quit;
	sql('ALTER DATABASE postgres RESET clearout.notify_channel');
	is(sqlstate($node, q{SET clearout.notify_channel = '} . ('x' x 64) . q{'}), '22023', 'a name that is too long');
};

$node->stop;
done_testing();
