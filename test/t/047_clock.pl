# The clock of the wall goes over midnight (UTC), and is set forward and back by
# a day while the server runs: budgets and pauses end with their day, no caller
# is sent away early or kept longer than he asked for, nothing is asked twice,
# and nothing stands still.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid wait_until wait_gone status call_sql comes_to_rest);
use ClearoutTest;
use Fcntl qw(O_CREAT O_WRONLY);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $DAY = 86400;
my $PATIENCE = 180;

# The server's programs read the clock through a library that shifts it.
my $directory = PostgreSQL::Test::Utils::tempdir_short();
my $library = "$directory/wallclock.so";
my $file = "$directory/shift";
my $compiler = $ENV{CC} // 'cc';

plan skip_all => "there is no $compiler" if system("command -v $compiler >/dev/null 2>&1") != 0;
system_or_bail(split(' ', $compiler), '-O1', '-shared', '-fPIC', '-o', $library, "$FindBin::RealBin/../clock/wallclock.c");

# In place: it is mapped.
sub shift_clock
{
	my ($seconds) = @_;

	sysopen(my $handle, $file, O_CREAT | O_WRONLY, 0600) or die "$file: $!";
	syswrite($handle, pack('q', int($seconds * 1_000_000))) == 8 or die "$file: $!";
	close $handle or die "$file: $!";
	return;
}

# So many seconds before the midnight after the next one, as of now.
my $midnight = (POSIX::floor(time / $DAY) + 2) * $DAY;

sub set_before_midnight
{
	my ($seconds) = @_;

	shift_clock($midnight - $seconds - time);
	return;
}

shift_clock(0);

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node;
{
	local $ENV{LD_PRELOAD} = join ' ', grep { defined } $ENV{LD_PRELOAD}, $library;
	local $ENV{CLEAROUT_WALLCLOCK} = $file;

	$node = clearout_node('main', $api, max_parallel => 10, conf => "autovacuum = off\n");
}

sub sql { return value_of($node, @_) }
sub waits { return sql('SELECT count(*) FROM clearout_queue') }

sub enqueue
{
	my ($role, $word, $count) = @_;
	return sql("SET ROLE $role; SELECT clearout_enqueue(ARRAY(SELECT 'valid-$word-' || i || '\@x.test' FROM generate_series(1, $count) i))");
}

sub stored
{
	my ($word) = @_;
	return sql("SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-$word-%'");
}

# Any turn of the worker's loop.
sub wake { return sql(q{SELECT clearout_verify('valid-wake-' || txid_current() || '@x.test')}) }

my $pid = worker_pid($node);
ok($pid, 'a worker runs');
sql(q{CREATE ROLE alice; SELECT clearout_grant('alice', 'enqueue'), clearout_grant('alice', 'verify')});

subtest 'midnight, and budgets' => sub {
	set_before_midnight(3600);
	is(sql(q{SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'HH24')}), '23', 'the server has our clock');
	my $today = sql(q{SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date});

	sql(q{SELECT clearout_set_budget('alice', 30)});
	enqueue('alice', 'budget', 50);
	ok(wait_until($PATIENCE, sub { stored('budget') == 30 }), 'a budget is spent');
	is(call_sql($node, q{SET ROLE alice; SELECT clearout_verify('valid-refused@x.test')})->{sqlstate}, 'VC010', 'and used up');
	ok(comes_to_rest($pid, 1), 'the worker rests');
	is(waits(), 20, 'the rest waits');

	set_before_midnight(5);
	wake();
	ok(wait_until($PATIENCE, sub { waits() eq '0' }), 'after midnight, the rest is answered');
	is(stored('budget'), 50, 'all of it');
	ok(wait_until($PATIENCE, sub { sql(qq{SELECT string_agg(day - '$today'::date || ':' || credits, ' ' ORDER BY day) FROM clearout_usage WHERE role = 'alice'}) eq '0:30 1:20' }),
		'and counted to its day') or diag sql(q{SELECT string_agg(u::text, ' ') FROM clearout_usage u});
	like(call_sql($node, q{SET ROLE alice; SELECT count(*) FROM clearout_verify(ARRAY(SELECT 'valid-more-' || i || '@x.test' FROM generate_series(1, 20) i))})->{detail},
		qr/has spent (?:2\d|30) of 30 credits/, 'the new day has its own budget');
	ok(wait_until($PATIENCE, sub { stored('more') == 10 }), 'to the end');
	sql(q{SELECT clearout_set_budget('alice', NULL)});

	# The same for the database, and nobody does anything at midnight.
	sql('ALTER DATABASE postgres SET clearout.daily_budget = 1');
	ok(poll_status($node, q{state = 'budget used up'}), 'the budget of the database is used up');
	enqueue('alice', 'database', 1);
	ok(comes_to_rest(worker_pid($node), 1), 'the worker rests');
	is(stored('database'), 0, 'with something to do');
	shift_clock(3 * $DAY);
	ok(wait_until($PATIENCE, sub { waits() eq '0' }), 'the clock is set to another day: it finds out by itself');
	sql('ALTER DATABASE postgres RESET clearout.daily_budget');
	ok(poll_status($node, q{state = 'running' AND budget IS NULL}), 'no budget');
};

