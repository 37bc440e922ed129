# What the processes do when they should do nothing, or leave: shutdown with
# calls in flight, death of the postmaster, idleness, changed settings.
#
# Measures time, so it wants a quiet machine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $api = ClearoutSandbox->new(limit => 1000000);
my $node = start_node('main', $api, settings => { request_timeout => '170s', wait_timeout => '60s' });

sub launcher_pid
{
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'clearout launcher'");
}

# What is seen of a process once it has come to rest: its last values if it
# does not come to these.
sub activity_becomes
{
	my ($pid, $expressions, $expected, $name) = @_;
	my $seen;

	wait_until(60, sub {
		$seen = $node->safe_psql('postgres', "SELECT $expressions FROM pg_stat_activity WHERE pid = $pid");
		return $seen eq $expected;
	});
	is($seen, $expected, $name);
	return;
}

sub set
{
	my ($setting, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET clearout.$setting = '$value'");
	$node->reload;
	return;
}

# Nothing to do, after some work.
{
	is($node->safe_psql('postgres', q{SELECT count(*) FROM generate_series(1, 300) i, LATERAL clearout_verify('valid-' || i || '@x.test') v WHERE v.status = 'valid'}),
		300, 'some work');
	my @callers = map { start_verify($node, "valid-parallel-$_\@x.test") } 1 .. 20;
	is(finish_callers(60, @callers), 0, 'in parallel too');

	my %pid = (worker => worker_pid($node), launcher => launcher_pid());
	activity_becomes($pid{worker}, 'backend_type, application_name, state, datname, wait_event_type, backend_xmin IS NULL, xact_start IS NULL',
		'clearout worker|clearout worker|idle|postgres|Extension|t|t', 'the worker in pg_stat_activity');
	activity_becomes($pid{launcher}, 'backend_type, datname IS NULL, backend_xmin IS NULL, xact_start IS NULL',
		'clearout launcher|t|t|t', 'the launcher in pg_stat_activity');

	ok(comes_to_rest($pid{$_}, 10), "the $_ does not run in 10 s") foreach sort keys %pid;
	# others, such as autovacuum, may write now and then
	ok(wait_until(120, sub { my $wal = $node->lsn('insert'); sleep 5; return $node->lsn('insert') eq $wal }), 'and nothing is written');
}

# While the service does not answer.
{
	my $pid = worker_pid($node);
	my $id = $api->fault(kind => 'hang');
	my @callers = map { start_verify($node, "hang-$_\@x.test", "timeout => '10s'") } 1 .. 3;

	ok($api->wait_for(hung => 3), 'three calls hang');
	activity_becomes($pid, "state, backend_xmin IS NULL AND backend_xid IS NULL, xact_start IS NULL, wait_event_type",
		'active|t|t|Extension', 'no transaction is open meanwhile');
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_locks WHERE pid = $pid"), 'nor a lock held');
	ok(comes_to_rest($pid, 1), 'and the worker sleeps');
	is(finish_callers(60, @callers), 0, 'the callers have left');
	is_deeply([ map { $_->{sqlstate} } @callers ], [ ('VC006') x 3 ], 'each at its own timeout');
	is($api->stats->{hung}, 3, 'the calls still hang');
	# nor by anybody else, who may have a transaction open for a moment
	ok(wait_until(60, sub {
		$node->safe_psql('postgres', 'DROP TABLE IF EXISTS dead; CREATE TABLE dead AS SELECT generate_series(1, 100); DELETE FROM dead');
		return call_sql($node, 'VACUUM VERBOSE dead')->{err} =~ /\b100 removed\b/;
	}), 'vacuum is not held back by them');
	is($api->stats->{hung}, 3, 'which hang on');
	$api->clear($id);

	# They end with their worker.  Its successor is to know the rate limit.
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok(wait_until(60, sub { my $now = worker_pid($node); $now && $now != $pid }), 'another worker');
	ok(wait_until(60, sub { $api->stats->{hung} == 0 }), 'without them');
	verify($node, "valid-again-$_\@x.test") foreach 1 .. 3;
}

# Settings that a reload changes.
{
	my $pid = worker_pid($node);

	set(max_parallel => 10);
	$api->reset;
	$api->hold;
	my @callers = map { start_verify($node, "valid-reload-$_\@x.test") } 1 .. 30;
	ok($api->wait_for(held => 10), 'max_parallel: ten calls');
	ok(wait_until(60, sub { status($node, 'requests_waiting') == 30 }), 'for thirty callers');
	is($api->stats->{held}, 10, 'and not more');
	set(max_parallel => 20);
	ok($api->wait_for(held => 20), 'max_parallel: twenty after a reload');
	is(status($node, 'calls_in_flight'), 20, 'as the view says');
	$api->release(keep => 1);
	ok($api->wait_for(held => 10), 'places that came free are used');
	is($api->stats->{max_in_flight}, 20, 'never more than twenty');
	$api->release;
	is(finish_callers(60, @callers), 0, 'all answered');
	is((scalar grep { $_->{out} =~ /^valid/ } @callers), 30, 'all valid');
	is($api->address_stats->{max}, 1, 'each by one call');

	set(request_timeout => '1s');
	$api->config(latency => 2500);
	is(verify($node, 'valid-slow-1@x.test')->{sqlstate}, 'VC006', 'request_timeout: too short');
	is($api->stats->{timed_out}, 1, 'and the service was told so');
	set(request_timeout => '10s');
	is(verify($node, 'valid-slow-2@x.test')->{out}, 'valid|yes|service|Success', 'request_timeout: long enough after a reload');
	$api->config(latency => 0);
	is(status($node, 'worker_pid'), $pid, 'all this by one worker');
}

# Another base URL: what is in flight lands, then another worker takes over.
{
	my $other = ClearoutSandbox->new(limit => 1000000, token => $api->token);
	my $pid = worker_pid($node);

	set(request_timeout => '170s');
	$api->hold;
	my @callers = map { start_verify($node, "valid-move-$_\@x.test") } 1 .. 20;
	ok($api->wait_for(held => 20), 'twenty calls in flight');
	set(base_url => $other->url);
	my @later = map { start_verify($node, "valid-later-$_\@x.test") } 1 .. 5;
	ok(wait_until(60, sub { status($node, 'requests_waiting') == 25 }), 'five more callers come');
	sleep 0.5;
	is($other->total_calls, 0, 'nothing goes elsewhere as yet');
	ok(is_alive($pid), 'the worker stays for what is in flight');
	is($api->release, 20, 'answers come');
	is(finish_callers(60, @callers, @later), 0, 'all have ended');
	is((scalar grep { $_->{out} =~ /^valid\|yes\|service/ } @callers), 20, 'the twenty are answered');
	is((scalar grep { $_->{out} =~ /^valid\|yes\|service/ } @later), 5, 'the five too');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM clearout_results WHERE email ~ '^valid-(move|later)-'}), 25, 'all are stored');
	my $new = worker_pid($node);
	isnt($new, $pid, 'by another worker');
	ok(!is_alive($pid), 'the old one is gone');
	is($api->address_stats->{max}, 1, 'each of the twenty by one call');
	is($other->total_calls, 5, 'and the five went to the new address');
	is(status($node, 'slots_used'), 0, 'no slot is left in use');
	set(base_url => $api->url);
	ok(wait_until(60, sub { my $now = status($node, 'worker_pid'); $now && $now ne $new }), 'and back');
}

