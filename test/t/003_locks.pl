# Whatever stands in the way of storing an answer: nobody deadlocks, nothing
# that was paid for is lost, and nobody else has to wait for it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# What waits for no lock takes milliseconds, what waits for one takes for ever;
# the bound is for a busy machine.
my $SOON = 25;

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $node = clearout_node('main', $api, wait_timeout => '60s',
	conf => "deadlock_timeout = 100ms\nautovacuum = off\n");
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
	my ($email, $arguments) = @_;
	my $begin = time;
	my ($out, $state) = finish_psql(start_psql($node, ask($email, $arguments)));

	return "$out $state" . (time - $begin < $SOON ? '' : ' late');
}

sub row
{
	my ($email, $columns) = @_;
	return value_of($node, 'SELECT ' . ($columns // 'status') . " FROM clearout_results WHERE email = '$email'");
}

sub spilled
{
	my ($email) = @_;
	return value_of($node, "SELECT count(*) FROM clearout_spill WHERE email = '$email'");
}

sub merged
{
	my ($email) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM clearout_results r WHERE email = '$email'
		 AND NOT EXISTS (SELECT FROM clearout_spill s WHERE s.email = r.email)");
}

# While somebody holds the row of $held: what becomes of an answer about it,
# and of its neighbours?
sub held_row
{
	my ($what, $prepare, $hold, $release, $expected) = @_;
	my ($held, $before) = (fresh(), fresh());
	my ($session, @sessions);

	is(soon($held), 'valid service 00000', "$what: a row") if $prepare;
	$hold =~ s/HELD/$held/g;
	$session = session("BEGIN; $hold");

	# ten at the same time, one of them the row that is held
	my $begin = time;
	my @others = map { fresh() } 1 .. 9;
	push @sessions, start_psql($node, ask($_, q{max_age => '0'})) foreach $held, @others;
	my @heard = map { join ' ', (finish_psql($_))[ 0, 1 ] } @sessions;
	my $took = time - $begin;

	is_deeply(\@heard, [ ('valid service 00000') x 10 ], "$what: all are answered");
	cmp_ok($took, '<', $SOON, "$what: and soon");
	is(spilled($held), 1, "$what: the answer lies aside");
	# a worker that comes to run too seldom puts neighbours aside as well, for a moment
	ok(merged($_), "$what: $_ is stored") foreach @others;
	is(value_of($node, 'SELECT count(*) FROM clearout_spill'), 1, "$what: it alone lies aside");
	is(value_of($node, 'SELECT spilled, answers_unstored FROM clearout_status'), 't|0', "$what: the status says so");
	is(soon($held), 'valid stored 00000', "$what: and is given to others");
	is($api->calls($held), $prepare ? 2 : 1, "$what: without another call");
	is(soon(fresh()), 'valid service 00000', "$what: another address meanwhile");

	$session->query_safe($release);
	$session->quit;
	ok(merged($held), "$what: when the way is free, it moves into the table");
	is(row($held, q{status, source, attempted_at = asked_at}), $expected, "$what: as the newest answer");
	ok(poll_status($node, 'NOT spilled'), "$what: nothing lies aside any more");
	is(soon($held), 'valid stored 00000', "$what: and it is as good as any");
	is($api->calls($held), $prepare ? 2 : 1, "$what: no further call");
	return;
}

ok(poll_status($node, q{state = 'running'}), 'a worker runs');

subtest 'row held by DELETE' => sub {
	held_row('DELETE, rolled back', 1, q{DELETE FROM clearout_results WHERE email = 'HELD';}, 'ROLLBACK', 'valid|instant|t');
	held_row('DELETE, committed', 1, q{DELETE FROM clearout_results WHERE email = 'HELD';}, 'COMMIT', 'valid|instant|t');
};

subtest 'row held by UPDATE' => sub {
	held_row('UPDATE', 1, q{UPDATE clearout_results SET reason = 'mine' WHERE email = 'HELD';}, 'COMMIT', 'valid|instant|t');
	held_row('SELECT FOR UPDATE', 1, q{SELECT FROM clearout_results WHERE email = 'HELD' FOR UPDATE;}, 'COMMIT', 'valid|instant|t');
};

subtest 'key held by INSERT' => sub {
	held_row('INSERT of something older', 0, q{INSERT INTO clearout_results (email, status, verified_at, source)
		VALUES ('HELD', 'invalid', now() - interval '1 day', 'import');}, 'COMMIT', 'valid|instant|t');
	held_row('INSERT, rolled back', 0, q{INSERT INTO clearout_results (email, status, verified_at, source)
		VALUES ('HELD', 'invalid', now() - interval '1 day', 'import');}, 'ROLLBACK', 'valid|instant|t');

	# Something newer wins, wherever it comes from.
	my $email = fresh();
	my $session = session("BEGIN; INSERT INTO clearout_results (email, status, verified_at, source)
		VALUES ('$email', 'invalid', now() + interval '1 hour', 'import');");
	is(soon($email), 'valid service 00000', 'INSERT of something newer: answered');
	$session->query_safe('COMMIT');
	$session->quit;
	ok(merged($email), 'merged');
	is(row($email, 'status, source'), 'invalid|import', 'the newer one has stayed');

	# An unknown replaces no verdict on that way either.
	$email = fresh('unknown');
	$session = session("BEGIN; INSERT INTO clearout_results (email, status, verified_at, source)
		VALUES ('$email', 'valid', now() - interval '1 day', 'import');");
	is(soon($email), 'unknown service 00000', 'an unknown: answered');
	is(spilled($email), 1, 'it lies aside');
	$session->query_safe('COMMIT');
	$session->quit;
	ok(merged($email), 'merged');
	is(row($email, 'status, attempt_status, source'), 'valid|unknown|import', 'the verdict has stayed, with the attempt beside it');
};

subtest 'several answers lie aside' => sub {
	my $email = fresh();
	my $session;

	is(soon($email), 'valid service 00000', 'a row');
	$session = session("BEGIN; SELECT FROM clearout_results WHERE email = '$email' FOR UPDATE;");
	foreach my $status (qw(invalid catch_all valid))
	{
		$api->fault(email => $email, times => 1, status => 200,
			body => qq({"status":"success","data":{"email_address":"$email","status":"$status"}}));
		is(soon($email, q{max_age => '0'}), "$status service 00000", "asked again: $status");
		is(soon($email), 'valid stored 00000', 'the verdict in the table is fresh enough for others') if $status eq 'invalid';
	}
	is(spilled($email), 3, 'three lie aside');
	$session->query_safe('COMMIT');
	$session->quit;
	ok(merged($email), 'all are merged');
	is(row($email, 'status, raw'), 'valid|{"status": "valid", "email_address": "' . $email . '"}', 'the newest has won');
	is($api->calls($email), 4, 'four calls');
};

# The whole table.
foreach my $case (
	[ 'ACCESS EXCLUSIVE', 'LOCK TABLE clearout_results IN ACCESS EXCLUSIVE MODE;', 1, 1 ],
	[ 'TRUNCATE', 'TRUNCATE clearout_results;', 1, 1 ],
	[ 'SHARE, as of CREATE INDEX', 'LOCK TABLE clearout_results IN SHARE MODE;', 0, 0 ],
	[ 'CREATE INDEX', 'CREATE INDEX ON clearout_results (status);', 0, 0 ])
{
	my ($what, $hold, $readers_wait) = @$case;

	subtest "table held: $what" => sub {
		my $known = fresh();
		my @emails = map { fresh() } 1 .. 10;

		is(soon($known), 'valid service 00000', 'a row');
		my $session = session("BEGIN; $hold");
		my $begin = time;
		my @sessions = map { start_psql($node, ask($_)) } @emails;
		my @heard = map { join ' ', (finish_psql($_))[ 0, 1 ] } @sessions;
		is_deeply(\@heard, [ ('valid service 00000') x 10 ], 'all are answered');
		cmp_ok(time - $begin, '<', $SOON, 'and soon');
		is(value_of($node, 'SELECT count(*), count(error) FROM clearout_spill'), '10|0', 'the answers lie aside');
		is(soon($emails[0]), 'valid stored 00000', 'and are given to others');
		is($api->calls($_), 1, 'one call') foreach @emails;
		is(soon($known), 'valid stored 00000', 'who may read, reads') unless $readers_wait;

		$session->query_safe('ROLLBACK');
		$session->quit;
		ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM clearout_spill'), 'they move into the table');
		is(value_of($node, "SELECT count(*) FROM clearout_results WHERE email IN ('" . join("', '", @emails) . "')"), 10, 'all of them');
		ok(poll_status($node, 'NOT spilled'), 'nothing lies aside any more');
		is($api->calls($_), 1, 'still one call') foreach $emails[0], $emails[9];
	};
}

subtest 'TRUNCATE waits behind a reader' => sub {
	my $email = fresh();
	my $reader = session('BEGIN; SELECT count(*) FROM clearout_results;');
	my $truncate = start_psql($node, 'TRUNCATE clearout_results');

	ok( $node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks
			WHERE relation = 'clearout_results'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted}),
		'it waits');
	is(soon($email), 'valid service 00000', 'a new address: answered');
	is(spilled($email), 1, 'it lies aside');
	is(soon($email), 'valid stored 00000', 'and is given to others');

	# The reader himself asks: if anybody waited for the table, it would be
	# for ever.
	my $other = fresh();
	my $begin = time;
	is($reader->query(ask($other)), 'valid service', 'the reader asks');
	cmp_ok(time - $begin, '<', $SOON, 'and soon has his answer');
	$reader->query_safe('COMMIT');
	$reader->quit;
	is((finish_psql($truncate))[1], '00000', 'TRUNCATE ends');
	ok(merged($_), 'merged') foreach $email, $other;
	is($api->calls($_), 1, 'one call') foreach $email, $other;
};

subtest 'the caller holds it' => sub {
	my $email = fresh();
	my ($session, $begin);

	is(soon($email), 'valid service 00000', 'a row');
	foreach my $case (
		[ 'DELETE', "DELETE FROM clearout_results WHERE email = '$email';" ],
		[ 'UPDATE', "UPDATE clearout_results SET reason = 'mine' WHERE email = '$email';" ],
		[ 'TRUNCATE', 'TRUNCATE clearout_results;' ],
		[ 'LOCK TABLE', 'LOCK TABLE clearout_results;' ],
		[ 'LOCK TABLE both', 'LOCK TABLE clearout_results IN SHARE MODE; LOCK TABLE clearout_spill IN ROW EXCLUSIVE MODE;' ])
	{
		my ($what, $hold) = @$case;
		my $calls = $api->calls($email);

		$session = session("BEGIN; $hold");
		$begin = time;
		is($session->query(ask($email, q{max_age => '0'})), 'valid service', "$what: he hears the answer");
		cmp_ok(time - $begin, '<', $SOON, "$what: soon");
		is($api->calls($email), $calls + 1, "$what: one call");
		is(spilled($email), 1, "$what: it lies aside");
		$session->query_safe('COMMIT');
		$session->quit;
		ok(merged($email), "$what: and is merged afterwards");
		is(row($email, q{status, reason <> 'mine'}), 'valid|t', "$what: as the newest answer");
		is(soon($email), 'valid stored 00000', "$what: which holds");
		is($api->calls($email), $calls + 1, "$what: no further call");
	}

	# Two who hold each other's row: the worker waits for neither.
	my ($one, $two) = (fresh(), fresh());
	is(soon($_), 'valid service 00000', 'a row') foreach $one, $two;
	my $first = session("BEGIN; DELETE FROM clearout_results WHERE email = '$one';");
	my $second = session("BEGIN; DELETE FROM clearout_results WHERE email = '$two';");
	is($first->query(ask($two, q{max_age => '0'})), 'valid service', 'two hold what the other asks for: the first');
	is($second->query(ask($one, q{max_age => '0'})), 'valid service', 'the second');
	$_->query_safe('COMMIT') foreach $first, $second;
	$_->quit foreach $first, $second;
	ok(merged($_), 'merged') foreach $one, $two;
	is($api->calls($_), 2, 'two calls') foreach $one, $two;
};

subtest 'both tables held' => sub {
	my ($email, $next) = (fresh(), fresh());
	my $session = session('BEGIN; LOCK TABLE clearout_results, clearout_spill;');
	my $waiter = start_psql($node, ask($email));

	ok(poll_status($node, q{answers_unstored = 1 AND state = 'storing failed'}), 'the answer stays with the worker, and the status says so');
	my $waits = start_psql($node, ask($next));
	ok(poll_status($node, 'requests_waiting = 2'), 'another question waits');
	is($api->calls($next), 0, 'no call is made meanwhile');
	$session->query_safe('ROLLBACK');
	$session->quit;
	is(join(' ', (finish_psql($waiter))[ 0, 1 ]), 'valid service 00000', 'when the way is free, it is stored and told');
	is(join(' ', (finish_psql($waits))[ 0, 1 ]), 'valid service 00000', 'and the next one is asked');
	ok(poll_status($node, q{answers_unstored = 0 AND state = 'running' AND reason IS NULL}), 'the status is content');
	is($api->calls($_), 1, 'one call') foreach $email, $next;
	ok(merged($_), 'both are in the table') foreach $email, $next;
};

# Neither does it say anything of an answer that one cannot look at it for a while.
subtest 'what lies aside is locked when it is to be merged' => sub {
	my $email = fresh();

	is(soon($email), 'valid service 00000', 'a row');
	my $holder = session("BEGIN; SELECT FROM clearout_results WHERE email = '$email' FOR UPDATE;");
	is(soon($email, q{max_age => '0'}), 'valid service 00000', 'asked again');
	is(spilled($email), 1, 'the answer lies aside');
	my $locker = session('BEGIN; LOCK TABLE clearout_spill;');
	sleep 4;					# it is tried after one second, and two more
	$_->query_safe('COMMIT') foreach $locker, $holder;
	$_->quit foreach $locker, $holder;
	ok(merged($email), 'it is merged soon after');
	is($api->calls($email), 2, 'two calls');
};

subtest 'refused for itself' => sub {
	my @emails = map { fresh() } 1 .. 9;
	my $bad = 'catch_all-refused@clearout.test';

	$node->safe_psql('postgres', q{ALTER TABLE clearout_results ADD CONSTRAINT no_catch_all CHECK (status <> 'catch_all' OR email !~ 'refused') NOT VALID});
	# all at once, so that they are stored as one group
	$api->hold(pattern => '*@clearout.test');
	my @sessions = map { start_psql($node, ask($_)) } $bad, @emails;
	ok($api->wait_for(held => 10), 'ten calls');
	is($api->release, 10, 'answered at once');
	my @heard = map { join ' ', (finish_psql($_))[ 0, 1 ] } @sessions;
	is_deeply(\@heard, [ 'catch_all service 00000', ('valid service 00000') x 9 ], 'all are told');
	ok(merged($_), "$_ is stored") foreach @emails;
	ok($node->poll_query_until('postgres',
			"SELECT status, error ~ 'no_catch_all', raw ->> 'status' FROM clearout_spill WHERE email = '$bad'", 'catch_all|t|catch_all'),
		'the tenth lies aside, with the reason');
	is(value_of($node, 'SELECT count(*) FROM clearout_spill'), 1, 'alone');
	is(soon($bad), 'catch_all stored 00000', 'and is given to others');
	is($api->calls($_), 1, 'one call') foreach $bad, @emails;

	# A look at it does not spend, and the worker goes on as ever.
	is(soon(fresh()), 'valid service 00000', 'another address');
	is(value_of($node, q{SELECT state, answers_unstored, restarts FROM clearout_status}), 'running|0|0', 'the status is content');

	# With the constraint gone, the next worker moves it.
	$node->safe_psql('postgres', 'ALTER TABLE clearout_results DROP CONSTRAINT no_catch_all');
	$node->restart;
	ok(merged($bad), 'moved when a new worker starts');
	is(row($bad), 'catch_all', 'as it was');
	is($api->calls($bad), 1, 'still one call');
};

subtest 'triggers' => sub {
	my $trigger = sub {
		my ($table, $when) = @_;
		$node->safe_psql('postgres', "CREATE TRIGGER dropping BEFORE INSERT OR UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION dropping()");
		$node->safe_psql('postgres', "ALTER TABLE $table ENABLE $when TRIGGER dropping") if $when;
	};

	$node->safe_psql('postgres', q{
		CREATE FUNCTION dropping() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE FUNCTION raising() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no %', NEW.email; END$$});
	my ($email, $spilt) = (fresh(), fresh());
	is(soon($spilt), 'valid service 00000', 'a row');

	$trigger->($_, '') foreach qw(clearout_results clearout_spill);
	is(soon($email), 'valid service 00000', 'a trigger that returns NULL: answered');
	is(row($email), 'valid', 'and stored');
	is(soon($email), 'valid stored 00000', 'and there');
	my $session = session("BEGIN; SELECT FROM clearout_results WHERE email = '$spilt' FOR UPDATE;");
	is(soon($spilt, q{max_age => '0'}), 'valid service 00000', 'the row is held besides: answered');
	is(spilled($spilt), 1, 'it lies aside');
	$session->query_safe('COMMIT');
	$session->quit;
	ok(merged($spilt), 'merged');
	is($api->calls($email), 1, 'one call');
	is(value_of($node, "WITH i AS (INSERT INTO clearout_results (email, status, verified_at, source)
		VALUES ('x\@y.test', 'valid', now(), 'x') RETURNING 1) SELECT count(*) FROM i"), 0, 'for others the trigger does fire');
	$node->safe_psql('postgres', "DROP TRIGGER dropping ON $_") foreach qw(clearout_results clearout_spill);

	# One that insists.
	$email = fresh();
	$trigger->('clearout_results', 'ALWAYS');
	is(soon($email), 'valid service 00000', 'a trigger that always fires: answered');
	is(value_of($node, "SELECT status, error ~ 'trigger' FROM clearout_spill WHERE email = '$email'"), 'valid|t', 'it lies aside, with the reason');
	is(soon($email), 'valid stored 00000', 'and is given to others');
	is(soon($spilt, q{max_age => '0'}), 'valid service 00000', 'a row that is there, asked again');
	is(spilled($spilt), 1, 'lies aside as well');
	is($api->calls($email), 1, 'one call');
	$node->safe_psql('postgres', 'DROP TRIGGER dropping ON clearout_results');

	$node->safe_psql('postgres', 'CREATE TRIGGER raising BEFORE INSERT ON clearout_results FOR EACH ROW EXECUTE FUNCTION raising();
		ALTER TABLE clearout_results ENABLE ALWAYS TRIGGER raising');
	$email = fresh();
	is(soon($email), 'valid service 00000', 'a trigger that raises an error: answered');
	is(soon($email), 'valid stored 00000', 'and not lost');
	is($api->calls($email), 1, 'one call');
	$node->safe_psql('postgres', 'DROP TRIGGER raising ON clearout_results');
	$node->restart;
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM clearout_spill'), 'the next worker moves what they refused');
	is(row($email), 'valid', 'into the table');
};

subtest 'settings of the database' => sub {
	my $email = fresh();

	# in one session, which they do not reach any more
	$node->safe_psql('postgres', join ' ', map { "ALTER DATABASE postgres SET $_;" }
		  q{default_transaction_read_only = on}, q{default_transaction_isolation = 'serializable'},
		q{lock_timeout = '1ms'}, q{statement_timeout = '1ms'}, q{search_path = 'nowhere'}, q{synchronous_commit = off});
	my $ask = sub {
		my ($arguments) = @_;
		local $ENV{PGOPTIONS} = '-c default_transaction_read_only=off -c statement_timeout=60s -c search_path=public -c lock_timeout=60s';
		return soon($email, $arguments);
	};
	is($ask->(), 'valid service 00000', 'none of them keeps the worker from storing');
	{
		local $ENV{PGOPTIONS} = '-c statement_timeout=60s -c search_path=public';
		is(row($email), 'valid', 'in the table');
		is(value_of($node, 'SELECT count(*) FROM clearout_spill'), 0, 'with nothing aside');
	}
	is($api->calls($email), 1, 'one call');
};

$node->stop;
done_testing();
