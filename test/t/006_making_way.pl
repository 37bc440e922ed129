# What was paid for is kept, and nobody waits longer than he must, while others
# lock tables, rebuild indexes, drop databases, or end the worker.

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

# What waits for no lock takes milliseconds, what waits for one takes for ever;
# the bound is for a busy machine.
my $SOON = 25;

# For what the server itself waits: five seconds, and as long again by us.
my $REFUSED = 60;

$ENV{PGOPTIONS} = '-c client_min_messages=warning';

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $node = clearout_node('main', $api,
	wait_timeout => '60s',
	conf => "deadlock_timeout = 100ms\nautovacuum = off\nlog_statement = none\n");
my $count = 0;

sub fresh
{
	my ($word) = @_;
	$count++;
	return ($word // 'valid') . "-$count\@clearout.test";
}

sub session
{
	my ($begin) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0, timeout => 120);

	$session->query_safe($begin);
	return $session;
}

sub ask
{
	my ($email, $arguments) = @_;
	return "SELECT status || ' ' || source FROM clearout_verify('$email'" . ($arguments ? ", $arguments" : '') . ')';
}

# Asks in a session of its own, and says what came and whether it came soon.
sub soon
{
	my ($email, $arguments, $bound) = @_;
	my $begin = time;
	my ($out, $state) = finish_psql(start_psql($node, ask($email, $arguments)));

	return "$out $state" . (time - $begin < ($bound // $SOON) ? '' : ' late');
}

sub is_spilled
{
	my ($email) = @_;
	return value_of($node, "SELECT count(*) FROM clearout_spill WHERE email = '$email'");
}

# In the table, with nothing aside.
sub merged
{
	my ($email) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM clearout_results r WHERE email = '$email'
		 AND NOT EXISTS (SELECT FROM clearout_spill s WHERE s.email = r.email)");
}

sub start_in
{
	my ($database, $sql) = @_;
	return ClearoutStress::start_caller($node, $sql, $database);
}

ok(poll_status($node, q{state = 'running'}), 'a worker runs');

subtest 'locked for a moment' => sub {
	# The lock is let go so long after the question has reached the worker; it
	# says how long that was at most, in seconds.  The worker waits for half a
	# second: if it was more, because the machine was busy, nothing is shown.
	my $locked_for = sub {
		my ($seconds, @tables) = @_;
		return ('BEGIN; LOCK TABLE ' . join(', ', @tables) . ' IN ACCESS EXCLUSIVE MODE;' . qq{
			DO \$\$
			DECLARE
				since timestamptz := clock_timestamp();
			BEGIN
				FOR i IN 1 .. 12000 LOOP
					EXIT WHEN (SELECT requests_waiting > 0 FROM clearout_status_info());
					since := clock_timestamp();
					PERFORM pg_sleep(0.01);
				END LOOP;
				PERFORM pg_sleep($seconds);
				PERFORM set_config('locked.since', since::text, false);
			END \$\$;
			COMMIT}, q{SELECT extract(epoch FROM clock_timestamp() - current_setting('locked.since')::timestamptz)});
	};
	my $was_moment = sub { return $_[0] < 0.45 };
	my $is_locked = sub {
		return $node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks
			WHERE relation = 'clearout_results'::regclass AND mode = 'AccessExclusiveLock' AND granted});
	};

	foreach my $case ([ 0.1, 'clearout_results' ], [ 0.2, 'clearout_results' ], [ 0.2, 'clearout_results', 'clearout_spill' ])
	{
		my ($seconds, @tables) = @$case;
		my $what = "$seconds s, " . join ' and ', @tables;
		my $email;
		my $new = fresh();
		my ($heard, $for, $state);
		foreach my $try (1 .. 20)
		{
			$email = fresh();
			is(soon($email), 'valid service 00000', "$what: a row");
			my $locker = start_psql($node, $locked_for->($seconds, @tables));
			ok($is_locked->(), "$what: the table is locked");
			$heard = soon($email);
			($for, $state) = finish_psql($locker);
			is($state, '00000', "$what: the lock is gone");
			last if $was_moment->($for);
		}
		ok($was_moment->($for), "$what: after a moment");
		is($heard, 'valid stored 00000', "$what: the answer is waited for");
		is($api->calls($email), 1, "$what: and not paid for again");

		my $locker = start_psql($node, $locked_for->($seconds, @tables));
		ok($is_locked->(), "$what: locked again");
		is(soon($new), 'valid service 00000', "$what: what is not stored is asked");
		is((finish_psql($locker))[1], '00000', "$what: the lock is gone");
		is($api->calls($new), 1, "$what: once");
		ok(merged($new), "$what: and stored");
	}

	# Many who ask: none of them pays.
	my @known = map { fresh() } 1 .. 10;
	is(soon($_), 'valid service 00000', 'a row') foreach @known;
	my ($heard, $for, $calls);
	foreach my $try (1 .. 20)
	{
		$calls = $api->total_calls;
		my $locker = start_psql($node, $locked_for->(0.1, 'clearout_results'));
		ok($is_locked->(), 'the table is locked');
		$heard = value_of($node, q{SELECT string_agg(DISTINCT status || ' ' || source, ',') FROM clearout_verify(ARRAY['} . join(q{','}, @known) . q{'])});
		($for) = finish_psql($locker);
		last if $was_moment->($for);
	}
	ok($was_moment->($for), 'for a moment');
	is($heard, 'valid stored', 'ten at once');
	is($api->total_calls, $calls, 'without a call');

	# It lasts: the caller may hold it himself.
	my $session = session('BEGIN; LOCK TABLE clearout_results IN ACCESS EXCLUSIVE MODE;');
	my $before = $api->calls($known[0]);
	is(soon($known[0]), 'valid service 00000', 'a lock that lasts: the answer comes all the same');
	is($api->calls($known[0]), $before + 1, 'by another call');
	is(soon($known[0]), 'valid stored 00000', 'which holds for the next one');
	is($api->calls($known[0]), $before + 1, 'without a call');
	is($session->query(ask($known[1])), 'valid stored', 'who holds the lock himself sees what is stored');
	is($session->query(ask($known[1], q{max_age => '0'})), 'valid service', 'and has another answer when he wants one');
	is(sqlstate($node, ask($known[2], q{timeout => '0'})), 'VC006', 'no time, no call');
	$session->query_safe('ROLLBACK');
	$session->quit;
	ok(merged($_), 'merged') foreach @known[ 0, 1 ];
};

