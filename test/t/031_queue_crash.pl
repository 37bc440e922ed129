# Ends of processes in the middle of a drain, copies of the database, and the
# extension moved or dropped under the worker: every row is answered in the
# end, and what was sent and not committed is all that is asked again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(is_up worker_pid wait_until wait_gone kill_postmaster status);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $ADDRESSES = 5000;
my $PARALLEL = 20;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 10_000_000, latency => '2..12');
my $node = clearout_node('main', $api,
	max_parallel => $PARALLEL,
	conf => "restart_after_crash = on\nlog_min_messages = warning\n");

sub sql { return value_of($node, @_) }

# While a server starts or ends, there may be no answer at all.
sub try_sql
{
	my ($sql, $database) = @_;
	my ($out, $err) = ('', '');
	my $rc = $node->psql($database // 'postgres', $sql, stdout => \$out, stderr => \$err);
	return $rc == 0 ? $out : '';
}

sub stored
{
	my ($round) = @_;
	return try_sql("SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-$round-%'");
}

# Calls that were made more than once, of this round.
sub repeated_calls
{
	my ($round) = @_;
	my $calls = 0;

	foreach my $address (@{ $api->address_stats->{repeated} })
	{
		$calls += $address->{asked} - 1 if $address->{email} =~ /^valid-\Q$round\E-/;
	}
	return $calls;
}

sub distinct_calls
{
	return $api->address_stats->{distinct};
}

# Several blows while the queue is drained.  $blow gets the number of the blow.
sub drain_under
{
	my ($round, $blows, $blow) = @_;
	my $before = distinct_calls();

	# Should we be late, the last tenth waits for the blows.
	$api->hold(pattern => "valid-$round-*", after => $ADDRESSES * 0.9) if $blows > 0;
	sql("SELECT clearout_enqueue(ARRAY(SELECT 'valid-$round-' || i || '\@x.test' FROM generate_series(1, $ADDRESSES) i))");
	foreach my $number (1 .. $blows)
	{
		my $wanted = $ADDRESSES * $number / ($blows + 2);
		my $done = wait_until(180, sub { my $count = stored($round); $count ne '' && $count >= $wanted && $count });

		cmp_ok($done, '>=', $wanted, "$round: under way before blow $number");
		cmp_ok($done, '<', $ADDRESSES, "$round: and not at its end");
		$blow->($number);
	}
	$api->release;
	ok(wait_until(180, sub { stored($round) eq $ADDRESSES }), "$round: everything is answered") or diag stored($round), ' ', status($node, 'state || coalesce(reason, last_error)');
	ok(wait_until(120, sub { try_sql('SELECT count(*) FROM clearout_queue') eq '0' }), "$round: the queue is empty");
	is(sql('SELECT count(*) FROM clearout_spill'), 0, "$round: nothing was put aside");
	is(distinct_calls() - $before, $ADDRESSES, "$round: each was asked");
	my $repeated = repeated_calls($round);
	cmp_ok($repeated, '<=', $PARALLEL * $blows, "$round: at most $PARALLEL calls were repeated for each blow");
	note "$round: $repeated calls repeated after $blows blows";
	return;
}

ok(worker_pid($node), 'a worker runs');

drain_under('quiet', 0, sub { });
is(repeated_calls('quiet'), 0, 'left alone: no call is repeated');

drain_under('terminate', 2, sub {
	my $pid = worker_pid($node);
	sql("SELECT pg_terminate_backend($pid)");
	ok(defined wait_gone($pid, 60), 'terminate: it has left');
});

drain_under('kill', 2, sub {
	my $pid = worker_pid($node);
	kill 'KILL', $pid;
	ok(defined wait_gone($pid, 60), 'kill: it is gone');
	ok(wait_until(120, sub { is_up($node) }), 'kill: the server is back');
});

drain_under('postmaster', 2, sub {
	cmp_ok(kill_postmaster($node) // 0, '>=', 5, 'postmaster: all of its children have left');
	$node->start;
});

drain_under('immediate', 2, sub {
	$node->stop('immediate');
	$node->start;
});

drain_under('fast', 1, sub { $node->restart });

# Copies spend nothing until they are told to.
subtest 'copies' => sub {
	my $rows = 200;

	sql("SELECT clearout_pause()");
	is(sql("SELECT clearout_enqueue(ARRAY(SELECT 'valid-copied-' || i || '\@x.test' FROM generate_series(1, $rows) i))"), $rows, 'rows wait');
	# one that waits for a retry, and one that has failed
	sql(q{UPDATE clearout_queue SET attempts = 2, next_attempt_at = now() WHERE email = 'valid-copied-1@x.test'});
	sql(q{INSERT INTO clearout_queue (email, failed_at, last_error) VALUES ('valid-failed@x.test', now(), 'HTTP 400')});
	my $calls = $api->total_calls;

	sql('CREATE DATABASE twin TEMPLATE postgres');
	my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
	sql('CREATE DATABASE restored');
	$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'pg_restore');

	foreach my $copy (qw(twin restored))
	{
		ok(worker_pid($node, $copy), "$copy: has a worker");
		is(sql('SELECT count(*) FROM clearout_queue', $copy), $rows + 1, "$copy: has the rows");
		is(sql('SELECT count(*) FROM clearout_results', $copy), sql('SELECT count(*) FROM clearout_results'), "$copy: has the results");
		is(sql('SELECT count(*) FROM clearout_queue WHERE origin = clearout_origin()', $copy), 0, "$copy: none of the rows is its own");

		# What it is given itself goes ahead: the dump carries no pause, and in
		# the twin it is ended without adopting anything.
		sql('UPDATE clearout_control SET paused = false; NOTIFY nothing', $copy);
		sql("SELECT clearout_enqueue('valid-own-$copy\@x.test')", $copy);
	}
	$node->restart;		# a start looks at everything
	foreach my $copy (qw(twin restored))
	{
		ok(worker_pid($node, $copy), "$copy: a worker after the restart");
		ok(wait_until(120, sub { sql("SELECT count(*) FROM clearout_results WHERE email = 'valid-own-$copy\@x.test'", $copy) }), "$copy: its own row is answered");
	}
	my $asked = () = grep { $_->{email} =~ /^valid-copied-/ } @{ $api->requests };
	is($asked, 0, 'no call for the copied rows');
	is($api->calls("valid-copied-$_\@x.test"), 0, "row $_ was not asked") foreach 1, 2, 3, $rows;
	my $own = $api->total_calls - $calls;
	cmp_ok($own, '<=', 4, 'nor any other');

	# The original answers its own rows, and no others.
	sql('SELECT clearout_resume()');
	ok(wait_until(120, sub { sql(q{SELECT count(*) FROM clearout_queue WHERE failed_at IS NULL}) eq '0' }), 'the original is drained');
	is($api->total_calls - $calls - $own, $rows, 'by one call for each row');
	is(sql('SELECT count(*) FROM clearout_queue WHERE failed_at IS NULL', $_), $rows, "$_: the rows wait") foreach qw(twin restored);

	my $each = 1;
	foreach my $copy (qw(twin restored))
	{
		my $before = $api->total_calls;
		cmp_ok(sql('SELECT clearout_resume()', $copy), '>=', $rows, "$copy: adopts its rows");
		ok(wait_until(120, sub { sql('SELECT count(*) FROM clearout_queue WHERE failed_at IS NULL', $copy) eq '0' }), "$copy: drained");
		$each++;
		is($api->total_calls - $before, $rows, "$copy: by one call for each row");
		is(join(' ', map { $api->calls("valid-copied-$_\@x.test") } 1, 2, $rows), "$each $each $each", "$copy: each once");
		is(sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-copied-%'}, $copy), $rows, "$copy: stored");
		is(sql(q{SELECT count(*) FROM clearout_queue WHERE failed_at IS NOT NULL}, $copy), 1, "$copy: what failed stays");
		# new rows get new ids
		is(sql(q{SELECT clearout_enqueue('valid-new-id@x.test')}, $copy), 't', "$copy: goes on");
		ok(wait_until(120, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email = 'valid-new-id@x.test'}, $copy) }), "$copy: answered");
	}
	$node->safe_psql('template1', "DROP DATABASE $_") foreach qw(twin restored);
	sql('DELETE FROM clearout_queue');
};

