# The queue and a service that fails: retries with backoff, pauses, outages,
# and answers that cannot be stored.  Nothing is lost, and nothing is called
# more often than it must.
#
# Measures time, so it wants a quiet machine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid wait_until status verify call_sql);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

my $PARALLEL = 10;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000, latency => '2..10');
my $node = clearout_node('main', $api, max_parallel => $PARALLEL, request_timeout => '60s');

sub sql { return value_of($node, @_) }

sub enqueue
{
	my ($round, $count) = @_;
	return sql("SELECT clearout_enqueue(ARRAY(SELECT 'valid-$round-' || i || '\@x.test' FROM generate_series(1, $count) i))");
}

sub stored
{
	my ($round) = @_;
	return sql("SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-$round-%'");
}

sub waits
{
	my ($where) = @_;
	return sql('SELECT count(*) FROM clearout_queue' . ($where ? " WHERE $where" : ''));
}

sub drained
{
	my ($seconds, $where) = @_;
	return wait_until($seconds, sub { waits($where) eq '0' });
}

sub set
{
	my ($name, $value) = @_;
	$node->append_conf('postgresql.conf', "clearout.$name = '$value'");
	$node->reload;
	return wait_until(60, sub { sql("SELECT setting = '$value' FROM pg_settings WHERE name = 'clearout.$name'") eq 't' });
}

# Calls of a round, and how many of its addresses were asked more than once.
sub calls_of
{
	my ($round, $count) = @_;
	my ($calls, $repeated) = ($count, 0);

	foreach my $address (@{ $api->address_stats->{repeated} })
	{
		next unless $address->{email} =~ /^valid-\Q$round\E-/;
		$calls += $address->{asked} - 1;
		$repeated++;
	}
	return ($calls, $repeated);
}