# Fast shutdown with calls in flight to a service that does not answer.
{
	$api->reset;
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET ALL');
	$node->reload;
	$api->fault(kind => 'hang');
	my @callers = map { start_verify($node, "hang-$_\@x.test") } 1 .. 100;
	ok($api->wait_for(hung => 100), 'a hundred calls hang');
	my ($worker, $launcher) = (worker_pid($node), launcher_pid());

	my $start = time;
	my $stopper = fork();
	die "fork: $!" unless defined $stopper;
	if ($stopper == 0)
	{
		open(STDOUT, '>', '/dev/null');
		{ exec 'pg_ctl', '-D', $node->data_dir, '-m', 'fast', '-w', '-t', 120, 'stop' }
		POSIX::_exit(127);
	}
	my $took = wait_gone($worker, 60);
	ok(defined $took && $took <= 20, 'fast shutdown: the worker does not wait for its calls');
	note sprintf('worker gone after %.3f s', $took) if defined $took;
	waitpid $stopper, 0;
	is($?, 0, 'fast shutdown: done');
	my $stopped = time - $start;
	cmp_ok($stopped, '<', 40, 'fast shutdown: in time');
	note sprintf('stopped after %.3f s', $stopped);
	ok(!is_alive($launcher), 'fast shutdown: no launcher');
	is(finish_callers(60, @callers), 0, 'the callers have ended');
	is((scalar grep { $_->{sqlstate} eq '57P01' } @callers), 100, 'each with the word of the administrator');
	$node->_update_pid(0);

	$api->clear;
	$node->start;
	ok(worker_pid($node), 'a worker after the start');
	is(status($node, 'slots_used'), 0, 'no slot in use');
	is(verify($node, 'hang-1@x.test')->{rc}, 0, 'and it works');
}

# The postmaster is killed, with the worker idle, and with calls in flight.
foreach my $hanging (0, 20)
{
	# A worker that knows nothing of the rate limit would start but few calls.
	verify($node, "valid-before-$hanging-$_\@x.test") foreach 1 .. 3;
	$api->fault(kind => 'hang') if $hanging;
	my @callers = map { start_verify($node, "orphan-$_\@x.test") } 1 .. $hanging;
	ok($api->wait_for(hung => $hanging), "$hanging calls hang");
	my ($worker, $launcher) = (worker_pid($node), launcher_pid());

	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	$node->kill9;
	foreach my $pid ($worker, $launcher)
	{
		my $took = wait_gone($pid, 60);
		ok(defined $took && $took <= 20, 'postmaster killed: the ' . ($pid eq $worker ? 'worker' : 'launcher') . ' is gone soon');
		note sprintf('after %.3f s', $took) if defined $took;
	}
	is(finish_callers(60, @callers), 0, 'postmaster killed: the callers have ended');
	$api->clear;
	# until somebody has collected the orphan its number seems to be in use
	wait_until(60, sub { !kill 0, $postmaster });
	$node->start;
	ok(worker_pid($node), 'postmaster killed: a worker after the start');
}

$node->stop;

done_testing();
