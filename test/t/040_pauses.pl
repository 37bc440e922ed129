# Causes that hold for every call: token, credits, daily limit.  In the middle
# of a drain, at most one call per place in flight is refused, nothing is lost,
# the view says why, and work goes on by itself when the cause is over, which
# is found out for nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid wait_until status verify start_verify finish_callers wait_gone);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $PARALLEL = 10;
my $ADDRESSES = 1000;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000, latency => '2..10');
my $node = clearout_node('main', $api, max_parallel => $PARALLEL);

sub sql { return value_of($node, @_) }
sub verify_calls { return $api->stats->{by_endpoint}{verify} }
sub balance_calls { return $api->stats->{by_endpoint}{credits} }

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

# Build a wall in the middle of a drain; returns the calls that have met it.
sub wall
{
	my ($name, $word, $sqlstate, $build, $tries) = @_;

	# Should we be late, the last rows wait for what is built.
	$api->hold(pattern => "valid-$name-*", after => 700);
	enqueue($name, $ADDRESSES);
	ok(wait_until(60, sub { stored($name) >= 100 }), "$name: a drain is under way");
	$build->();
	$api->release;
	ok(poll_status($node, q{state = 'paused'}), "$name: paused") or return;
	is(status($node, q{paused_services ~ 'verify' AND paused_since BETWEEN now() - interval '1 minute' AND now()}), 't', "$name: the view says which, and since when");
	like(status($node, 'reason'), $word, "$name: and why");
	ok(wait_until(60, sub { status($node, 'calls_in_flight') eq '0' }), "$name: nothing is on the wire any more");
	my ($stored, $asked) = (stored($name), verify_calls());
	cmp_ok($stored, '<', $ADDRESSES, "$name: in the middle of it");
	is(sql('SELECT count(*) FROM clearout_queue WHERE failed_at IS NULL AND attempts = 0'), $ADDRESSES - $stored, "$name: nothing is lost, nor held against a row");

	my $email = "valid-caller-$name\@x.test";
	my $start = time;
	is(verify($node, $email)->{sqlstate}, $sqlstate, "$name: callers are told");
	cmp_ok(time - $start, '<', 40, "$name: at once");
	# where a call tries every now and then whether it is over, it may be this one
	cmp_ok($api->calls($email), '<=', $tries // 0, "$name: without a call");
	cmp_ok(verify_calls() - $asked, '<=', $tries // 0, "$name: nobody else is asked about either");
	return;
}

# Over, and every address is answered.
sub goes_on
{
	my ($name, $seconds) = @_;

	ok(wait_until($seconds, sub { stored($name) == $ADDRESSES }), "$name: work goes on by itself, to the end") or diag status($node, 's::text');
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), "$name: the queue is empty");
	is(status($node, q{state || coalesce(reason, '') || coalesce(paused_services, '')}), 'running', "$name: the view says so");
	is(sql('SELECT count(*) FROM clearout_pauses'), 0, "$name: and the table");
	my $addresses = $api->address_stats;
	my @refused = grep { $_->{email} =~ /^valid-$name-/ } @{ $addresses->{repeated} };
	cmp_ok(scalar @refused, '<=', $PARALLEL, "$name: at most one call for each place was refused");
	is((grep { $_->{charged} > 1 } @refused) + 0, 0, "$name: none was paid for twice");
	note "$name: ", scalar @refused, ' calls refused, ', balance_calls(), ' balance enquiries so far';
	return;
}

away_from_midnight(300);
ok(worker_pid($node), 'a worker runs');
is(balance_calls(), 0, 'the balance is not asked for without need');

subtest 'out of credits' => sub {
	wall('402', qr/402, code 1002/, 'VC003', sub { $api->config(credits => 0) });
	is(status($node, 'paused_until IS NULL'), 't', 'until there are some');
	ok(wait_until(60, sub { sql('SELECT confirmed FROM clearout_pauses WHERE service = \'verify\'') eq 't' || balance_calls() > 0 }), 'the balance was asked for');
	my $refused = $api->stats->{by_status}{402};
	$api->config(credits => 1_000_000);
	goes_on('402', 150);
	is($api->stats->{by_status}{402}, $refused, 'without another refusal: no call was spent on finding out');
};