# As a correction of a few seconds can do it, just after midnight.
subtest 'set back over midnight' => sub {
	set_before_midnight(3600);
	my $today = q{(clock_timestamp() AT TIME ZONE 'UTC')::date};
	my $tomorrow = sql("SELECT $today + 1");
	my $credits = "SELECT coalesce(sum(credits), 0) FROM clearout_usage WHERE role = 'alice' AND day = '$tomorrow'";
	my $before = sql($credits);
	my $spent = sql("SELECT coalesce(sum(credits), 0) FROM clearout_usage WHERE role = 'alice' AND day = $today");
	sql("SELECT clearout_set_budget('alice', $spent + 30)");
	enqueue('alice', 'before', 30);
	ok(wait_until($PATIENCE, sub { stored('before') == 30 }), 'a budget is spent');
	set_before_midnight(-5);
	is(sql(q{SET ROLE alice; SELECT status FROM clearout_verify('valid-tomorrow-1@x.test')}), 'valid', 'there is one for the next day');
	set_before_midnight(3000);
	is(call_sql($node, q{SET ROLE alice; SELECT clearout_verify('valid-again-1@x.test')})->{sqlstate}, 'VC010', 'set back: that of the day is still spent');
	enqueue('alice', 'again', 10);
	ok(comes_to_rest(worker_pid($node), 1), 'the worker rests');
	is(stored('again'), 0, 'for the queue too');
	set_before_midnight(-600);
	wake();
	ok(wait_until($PATIENCE, sub { waits() eq '0' }), 'and tomorrow it goes on');
	ok(wait_until($PATIENCE, sub { sql($credits) - $before == 11 }), 'with what was spent on it') or diag sql($credits), " - $before";
	sql(q{SELECT clearout_set_budget('alice', NULL)});
};

# A daily limit that the balance does not show, so that only the date is known.
subtest 'midnight, and a pause' => sub {
	set_before_midnight(3600);
	my $next = q{date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC' + interval '1 day') AT TIME ZONE 'UTC'};
	$api->fault(code => 1032, endpoint => 'verify');
	enqueue('alice', 'pause', 20);
	ok(poll_status($node, q{state = 'paused' AND reason ~ '1032'}), 'paused');
	is(status($node, "paused_until = $next"), 't', 'until the next day begins');
	set_before_midnight(10);
	$api->clear;
	ok(wait_until($PATIENCE, sub { waits() eq '0' }), 'over, when the day is');
	is(stored('pause'), 20, 'all is answered');
	ok(poll_status($node, q{state = 'running' AND paused_until IS NULL}), 'as the status says');
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM clearout_pauses'), 'and the table');
};

# With callers in front of it, rows behind it, and a worker to be replaced.
foreach my $jump ([ 'forward', 1 ], [ 'back', -1 ], [ 'far back', -400 ])
{
	my ($name, $days) = @$jump;
	my $word = $name =~ s/ //r;

	subtest "set $name" => sub {
		shift_clock(0);
		$api->config(latency => '1..20');
		$api->hold(pattern => "valid-held-$word*");
		my $held = start_psql($node, "SELECT status || ' ' || source FROM clearout_verify('valid-held-$word\@x.test', timeout => '170 s')");
		ok($api->wait_for(held => 1), 'a caller waits');
		$api->fault(kind => 'hang', pattern => "valid-hang-$word*");
		my $hangs = start_psql($node, "SELECT clearout_verify('valid-hang-$word\@x.test', timeout => '10 s')");
		ok($api->wait_for(hung => 1), 'another one, for ten seconds at most');
		enqueue('alice', $word, 500);
		ok(wait_until($PATIENCE, sub { stored($word) > 20 }), 'a drain is under way');

		shift_clock($days * $DAY);
		my $start = time;
		is((finish_psql($hangs))[1], 'VC006', 'the second leaves');
		cmp_ok(time - $start, '<', 120, 'when his time is over');
		$api->clear;
		ok(wait_until($PATIENCE, sub { waits() eq '0' }), 'the queue is drained');
		is(stored($word), 500, 'all is stored');
		is(sql("SELECT status || ' ' || source FROM clearout_verify('valid-new-$word\@x.test')"), 'valid service', 'who comes is served');
		is(status($node, q{state || ' ' || (rate_limit > 0) || ' ' || (rate_remaining BETWEEN 0 AND rate_limit) || ' ' || (rate_resets_in BETWEEN interval '0' AND interval '2 minutes')}),
			'running true true true', 'the window is what it was') or diag status($node, 's::text');
		is($api->release, 1, 'the first is answered');
		is((finish_psql($held))[0], 'valid service', 'and has waited for it');

		# Whoever starts it must not count on the time of day.
		foreach my $number (1 .. 3)
		{
			my $old = worker_pid($node);
			sql("SELECT pg_terminate_backend($old)");
			ok(defined wait_gone($old, $PATIENCE) && worker_pid($node), "worker $number after that");
		}
		ok(comes_to_rest(worker_pid($node), 2), 'it rests when there is nothing to do');
	};
}

# What the page on operations says of them.
subtest 'rows that wait for another attempt' => sub {
	shift_clock(0);
	$api->fault(status => 503, pattern => 'valid-pause-row*');
	enqueue('alice', 'pause-row', 3);
	ok(wait_until($PATIENCE, sub { sql('SELECT count(*) FROM clearout_queue WHERE next_attempt_at IS NOT NULL') eq '3' }), 'they wait');
	shift_clock(-$DAY);
	$api->clear;
	sql(q{UPDATE clearout_queue SET next_attempt_at = now() WHERE next_attempt_at > now() + interval '1 hour'; SELECT clearout_resume()});
	ok(wait_until($PATIENCE, sub { waits() eq '0' }), 'and go');
	is(stored('pause-row'), 3, 'answered');
};

my @twice = grep { $_->{email} !~ /^valid-pause-/ } @{ $api->address_stats->{repeated} };
is_deeply(\@twice, [], 'no address was asked twice but for those that were refused') or diag explain \@twice;
is($api->stats->{by_status}{429} // 0, 0, 'no call was refused by the window');
unlike(slurp_file($node->logfile), qr/terminated by signal|TRAP/, 'nothing has crashed');

$node->stop;
done_testing();
