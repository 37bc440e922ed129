# Budgets of roles and of the database, the credit floor, and usage: what was
# spent is what the server has charged, over restarts and kills as well, and
# whoever has nothing left is in nobody's way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(is_up worker_pid wait_until status call_sql wait_gone);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $PARALLEL = 10;
# rows of a role that has nothing left, in front of others; the long form of
# this test has 5,000,000
my $ROWS = $ENV{CLEAROUT_LONG_TESTS} ? 5_000_000 : 100_000;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000, latency => '2..10');
my $node = clearout_node('main', $api, max_parallel => $PARALLEL,
	conf => "autovacuum = off\nlog_statement = none\nrestart_after_crash = on\nmax_wal_size = 4GB\n");

sub sql { return value_of($node, @_) }

sub as
{
	my ($role, $sql) = @_;
	return sql("SET ROLE $role; $sql");
}

sub enqueue
{
	my ($role, $word, $count, $status) = @_;
	$status //= 'valid';
	return as($role, "SELECT clearout_enqueue(ARRAY(SELECT '$status-$word-' || i || '\@x.test' FROM generate_series(1, $count) i))");
}

sub stored
{
	my ($word) = @_;
	return sql("SELECT count(*) FROM clearout_results WHERE email LIKE '%-$word-%'");
}

sub waits { return sql('SELECT count(*) FROM clearout_queue WHERE failed_at IS NULL') }
sub drained { return wait_until(180, sub { waits() eq '0' }) }
sub charged { return $api->stats->{charged} }

sub usage
{
	my ($what, $where) = @_;
	return sql("SELECT coalesce(sum($what), 0) FROM clearout_usage" . ($where ? " WHERE $where" : ''));
}

# So much was charged since, and nothing goes on any more.
sub is_spent
{
	my ($since, $credits, $name, $words) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until(120, sub { charged() - $since >= $credits });
	is_still($name);
	is(charged() - $since, $credits, $words);
	return;
}

# So many are stored, in a while.
sub are_stored
{
	my ($word, $count, $words) = @_;
	my $stored;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until(120, sub { ($stored = stored($word)) >= $count });
	is($stored, $count, $words);
	return;
}

# Nothing goes on any more.
sub is_still
{
	my ($name) = @_;
	my ($last, $same) = (-1, 0);

	return ok(wait_until(60, sub {
		my $now = $api->stats->{requests};
		$same = $now == $last ? $same + 1 : 0;
		$last = $now;
		sleep 0.2;
		return $same >= 4;
	}), "$name: it comes to a stand");
}

away_from_midnight(300);
ok(worker_pid($node), 'a worker runs');
foreach my $role (qw(alice bob), '"Weird ""role"""')
{
	sql("CREATE ROLE $role LOGIN; SELECT clearout_grant('$role', what) FROM unnest(ARRAY['verify', 'enqueue', 'read']) what");
}

