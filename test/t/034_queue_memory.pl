# A long queue: the worker's memory stays flat, and an old snapshot, for which
# no dead row may be removed, does not slow the taking.
#
# Measures time, so it wants a quiet machine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid wait_until);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $WARM_UP = 2_000;
# the long form of this test has 1,000,000
my $ROWS = $ENV{CLEAROUT_LONG_TESTS} ? 1_000_000 : 100_000;
my $STEP = 10_000;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 100_000_000);
my $node = clearout_node('main', $api,
	max_parallel => 100,
	conf => "log_statement = none\nautovacuum_naptime = 5s\nshared_buffers = 256MB\nmax_wal_size = 4GB\n");

sub sql { return value_of($node, @_) }

# Memory of its own, without what it shares.
sub anonymous_kb
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : undef;
}

my $enqueued = 0;
sub enqueue
{
	my ($count) = @_;
	my $from = $enqueued + 1;

	$enqueued += $count;
	return sql("INSERT INTO clearout_queue (email) SELECT 'valid-' || i || '\@memory.test' FROM generate_series($from, $enqueued) i");
}

sub answers
{
	return sql('SELECT answers FROM clearout_status');
}

# When so many answers are stored; undef if that takes too long.
sub answers_at
{
	my ($count, $seconds) = @_;
	return wait_until($seconds, sub { answers() >= $count }) ? time : undef;
}

my $pid = worker_pid($node);
ok($pid, 'a worker runs');
enqueue($WARM_UP);
ok(answers_at($WARM_UP, 60), 'warmed up');
my $before = anonymous_kb($pid);
ok($before, 'its memory can be seen');

sql('SELECT clearout_pause()');
enqueue($ROWS);
my $begin = time;
sql('SELECT clearout_resume()');

my $session;
my $most = 0;
my @time = ($begin);
foreach my $step (1 .. $ROWS / $STEP)
{
	my $at = answers_at($WARM_UP + $step * $STEP, 120) or last;

	push @time, $at;
	my $now = anonymous_kb($pid) // 0;
	$most = $now if $now > $most;
	if ($step == $ROWS / $STEP / 2)
	{
		$session = $node->background_psql('postgres', on_error_stop => 1, timeout => 600);
		$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM clearout_queue');
	}
}
my @step = map { $time[$_] - $time[ $_ - 1 ] } 1 .. $#time;
note 'seconds per 10,000 rows: ', join ' ', map { sprintf '%.1f', $_ } @step;
note "memory: $before kB, at most $most kB";

is(scalar @step, $ROWS / $STEP, 'all is answered');
is(sql('SELECT count(*) FROM clearout_results'), $enqueued, 'and stored');
ok(wait_until(20, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'the queue is empty');
is(worker_pid($node), $pid, 'by one worker');
cmp_ok($most - $before, '<=', 8 * 1024, 'whose memory has not grown by more than 8 MB');
my $addresses = $api->address_stats;
is("$addresses->{distinct} $addresses->{max}", "$enqueued 1", 'each address by one call');

# The middle of each half; the first step has to warm up.
my ($early, $late) = map { my @s = sort { $a <=> $b } @$_; $s[ @s / 2 ] } [ @step[ 1 .. 4 ] ], [ @step[ -4 .. -1 ] ];
cmp_ok($late, '<=', 1.5 * $early + 0.5, 'no slower with an old snapshot open');

# Rows that come while it is open are found as fast.
enqueue(1000);
my $start = time;
ok(answers_at($enqueued, 60), 'more rows, behind all the dead ones');
cmp_ok(time - $start, '<', 15, 'soon');
$session->query_safe('COMMIT');
$session->quit;

$node->stop;
done_testing();
