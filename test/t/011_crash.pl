# Ends of processes, while fifty sessions wait: each gets an answer or a clear
# error in time, no slot is lost, what was answered is stored, and what was
# sent and not stored is all that is asked again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $CALLERS = 50;
my $PARALLEL = 20;	# calls in flight; the other callers wait for a place
my $TIMEOUT = 90;	# of the callers, seconds

my $api = ClearoutSandbox->new(limit => 1000000);
my $node = start_node(
	'main', $api,
	settings => { max_parallel => $PARALLEL, wait_timeout => "${TIMEOUT}s", request_timeout => '100s' },
	conf => "restart_after_crash = on\nlog_min_messages = warning\n");

sub stored
{
	my ($round) = @_;
	return $node->safe_psql('postgres',
		"SELECT (SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-$round-%')"
		  . " + (SELECT count(*) FROM clearout_spill WHERE email LIKE 'valid-$round-%')");
}

sub start_round
{
	my ($round) = @_;

	# A worker that knows nothing of the rate limit would start but few calls.
	verify($node, "valid-before-$_-$round\@x.test") foreach 1 .. 3;
	$api->hold(pattern => "valid-$round-*");
	return map { start_verify($node, "valid-$round-$_\@x.test") } 1 .. $CALLERS;
}

# All have ended in time, with one of these outcomes; how many with each.
sub finish_round
{
	my ($round, $outcomes, @callers) = @_;
	my %count;

	is(finish_callers($TIMEOUT + 60, @callers), 0, "$round: all callers have ended");
	foreach my $caller (@callers)
	{
		my $outcome = $caller->{sqlstate} eq '' ? $caller->{out} : $caller->{sqlstate};

		# the server's own words for a crash, whether or not the client sees them
		$outcome = 'lost' if $outcome =~ /^57P0[123]$|^08/;
		$count{$outcome}++;
		fail("$round: no other outcome than expected") && diag "$outcome $caller->{err}"
		  unless $outcome =~ /^valid\|yes\|(service|stored)\|Success$/ || $outcomes =~ /\b$outcome\b/;
	}
	my @late = grep { $_->{seconds} > $TIMEOUT + 30 } @callers;
	is(scalar @late, 0, "$round: each within its timeout");
	note "$round: " . join ', ', map { "$count{$_} $_" } sort keys %count;
	return \%count;
}

# Afterwards all is as it was, and nothing is lost: $repeats calls at most
# were made twice.
sub check_after
{
	my ($round, $repeats) = @_;

	ok($node->poll_query_until('postgres', 'SELECT worker_pid IS NOT NULL AND slots_used = 0 FROM clearout_status'),
		"$round: a worker, and no slot in use");
	my $before = $api->address_stats->{asked};
	my $count = call_sql($node,
		"SELECT count(*) FROM generate_series(1, $CALLERS) i, LATERAL clearout_verify('valid-$round-' || i || '\@x.test') v"
		  . " WHERE v.status = 'valid'");
	is($count->{out}, $CALLERS, "$round: everything is answered in the end") or diag $count->{err};
	is(stored($round), $CALLERS, "$round: and stored");
	is(status($node, 'slots_used || requests_waiting::text || calls_in_flight'), '000', "$round: nothing is left over");

	my ($asked, $twice) = (0, 0);
	foreach my $i (1 .. $CALLERS)
	{
		my $calls = $api->calls("valid-$round-$i\@x.test");
		$asked += $calls > 0;
		$twice += $calls - 1 if $calls > 1;
	}
	is($asked, $CALLERS, "$round: each was asked for");
	cmp_ok($twice, '<=', $repeats, "$round: at most $repeats calls were repeated");
	note "$round: $twice calls repeated";
	return;
}