subtest 'daily limit' => sub {
	wall('1017', qr/code 1017/, 'VC004', sub { $api->config(daily_limit => 0) });
	is(status($node, q{paused_until = date_trunc('day', now() AT TIME ZONE 'UTC' + interval '1 day') AT TIME ZONE 'UTC'}), 't', 'until the date that the service names');
	$api->config(daily_limit => undef);
	goes_on('1017', 150);
};

subtest 'token' => sub {
	wall('401', qr/401, code 1000/, 'VC002', sub { $api->config(token => $api->token, valid => \0) });
	is(status($node, 'paused_services'), 'check, domain, find, name, other, reverse, verify', 'for all services');
	$api->config(token => $api->token, valid => \1);
	goes_on('401', 150);

	# What somebody says himself is faster.
	wall('resume', qr/401/, 'VC002', sub { $api->config(token => $api->token, valid => \0) });
	$api->config(token => $api->token, valid => \1);
	is(sql('SELECT clearout_resume()'), 0, 'clearout_resume()');
	goes_on('resume', 150);

	# Rolled back, it says nothing; and neither do other news.
	$api->config(token => $api->token, valid => \0);
	enqueue('rolled', 10);
	ok(poll_status($node, q{state = 'paused'}), 'paused again');
	my $calls = verify_calls();
	sql('BEGIN; SELECT clearout_resume(); ROLLBACK; SELECT clearout_retry()');
	enqueue('rolled-more', 10);
	sleep 0.5;
	is(status($node, 'state'), 'paused', 'a resume that is rolled back ends nothing');
	is(verify_calls(), $calls, 'and no call is made');
	$api->config(token => $api->token, valid => \1);
	sql('SELECT clearout_resume()');
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'drained');
};

# What the balance does not show: one call after another finds out.
subtest 'a cause that the balance does not show' => sub {
	my $fault;
	wall('hidden', qr/1032/, 'VC004', sub { $fault = $api->fault(code => 1032, endpoint => 'verify') }, 1);
	my $asked = verify_calls();
	my $balance = balance_calls();
	ok(wait_until(60, sub { verify_calls() > $asked }), 'one call tries');
	sleep 1;
	is(verify_calls(), $asked + 1, 'one alone');
	$api->clear;
	goes_on('hidden', 150);
};

# A new worker knows what the old one knew.
subtest 'another worker' => sub {
	wall('worker', qr/402/, 'VC003', sub { $api->config(credits => 0) });
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_pauses WHERE confirmed}) eq '1' || balance_calls() > 0 }), 'confirmed by the balance');
	my $asked = verify_calls();
	$node->restart;
	ok(worker_pid($node), 'a worker after a restart of the server');
	ok(poll_status($node, q{state = 'paused' AND reason ~ '402'}), 'which is paused');
	is(verify($node, 'valid-after-restart@x.test')->{sqlstate}, 'VC003', 'and tells callers so');
	my $pid = worker_pid($node);
	sql("SELECT pg_terminate_backend($pid)");
	ok(defined wait_gone($pid, 60) && worker_pid($node), 'another one');
	ok(poll_status($node, q{state = 'paused' AND reason ~ '402'}), 'is paused too');
	cmp_ok(verify_calls() - $asked, '<=', 2, 'each has found out by one call at most');
	$api->config(credits => 1_000_000);
	goes_on('worker', 150);
};

# Interactive alone: whoever comes when it is time to look is not told what is
# no longer true.
subtest 'the first caller after it is over' => sub {
	my $refused = verify($node, 'valid-first@x.test');
	is($refused->{sqlstate}, '', 'all is well');
	$api->config(credits => 0);
	is(verify($node, 'valid-broke@x.test')->{sqlstate}, 'VC003', 'refused');
	my $balance;
	ok(wait_until(60, sub { my $so_far = balance_calls(); sleep 1; $balance = balance_calls(); return $balance == $so_far }),
		'the balance is asked for once');
	sleep 6;
	is(balance_calls(), $balance, 'and not again for nobody');
	$api->config(credits => 1_000_000);
	is(verify($node, 'valid-broke@x.test')->{out}, 'valid|yes|service|Success', 'the next caller is served');
};

my $log = slurp_file($node->logfile);
my $said = () = $log =~ /the service refuses all (?:verify )?calls/g;
is($said, 8, 'the log has said each once');
unlike($log, qr/\Q@{[ $api->token ]}\E/, 'and not the token');

$node->stop;
done_testing();