subtest 'usage' => sub {
	my %count = (valid => 40, invalid => 30, catch_all => 20, unknown => 10);

	$api->fault(pattern => 'valid-usage-1@*', status => 500, times => 2);
	$api->fault(pattern => 'valid-usage-2@*', kind => 'close', times => 1);
	foreach my $status (sort keys %count)
	{
		enqueue('alice', 'usage', $count{$status}, $status);
		enqueue('"Weird ""role"""', 'usage2', $count{$status}, $status);
	}
	as('bob', "SELECT clearout_verify('valid-usage3-$_\@x.test')") foreach 1 .. 5;
	ok(drained(60), 'drained');
	my $stats = $api->stats;
	ok(wait_until(60, sub { usage('calls') == $stats->{by_endpoint}{verify} }), 'calls are those that the server has counted')
	  or diag usage('calls'), ' ', $stats->{by_endpoint}{verify};
	# the answer that was lost may have been charged, and counts
	is(usage('credits'), $stats->{charged} + 1, 'so are credits');
	is(usage('faults'), 3, 'and faults');
	is(usage('valid + invalid + catch_all + unknown + other + faults'), usage('calls'), 'each call has ended one way');
	is(sql(q{SELECT string_agg(concat_ws(' ', role, valid, invalid, catch_all, unknown, other, credits - faults / 3), ', ' ORDER BY role COLLATE "C") FROM clearout_usage}),
		'Weird "role" 40 30 20 10 0 90, alice 40 30 20 10 0 90, bob 5 0 0 0 0 5', 'by role');
	is(sql(q{SELECT bool_and(own AND service = 'verify' AND day = (now() AT TIME ZONE 'UTC')::date) FROM clearout_usage}), 't', 'of today, and of verify');

	$node->restart;
	ok(worker_pid($node), 'a restart');
	as('bob', q{SELECT clearout_verify('valid-usage4-1@x.test')});
	ok(wait_until(60, sub { usage('credits', q{role = 'bob'}) == 6 }), 'counting goes on');
	$stats = $api->stats;
	is(usage('calls'), $stats->{by_endpoint}{verify}, 'with nothing lost');
	is(sql(q{SELECT count(*) <= 4 FROM clearout_usage_parts}), 't', 'and what was there added up');

	# Older days go.
	sql(q{INSERT INTO clearout_usage_parts (day, service, role, calls, valid, invalid, catch_all, unknown, other, faults, credits)
		SELECT (now() AT TIME ZONE 'UTC')::date - i, 'verify', 'old', 1, 1, 0, 0, 0, 0, 0, 1 FROM unnest(ARRAY[10, 399, 401]) i});
	$node->restart;
	ok(worker_pid($node), 'another restart');
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_usage WHERE role = 'old'}) == 2 }), 'what is older than clearout.usage_days goes');
	sql(q{DELETE FROM clearout_usage_parts WHERE role = 'old'});
};

subtest 'a locked table of usage' => sub {
	my $holder = $node->background_psql('postgres', on_error_stop => 1, timeout => 120);
	$holder->query_safe('BEGIN; LOCK TABLE clearout_usage_parts IN ACCESS EXCLUSIVE MODE');
	my $start = time;
	enqueue('bob', 'locked', 100);
	ok(drained(60), 'holds up no answer');
	cmp_ok(time - $start, '<', 60, 'nor its storing');
	my $credits = $api->stats->{charged} + 1;
	$holder->query_safe('COMMIT');
	$holder->quit;
	ok(wait_until(60, sub { usage('credits') == $credits }), 'and is written when it can be');
	$holder = $node->background_psql('postgres', on_error_stop => 1, timeout => 120);
	$holder->query_safe('BEGIN; SELECT count(*) FROM (SELECT FROM clearout_usage_parts FOR UPDATE) AS all_rows');
	enqueue('bob', 'rows', 100);
	ok(drained(60), 'neither does one who has its rows locked');
	$holder->query_safe('COMMIT');
	$holder->quit;
};

