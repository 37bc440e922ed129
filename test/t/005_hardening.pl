# What somebody could make of the extension who means ill or has bad luck:
# rights that are not his, words that are no text, memory that grows, limits
# that do not hold, and what others may not hear.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until worker_pid);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# What is told at once takes milliseconds; the bound is for a busy machine.
my $SOON = 25;

# psql speaks UTF-8 here, whatever the locale and the database say.
$ENV{PGCLIENTENCODING} = 'UTF8';
$ENV{PGOPTIONS} = '-c client_min_messages=warning';

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $node = clearout_node('main', $api,
	wait_timeout => '30s',
	max_attempts => 1,
	databases => 'postgres, latin1, other',
	conf => "autovacuum = off\nmax_prepared_transactions = 4\nlog_statement = none\n");
my $count = 0;

sub fresh
{
	my ($word) = @_;
	$count++;
	return ($word // 'valid') . "-$count\@clearout.test";
}

sub ask
{
	my ($email, $arguments) = @_;
	return "SELECT status || ' ' || source FROM clearout_verify('$email'" . ($arguments ? ", $arguments" : '') . ')';
}

sub heard
{
	my ($email, $arguments) = @_;
	my ($out, $state) = finish_psql(start_psql($node, ask($email, $arguments)));

	return "$out $state";
}

ok(poll_status($node, q{state = 'running'}), 'a worker runs');

subtest 'who owns the table' => sub {
	my $calls = $api->total_calls;
	my @known = map { fresh() } 1 .. 5;

	is(heard($_), 'valid service 00000', 'a row') foreach @known;
	$node->safe_psql('postgres', q{
		CREATE ROLE app LOGIN;
		CREATE ROLE verifier LOGIN;
		SELECT clearout_grant('verifier', 'verify');
		GRANT CREATE ON SCHEMA public TO app;
		ALTER TABLE clearout_results OWNER TO app;
		CREATE TABLE trace (who name, what text);
		GRANT INSERT ON trace TO PUBLIC});

	# It notes who runs it, and takes what there is to take.
	$node->safe_psql('postgres', q{
		SET SESSION AUTHORIZATION app;
		CREATE FUNCTION act(what text) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO public.trace VALUES (current_user, what);
			IF current_user <> 'app' THEN
				ALTER ROLE app SUPERUSER;
			END IF;
		EXCEPTION WHEN OTHERS THEN
			RAISE WARNING '%', SQLERRM;
		END $$;
		-- what is immutable may change nothing itself
		CREATE FUNCTION evil(what text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
		BEGIN
			PERFORM public.act(what);
			RETURN 1;
		END $$;
		CREATE FUNCTION evil_text(what text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
		BEGIN
			PERFORM public.evil('expression');
			RETURN what;
		END $$});
	my $escaped = sub {
		return value_of($node, q{SELECT count(*) FROM trace WHERE who <> 'app'}) . ' '
		  . value_of($node, q{SELECT rolsuper FROM pg_roles WHERE rolname = 'app'});
	};
	my $look = sub {
		my ($what) = @_;
		my $new = fresh();

		# Each in a session of its own: it has no index open yet.
		$node->safe_psql('postgres', 'TRUNCATE trace');
		is(heard($known[0]), 'valid stored 00000', "$what: a superuser looks a stored one up");
		is( value_of($node, 'SET SESSION AUTHORIZATION verifier; ' . ask($known[1])),
			'valid stored', "$what: so does a role that may verify");
		is(heard($known[2], q{max_age => '0'}), 'valid service 00000', "$what: asked again");
		is(heard($new), 'valid service 00000', "$what: a new one");
		is(heard($new), 'valid stored 00000', "$what: which is found again");
		is($escaped->(), '0 f', "$what: nothing of the owner's ran with other rights");
		is($api->calls($new), 1, "$what: one call");
		return;
	};

	$look->('no index of his');

	# Of two that fit the first by OID would be taken: the key is made anew.
	foreach my $case (
		[ 'predicate', q{CREATE INDEX his ON clearout_results (email) WHERE evil('predicate') = 1} ],
		[ 'expression', q{CREATE INDEX his ON clearout_results (evil_text(email) COLLATE "C")} ],
		[ 'both', q{CREATE UNIQUE INDEX his ON clearout_results ((email || '' COLLATE "C")) WHERE evil('both') = 1} ],
		[ 'another collation', q{CREATE INDEX his ON clearout_results (email COLLATE "POSIX")} ],
		[ 'two columns', q{CREATE INDEX his ON clearout_results (email, evil_text(status))} ])
	{
		my ($what, $create) = @$case;

		$node->safe_psql('postgres', "SET SESSION AUTHORIZATION app; $create");
		$node->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY clearout_results_pkey');
		is( value_of($node, q{SELECT 'his'::regclass::oid < 'clearout_results_pkey'::regclass::oid}),
			't', "$what: his index comes first");
		$look->($what);
		$node->safe_psql('postgres', 'DROP INDEX his');
	}

	# An operator class: only a superuser makes one, and may have done so for him.
	$node->safe_psql('postgres', q{
		CREATE FUNCTION evil_compare(a text, b text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
		BEGIN
			PERFORM public.evil('operator class');
			RETURN CASE WHEN a COLLATE "C" < b THEN -1 WHEN a COLLATE "C" > b THEN 1 ELSE 0 END;
		END $$;
		CREATE OPERATOR CLASS evil_ops FOR TYPE text USING btree AS
			OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
			FUNCTION 1 evil_compare(text, text);
		ALTER FUNCTION evil_compare(text, text) OWNER TO app;
		CREATE INDEX his ON clearout_results (email evil_ops);
		REINDEX INDEX CONCURRENTLY clearout_results_pkey});
	$look->('operator class');
	$node->safe_psql('postgres', 'DROP OPERATOR FAMILY evil_ops USING btree CASCADE');

	# Triggers, a default and a constraint run with his rights, whenever.
	$node->safe_psql('postgres', q{
		SET SESSION AUTHORIZATION app;
		CREATE FUNCTION evil_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM public.evil('trigger');
			RETURN NEW;
		END $$;
		CREATE TRIGGER his BEFORE INSERT OR UPDATE ON clearout_results FOR EACH ROW EXECUTE FUNCTION evil_trigger();
		ALTER TABLE clearout_results ENABLE ALWAYS TRIGGER his, ADD CHECK (evil('check') = 1) NOT VALID,
			ALTER attempt_reason SET DEFAULT evil_text('')});
	$look->('trigger, constraint and default');
	cmp_ok(value_of($node, 'SELECT count(*) FROM trace'), '>', 0, 'trigger, constraint and default: they did run');

	# At the commit, where nobody has changed rights any more.
	$node->safe_psql('postgres', q{
		SET SESSION AUTHORIZATION app;
		DROP TRIGGER his ON clearout_results;
		CREATE CONSTRAINT TRIGGER his AFTER INSERT OR UPDATE ON clearout_results
			DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil_trigger();
		ALTER TABLE clearout_results ENABLE ALWAYS TRIGGER his});
	$look->('deferred trigger');
	$node->safe_psql('postgres', 'DROP TRIGGER his ON clearout_results;
		ALTER TABLE clearout_results DROP CONSTRAINT clearout_results_check, ALTER attempt_reason DROP DEFAULT');

	# The row is locked: the spill has another owner.
	my $session = $node->background_psql('postgres', on_error_stop => 0, timeout => 120);
	$session->query_safe("BEGIN; SELECT FROM clearout_results WHERE email = '$known[3]' FOR UPDATE;");
	is(heard($known[3], q{max_age => '0'}), 'valid service 00000', 'a locked row');
	is(value_of($node, "SELECT count(*) FROM clearout_spill WHERE email = '$known[3]' AND error IS NULL"), 1, 'lies aside');
	$session->query_safe('COMMIT');
	$session->quit;
	ok( $node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM clearout_spill WHERE email = '$known[3]')"),
		'and is merged');
	is($api->calls($known[3]), 2, 'by one more call');

	# Columns of other types: what lies there would be taken for a pointer.  The
	# server itself refuses that as long as functions or views need the column.
	$node->safe_psql('postgres', q{DO $$
		DECLARE o record;
		BEGIN
			FOR o IN SELECT DISTINCT i.type, i.identity
				FROM pg_depend d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
					CROSS JOIN pg_identify_object(CASE WHEN w.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END,
						coalesce(w.ev_class, d.objid), 0) i
				WHERE d.refobjid = 'clearout_results'::regclass AND d.refobjsubid > 0 AND i.type IN ('function', 'view')
			LOOP
				EXECUTE format('ALTER EXTENSION clearout DROP %s %s', o.type, o.identity);
				EXECUTE format('DROP %s %s', o.type, o.identity);
			END LOOP;
		END $$});
	my $pid = worker_pid($node);
	my $postmaster = value_of($node, 'SELECT pg_postmaster_start_time()');
	foreach my $case (
		[ 'status', 'bigint', '4096' ],
		[ 'reason', 'bigint', '4096' ],
		[ 'raw', 'text', q{repeat('x', 100)} ],
		[ 'verified_at', 'text', q{repeat('x', 100)} ])
	{
		my ($column, $type, $value) = @$case;

		$node->safe_psql('postgres', "CREATE TABLE saved AS SELECT email, $column AS was FROM clearout_results;
			SET SESSION AUTHORIZATION app;
			ALTER TABLE clearout_results ALTER $column TYPE $type USING $value");
		my ($out, $state) = finish_psql(start_psql($node, ask($known[0])));
		is("$out $state", ' 55000', "$column is a $type: refused");
		my $was = value_of($node, "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
			WHERE attrelid = 'saved'::regclass AND attname = 'was'");
		$node->safe_psql('postgres', "BEGIN;
			ALTER TABLE clearout_results ALTER $column DROP NOT NULL;
			ALTER TABLE clearout_results ALTER $column TYPE $was USING NULL::$was;
			UPDATE clearout_results r SET $column = was FROM saved s WHERE s.email = r.email;
			DROP TABLE saved;
			COMMIT");
	}
	is(heard($known[0]), 'valid stored 00000', 'put right');
	is(worker_pid($node), $pid, 'by the same worker');
	is(value_of($node, 'SELECT pg_postmaster_start_time()'), $postmaster, 'on the same server');
	is($escaped->(), '0 f', 'and nobody has become what he was not');

	$node->safe_psql('postgres', 'ALTER TABLE clearout_results OWNER TO CURRENT_USER; TRUNCATE clearout_results, clearout_spill');
};

subtest 'messages stay with their addresses' => sub {
	my @word = ([ a => 400, 'the Clearout service refused the request' ],
		[ b => 524, 'the Clearout service did not answer in time' ],
		[ c => 503, 'the Clearout service failed to answer' ]);

	$api->fault(pattern => "$_->[0]-*\@messages.test", status => $_->[1]) foreach @word;

	# More than are remembered, and in the second pass some still are.
	my $array = q{ARRAY(SELECT w || '-' || i || '@messages.test' FROM unnest(ARRAY['a', 'b', 'c']) w, generate_series(1, 60) i)};
	my $got = value_of($node, qq{
		SELECT left(x.email, 1), x.reason, y.reason, count(*), min(x.source), max(y.status)
		FROM clearout_verify($array, on_error => 'unknown') x
		JOIN clearout_verify($array, on_error => 'unknown') y USING (position)
		WHERE x.email = y.email
		GROUP BY 1, 2, 3 ORDER BY 1, 2, 3});
	is($got, join("\n", map { "$_->[0]|$_->[2]|$_->[2]|60|none|unknown" } @word), 'the array form, twice in one statement');

	$got = value_of($node, qq{
		SELECT left(e, 1), (v).reason, (v).source, (w).reason, count(*)
		FROM (SELECT e, clearout_verify(e, on_error => 'unknown') AS v, clearout_verify(e, on_error => 'unknown') AS w
			FROM unnest($array) e OFFSET 0) s
		GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3});
	is($got, join("\n", map { "$_->[0]|$_->[2]|none|$_->[2]|60" } @word), 'one by one');
	$api->clear;
};

subtest 'what is said is text' => sub {
	my $e = "\xc3\xa9";
	my $url = $api->url;
	my $file = $api->token_file;

	$node->safe_psql('postgres', q{CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'});
	$node->safe_psql('latin1', 'CREATE EXTENSION clearout');
	foreach my $database (qw(postgres latin1))
	{
		ok(poll_status($node, q{state = 'running'}, $database), "$database: a worker runs");
		# With a letter before, the cut falls between the two bytes.
		my @emails = map { fresh() } 1 .. 2;
		$node->safe_psql($database, qq{
			CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS \$\$
			BEGIN
				RAISE EXCEPTION '%', left('x', (NEW.email = '$emails[0]')::int) || repeat('$e', 300);
			END \$\$;
			CREATE TRIGGER complain BEFORE INSERT ON clearout_results FOR EACH ROW EXECUTE FUNCTION complain();
			ALTER TABLE clearout_results ENABLE ALWAYS TRIGGER complain});
		is(value_of($node, ask($_), $database), 'valid service', "$database: an answer that a trigger refuses") foreach @emails;
		is( value_of($node, "SELECT count(*) FROM clearout_spill WHERE error ~ '^x?$e+\$' AND length(error) > 100", $database),
			2, "$database: the reason lies beside it, and is text");
		my $words = value_of($node, 'SELECT email, error FROM clearout_spill ORDER BY email', $database);

		# Here no worker comes, which would merge them.
		my $copy = "copy_$database";
		my $dump = PostgreSQL::Test::Utils::tempdir_short() . "/$copy.sql";
		$node->safe_psql('postgres', "CREATE DATABASE $copy TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'");
		$node->command_ok([ 'pg_dump', '-d', $node->connstr($database), '-f', $dump ], "$database: pg_dump");
		$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($copy), '-f', $dump ], "$database: is restored");
		is(value_of($node, 'SELECT email, error FROM clearout_spill ORDER BY email', $copy), $words, "$database: with these reasons");
		$node->safe_psql('postgres', "DROP DATABASE $copy");
		$node->safe_psql($database, 'DROP TRIGGER complain ON clearout_results; DROP FUNCTION complain; TRUNCATE clearout_spill');

		# The name of a file is in whatever encoding, and has any length.
		foreach my $start ('', 'x')
		{
			my $name = "/$start" . ("$e" x 100 . '/') x 4 . 'token';

			$node->safe_psql('postgres', "ALTER DATABASE $database SET clearout.api_token_file = '$name'");
			ok(poll_status($node, q{state = 'not configured'}, $database), "$database: a token file that is not there");
			like(value_of($node, 'SELECT reason FROM clearout_status', $database), qr/^Token file "/, "$database: the reason can be read");
			is(value_of($node, "SELECT count(*) FROM clearout_status WHERE reason ~ '$e'", $database), 1, "$database: letters and all");
			is(sqlstate($node, ask(fresh()), $database), 'VC001', "$database: callers are told");
			like(error_of($node, ask(fresh()), $database), qr/DETAIL:  Token file "/, "$database: and why");
			is( value_of($node, q{SELECT source || (reason <> '') FROM clearout_verify('} . fresh() . q{', on_error => 'unknown')}, $database),
				'nonetrue', "$database: in a row too");
		}
		$node->safe_psql('postgres', "ALTER DATABASE $database RESET clearout.api_token_file");
		ok(poll_status($node, q{state = 'running'}, $database), "$database: put right");
	}

	# A message of the service's, of which ISO 8859-1 has only some letters.
	my $id = $api->fault(status => 400, message => "no \x{e9} \x{20ac}", times => 2);
	like(error_of($node, ask(fresh())), qr/no $e \xe2\x82\xac/, 'what the service says');
	like(error_of($node, ask(fresh()), 'latin1'), qr/no $e \?/, 'what ISO 8859-1 can say of it');
	$api->clear;
};

subtest 'settings of others' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE other; CREATE ROLE nobody LOGIN');
	$node->safe_psql('other', 'CREATE EXTENSION clearout');
	my ($mine, $other) = (worker_pid($node, 'postgres'), worker_pid($node, 'other'));
	ok($mine && $other, 'two workers');
	my $workers = sub {
		# Whoever is told to leave has gone when a call that came later is answered.
		is(heard(fresh()), 'valid service 00000', 'a call');
		is(value_of($node, ask(fresh()), 'other'), 'valid service', 'one in the other database');
		return worker_pid($node, 'postgres') . ' ' . worker_pid($node, 'other');
	};

	$node->safe_psql('postgres', $_) foreach
	  q{SET SESSION AUTHORIZATION nobody; ALTER ROLE nobody SET work_mem = '5MB'},
	  q{SET SESSION AUTHORIZATION nobody; ALTER ROLE nobody IN DATABASE postgres SET work_mem = '5MB'},
	  q{SET SESSION AUTHORIZATION nobody; ALTER ROLE nobody RESET ALL},
	  q{ALTER DATABASE template1 SET work_mem = '5MB'},
	  q{BEGIN; ALTER DATABASE postgres SET work_mem = '5MB'; ROLLBACK};
	is($workers->(), "$mine $other", 'what a role sets for itself, or somebody elsewhere, or not at all, moves no worker');

	$node->safe_psql('postgres', q{ALTER DATABASE other SET work_mem = '5MB'});
	ok(wait_until(60, sub { my $pid = worker_pid($node, 'other'); $pid && $pid != $other }), 'what is set for its database replaces a worker');
	$other = worker_pid($node, 'other');
	is($workers->(), "$mine $other", 'and no other');

	$node->safe_psql('postgres', q{BEGIN; ALTER DATABASE other SET work_mem = '6MB'; PREPARE TRANSACTION 'settings'});
	is($workers->(), "$mine $other", 'as long as it is prepared, nothing happens');
	$node->safe_psql('postgres', q{COMMIT PREPARED 'settings'});
	ok(wait_until(60, sub { my $pid = worker_pid($node, 'other'); $pid && $pid != $other }), 'with the commit it is replaced');
	is(value_of($node, ask(fresh()), 'other'), 'valid service', 'and works');

	($mine, $other) = (worker_pid($node, 'postgres'), worker_pid($node, 'other'));
	$node->safe_psql('postgres', q{ALTER ROLE ALL SET work_mem = '7MB'});
	ok(wait_until(60, sub { my $pid = worker_pid($node, 'other'); $pid && $pid != $other }), 'what is set for all replaces it');
	ok(wait_until(60, sub { my $pid = worker_pid($node, 'postgres'); $pid && $pid != $mine }), 'and others');
	$node->safe_psql('postgres', 'ALTER ROLE ALL RESET ALL; ALTER DATABASE other RESET ALL; ALTER DATABASE template1 RESET ALL');
	ok(poll_status($node, q{state = 'running'}), 'it runs');
};

subtest 'what the service says of an address' => sub {
	my $rest = 'ate-17@clearout.test';
	my $said = 'nothing is known of priv' . $rest;
	my $ask = sub { return "SELECT clearout_verify($_[0])" };
	my $own = "'priv' || '$rest'";

	$node->append_conf('postgresql.conf', "log_min_messages = warning\n");
	foreach my $verbosity (qw(terse default verbose))
	{
		$node->append_conf('postgresql.conf', "log_error_verbosity = $verbosity\n");
		$node->reload;
		ok($node->poll_query_until('postgres', "SELECT current_setting('log_error_verbosity') = '$verbosity'"), "log_error_verbosity = $verbosity");
		my $offset = -s $node->logfile;

		foreach my $case ([ 400, 'VC009' ], [ 503, 'VC007' ], [ 402, 'VC003' ], [ 401, 'VC002' ])
		{
			my ($status, $state) = @$case;

			$api->fault(status => $status, message => $said, times => 1);
			my $err = error_of($node, $ask->($own));
			like($err, qr/ERROR:  $state:/, "$status: the error");
			like($err, qr/^DETAIL:  .*\Q$said\E/m, "$status: with what the service said");
			next unless $status =~ /40[12]/;

			# Others are told that the service refuses, and no address of his.
			# (the balance may be asked for)
			my $calls = $api->stats->{by_endpoint}{verify};
			my $theirs = error_of($node, $ask->(q{'} . fresh() . q{'}));
			like($theirs, qr/ERROR:  $state:/, "$status: the next one is refused as well");
			unlike($theirs, qr/ate-17/, "$status: and is not told what was said to the first");
			is($api->stats->{by_endpoint}{verify}, $calls, "$status: without a call");
			unlike(value_of($node, 'SELECT s::text FROM clearout_status s'), qr/ate-17/, "$status: nor is the status");
			$node->reload;
			ok(poll_status($node, q{state = 'running'}), "$status: over");
		}
		$api->fault(status => 400, message => $said, times => 1);
		is( value_of($node, qq{DO \$\$ BEGIN PERFORM clearout_verify($own); EXCEPTION WHEN OTHERS THEN RAISE LOG 'caught %', SQLERRM; END \$\$; SELECT 1}),
			1, 'caught and logged by whoever asked');

		my $log = slurp_file($node->logfile, $offset);
		like($log, qr/the Clearout service refused the request/, 'the log has the errors');
		unlike($log, qr/privat/, 'and not what the service said');
	}
	$node->append_conf('postgresql.conf', "log_error_verbosity = default\n");
	$node->reload;
	is(heard(fresh()), 'valid service 00000', 'all is well');
};

subtest 'the limit of a statement' => sub {
	my $domain = 'limit.test';
	my $cursor = q{SET clearout.statement_limit = 3; BEGIN;
		DECLARE c CURSOR FOR SELECT (clearout_verify('valid-' || i || '@NAME')).status FROM generate_series(1, 20) i};
	my $asked = sub {
		my ($name) = @_;
		return scalar grep { $api->calls("valid-$_\@$name") } 1 .. 20;
	};
	my $run = sub {
		my ($name, @fetches) = @_;
		(my $declare = $cursor) =~ s/NAME/$name/;
		return (finish_psql(start_psql($node, (split /;\s*/, $declare), @fetches)))[1];
	};

	is($run->('three.test', 'FETCH 3 FROM c'), '00000', 'three of three');
	is($run->('one.test', ('FETCH 1 FROM c') x 3), '00000', 'one by one');
	is($run->('cursor.test', 'FETCH 2 FROM c', 'FETCH 2 FROM c'), '53400', 'a cursor is one statement, however often it is fetched from');
	is($asked->('cursor.test'), 3, 'with so many calls');
	is($run->('move.test', 'MOVE 2 FROM c', 'SELECT 1', 'MOVE 2 FROM c'), '53400', 'MOVE is no other way');
	is($asked->('move.test'), 3, 'with so many calls');
	is( (finish_psql(start_psql($node, 'SET clearout.statement_limit = 3',
		q{DO $$DECLARE r record; BEGIN FOR r IN SELECT (clearout_verify('valid-' || i || '@loop.test')).status FROM generate_series(1, 20) i LOOP END LOOP; END$$})))[1],
		'53400', 'a loop');
	is($asked->('loop.test'), 3, 'with so many calls');
	is( (finish_psql(start_psql($node, 'SET clearout.statement_limit = 3',
		q{SELECT clearout_verify('valid-' || i || '@statements.test') FROM generate_series(1, 3) i},
		q{SELECT clearout_verify('valid-' || i || '@statements.test') FROM generate_series(4, 6) i})))[1],
		'00000', 'the next statement has its own');
	is($asked->('statements.test'), 6, 'with so many calls');
};

subtest 'another try in the same statement' => sub {
	my $email = fresh();
	my $id = $api->fault(email => $email, status => 503, times => 2);

	is( value_of($node, qq{
			CREATE TABLE tries (n integer, what text);
			DO \$\$
			DECLARE
				answer clearout_result;
			BEGIN
				FOR n IN 1 .. 6 LOOP
					BEGIN
						answer := clearout_verify('$email');
						INSERT INTO tries VALUES (n, answer.status || ' ' || answer.source);
						EXIT;
					EXCEPTION WHEN SQLSTATE 'VC007' THEN
						INSERT INTO tries VALUES (n, 'failed');
						PERFORM pg_sleep(1.2);
					END;
				END LOOP;
			END \$\$;
			SELECT string_agg(what, ', ' ORDER BY n) FROM tries}),
		'failed, failed, valid service', 'failed twice, then answered');
	is($api->calls($email), 3, 'by three calls');

	# At once it is the same failure.
	$email = fresh();
	$api->fault(email => $email, status => 503, times => 2);
	is( value_of($node, qq{SELECT (v).reason = (w).reason, (v).source, (w).source FROM
			(SELECT clearout_verify('$email', on_error => 'unknown') AS v, clearout_verify('$email', on_error => 'unknown') AS w OFFSET 0) s}),
		't|none|none', 'twice in one row');
	is($api->calls($email), 1, 'is one call');
	$api->clear;
	is(heard($email), 'valid service 00000', 'and the next statement asks again');
};

subtest 'values beyond all measure' => sub {
	my $email = fresh();

	is(heard($email), 'valid service 00000', 'a row');
	foreach my $age ('-178000000 years', '-1 microsecond', '-1 day', '-100 years 1 day')
	{
		is(sqlstate($node, ask($email, "max_age => '$age'")), '22023', "max_age => '$age'");
		is(sqlstate($node, ask($email, "timeout => '$age'")), '22023', "timeout => '$age'");
	}
	is(heard($email, "max_age => '178000000 years'"), 'valid stored 00000', 'an age beyond the beginning of time');
	is(heard($email, "timeout => '178000000 years'"), 'valid stored 00000', 'a time beyond its end');
	is($api->calls($email), 1, 'one call');

	my ($mine, $other) = (worker_pid($node, 'postgres'), worker_pid($node, 'other'));
	foreach my $list ('a,,b', 'postgres,', ',postgres', 'postgres "other"', '"postgres')
	{
		is(sqlstate($node, "ALTER SYSTEM SET clearout.databases = '$list'"), '22023', "clearout.databases = '$list'");
		my $offset = -s $node->logfile;
		$node->append_conf('postgresql.conf', "clearout.databases = '$list'\n");
		$node->reload;
		ok( wait_until(60, sub { slurp_file($node->logfile, $offset) =~ /invalid value for parameter "clearout\.databases"/ }),
			'refused in the file as well');
	}
	is(value_of($node, 'SHOW clearout.databases'), 'postgres, latin1, other', 'the one before holds');
	is(heard(fresh()), 'valid service 00000', 'a call');
	is(value_of($node, ask(fresh()), 'other'), 'valid service', 'another');
	is(worker_pid($node, 'postgres') . ' ' . worker_pid($node, 'other'), "$mine $other", 'no worker has left');
	$node->append_conf('postgresql.conf', "clearout.databases = ''\n");
	$node->reload;
};

$node->stop;

subtest 'no process to be had' => sub {
	my $bare = PostgreSQL::Test::Cluster->new('bare');

	$bare->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$bare->append_conf('postgresql.conf', "fsync = off\nmax_logical_replication_workers = 4\n" . $api->conf);
	foreach my $case ([ 0, 'launcher' ], [ 1, 'launcher' ], [ 2, 'worker' ])
	{
		my ($processes, $missing) = @$case;
		my $email = fresh();

		$bare->append_conf('postgresql.conf', "max_worker_processes = $processes\nmax_parallel_workers = 0\n");
		$bare->start;
		$bare->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS clearout');
		foreach my $try (1 .. 2)
		{
			my $begin = time;
			my $err = error_of($bare, ask($email));
			like($err, qr/ERROR:  VC008:/, "$processes processes, no $missing: an error");
			like($err, qr/DETAIL:  .*max_worker_processes/, "$processes processes, no $missing: with the cause");
			cmp_ok(time - $begin, '<', $SOON, "$processes processes, no $missing: soon");
		}
		like(value_of($bare, q{SELECT reason FROM clearout_verify('} . $email . q{', on_error => 'unknown')}), qr/no Clearout worker/,
			"$processes processes, no $missing: in a row");
		is(value_of($bare, 'SELECT slots_used FROM clearout_status'), 0, "$processes processes, no $missing: nobody waits");
		is($api->calls($email), 0, "$processes processes, no $missing: no call");
		$bare->stop;
	}
	$bare->append_conf('postgresql.conf', "max_worker_processes = 8\n");
	$bare->start;
	ok(poll_status($bare, q{state = 'running'}), 'with processes, a worker comes');
	is(value_of($bare, ask(fresh())), 'valid service', 'and answers');
	$bare->stop;
};

subtest 'many who come and go' => sub {
	my $limited = ClearoutSandbox->new(limit => 20, window_ms => 60_000);
	my $busy = clearout_node('busy', $limited, wait_timeout => '30s', max_attempts => 1,
		conf => "autovacuum = off\nlog_statement = none\nlog_min_error_statement = panic\n");
	my $script = PostgreSQL::Test::Utils::tempdir_short() . '/flood.sql';
	my $transactions = 300;
	my $sessions = 50;
	my ($out, $err) = ('', '');
	my $memory = sub {
		my $text = slurp_file("/proc/$_[0]/status");
		return $text =~ /^RssAnon:\s+(\d+)/m ? $1 : 0;
	};

	append_to_file($script,
		"SELECT clearout_verify('valid-' || nextval('address') || '\@flood.test', timeout => '60ms', on_error => 'unknown');\n");
	$busy->safe_psql('postgres', 'CREATE SEQUENCE address');
	ok(poll_status($busy, q{state = 'running'}), 'a worker runs');
	is(value_of($busy, q{SELECT count(*) FROM clearout_verify(ARRAY(SELECT 'valid-' || i || '@first.test' FROM generate_series(1, 20) i)) WHERE source = 'service'}),
		20, 'the window is used up');
	my $patient = start_psql($busy, q{SELECT source FROM clearout_verify('valid@patient.test', timeout => '300s')});
	ok(poll_status($busy, 'requests_waiting = 1'), 'somebody waits for the next');

	my $flood = sub {
		my ($each) = @_;
		run_log([ 'pgbench', '-n', '-c', $sessions, '-j', 2, '-t', $each, '-f', $script, $busy->connstr('postgres') ],
			'>', \$out, '2>', \$err);
		my ($done) = $out =~ m{actually processed: (\d+)/};
		return $done;
	};
	my $pid = worker_pid($busy);
	is($flood->(10), 10 * $sessions, 'some come and go');
	my $before = $memory->($pid);
	is($flood->($transactions), $transactions * $sessions, 'many come and go') or diag $err;
	my $grown = $memory->($pid) - $before;
	note "the worker has grown by $grown kB from $before kB";
	cmp_ok($grown, '<', 8 * 1024, 'the worker has not grown with them');
	is(worker_pid($busy), $pid, 'and is the same');
	ok(poll_status($busy, 'slots_used <= 1'), 'their slots are free');
	is((finish_psql($patient))[0], 'service', 'who waited has his answer');
	ok(poll_status($busy, 'slots_used = 0'), 'all slots are free');
	is($limited->calls('valid@patient.test'), 1, 'by one call');
	cmp_ok($limited->total_calls, '<=', 80, 'no more calls than the windows allow');
	is($limited->stats->{rate_limited}, 0, 'none was refused');
	$busy->stop;
};

done_testing();
