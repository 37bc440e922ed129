# One session that enqueues in one transaction after another: it becomes no
# slower, relative to one beside it that does plain INSERTs in turn with it.
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

# The long form compares the first and the last 10 s of 60, three times.
my $LONG = $ENV{CLEAROUT_LONG_TESTS};
my $SECONDS = $LONG ? 60 : 6;
my $END = $LONG ? 10 : 2;
my $RUNS = $LONG ? 3 : 1;
my $LEAST = $LONG ? 0.95 : 0.6;

# Transactions of one turn; so short that both sessions see the same machine.
my $BATCH = 200;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 100_000_000);
my $node = clearout_node('main', $api, max_parallel => 20,
	conf => "log_statement = none\nmax_wal_size = 4GB\nshared_buffers = 256MB\n");

sub sql { return value_of($node, @_) }

ok(worker_pid($node), 'a worker runs');
sql('CREATE TABLE plain (LIKE clearout_queue INCLUDING ALL)');
# A worker that answers takes what the session has put in from beside it; what
# it does is not to be compared here, and the queue grows as in an outage.
sql('SELECT clearout_pause()');

# Each CALL is BATCH transactions of one session.
sql(<<"SQL");
CREATE PROCEDURE enqueue(run int, turn int) LANGUAGE plpgsql AS \$\$
BEGIN
	FOR i IN 1 .. $BATCH LOOP
		PERFORM clearout_enqueue('valid-' || run || '-' || turn || '-' || i || '\@rate.test');
		COMMIT;
	END LOOP;
END \$\$;
CREATE PROCEDURE insert_plain(run int, turn int) LANGUAGE plpgsql AS \$\$
BEGIN
	FOR i IN 1 .. $BATCH LOOP
		INSERT INTO plain (email) VALUES ('valid-' || run || '-' || turn || '-' || i || '\@rate.test');
		COMMIT;
	END LOOP;
END \$\$;
SQL

# One run; the rate of the end, relative to that of the beginning, both
# relative to the plain INSERTs of their time.
sub run
{
	my ($number) = @_;
	my %session = map { $_ => $node->background_psql('postgres', on_error_stop => 1, timeout => 300) } qw(enqueue insert_plain);
	my $start = time;
	my @spent;					# pairs of times, by turn, with when it began
	my $turn = 0;

	while (time - $start < $SECONDS)
	{
		my %took = (at => time - $start);

		$turn++;
		# each is the first in every second turn
		foreach my $what ($turn % 2 ? qw(enqueue insert_plain) : qw(insert_plain enqueue))
		{
			my $began = time;
			$session{$what}->query_safe("CALL $what($number, $turn)");
			$took{$what} = time - $began;
		}
		push @spent, \%took;
	}
	$_->quit foreach values %session;

	my @relative;
	foreach my $window ([ 0, $END ], [ $SECONDS - $END, $SECONDS + 60 ])
	{
		my ($enqueue, $plain, $turns) = (0, 0, 0);
		foreach my $took (grep { $_->{at} >= $window->[0] && $_->{at} < $window->[1] } @spent)
		{
			$enqueue += $took->{enqueue};
			$plain += $took->{insert_plain};
			$turns++;
		}
		push @relative, $plain / $enqueue;
		note sprintf 'run %d, from %d s on: %d transactions, %.0f/s enqueue, %.0f/s INSERT', $number, $window->[0],
		  $turns * $BATCH, $turns * $BATCH / $enqueue, $turns * $BATCH / $plain;
	}
	note sprintf 'run %d: %.3f of the rate of INSERTs at first, %.3f at the end: %.3f', $number, @relative, $relative[1] / $relative[0];
	is(sql(qq{SELECT count(*) FROM clearout_queue WHERE email LIKE 'valid-$number-%'}), $turn * $BATCH, "run $number: all is queued");
	return $relative[1] / $relative[0];
}

my @ratio = sort { $a <=> $b } map { run($_) } 1 .. $RUNS;
cmp_ok($ratio[ $#ratio / 2 ], '>=', $LEAST, 'the last transactions are as fast as the first');

# With a worker that takes the rows meanwhile, nothing of it is lost.
sql('TRUNCATE clearout_queue; SELECT clearout_resume()');
sql('CALL enqueue(100, 1)');
ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'and what is enqueued is answered');
is(sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-100-%'}), $BATCH, 'all of it');

$node->stop;
done_testing();