subtest 'a role' => sub {
	my $before = charged();
	my $spent = usage('credits', q{role = 'alice'});

	sql("SELECT clearout_set_budget('alice', $spent + 50)");
	is(sql(q{SELECT role || ' ' || credits_per_day || ' ' || (changed_by = current_user) FROM clearout_budgets}), 'alice ' . ($spent + 50) . ' true', 'a budget');
	enqueue('alice', 'role', 200);
	is_spent($before, 50, 'role', 'so much is spent');
	are_stored('role', 50, 'and stored');
	ok(wait_until(60, sub { usage('credits', q{role = 'alice'}) == $spent + 50 }), 'and counted');
	is(waits(), 150, 'the rest waits');
	is(sql(q{SELECT count(*) FROM clearout_queue WHERE attempts > 0 OR next_attempt_at IS NOT NULL}), 0, 'with nothing held against it');
	is(status($node, 'state'), 'running', 'the worker has not stopped');

	my $refused = call_sql($node, q{SET ROLE alice; SELECT clearout_verify('valid-alone-1@x.test')});
	is($refused->{sqlstate}, 'VC010', 'she is told so');
	like($refused->{detail}, qr/Role "alice" has spent (\d+) of \1 credits today/, 'with figures');
	like($refused->{hint}, qr/00:00 UTC/, 'and what to do');
	is(sql(q{SET ROLE alice; SELECT status || ' ' || source FROM clearout_verify('valid-alone-1@x.test', on_error => 'unknown')}), 'unknown none', 'as a row if she likes');
	is(sql(q{SET ROLE alice; SELECT status || ' ' || source FROM clearout_verify((SELECT min(email) FROM clearout_results WHERE email LIKE 'valid-role-%'))}), 'valid stored', 'what is stored is free');
	is($api->calls('valid-alone-1@x.test'), 0, 'no call was made');

	# Others go on, behind her rows, and beside her.
	enqueue('bob', 'behind', 100);
	ok(wait_until(60, sub { stored('behind') == 100 }), 'rows of others, behind hers');
	is(as('bob', q{SELECT status FROM clearout_verify('valid-alone-2@x.test')}), 'valid', 'and their calls');
	my $shared = sql(q{SELECT min(email) FROM clearout_queue});
	is(as('bob', "SELECT status FROM clearout_verify('$shared')"), 'valid', 'he may pay for what she waits for');
	is(stored('role'), 51, 'whose answer is there for her too');

	# More of it, and none.
	sql("SELECT clearout_set_budget('alice', $spent + 60)");
	ok(wait_until(60, sub { stored('role') == 61 }), 'raised: so many more');
	is_still('raised');
	is(stored('role'), 61, 'and no more than that');
	$node->restart;
	ok(worker_pid($node), 'a restart');
	enqueue('bob', 'after', 10);
	ok(wait_until(60, sub { stored('after') == 10 }), 'others are served');
	is_still('restarted');
	is(stored('role'), 61, 'the budget holds over it');

	# What was spent yesterday does not count today.
	sql(q{UPDATE clearout_usage_parts SET day = day - 1});
	$node->restart;
	ok(worker_pid($node), 'another day');
	ok(drained(60), 'and all of it is answered');
	is(stored('role'), 200, 'and stored');
	sql(q{SELECT clearout_set_budget('alice', NULL)});
	is(sql('SELECT count(*) FROM clearout_budgets'), 0, 'no budget');
	is(sqlstate($node, q{SELECT clearout_set_budget('alice', -1)}), '22023', 'no negative one');
	is(sqlstate($node, q{SELECT clearout_set_budget('nobody', 1)}), '42704', 'nor for nobody');
	is(sqlstate($node, q{SET ROLE alice; SELECT clearout_set_budget('alice', 1000)}), '42501', 'nor by herself');
	is(sqlstate($node, q{SET ROLE alice; UPDATE clearout_budgets SET credits_per_day = 1000}), '42501', 'in no way');
};

subtest 'what is free, and what shares' => sub {
	my $spent = usage('credits', q{role = 'alice' AND day = (now() AT TIME ZONE 'UTC')::date});

	sql("SELECT clearout_set_budget('alice', $spent + $PARALLEL)");
	enqueue('alice', 'free', 100, 'unknown');
	ok(drained(60), 'unknown is free: all are answered');
	is(usage('credits', q{role = 'alice' AND day = (now() AT TIME ZONE 'UTC')::date}), $spent, 'nothing was spent');

	# Nothing left while calls are in flight, but something when they end.
	$api->hold(pattern => 'unknown-held-*');
	enqueue('alice', 'held', $PARALLEL, 'unknown');
	ok($api->wait_for(held => $PARALLEL), 'as many in flight as she has credits');
	is(call_sql($node, q{SET ROLE alice; SELECT clearout_verify('valid-more-1@x.test')})->{sqlstate}, 'VC010', 'calls in flight count');
	$api->release;
	ok(drained(60), 'answered, and free');
	is(as('alice', q{SELECT status FROM clearout_verify('valid-more-1@x.test')}), 'valid', 'there is something left again');

	# More than there is, in one statement.
	my $before = charged();
	my $many = call_sql($node, q{SET ROLE alice; SELECT count(*) FILTER (WHERE source = 'service') FROM clearout_verify(ARRAY(SELECT 'valid-array-' || i || '@x.test' FROM generate_series(1, 50) i), on_error => 'unknown')});
	is($many->{out}, $PARALLEL - 1, 'an array gets what is left');
	is(charged() - $before, $PARALLEL - 1, 'and spends it');
	sql(q{SELECT clearout_set_budget('alice', NULL)});
};

