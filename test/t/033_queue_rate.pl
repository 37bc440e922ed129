# The queue and the rate limit: a drain uses each window and exceeds none, and
# whoever waits himself is served before the queue.
#
# Measures time, so it wants a quiet machine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid wait_until status start_verify finish_callers);
use ClearoutTest;
use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $LIMIT = 120;
my $WINDOW = 3000;	# ms
my $LEARNING = 2;	# windows
my $ADDRESSES = 1500;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "max_connections = 50\nfsync = off\nlog_statement = none\n");

sub sql { return value_of($node, @_) }

sub begin
{
	my ($api) = @_;

	$node->append_conf('postgresql.conf', $api->conf(max_parallel => 20));
	$node->start;
	$node->safe_psql('postgres', 'DROP EXTENSION IF EXISTS clearout; CREATE EXTENSION clearout');
	ok(worker_pid($node), 'a worker runs');
	return;
}

sub enqueue
{
	my ($count) = @_;
	return sql("SELECT clearout_enqueue(ARRAY(SELECT 'valid-rate-' || i || '\@x.test' FROM generate_series(1, $count) i))");
}

# A machine that stands still for seconds loses a window, whatever we do: so each
# has some tries to show that it uses them, and none in which it may exceed one.
foreach my $start (qw(first_call aligned))
{
	my $shown = 0;

	foreach my $try (1 .. 3)
	{
		last if $shown;
		subtest "a drain, windows that begin: $start" => sub {
			my $api = ClearoutSandbox->new(limit => $LIMIT, window_ms => $WINDOW, window_start => $start, latency => 20, credits => 1_000_000);

			begin($api);
			is(enqueue($ADDRESSES), $ADDRESSES, 'queued');
			ok(wait_until(120, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'drained');

			my $stats = $api->stats;
			my $addresses = $api->address_stats;
			is($stats->{rate_limited}, 0, 'no 429');
			is("$addresses->{distinct} $addresses->{max}", "$ADDRESSES 1", 'each address by one call');
			is(sql('SELECT count(*) FROM clearout_results'), $ADDRESSES, 'all are stored');
			is(status($node, 'rate_limit'), $LIMIT, 'the limit was learnt');

			my @windows = grep { $_->{limit} == $LIMIT && $_->{counted} > 0 } @{ $stats->{windows} };
			note join ' ', map { $_->{counted} } @windows;
			# the last has what was left
			my @full = @windows[ $LEARNING .. $#windows - 1 ];
			$node->stop;
			return note 'once more' if @full < 8 && $try < 3;
			cmp_ok(scalar @full, '>=', 8, 'full windows');

			my $seconds = ($full[-1]{end_ms} - $full[0]{start_ms}) / 1000;
			# from where a window begins with a call, the seconds of the reset leave
			# its end open by one
			my $each = $WINDOW / 1000 + ($start eq 'aligned' ? 0.3 : 1.3);
			my $least = min(map { $_->{counted} } @full);
			$shown = $least >= 0.99 * $LIMIT && $seconds <= $each * @full;
			return note 'once more' unless $shown || $try == 3;
			cmp_ok($least, '>=', 0.99 * $LIMIT, 'each used to 99 %');
			cmp_ok($seconds, '<=', $each * @full, 'and no long pause between them');
		};
	}
}

# With a long queue, somebody who waits himself is served before any row that
# was not yet sent, and waits for at most one reset.
subtest 'interactive before queued' => sub {
	my $api = ClearoutSandbox->new(limit => 60, window_ms => 4000, window_start => 'aligned', latency => '5..20', credits => 1_000_000);

	begin($api);
	enqueue(100_000);
	# two windows to learn
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_results') >= 130 }), 'a drain is under way');
	my $shown = 0;
	foreach my $round (1 .. 8)
	{
		last if $shown == 3;
		# the window is nearly, or wholly, used up
		ok(wait_until(60, sub { my $left = status($node, 'rate_remaining'); $left ne '' && $left <= 5 }), "round $round: nearly nothing is left of the window");
		my $email = "valid-interactive-$round\@y.test";
		my $since = $api->stats->{now_ms};
		my $begin = time;
		my $caller = start_verify($node, $email, q{timeout => '60 s'});
		is(finish_callers(60, $caller), 0, "round $round: it has ended");
		is($caller->{out}, 'valid|yes|service|Success', "round $round: answered");
		my $took = time - $begin;

		# It is the first of its window.
		my @requests = @{ $api->requests };
		my ($at) = grep { ($requests[$_]{email} // '') eq $email } 0 .. $#requests;
		my $passed = grep { $requests[$_]{arrived_ms} > $since } 0 .. $at - 1;
		note sprintf 'round %d: %.2f s, %d queued calls went first', $round, $took, $passed;
		is($api->calls($email), 1, "round $round: by one call");
		# within one reset, and before the queue, but for what was left of the
		# window, and what was on its way while it started
		$shown++ if $took < 4 + 1 + 5 && $passed <= 5 + 10;
		sleep 1;
	}
	is($shown, 3, 'within one reset and before the queue, three times');
	is($api->stats->{rate_limited}, 0, 'no 429');
	cmp_ok(sql('SELECT count(*) FROM clearout_queue'), '>', 95_000, 'the queue is still long');
	$node->stop;
};

done_testing();
