# A long queue becomes lists: of whoever has put the rows in, within budgets,
# without much memory, and without haste while nothing may be done.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until worker_pid);
use ClearoutTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api, max_parallel => 5, conf => "clearout.bulk_threshold = 20\nautovacuum = off\n");

sub sql { return value_of($node, @_) }

# From the system: clock ticks of the process, and its private memory in kB.
sub ticks
{
	my ($pid) = @_;
	my @field = split ' ', slurp_file("/proc/$pid/stat") =~ s/^.*\) //r;
	return $field[11] + $field[12];
}

sub private_kb
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : die 'no RssAnon';
}

# Does it use, within a minute, next to nothing of three seconds?
sub comes_to_rest
{
	my ($pid) = @_;

	foreach (1 .. 20)
	{
		my $before = ticks($pid);

		sleep 3;
		return 1 if ticks($pid) - $before <= 10;
	}
	return 0;
}

sub enqueue
{
	my ($role, $name, $count, $priority) = @_;
	$priority //= 0;
	return sql(qq{SET ROLE $role;
		SELECT clearout_enqueue(ARRAY(SELECT 'valid-$name-' || i || '\@x.test' FROM generate_series(1, $count) i), $priority)});
}

sql(q{CREATE ROLE shop; CREATE ROLE web; SELECT clearout_grant(r, 'enqueue') FROM unnest('{shop,web}'::regrole[]) r});
ok(worker_pid($node), 'a worker runs');

subtest 'who pays' => sub {
	enqueue('shop', 'shop', 100);
	enqueue('web', 'web', 50);
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_results') eq '150' }), 'all are answered');
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_jobs WHERE finished_at IS NULL') eq '0' }), 'no list is under way');
	is(sql(q{SELECT string_agg(DISTINCT d.requested_by, ' ' ORDER BY d.requested_by) FROM clearout_jobs_data d WHERE from_queue}),
		'shop web', 'each has lists of its own');
	ok(wait_until(30, sub { sql(q{SELECT string_agg(role || ' ' || credits, ', ' ORDER BY role) FROM
			(SELECT role, sum(credits) AS credits FROM clearout_usage GROUP BY role) u}) eq 'shop 100, web 50' }), 'and pays for them')
	  or diag sql('SELECT row_to_json(u) FROM clearout_usage u');
	is(sql('SELECT sum(other) FROM clearout_usage') + 0, sql('SELECT count(*) FROM clearout_parts WHERE list_id IS NOT NULL') + 0,
		'a list counts as one answer');
};

subtest 'a budget' => sub {
	my $parts = sql('SELECT count(*) FROM clearout_parts');

	sql(q{SELECT clearout_set_budget('web', 58)});
	enqueue('web', 'poor', 100);
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-poor-%'}) eq '8' }), 'as far as it reaches');
	is(sql('SELECT count(*) FROM clearout_parts'), $parts, 'one by one');
	is(sql('SELECT count(*) FROM clearout_queue'), 92, 'the others wait');
	is($api->address_stats->{charged}, 158, 'no more was spent');
	enqueue('shop', 'rich', 100);
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-rich-%'}) eq '100' }), 'of another role');
	cmp_ok(sql('SELECT count(*) FROM clearout_parts'), '>', $parts, 'by lists');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-poor-%'}), 8, 'with none of the others in them');
	sql('TRUNCATE clearout_queue; SELECT clearout_set_budget($$web$$, NULL)');
};

subtest 'a budget of all' => sub {
	my $parts = sql('SELECT count(*) FROM clearout_parts');

	sql($_) foreach q{ALTER SYSTEM SET clearout.daily_budget = 268}, 'SELECT pg_reload_conf()';
	ok($node->poll_query_until('postgres', 'SELECT budget = 268 FROM clearout_status'), 'it is known');
	enqueue('shop', 'daily', 100);
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-daily-%'}) eq '10' }), 'as far as it reaches')
	  or diag sql('SELECT row_to_json(s) FROM clearout_status s'), sql('SELECT row_to_json(u) FROM clearout_usage u');
	is(sql('SELECT count(*) FROM clearout_parts'), $parts, 'one by one');
	sql($_) foreach 'TRUNCATE clearout_queue', q{ALTER SYSTEM RESET clearout.daily_budget}, 'SELECT pg_reload_conf()';
	ok($node->poll_query_until('postgres', 'SELECT budget IS NULL FROM clearout_status'), 'it is lifted');
};