subtest 'a kill' => sub {
	my $before = charged();

	$api->config(latency => 20);
	sql(q{UPDATE clearout_usage_parts SET day = day - 2});
	sql(q{SELECT clearout_set_budget('alice', 400)});
	$node->restart;
	enqueue('alice', 'kill', 1000);
	foreach my $number (1 .. 2)
	{
		ok(wait_until(60, sub { stored('kill') >= 100 * $number }), "kill $number: under way");
		my $pid = worker_pid($node);
		kill 'KILL', $pid;
		ok(defined wait_gone($pid, 60), "kill $number: it is gone");
		ok(wait_until(60, sub { is_up($node) }), "kill $number: the server is back");
	}
	are_stored('kill', 400, 'as much as the budget is answered');
	is_still('killed');
	my $spent = charged() - $before;
	cmp_ok($spent, '>=', 400, 'the budget is spent');
	cmp_ok($spent, '<=', 400 + 2 * $PARALLEL, 'and at most what was in flight at a kill beyond it');
	ok(wait_until(60, sub { usage('credits', q{role = 'alice' AND day = (now() AT TIME ZONE 'UTC')::date}) == 400 }), 'usage says so');
	is(stored('kill'), 400, 'as do the answers');
	note "$spent credits spent of 400, with 2 kills";
	sql(q{SELECT clearout_set_budget('alice', NULL)});
	ok(drained(60), 'without a budget, the rest is answered');
	$api->config(latency => '2..10');
};

subtest 'many rows of a role that has nothing left' => sub {
	sql(q{SELECT clearout_set_budget('alice', 0)});
	as('alice', q{SELECT clearout_enqueue('valid-none-0@x.test')});
	sql("INSERT INTO clearout_queue (email, requested_by) SELECT 'valid-none-' || i || '\@x.test', 'alice' FROM generate_series(1, $ROWS) i");
	my $start = time;
	enqueue('bob', 'first', 1000);
	ok(wait_until(120, sub { stored('first') == 1000 }), 'others behind them are found');
	my $first = time - $start;
	$start = time;
	enqueue('bob', 'second', 1000);
	ok(wait_until(60, sub { stored('second') == 1000 }), 'and again');
	my $second = time - $start;
	note sprintf '%d rows passed over: %.1f s for the first 1000 rows behind them, %.1f s for the next', $ROWS, $first, $second;
	cmp_ok($second, '<', 30, 'without a look at all of them');
	# as long as they are looked at, callers are served
	sql(q{SELECT clearout_retry(); SELECT clearout_resume()});
	$start = time;
	as('bob', q{SELECT clearout_verify('valid-while-1@x.test')});
	cmp_ok(time - $start, '<', 45, 'nobody has to wait for that');
	is(stored('none'), 0, 'none of hers is asked');
	$start = time;
	is(status($node, q{oldest_queued = (SELECT min(enqueued_at) FROM clearout_queue)}), 't', 'the status knows the oldest row');
	my $pid = worker_pid($node);
	ok(wait_until(60, sub {
		my $before = ClearoutStress::switches($pid);
		sleep 2;
		return ClearoutStress::switches($pid) - $before < 5;
	}), 'the worker is idle when there is nothing else to do');
	sql(q{DELETE FROM clearout_queue; SELECT clearout_set_budget('alice', NULL)});
};