# Processor time of a process so far, seconds.
sub cpu
{
	my ($pid) = @_;
	my @field = split / /, slurp_file("/proc/$pid/stat") =~ s/^.*\) //r;
	return ($field[11] + $field[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# An idle, or waiting, worker does not turn in circles.
sub is_calm
{
	my ($name) = @_;
	my $pid = worker_pid($node);
	my $before = cpu($pid);

	sleep 2;
	cmp_ok(cpu($pid) - $before, '<', 0.5, "$name: the worker waits without turning in circles");
	return;
}

ok(worker_pid($node), 'a worker runs');

subtest 'retries' => sub {
	# Three addresses of thirty fail, twice each.
	my @bad = map { "valid-retry-$_\@x.test" } 7, 14, 21;
	$api->fault(email => $bad[0], status => 500, times => 2);
	$api->fault(email => $bad[1], status => 503, times => 2);
	$api->fault(email => $bad[2], kind => 'reset', times => 2);
	enqueue('retry', 30);
	ok(wait_until(60, sub { stored('retry') >= 27 }), 'the others are answered at once');
	ok(drained(60), 'and those in the end');
	is(stored('retry'), 30, 'all are stored');
	is(join(' ', map { $api->calls($_) } @bad), '3 3 3', 'by three calls each');
	is((calls_of('retry', 30))[1], 3, 'the others by one');

	# One that goes on failing: what it says meanwhile.
	$api->fault(email => 'valid-stubborn-1@x.test', status => 503);
	ok(set('max_attempts', 100), 'many attempts, while we look');
	enqueue('stubborn', 1);
	ok(wait_until(60, sub { waits('attempts > 0 AND next_attempt_at IS NOT NULL AND failed_at IS NULL') }), 'it waits for another attempt');
	is(waits(q{last_error <> 'HTTP 503' OR next_attempt_at > now() + interval '1 minute'}), 0, 'and says why, and until when');
	is(verify($node, 'valid-beside-stubborn@x.test')->{out}, 'valid|yes|service|Success', 'others are not held up');
	is(sql(q{SELECT clearout_enqueue('valid-stubborn-1@x.test')}), 'f', 'it counts as waiting');
	ok(set('max_attempts', 4), 'four attempts');
	ok(wait_until(60, sub { waits('failed_at IS NOT NULL') }), 'in the end it has failed for good');
	is(sql('SELECT last_error || (next_attempt_at IS NULL) || maybe_paid FROM clearout_queue'), 'HTTP 503truefalse', 'with its reason');
	my $attempts = sql('SELECT attempts FROM clearout_queue');
	cmp_ok($attempts, '>=', 4, 'after so many attempts');
	is($api->calls('valid-stubborn-1@x.test'), $attempts, 'and as many calls');
	$node->restart;
	ok(worker_pid($node), 'a restart');
	sql(q{SELECT clearout_enqueue('valid-after-restart@x.test')});
	ok(wait_until(60, sub { stored('after') }), 'the queue is looked at');
	is($api->calls('valid-stubborn-1@x.test'), $attempts, 'what failed for good is not asked again');
	is(sql(q{SELECT clearout_enqueue('valid-stubborn-1@x.test')}), 't', 'it may be put in again');
	ok(wait_until(60, sub { waits('failed_at IS NOT NULL') == 2 }), 'to fail again');
	is($api->calls('valid-stubborn-1@x.test'), $attempts + 4, 'after four calls');
	$api->clear;
	is(sql('SELECT clearout_retry()'), 2, 'another chance');
	ok(drained(60), 'helps now');
	is($api->calls('valid-stubborn-1@x.test'), $attempts + 5, 'by one call for both');
	is(sql('SELECT clearout_retry()'), 0, 'nothing is left');

	# What the service refuses to consider is not repeated.
	$api->fault(email => 'valid-refused-1@x.test', status => 400);
	enqueue('refused', 1);
	ok(wait_until(60, sub { waits('failed_at IS NOT NULL') }), 'a bad request fails for good');
	is($api->calls('valid-refused-1@x.test'), 1, 'after one call');
	is(waits(q{last_error ~ 'refused|x\.test|@'}), 0, 'its error names no address');
	sql('DELETE FROM clearout_queue');
	$api->clear;

	# More that are due at once than the worker takes at a time.
	sql(q{SELECT clearout_pause()});
	enqueue('due', 400);
	sql(q{UPDATE clearout_queue SET attempts = 1, next_attempt_at = now()});
	sql(q{SELECT clearout_resume()});
	ok(drained(60), 'four hundred retries that are due at once');
	is(stored('due'), 400, 'are answered');
	is((calls_of('due', 400))[1], 0, 'by one call each');
};

subtest 'a lost answer' => sub {
	my $email = 'valid-lost-1@x.test';

	$api->fault(email => $email, kind => 'close', processed => JSON::PP::true, times => 1);
	# the second attempt fails otherwise, and the third waits until we have looked
	$api->fault(email => $email, status => 503, times => 1);
	$api->hold(email => $email, after => 2);
	enqueue('lost', 1);
	ok($api->wait_for(held => 1), 'it is repeated');
	is(waits('maybe_paid'), 1, 'it says that it may have been paid');
	is(waits(q{last_error ~ '@|x\.test'}), 0, 'without the address');
	is($api->calls($email), 3, 'by a call more for each failure');
	$api->release;
	ok(drained(60), 'and answered in the end');
	is($api->calls($email), 3, 'by the last one');
	is(stored('lost'), 1, 'stored');
	$api->clear;
};

# Causes that hold for every call, in the middle of a drain.
my $number = 0;
sub wall
{
	my ($name, $sqlstate, $word, $build, $remove, %more) = @_;
	my $round = 'wall' . ++$number;
	my $ended = $more{refused};

	# Should we be late, the last rows wait for what is built.
	$api->hold(pattern => "valid-$round-*", after => 700);
	enqueue($round, 1000);
	ok(wait_until(60, sub { stored($round) >= 200 }), "$name: a drain is under way");
	my $before = $api->stats->{by_status};
	$build->();
	$api->release;
	ok(poll_status($node, q{state = 'paused'}), "$name: the status says paused") or return;
	like(status($node, 'reason'), $word, "$name: and why");
	sleep 1;
	my $answered = stored($round);
	cmp_ok($answered, '<', 1000, "$name: in the middle of it");
	my $refused = $ended->($before);
	cmp_ok($refused, '>=', 1, "$name: met");
	cmp_ok($refused, '<=', $PARALLEL + 2, "$name: at most one call per place has met it");
	note "$name: $refused calls refused";
	is(waits(), 1000 - $answered, "$name: nothing is lost");
	is(waits('attempts > 0 OR failed_at IS NOT NULL'), 0, "$name: nor held against the rows");

	my $start = time;
	is(verify($node, "valid-interactive-$round\@x.test", q{timeout => '60 s'})->{sqlstate}, $sqlstate, "$name: callers are told so");
	cmp_ok(time - $start, '<', 40, "$name: at once");
	is($api->calls("valid-interactive-$round\@x.test"), 0, "$name: without a call");
	is(sql(qq{SELECT clearout_enqueue('valid-$round-more\@x.test')}), 't', "$name: the queue takes more");
	is_calm($name);
	# but for what asks now and then whether it is over, more and more rarely
	cmp_ok($ended->($before), '<=', $PARALLEL + 5, "$name: nobody tries on");

	$remove->();
	ok(wait_until(60, sub { stored($round) == 1001 }), "$name: work resumes when it is over, and ends")
	  or diag status($node, 's::text');
	ok(drained(60), "$name: the queue is empty");
	is(status($node, 'state'), 'running', "$name: the status says so");
	my ($calls, $repeated) = calls_of($round, 1001);
	cmp_ok($calls - 1001, '<=', $ended->($before), "$name: only what was refused was asked again");
	return;
}

subtest 'walls' => sub {
	my $count = sub {
		my ($status) = @_;
		return sub { return ($api->stats->{by_status}{$status} // 0) - ($_[0]{$status} // 0) };
	};
	my $hits = 0;	# of the last fault, also after it was cleared
	my $applied = sub {
		my $faults = $api->faults;
		$hits = $faults->[-1]{hits} if @$faults;
		return $hits;
	};

	wall('402', 'VC003', qr/402/, sub { $api->config(credits => 0) },
		sub { $api->config(credits => 1_000_000); $node->reload }, refused => $count->(402));
	wall('1017', 'VC004', qr/1017/, sub { $api->fault(code => 1017) },
		sub { $applied->(); $api->clear; $node->reload }, refused => $applied);

	# The token is withdrawn, and another written to the file; nobody reloads.
	my $token = 'n' x 32 . ':' . 'e' x 64;
	my $old = $api->token;
	wall('401', 'VC002', qr/401/, sub { $api->config(token => $old, valid => JSON::PP::false) },
		sub {
			$api->config(token => $token, valid => JSON::PP::true);
			$api->write_token_file($token);
		},
		refused => $count->(401));
	# back to the first one, which the sandbox knows after a restart too
	$api->config(token => $old, valid => JSON::PP::true);
	$api->write_token_file($old);
	$node->reload;
	unlike(slurp_file($node->logfile), qr/\Q$token\E|\Q$old\E/, 'no token in the log');
	my $log = slurp_file($node->logfile);
	my $said = () = $log =~ /the service refuses all (?:verify )?calls/g;
	is($said, 3, 'the log has said it once each time');
};

subtest 'an outage' => sub {
	$api->hold(pattern => 'valid-outage-*', after => 2000);
	enqueue('outage', 3000);
	ok(wait_until(60, sub { stored('outage') >= 300 }), 'a drain is under way');
	$api->crash;
	my $faults = status($node, 'faults');
	sleep 3;
	my $stored = stored('outage');
	cmp_ok($stored, '<', 3000, 'in the middle of it');
	my $attempts = sql('SELECT sum(attempts) FROM clearout_queue');
	cmp_ok($attempts, '<=', 3 * $PARALLEL + 10, 'few attempts are made while it lasts');
	cmp_ok(waits('attempts > 0'), '>=', 1, 'some rows have noticed');
	cmp_ok(waits('attempts > 0'), '<=', 3 * $PARALLEL + 10, 'most have not');
	cmp_ok(status($node, 'faults') - $faults, '<=', 3 * $PARALLEL + 10, 'as the status counts them');
	is(waits('failed_at IS NOT NULL'), 0, 'none has failed for good');
	is_calm('outage');
	$api->start;
	my $start = time;
	ok(wait_until(60, sub { stored('outage') == 3000 }), 'all are answered when it is over') or diag stored('outage'), sql('SELECT to_json(s) FROM clearout_status s');
	note sprintf '%d attempts failed; %.1f s to the end of the drain', $attempts, time - $start;
	ok(drained(60), 'the queue is empty');
};

subtest 'one of two hundred cannot be stored' => sub {
	my $bad = 'valid-content-77@x.test';

	sql(qq{ALTER TABLE clearout_results ADD CONSTRAINT no CHECK (email <> '$bad')});
	enqueue('content', 200);
	ok(drained(60), 'the queue is empty');
	# a worker that comes to run too seldom sets others aside as well, for a moment
	ok(wait_until(120, sub { stored('content') == 199 }), '199 are stored');
	is(sql(q{SELECT count(*) || min(email) FROM clearout_spill}), "1$bad", 'the other is set aside');
	ok(wait_until(120, sub { sql('SELECT error FROM clearout_spill') =~ /violates check constraint/ }), 'with the reason');
	unlike(sql('SELECT error FROM clearout_spill'), qr/\@x\.test/, 'which does not repeat the address');
	is((calls_of('content', 200))[1], 0, 'none was asked twice');
	is($api->calls($bad), 1, 'it neither');
	is(sql("SELECT clearout_enqueue('$bad')"), 'f', 'what is set aside counts as an answer');
	is(verify($node, $bad)->{out}, 'valid|yes|stored|Success', 'for callers too');
	is(sql("SELECT clearout_enqueue(ARRAY['$bad'])"), 0, 'and in arrays');
	sql('ALTER TABLE clearout_results DROP CONSTRAINT no');
	$node->restart;
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_spill') eq '0' && stored('content') == 200 }), 'it is moved when it can be');
	is($api->calls($bad), 1, 'without another call');
};

subtest 'pause and resume' => sub {
	ok(worker_pid($node), 'a worker');
	$api->hold(pattern => 'valid-pause-*', after => 700);
	enqueue('pause', 1000);
	ok(wait_until(60, sub { stored('pause') >= 100 }), 'a drain is under way');
	sql('SELECT clearout_pause()');
	$api->release;
	# what is in flight lands
	my $last = -1;
	ok(wait_until(60, sub {
		my $now = stored('pause');
		my $same = $now == $last;
		$last = $now;
		sleep 0.5;
		return $same;
	}), 'it comes to a stand');
	cmp_ok($last, '<', 1000, 'in the middle of it');
	is(waits(), 1000 - $last, 'the rest waits');
	is(status($node, 'queue_paused'), 't', 'the status says so');
	is(verify($node, 'valid-during-pause@x.test')->{out}, 'valid|yes|service|Success', 'verify works meanwhile');
	enqueue('pausemore', 10);
	is_calm('paused');
	$node->restart;
	ok(worker_pid($node), 'a worker after the restart');
	is(verify($node, 'valid-after-restart-2@x.test')->{out}, 'valid|yes|service|Success', 'which works');
	sleep 1;
	is(stored('pause') . ' ' . stored('pausemore'), "$last 0", 'but not on the queue');
	is(status($node, 'queue_paused'), 't', 'as the status says');

	# Rolled back, nothing has changed.
	sql('BEGIN; SELECT clearout_resume(); ROLLBACK');
	sleep 0.5;
	is(stored('pause'), $last, 'resumed and rolled back: it stands still');
	is(sql('SELECT clearout_resume()'), 0, 'resumed; there is nothing to adopt');
	ok(drained(60), 'it goes on');
	is(stored('pause') . ' ' . stored('pausemore'), '1000 10', 'to the end');
	is((calls_of('pause', 1000))[1], 0, 'no call was repeated');
	is(status($node, 'queue_paused'), 'f', 'the status says so');
};

$node->stop;
done_testing();