subtest 'given back' => sub {
	$api->config(token => $api->token, credits => 10);
	enqueue('shop', 'back', 100);
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_jobs WHERE state = 'spooled' AND error IS NOT NULL}) eq '1' }),
		'a list that the credits do not cover');
	sql(q{SELECT clearout_pause(); SELECT clearout_bulk_cancel(job) FROM clearout_jobs WHERE state = 'spooled'});
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '100' }), 'its rows are back');
	is(sql('SELECT DISTINCT requested_by FROM clearout_queue'), 'shop', 'and still those of the role');
	ok(wait_until(30, sub { sql(q{SELECT sum(faults) > 0 FROM clearout_usage WHERE role = 'shop'}) eq 't' }), 'a refused list is a fault');
	sql('TRUNCATE clearout_queue');
	$api->config(token => $api->token, credits => 1_000_000);
	sql('SELECT clearout_resume()');
};

# A process that is in a hurry takes all of a processor that it can get.
subtest 'paused' => sub {
	my $pid = worker_pid($node);

	sql('SELECT clearout_pause()');
	enqueue('shop', 'paused', 100);
	ok(comes_to_rest($pid), 'a worker that may do nothing does nothing');
	is(worker_pid($node), $pid, 'it is still the same');
	sql('SELECT clearout_resume()');
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-paused-%'}) eq '100' }), 'resumed, it goes on');
};

subtest 'others that are for no list' => sub {
	my $pid = worker_pid($node);

	$api->hold;
	my $before = private_kb($pid);
	enqueue('shop', 'urgent', 60_000, 5);
	enqueue('shop', 'patient', 100);
	ok(comes_to_rest($pid), 'are not looked for all the time');
	cmp_ok(private_kb($pid) - $before, '<', 24 * 1024, 'nor all kept in memory');
	is(sql('SELECT count(*) FROM clearout_queue'), 60_100, 'they wait');
	sql('DELETE FROM clearout_queue WHERE priority = 5');
	$api->release;
	ok(wait_until(120, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-patient-%'}) eq '100' }), 'when they are gone, the list goes on');
	is(worker_pid($node), $pid, 'by the same worker');
};

subtest 'one address many times' => sub {
	my $pid = worker_pid($node);

	$api->hold;
	my $before = private_kb($pid);
	sql(q{INSERT INTO clearout_queue (email, priority) SELECT 'valid-same@x.test', 1 FROM generate_series(1, 200000)});
	ok($api->wait_for(held => 1), 'it is asked');
	sleep 2;
	cmp_ok(private_kb($pid) - $before, '<', 16 * 1024, 'its rows are not all kept in memory');
	$api->release;
	ok(wait_until(120, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'all are answered');
	is($api->calls('valid-same@x.test'), 1, 'by one call');
	is(worker_pid($node), $pid, 'by the same worker');
};

# What waits in a list must not be paid for once more because the tables of lists
# cannot be read for a moment.
subtest 'locked tables' => sub {
	$api->config(bulk_speed => 0);
	my $job = sql(q{SELECT clearout_bulk_verify(ARRAY['valid-in-list-1@x.test', 'valid-in-list-2@x.test'])});
	ok(wait_until(60, sub { sql("SELECT state FROM clearout_jobs WHERE job = $job") eq 'running' }), 'a list is being verified');
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN; LOCK TABLE clearout_spool IN ACCESS EXCLUSIVE MODE');
	sql(q{SELECT clearout_enqueue(ARRAY['valid-in-list-1@x.test', 'valid-in-list-2@x.test'])});
	ok(wait_until(60, sub { slurp_file($node->logfile) =~ /rows of the queue that wait for a bulk job could not be set back/ }), 'the spool cannot be read');
	sleep 1;
	is($api->calls('valid-in-list-1@x.test'), 0, 'meanwhile nothing is asked one by one');
	$session->query_safe('COMMIT');
	$session->quit;
	# a row that somebody has locked stays as it is
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_queue WHERE next_attempt_at > now() + interval '1 minute'}) eq '2' }), 'then the rows wait for the list')
	  or diag sql('SELECT row_to_json(q) FROM clearout_queue q');
	$api->config(bulk_speed => undef);
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'which answers them');
	is($api->calls("valid-in-list-$_\@x.test"), 0, "by itself: $_") foreach 1, 2;
};

$node->stop;
done_testing();