subtest 'the database' => sub {
	sql(q{UPDATE clearout_usage_parts SET day = day - 1});
	sql(q{ALTER DATABASE postgres SET clearout.daily_budget = 100});
	$node->restart;
	ok(wait_until(60, sub { status($node, 'budget') eq '100' }), 'a budget');
	my $before = charged();
	enqueue('alice', 'db', 100);
	enqueue('bob', 'db2', 100);
	ok(poll_status($node, q{state = 'budget used up'}), 'used up');
	is_spent($before, 100, 'database', 'so much is spent');
	ok(wait_until(60, sub { waits() == 100 }), 'the rest waits');
	is(status($node, q{budget || ' ' || budget_spent || ' ' || budget_left}), '100 100 0', 'the status has the figures');
	like(status($node, 'reason'), qr/This database has spent 100 of 100 credits today/, 'and says so');
	my $refused = call_sql($node, q{SELECT clearout_verify('valid-db-0@x.test')});
	is($refused->{sqlstate}, 'VC010', 'callers are told');
	like($refused->{detail}, qr/clearout\.daily_budget/, 'why');
	sql('ALTER DATABASE postgres SET clearout.daily_budget = 150');
	ok(wait_until(60, sub { waits() == 50 }), 'raised');
	is_still('raised');
	is(charged() - $before, 150, 'as far as that goes');

	# A copy has spent nothing, and has its own budget.
	sql('CREATE DATABASE twin TEMPLATE postgres');
	sql('ALTER DATABASE twin SET clearout.daily_budget = 10');
	ok(wait_until(60, sub { status($node, 'budget', 'twin') eq '10' }), 'a copy');
	is(status($node, 'budget_spent', 'twin'), 0, 'has spent nothing');
	is(value_of($node, 'SELECT bool_or(own) FROM clearout_usage', 'twin'), 'f', 'the usage is that of the original');
	is(value_of($node, q{SELECT status FROM clearout_verify('valid-twin-1@x.test')}, 'twin'), 'valid', 'and may spend');
	ok(wait_until(60, sub { status($node, 'budget_spent', 'twin') eq '1' }), 'its own budget');
	is(value_of($node, 'SELECT sum(credits) FROM clearout_usage WHERE own', 'twin'), 1, 'and its own usage');
	$node->safe_psql('template1', 'DROP DATABASE twin');

	sql('ALTER DATABASE postgres RESET clearout.daily_budget');
	ok(drained(60), 'without a budget, the rest is answered');
	ok(poll_status($node, q{state = 'running' AND budget IS NULL}), 'and there is none');
};

subtest 'the credit floor' => sub {
	$api->config(credits => 100);
	$node->append_conf('postgresql.conf', 'clearout.credit_floor = 60');
	$node->reload;
	my $balance = $api->stats->{by_endpoint}{credits};
	ok(wait_until(60, sub { sql(q{SELECT setting FROM pg_settings WHERE name = 'clearout.credit_floor'}) eq '60' }), 'a floor');
	is(status($node, 'state'), 'running', 'nothing hinders what nobody has tried');
	enqueue('alice', 'floor', 100);
	ok(poll_status($node, q{state = 'budget used up' AND reason ~ 'about 60 credits left, and clearout.credit_floor is 60'}), 'reached');
	is_still('floor');
	is($api->stats->{credits}, 60, 'so much is left');
	are_stored('floor', 40, 'the rest was spent');
	is(status($node, q{credits || ' ' || (credits_at > now() - interval '10 minutes')}), '60 true', 'the status knows');
	my $asked = $api->stats->{by_endpoint}{credits} - $balance;
	cmp_ok($asked, '<=', 20, 'the balance was asked for a few times');
	is(call_sql($node, q{SELECT clearout_verify('valid-floor-0@x.test')})->{sqlstate}, 'VC010', 'callers are told');
	is($api->stats->{credits}, 60, 'and cost nothing');
	$api->config(credits => 200);
	ok(wait_until(60, sub { stored('floor') == 100 }), 'when there are more, work goes on by itself') or diag status($node, 's::text');
	is($api->stats->{credits}, 140, 'and nothing was spent beyond that');
	ok(poll_status($node, q{state = 'running'}), 'as the status says');
	note "$asked balance enquiries while 40 credits were spent";

	# Not told, nothing is spent.
	$api->fault(endpoint => 'credits', body => { status => 'success', data => { available_credits => undef, credits => { available => undef } } });
	$node->restart;
	ok(worker_pid($node), 'an account that does not tell its credits');
	my $refused = call_sql($node, q{SELECT clearout_verify('valid-floor-untold@x.test')});
	is($refused->{sqlstate}, 'VC010', 'is not spent from');
	like($refused->{detail}, qr/credits are not known.*does not tell/, 'as the detail says');
	$api->clear;
	$node->append_conf('postgresql.conf', 'clearout.credit_floor = 0');
	$node->reload;
	ok(wait_until(60, sub { call_sql($node, q{SELECT clearout_verify('valid-floor-untold@x.test')})->{sqlstate} eq '' }), 'without a floor it is');
};

$node->stop;
done_testing();