subtest 'ALTER EXTENSION ... SET SCHEMA' => sub {
	sql('CREATE SCHEMA "Other place"');
	$api->hold(pattern => 'valid-moved-*');
	sql("SELECT clearout_enqueue(ARRAY(SELECT 'valid-moved-' || i || '\@x.test' FROM generate_series(1, 500) i))");
	ok($api->wait_for(held => $PARALLEL), 'calls in flight');
	is(sql('ALTER EXTENSION clearout SET SCHEMA "Other place"'), '', 'moved');
	$api->release;
	ok(wait_until(120, sub { sql('SELECT count(*) FROM "Other place".clearout_queue') eq '0' }), 'drained');
	is(sql(q{SELECT count(*) FROM "Other place".clearout_results WHERE email LIKE 'valid-moved-%'}), 500, 'all are stored');
	is(repeated_calls('moved'), 0, 'none was asked twice');
	is(sql(q{SELECT "Other place".clearout_enqueue('valid-there-1@x.test')}), 't', 'enqueue works there');
	ok(wait_until(120, sub { sql(q{SELECT count(*) FROM "Other place".clearout_results WHERE email = 'valid-there-1@x.test'}) }), 'and is answered');
	sql(q{INSERT INTO "Other place".clearout_queue (email) VALUES ('valid-there-2@x.test')});
	ok(wait_until(120, sub { sql(q{SELECT count(*) FROM "Other place".clearout_results WHERE email = 'valid-there-2@x.test'}) }), 'so is a plain INSERT');
	is(sql('ALTER EXTENSION clearout SET SCHEMA public'), '', 'moved back');
};