# Half of what is in flight is answered and committed before the blow falls.
sub answer_some
{
	my ($round) = @_;

	ok($api->wait_for(held => $PARALLEL), "$round: $PARALLEL calls in flight");
	$api->release(email => "valid-$round-$_\@x.test") foreach 1 .. $CALLERS / 2;
	ok(wait_until(60, sub { $api->stats->{held} == $PARALLEL }), "$round: places that came free are used");
	my $answered = grep { $api->answered("valid-$round-$_\@x.test") } 1 .. $CALLERS;
	cmp_ok($answered, '>=', 3, "$round: some are answered");
	ok(wait_until(60, sub { stored($round) == $answered }), "$round: $answered answers are stored");
	return $answered;
}

# The worker is told to leave: the callers do not notice.
{
	my $round = 'terminate';
	my $pid = worker_pid($node);

	my @callers = start_round($round);
	my $answered = answer_some($round);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	# in spite of its calls, which go on until somebody lets go of the answers
	my $took = wait_gone($pid, 60);
	ok(defined $took && $took <= 20, "$round: the worker is gone at once");
	$api->release;
	my $count = finish_round($round, '', @callers);
	isnt(worker_pid($node), $pid, "$round: another worker");
	check_after($round, $PARALLEL);
}

# The worker is killed: the whole server starts anew.
foreach my $round (qw(kill killagain))
{
	my $pid = worker_pid($node);

	$api->release;
	my @callers = start_round($round);
	my $answered = answer_some($round);
	my $log = -s $node->logfile;
	kill 'KILL', $pid;
	my $count = finish_round($round, 'lost', @callers);
	ok(($count->{lost} || 0) >= 1, "$round: the server has cut the connections");
	$api->release;
	ok(wait_until(60, sub { is_up($node) }), "$round: it is back");
	isnt(worker_pid($node), $pid, "$round: another worker");
	cmp_ok(stored($round), '>=', $answered, "$round: what was answered is stored");
	check_after($round, $PARALLEL);
}

# A caller is killed with -9: the same.
{
	my $round = 'callerkill';

	my @callers = start_round($round);
	my $answered = answer_some($round);
	my $victim = $node->safe_psql('postgres',
		"SELECT min(pid) FROM pg_stat_activity WHERE query LIKE '%valid-$round-%' AND pid <> pg_backend_pid()");
	kill 'KILL', $victim;
	finish_round($round, 'lost', @callers);
	$api->release;
	ok(wait_until(60, sub { is_up($node) }), "$round: the server is back");
	cmp_ok(stored($round), '>=', $answered, "$round: what was answered is stored");
	check_after($round, $PARALLEL);
}

# Callers who leave, by each of the ways there are, take their slots along;
# the answers to what they have asked are stored.
{
	my $round = 'leave';

	my @callers = start_round($round);
	answer_some($round);
	my $of = "FROM pg_stat_activity WHERE query LIKE 'SELECT status%valid-$round-%'";
	$node->safe_psql('postgres', "SELECT count(pg_cancel_backend(pid)) $of AND pid % 3 = 0");
	$node->safe_psql('postgres', "SELECT count(pg_terminate_backend(pid)) $of AND pid % 3 = 1");
	kill 'KILL', map { $_->{pid} } grep { $_->{pid} } @callers;	# psql alone
	finish_callers(60, @callers);
	$api->release;
	check_after($round, 0);
}

# An error in the worker: its tables are away for a while.
{
	my $round = 'error';

	my @callers = start_round($round);
	my $answered = answer_some($round);
	my $pid = worker_pid($node);
	# whoever cancels the worker cancels nothing
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	$node->safe_psql('postgres', 'ALTER TABLE clearout_results RENAME TO elsewhere');
	my @more = map { start_verify($node, "valid-$round-more-$_\@x.test", "timeout => '5s', on_error => 'unknown'") } 1 .. 10;
	# what is answered now can be stored nowhere
	$api->release;
	finish_callers($TIMEOUT, @more);
	is((scalar grep { $_->{sqlstate} eq '' && $_->{out} =~ /^valid/ } @more), 0, "$round: no answer while the table is away");
	is((scalar grep { $_->{seconds} > 35 } @more), 0, "$round: but an outcome in time");
	$node->safe_psql('postgres', 'ALTER TABLE elsewhere RENAME TO clearout_results');
	my $count = finish_round($round, 'VC006 VC007 VC008 XX000 42P01 42704 55000', @callers);
	check_after($round, 0);
	is(worker_pid($node), $pid, "$round: by the same worker");
}