subtest 'an index that is being made anew' => sub {
	my ($email, $new) = (fresh(), fresh());

	is(soon($email), 'valid service 00000', 'a row');
	my $session = session('BEGIN; REINDEX INDEX clearout_results_pkey;');
	my $begin = time;
	my ($out, $state) = finish_psql(start_psql($node, ask($email, q{timeout => '1s'})));
	cmp_ok(time - $begin, '<', 1 + $SOON, 'with a timeout of a second, one is heard in time');
	like("$out $state", qr/^(?:valid service 00000| VC006)$/, "what one is told: $out $state");
	is(soon($new), 'valid service 00000', 'another address');
	is($api->calls($new), 1, 'by one call');
	is(soon($new), 'valid stored 00000', 'which is stored');
	is(sqlstate($node, ask($email, q{timeout => '0'})), $state eq '00000' ? '00000' : 'VC006', 'no time: whoever looks does not hang');
	$session->query_safe('COMMIT');
	$session->quit;
	ok(merged($_), 'in the table') foreach $email, $new;
	is(soon($_), 'valid stored 00000', 'and there') foreach $email, $new;
	cmp_ok($api->calls($email), '<=', 2, 'one call more at most');
	is($api->calls($new), 1, 'no further call');

	# The spill's as well: nothing can be read there, and all can be written.
	$session = session('BEGIN; REINDEX TABLE clearout_spill;');
	$new = fresh();
	is(soon($new), 'valid service 00000', 'the index of the spill: a new address');
	is(soon($new), 'valid stored 00000', 'is stored');
	$session->query_safe('COMMIT');
	$session->quit;
	is($api->calls($new), 1, 'one call');

	# Others on the same column do not get in the way, whichever comes first.
	my $icu = value_of($node, q{SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i' AND collname = 'und-x-icu'});
	foreach my $case (
		[ 'BRIN', 'USING brin (email)' ],
		[ 'hash', 'USING hash (email)' ],
		[ 'GIN', q{USING gin (to_tsvector('simple', email))} ],
		[ 'ICU collation', '(email COLLATE "und-x-icu")' ],
		[ 'pattern', '(email text_pattern_ops)' ],
		[ 'descending', '(email DESC NULLS FIRST)' ],
		[ 'more columns', '(email, status)' ],
		[ 'partial', q{(email) WHERE status = 'invalid'} ])
	{
		my ($what, $definition) = @$case;

	  SKIP:
		{
			skip 'no ICU', 7 if $what =~ /ICU/ && $icu ne 't';
			$new = fresh();
			$node->safe_psql('postgres', "CREATE INDEX other ON clearout_results $definition");
			$node->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY clearout_results_pkey');
			is(value_of($node, q{SELECT 'other'::regclass::oid < 'clearout_results_pkey'::regclass::oid}), 't', "$what: it comes before the key");
			is(soon($email), 'valid stored 00000', "$what: what is stored is found");
			is(soon($new), 'valid service 00000', "$what: what is not is asked");
			is(soon($new), 'valid stored 00000', "$what: and found");
			is($api->calls($new), 1, "$what: one call");
			is(is_spilled($new), 0, "$what: in the table itself");
			cmp_ok($api->calls($email), '<=', 2, "$what: nothing is paid for again");
			$node->safe_psql('postgres', 'DROP INDEX other');
		}
	}

	# Without any there is no look-up, and so no call.
	my $calls = $api->total_calls;
	$node->safe_psql('postgres', 'ALTER TABLE clearout_results DROP CONSTRAINT clearout_results_pkey');
	is(sqlstate($node, ask(fresh())), '42704', 'no index at all');
	is($api->total_calls, $calls, 'no call');
	$node->safe_psql('postgres', 'ALTER TABLE clearout_results ADD CONSTRAINT clearout_results_pkey PRIMARY KEY (email)');
	is(soon($email), 'valid stored 00000', 'with the key all is well');
};

subtest 'the spill belongs to somebody else' => sub {
	my ($held, $new) = (fresh(), fresh());

	is(soon($held), 'valid service 00000', 'a row');
	$node->safe_psql('postgres', 'CREATE ROLE one; CREATE ROLE two; CREATE ROLE three;
		ALTER TABLE clearout_results OWNER TO one; ALTER TABLE clearout_spill OWNER TO two; ALTER TABLE clearout_queue OWNER TO three; ALTER TABLE clearout_control OWNER TO three');
	is(soon($new), 'valid service 00000', 'a new address');
	is(is_spilled($new), 0, 'in the table');
	my $session = session("BEGIN; DELETE FROM clearout_results WHERE email = '$held';");
	is(soon($held, q{max_age => '0'}), 'valid service 00000', 'a locked row');
	is(is_spilled($held), 1, 'lies aside');
	is(soon($held), 'valid stored 00000', 'and is found');
	$session->query_safe('COMMIT');
	$session->quit;
	ok(merged($held), 'and merged');
	is($api->calls($held), 2, 'two calls');

	is(value_of($node, q{SELECT clearout_enqueue('} . ($new = fresh()) . q{')}), 't', 'the queue');
	ok(wait_until(60, sub { value_of($node, "SELECT count(*) FROM clearout_results WHERE email = '$new'") == 1 }), 'is served');
	ok(wait_until(60, sub { value_of($node, 'SELECT count(*) FROM clearout_queue') == 0 }), 'and emptied');
	is($api->calls($new), 1, 'by one call');

	# Columns of other types in the spill and in the queue.
	my $pid = worker_pid($node);
	my $postmaster = value_of($node, 'SELECT pg_postmaster_start_time()');
	$session = session("BEGIN; SELECT FROM clearout_results WHERE email = '$held' FOR UPDATE;");
	is(soon($held, q{max_age => '0'}), 'valid service 00000', 'another lies aside');
	$node->safe_psql('postgres', q{ALTER TABLE clearout_spill ALTER status TYPE bigint USING 4096});
	$session->query_safe('COMMIT');
	$session->quit;
	$node->safe_psql('postgres', q{SELECT pg_reload_conf()});
	ok(!wait_until(4, sub { worker_pid($node) != $pid }), 'a worker that merges it does not take a number for text');
	$node->safe_psql('postgres', q{ALTER TABLE clearout_spill ALTER status TYPE text USING 'valid'});
	ok(wait_until(60, sub { is_spilled($held) == 0 }), 'put right, it is merged') or diag value_of($node, 'SELECT email, status, error FROM clearout_spill');

	$node->safe_psql('postgres', q{ALTER TABLE clearout_queue ALTER email TYPE bigint USING 4096});
	$node->safe_psql('postgres', q{INSERT INTO clearout_queue (email, accepts_since) VALUES (4096, now())});
	$node->safe_psql('postgres', q{SELECT clearout_resume()});
	ok(!wait_until(3, sub { worker_pid($node) != $pid }), 'nor does one that reads the queue');
	is(value_of($node, 'SELECT pg_postmaster_start_time()'), $postmaster, 'the server lives');
	$node->safe_psql('postgres', q{TRUNCATE clearout_queue; ALTER TABLE clearout_queue ALTER email TYPE text COLLATE "C"});
	$node->safe_psql('postgres', 'ALTER TABLE clearout_results OWNER TO CURRENT_USER; ALTER TABLE clearout_spill OWNER TO CURRENT_USER;
		ALTER TABLE clearout_queue OWNER TO CURRENT_USER; ALTER TABLE clearout_control OWNER TO CURRENT_USER; TRUNCATE clearout_spill');
	is(soon(fresh()), 'valid service 00000', 'all is well');
};

subtest 'what is held up holds up nobody' => sub {
	my @held = map { fresh() } 1 .. 10;
	my @others = map { fresh() } 1 .. 2;
	my $list = sub { return q{'} . join(q{', '}, @_) . q{'} };

	is(soon($_), 'valid service 00000', 'a row') foreach @held, @others;
	my $long = session('BEGIN; SELECT FROM clearout_results WHERE email IN (' . $list->(@held) . ') FOR UPDATE;');
	my $short = session('BEGIN; SELECT FROM clearout_results WHERE email IN (' . $list->(@others) . ') FOR UPDATE;');
	# first those that stay locked, so that they lie in front
	foreach my $emails (\@held, \@others)
	{
		is( value_of($node, 'SELECT count(*) FROM clearout_verify(ARRAY[' . $list->(@$emails) . q{], max_age => '0') WHERE source = 'service'}),
			scalar @$emails, 'asked again');
	}
	is(value_of($node, 'SELECT count(*) FROM clearout_spill'), 12, 'twelve lie aside');
	$short->query_safe('COMMIT');
	$short->quit;
	ok(wait_until(120, sub { value_of($node, 'SELECT count(*) FROM clearout_spill') == 10 }), 'two are merged although ten in front of them are locked');
	is(is_spilled($_), 0, 'these') foreach @others;
	is(value_of($node, 'SELECT spilled FROM clearout_status'), 't', 'the status knows of the ten');
	is(value_of($node, 'SELECT count(error) FROM clearout_spill'), 0, 'who were not refused');
	$long->query_safe('COMMIT');
	$long->quit;
	ok(wait_until(180, sub { value_of($node, 'SELECT count(*) FROM clearout_spill') == 0 }), 'the ten follow');
	ok(poll_status($node, 'NOT spilled'), 'nothing lies aside');
	is($api->calls($_), 2, 'two calls') foreach @held, @others;

	# One that the table refuses for what it says, as soon as the row is free.
	my $bad = fresh('catch_all-refused');
	my $good = fresh();
	is(soon($good), 'valid service 00000', 'a row');
	$node->safe_psql('postgres', qq{
		INSERT INTO clearout_results (email, status, verified_at, source) VALUES ('$bad', 'valid', now() - interval '1 day', 'import');
		CREATE FUNCTION no_catch_all() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			RAISE EXCEPTION 'no_catch_all';
		END \$\$;
		CREATE TRIGGER no_catch_all BEFORE UPDATE ON clearout_results FOR EACH ROW
			WHEN (NEW.status = 'catch_all') EXECUTE FUNCTION no_catch_all();
		ALTER TABLE clearout_results ENABLE ALWAYS TRIGGER no_catch_all});
	my $session = session("BEGIN; SELECT FROM clearout_results WHERE email IN ('$bad', '$good') FOR UPDATE;");
	is(soon($bad, q{max_age => '0'}), 'catch_all service 00000', 'an answer that will be refused');
	is(soon($good, q{max_age => '0'}), 'valid service 00000', 'one that will not');
	is(value_of($node, 'SELECT count(*), count(error) FROM clearout_spill'), '2|0', 'both lie aside, being locked out');
	$session->query_safe('COMMIT');
	$session->quit;
	ok(wait_until(60, sub { is_spilled($good) == 0 }), 'the one is merged');
	ok( wait_until(60, sub { value_of($node, "SELECT error ~ 'no_catch_all' FROM clearout_spill WHERE email = '$bad'") eq 't' }),
		'the other gets the reason');
	ok(poll_status($node, q{spilled AND state = 'running'}), 'and the status goes on saying that something lies aside');
	is(soon($bad, q{max_age => '1 hour'}), 'catch_all stored 00000', 'it is given to others');
	is(soon(fresh()), 'valid service 00000', 'another address');
	ok(poll_status($node, 'spilled'), 'still');
	$node->safe_psql('postgres', 'DROP FUNCTION no_catch_all CASCADE');
	my $pid = worker_pid($node);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok(merged($bad), 'with the trigger gone, the next worker merges it');
	is($api->calls($bad), 1, 'one call');
	is($api->calls($good), 2, 'two calls');
};

subtest 'stored at the end' => sub {
	my @emails = map { fresh() } 1 .. 3;
	my $pid = worker_pid($node);

	$node->safe_psql('postgres', q{
		CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			RAISE EXCEPTION 'no space' USING ERRCODE = '53100';
		END $$;
		CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON clearout_results FOR EACH ROW EXECUTE FUNCTION full_disk();
		CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON clearout_spill FOR EACH ROW EXECUTE FUNCTION full_disk();
		ALTER TABLE clearout_results ENABLE ALWAYS TRIGGER full_disk;
		ALTER TABLE clearout_spill ENABLE ALWAYS TRIGGER full_disk});
	# in flight at the same time, since nothing is asked once storing has failed
	$api->hold(pattern => '*@clearout.test');
	my @callers = map { start_psql($node, ask($_)) } @emails;
	ok($api->wait_for(held => 3), 'three calls');
	is($api->release, 3, 'answered');
	ok(poll_status($node, q{answers_unstored = 3 AND state = 'storing failed'}), 'and cannot be stored');
	is(value_of($node, 'SELECT count(*) FROM clearout_spill'), 0, 'anywhere');
	is(worker_pid($node), $pid, 'the worker keeps them');

	# At once, so that it is hardly its own next try that stores them.
	$node->safe_psql('postgres', qq{
		DROP FUNCTION full_disk CASCADE;
		SELECT pg_terminate_backend($pid)});
	my @heard = map { join ' ', (finish_psql($_))[ 0, 1 ] } @callers;
	is_deeply(\@heard, [ ('valid service 00000') x 3 ], 'with the disk free again and the worker ended, all are answered');
	ok(wait_until(60, sub { my $now = worker_pid($node); $now && $now != $pid }), 'by a worker that has gone');
	ok(merged($_), 'stored') foreach @emails;
	is($api->calls($_), 1, 'by one call') foreach @emails;
	ok(poll_status($node, q{answers_unstored = 0 AND state = 'running'}), 'its successor is content');
};

subtest 'databases' => sub {
	foreach my $name (qw(dropped renamed forced idle))
	{
		$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE template0");
		$node->safe_psql($name, 'CREATE EXTENSION clearout');
	}
	my %pid = map { $_ => worker_pid($node, $_) } qw(dropped renamed forced idle);
	ok($pid{$_}, "$_ has a worker") foreach sort keys %pid;
	my %email = map { $_ => fresh() } qw(dropped renamed forced);

	# Somebody waits there for an answer: the command is refused, and neither
	# he nor the worker notices.
	$api->hold(pattern => '*@clearout.test');
	my %waiter = map { $_ => start_in($_, ask($email{$_})) } qw(dropped renamed);
	ok($api->wait_for(held => 2), 'two calls on their way');
	my $begin = time;
	my $drop = start_psql($node, 'DROP DATABASE dropped');
	my $rename = start_psql($node, 'ALTER DATABASE renamed RENAME TO another');
	my %state = (dropped => (finish_psql($drop))[1], renamed => (finish_psql($rename))[1]);
	my $took = time - $begin;
	cmp_ok($took, '<', $REFUSED, "they are refused after $took s");
	$api->release;
	is(ClearoutStress::finish_callers(60, values %waiter), 0, 'the callers have ended');
	foreach my $name (qw(dropped renamed))
	{
		is($state{$name}, '55006', "$name: refused, since somebody is connected");
		is("$waiter{$name}{out} $waiter{$name}{sqlstate}", 'valid service ', "$name: he has his answer");
		is($api->calls($email{$name}), 1, "$name: by one call");
		is(worker_pid($node, $name), $pid{$name}, "$name: the worker has stayed");
		is(value_of($node, ask(fresh()), $name), 'valid service', "$name: and works on");
		is(worker_pid($node, $name), $pid{$name}, "$name: the same");
	}

	# With nobody there it goes at once.
	$begin = time;
	$node->safe_psql('postgres', 'DROP DATABASE dropped; ');
	$node->safe_psql('postgres', 'ALTER DATABASE renamed RENAME TO another');
	cmp_ok(time - $begin, '<', $SOON, 'with nobody there both go soon');
	is(value_of($node, ask(fresh()), 'another'), 'valid service', 'by its new name it has a worker');

	# FORCE throws out whoever waits.
	$api->hold(email => $email{forced});
	my $waiter = start_in('forced', ask($email{forced}));
	ok($api->wait_for(held => 1), 'a call on its way');
	$begin = time;
	is((finish_psql(start_psql($node, 'DROP DATABASE forced WITH (FORCE)')))[1], '00000', 'FORCE: dropped');
	cmp_ok(time - $begin, '<', $SOON, 'FORCE: soon');
	is(ClearoutStress::finish_callers(60, $waiter), 0, 'FORCE: the caller has ended');
	isnt($waiter->{sqlstate}, '', 'FORCE: without an answer');
	$api->release;
	is($api->calls($email{forced}), 1, 'FORCE: one call');
	ok(wait_until(60, sub { !ClearoutStress::is_alive($pid{forced}) }), 'FORCE: the worker is gone');
	ok(poll_status($node, 'slots_used = 0'), 'FORCE: and no slot is held');

	# It has failed and the transaction goes on: the hold does not.
	my $on = $node->background_psql('postgres', on_error_stop => 0, timeout => 120);
	foreach my $failing (q{ALTER DATABASE idle RENAME TO postgres}, q{DROP DATABASE idle}, q{DROP DATABASE idle WITH (FORCE)},
		q{ALTER DATABASE idle SET TABLESPACE nowhere}, q{CREATE DATABASE template1 TEMPLATE idle})
	{
		$on->query_safe(qq{
			BEGIN;
			DO \$\$
			BEGIN
				EXECUTE '$failing';
				RAISE 'not refused' USING ERRCODE = 'XX000';
			EXCEPTION
				WHEN duplicate_database OR active_sql_transaction OR undefined_object THEN NULL;
			END \$\$;});
		$begin = time;
		is(value_of($node, ask(fresh()), 'idle'), 'valid service', "$failing: has failed, and callers are served");
		cmp_ok(time - $begin, '<', $SOON, "$failing: at once");
		$on->query_safe('COMMIT');
	}
	$on->quit;

	# Who may not do it moves nobody.
	my $pid = worker_pid($node, 'idle');
	$node->safe_psql('postgres', 'CREATE ROLE somebody LOGIN');
	is(sqlstate($node, "SET SESSION AUTHORIZATION somebody; $_"), '42501', "$_ by somebody")
	  foreach 'DROP DATABASE idle', 'DROP DATABASE idle WITH (FORCE)', 'ALTER DATABASE idle RENAME TO x', 'CREATE DATABASE x TEMPLATE idle';
	is(value_of($node, ask(fresh()), 'idle'), 'valid service', 'a call');
	is(worker_pid($node, 'idle'), $pid, 'by the same worker');
	ok(poll_status($node, q{state = 'running' AND slots_used = 0}), 'all is well');
};

$node->stop;
done_testing();