subtest 'DROP EXTENSION' => sub {
	my $pid = worker_pid($node);

	$api->hold(pattern => 'valid-dropped-*');
	sql("SELECT clearout_enqueue(ARRAY(SELECT 'valid-dropped-' || i || '\@x.test' FROM generate_series(1, 500) i))");
	ok($api->wait_for(held => $PARALLEL), 'calls in flight');
	my $start = time;
	is(sql('DROP EXTENSION clearout'), '', 'dropped');
	cmp_ok(time - $start, '<', 60, 'soon');
	ok(defined wait_gone($pid, 60), 'the worker has left');
	$api->release;
	my $calls = $api->total_calls;
	sql('CREATE EXTENSION clearout');
	ok(worker_pid($node), 'created again, it has a worker');
	is(sql(q{SELECT clearout_enqueue('valid-after-drop@x.test')}), 't', 'and a queue');
	ok(wait_until(120, sub { stored('after') eq '1' }), 'that works');
	is($api->total_calls, $calls + 1, 'and knows nothing of the rows dropped');

	# Rolled back, it was never dropped.
	sql("SELECT clearout_pause(); SELECT clearout_enqueue('valid-rolled-$_\@x.test')") foreach 1 .. 3;
	sql('BEGIN; SELECT clearout_resume(); DROP EXTENSION clearout; ROLLBACK');
	is(sql('SELECT count(*) FROM clearout_queue'), 3, 'a drop that was rolled back: the rows wait');
	sql('SELECT clearout_resume()');
	ok(wait_until(120, sub { stored('rolled') eq '3' }), 'and are answered');
};

# Another table, whose rows have the same numbers as those that are being asked
# about: an answer to one of the old ones must not remove a new one.
subtest 'DROP and CREATE EXTENSION at once' => sub {
	sql('DROP EXTENSION clearout; CREATE EXTENSION clearout');
	ok(worker_pid($node), 'numbers begin anew');
	$api->hold(pattern => 'valid-old-*');
	sql("SELECT clearout_enqueue(ARRAY(SELECT 'valid-old-' || i || '\@x.test' FROM generate_series(1, $PARALLEL) i))");
	ok($api->wait_for(held => $PARALLEL), 'calls in flight');
	sql("BEGIN; DROP EXTENSION clearout; CREATE EXTENSION clearout;"
		. " SELECT clearout_enqueue(ARRAY(SELECT 'valid-new-' || i || '\@x.test' FROM generate_series(1, $PARALLEL) i)); COMMIT");
	sleep 0.5;
	$api->release;
	ok(wait_until(120, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'the new queue is worked on');
	is(stored('new'), $PARALLEL, 'each of its rows is answered');
};

my $log = slurp_file($node->logfile);
unlike($log, qr/signal 11|signal 6|TRAP:|PANIC:.*clearout/, 'nothing has crashed of itself');
$node->stop;
done_testing();
