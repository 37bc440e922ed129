# A long queue: the worker's memory stays flat, and the last rows are taken as
# fast as the first, also with an old snapshot open, for which no dead row may
# be removed.
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
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

my $WARM_UP = 2_000;
# the long form of this test has 1,000,000, twice
my $LONG = $ENV{CLEAROUT_LONG_TESTS};
my $ROWS = $LONG ? 1_000_000 : 60_000;
my $STEP = 10_000;
# as many steps at the beginning and at the end are compared
my $ENDS = $LONG ? 10 : 2;
# the rate at the end, relative to that at the beginning, by the worker's own
# time on the processor: others' work does not count in it; and by the clock,
# where it does
my $LEAST = $LONG ? 0.9 : 0.8;
my $LEAST_BY_CLOCK = $LONG ? 0.9 : 0.5;

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

# Seconds that it has been on a processor.
sub processor_seconds
{
	my ($pid) = @_;
	my @field = split ' ', slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr;
	return ($field[11] + $field[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
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

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return ($sorted[ $#sorted / 2 ] + $sorted[ @sorted / 2 ]) / 2;
}

# The rate at the end, relative to that at the beginning.
sub ends
{
	my ($name, $measure, @step) = @_;
	my ($early, $late) = (median(@step[ 0 .. $ENDS - 1 ]), median(@step[ -$ENDS .. -1 ]));

	note sprintf '%s: %s, %.0f/s at the start and %.0f/s at the end: %.3f', $name, $measure, $STEP / $early, $STEP / $late, $early / $late;
	return $early / $late;
}

# Queue them all, and then let them go.
my $most = 0;
sub drain
{
	my ($name) = @_;
	my $first = answers();

	sql('SELECT clearout_pause()');
	enqueue($ROWS);
	my @time = (time);
	my @spent = (processor_seconds($pid));
	sql('SELECT clearout_resume()');
	foreach my $step (1 .. $ROWS / $STEP)
	{
		my $at = answers_at($first + $step * $STEP, 120) or last;

		push @time, $at;
		push @spent, processor_seconds($pid);
		my $now = anonymous_kb($pid) // 0;
		$most = $now if $now > $most;
	}
	my @step = map { $time[$_] - $time[ $_ - 1 ] } 1 .. $#time;
	note "$name: seconds per 10,000 rows: ", join ' ', map { sprintf '%.1f', $_ } @step;
	is(scalar @step, $ROWS / $STEP, "$name: all is answered") or return;
	is(sql('SELECT count(*) FROM clearout_results'), $enqueued, "$name: and stored");
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), "$name: the queue is empty");
	is(worker_pid($node), $pid, "$name: by one worker");
	note "memory: $before kB, at most $most kB";
	cmp_ok($most - $before, '<=', 8 * 1024, "$name: whose memory has not grown by more than 8 MB");

	my @work = map { $spent[$_] - $spent[ $_ - 1 ] } 1 .. $#spent;
	note "$name: of the worker's time: ", join ' ', map { sprintf '%.2f', $_ } @work;
	cmp_ok(ends($name, 'by its own time', @work), '>=', $LEAST, "$name: the last rows as fast as the first");
	cmp_ok(ends($name, 'by the clock', @step), '>=', $LEAST_BY_CLOCK, "$name: by the clock as well");
}

drain('no snapshot');
my $session = $node->background_psql('postgres', on_error_stop => 1, timeout => 1200);
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM clearout_queue');
drain('an old snapshot');
my $addresses = $api->address_stats;
is("$addresses->{distinct} $addresses->{max}", "$enqueued 1", 'each address by one call');

# Rows that come while it is open are found as fast.
enqueue(1000);
my $start = time;
ok(answers_at($enqueued, 60), 'more rows, behind all the dead ones');
cmp_ok(time - $start, '<', 45, 'soon');
$session->query_safe('COMMIT');
$session->quit;

$node->stop;
done_testing();