# The launcher: killed, and told to leave.
{
	my $launcher = sub {
		return wait_until(60, sub {
			my ($rc, $out) = $node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'clearout launcher'");
			return $rc == 0 && $out;
		});
	};
	my $round = 'launcher';
	my $pid = $launcher->();
	my $worker = worker_pid($node);

	my @callers = start_round($round);
	answer_some($round);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok(defined wait_gone($pid, 60), "$round: terminated");
	$api->release;
	my $count = finish_round($round, '', @callers);
	is($count->{'valid|yes|service|Success'}, $CALLERS, "$round: nobody noticed");
	my $new = $launcher->();
	ok($new && $new != $pid, "$round: there is another");
	is(worker_pid($node), $worker, "$round: the worker went on");
	check_after($round, 0);

	# The new one knows of the worker that the old one has started.
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
	ok(defined wait_gone($worker, 60), "$round: the worker is told to leave");
	ok(wait_until(60, sub { my $now = status($node, 'worker_pid'); $now && $now != $worker }), "$round: and replaced");

	# Both at once: the worker's replacement waits for a launcher.
	$worker = worker_pid($node);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($_)") foreach $launcher->(), $worker;
	my $late = verify($node, 'valid-late@x.test');
	is($late->{out}, 'valid|yes|service|Success', "$round: both at once: the caller gets an answer") or diag $late->{err};

	$pid = $launcher->();
	kill 'KILL', $pid;
	ok(defined wait_gone($pid, 60), "$round: killed");
	ok(wait_until(60, sub { my $now = $launcher->(); $now && $now != $pid }), "$round: there is another");
	ok(wait_until(60, sub { is_up($node) }), "$round: the server is back");
	is(verify($node, 'valid-launcher-after@x.test')->{out}, 'valid|yes|service|Success', "$round: and answers");
}

# The whole server stops at once, and starts.
{
	my $round = 'immediate';

	my @callers = start_round($round);
	my $answered = answer_some($round);
	$node->stop('immediate');
	finish_round($round, 'lost', @callers);
	$api->release;
	$node->start;
	is(stored($round), $answered, "$round: what was answered is stored");
	check_after($round, $PARALLEL);
}

# The service goes, and comes back: clear errors meanwhile, and nobody has to
# start anything anew.
{
	my $round = 'outage';
	my $pid = worker_pid($node);

	my @callers = start_round($round);
	my $answered = answer_some($round);
	$api->crash;
	my $count = finish_round($round, 'VC007', @callers);
	is(($count->{VC007} || 0) + ($count->{'valid|yes|service|Success'} || 0), $CALLERS, "$round: an answer or a clear error for each");
	is($count->{'valid|yes|service|Success'}, $answered, "$round: an answer for whom there was one");
	foreach my $i (1 .. 3)
	{
		my $caller = verify($node, "valid-$round-1$i\@y.test");
		is($caller->{sqlstate}, 'VC007', "$round: error $i");
		like($caller->{message}, qr/cannot be reached/, "$round: message $i");
	}
	$api->start;
	my $caller = verify($node, "valid-$round-1\@y.test");
	is($caller->{out}, 'valid|yes|service|Success', "$round: over");
	is(status($node, 'worker_pid'), $pid, "$round: by the same worker");
	is(status($node, 'slots_used'), 0, "$round: no slot in use");
}

$node->stop;

done_testing();
