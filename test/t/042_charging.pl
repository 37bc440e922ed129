# Whom a call is charged to, and how much it is: searches, which cost 4, 2 or
# no credits and may end long after the call; what a trigger has enqueued,
# which its table's owner pays for; and what the status says of the queue.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(is_up worker_pid wait_until wait_gone call_sql status);
use ClearoutTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api, max_parallel => 10, find_timeout => '1s',
	conf => "restart_after_crash = on\nautovacuum = off\n");

sub sql { return value_of($node, @_) }

sub as
{
	my ($role, $sql) = @_;
	return call_sql($node, "SET ROLE $role; $sql");
}

# Calls and credits of a role, "2 6".
sub usage
{
	my ($role, $service) = @_;
	return sql(qq{SELECT coalesce(sum(calls), 0) || ' ' || coalesce(sum(credits), 0) FROM clearout_usage
		WHERE role = '$role' AND service = '$service'});
}

sub usage_is
{
	my ($role, $service, $wanted, $name) = @_;
	my $got;
	ok(wait_until(60, sub { ($got = usage($role, $service)) eq $wanted }), $name) or diag "usage: $got";
	return;
}

sub charged { return $api->stats->{charged} }

# All that was counted is what the server has charged.
sub usage_is_true
{
	my ($name) = @_;
	my ($counted, $charged);
	ok(wait_until(60, sub {
		($counted, $charged) = (sql('SELECT coalesce(sum(credits), 0) FROM clearout_usage'), charged());
		return $counted == $charged;
	}), "$name: counted is what was charged") or diag "$counted counted, $charged charged";
	return;
}

sub is_empty
{
	return wait_until($_[0] // 120, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' });
}

sub find
{
	my ($role, $person, $arguments) = @_;
	return as($role, "SELECT status FROM clearout_find('$person', 'corp.test'" . ($arguments ? ", $arguments" : '') . ')');
}

foreach my $role (qw(alice bob carol shop clerk))
{
	sql("CREATE ROLE $role LOGIN; SELECT clearout_grant('$role', what) FROM unnest(ARRAY['verify', 'find', 'enqueue']) what")
	  if $role ne 'clerk';
}
away_from_midnight(300);
sql('CREATE ROLE clerk; GRANT CREATE ON SCHEMA public TO shop');
ok(worker_pid($node), 'a worker runs');

subtest 'what a search costs' => sub {
	is(find('alice', 'Somebody One')->{out}, 'found', 'a person');
	usage_is('alice', 'find', '1 4', 'costs 4');
	is(find('alice', 'Role Two')->{out}, 'found', 'an address of a role');
	usage_is('alice', 'find', '2 6', 'costs 2');
	is(find('alice', 'Nobody Three')->{out}, 'not_found', 'nobody');
	usage_is('alice', 'find', '3 6', 'costs nothing');
	is(find('alice', 'Somebody One')->{out}, 'found', 'what is stored');
	usage_is('alice', 'find', '3 6', 'is no call');
	sql(q{SET ROLE alice; SELECT clearout_enqueue_find('Somebody Q', 'corp.test'), clearout_enqueue_find('Role Q', 'corp.test'), clearout_enqueue_find('Nobody Q', 'corp.test')});
	ok(is_empty(), 'the same through the queue');
	usage_is('alice', 'find', '6 12', 'costs as much');
	usage_is_true('searches');
	sql(q{SELECT clearout_set_budget('alice', 15)});
	my $refused = find('alice', 'Somebody Four');
	is($refused->{sqlstate}, 'VC010', 'with 3 credits left, nothing is sought that may cost 4');
	is($api->subject_stats('find', 'somebody four|corp.test')->{asked}, 0, 'no call');
	is(as('alice', q{SELECT status FROM clearout_verify('valid-three@x.test')})->{out}, 'valid', 'but one credit is there');
	sql(q{SELECT clearout_set_budget('alice', NULL)});
};

# Until it is known what it is, all that it can cost is spent.
subtest 'a search that goes on' => sub {
	my %left = (Somebody => 4, Role => 2, Nobody => 0);

	# The service does not tell how far it is until we have looked.
	$api->config(find_time => 2000);
	foreach my $word (sort keys %left)
	{
		my ($calls, $credits) = split / /, usage('bob', 'find');
		$api->hold(endpoint => 'queue');
		is(find('bob', "$word Slow", "timeout => '1500ms'")->{sqlstate}, 'VC006', "$word: sought on");
		usage_is('bob', 'find', join(' ', $calls + 1, $credits + 4), "$word: counts as 4");
		is(sql('SELECT requested_by FROM clearout_queue'), 'bob', "$word: as his");
		$api->release;
		ok(is_empty(), "$word: it ends");
		ok(wait_until(60, sub { (split / /, usage('bob', 'find'))[1] == $credits + $left{$word} }), "$word: in the end as $left{$word}")
		  or diag usage('bob', 'find');
	}
	usage_is_true('sought on');
	$api->config(find_time => 3000);

	# With a budget for two: the third waits until one has ended.
	my ($calls, $credits) = split / /, usage('carol', 'find');
	$api->hold(endpoint => 'queue');
	sql('SELECT clearout_set_budget($$carol$$, ' . ($credits + 9) . ')');
	foreach my $i (1 .. 2)
	{
		is(find('carol', "Somebody Open" . chr(96 + $i), "timeout => '1500ms'")->{sqlstate}, 'VC006', "search $i is open");
	}
	is(find('carol', 'Somebody Openc', "timeout => '1500ms'")->{sqlstate}, 'VC010', 'there is nothing left for a third');
	is($api->subject_stats('find', 'somebody openc|corp.test')->{asked}, 0, 'which is not begun');
	$api->release;
	ok(is_empty(), 'the others are found, with nothing left to spend');
	usage_is_true('two open ones');
	sql(q{SELECT clearout_set_budget('carol', NULL)});

	# One that has joined pays for nothing; neither does who has queued it.
	$credits = (split / /, usage('carol', 'find'))[1];
	my $others = (split / /, usage('bob', 'find'))[1];
	sql('SELECT clearout_pause()');
	sql(q{SET ROLE carol; SELECT clearout_enqueue_find('Nobody Joined', 'corp.test')});
	$api->hold(endpoint => 'queue');
	is(find('bob', 'Nobody Joined', "timeout => '1500ms'")->{sqlstate}, 'VC006', 'bob begins what carol has queued');
	$api->release;
	sql('SELECT clearout_resume()');
	ok(is_empty(), 'it ends');
	usage_is_true('joined');
	is((split / /, usage('bob', 'find'))[1], $others, 'he has his credits back') or diag sql('SELECT * FROM clearout_usage');
	is((split / /, usage('carol', 'find'))[1], $credits, 'and she has no more than she had');
};

# The next worker knows what is open, and whose it is.
subtest 'over a kill' => sub {
	$api->config(find_time => 2000);
	$api->hold(endpoint => 'queue');
	my $credits = (split / /, usage('carol', 'find'))[1];

	sql("SELECT clearout_set_budget('carol', $credits + 7)");
	is(find('carol', 'Nobody Killed', "timeout => '1500ms'")->{sqlstate}, 'VC006', 'sought on');
	my $pid = worker_pid($node);
	kill 'KILL', $pid;
	ok(defined wait_gone($pid, 60), 'a kill');
	ok(wait_until(60, sub { is_up($node) }), 'the server is back');
	ok(worker_pid($node), 'with a worker');
	is(find('carol', 'Somebody Killed', "timeout => '1500ms'")->{sqlstate}, 'VC010', 'her budget knows of it');
	$api->release;
	ok(is_empty(), 'it ends');
	usage_is_true('killed');
	is((split / /, usage('carol', 'find'))[1], $credits, 'she has her credits back');
	$api->config(find_time => 0);
	is(find('carol', 'Somebody Killed')->{out}, 'found', 'and may spend them');
	sql(q{SELECT clearout_set_budget('carol', NULL)});
};

# A call that is free is under way while budgets are read again.
# Where a search was begun, it counts as 4 until its end.  So it does where it is
# adopted; else its end would leave less than nothing spent there.
subtest 'a copy of the database' => sub {
	my $mine = sub {
		return value_of($node, 'SELECT coalesce(sum(credits), 0) FROM clearout_usage_parts WHERE origin = clearout_origin()', 'copy');
	};
	my $status = sub { return value_of($node, 'SELECT budget_spent FROM clearout_status_info()', 'copy') };

	sql($_) foreach 'ALTER SYSTEM SET clearout.daily_budget = 1000000', 'SELECT pg_reload_conf()';
	$api->config(find_time => 1500);
	$api->hold(endpoint => 'queue');
	is(find('bob', 'Nobody Copied', "timeout => '1500ms'")->{sqlstate}, 'VC006', 'sought on');
	ok(wait_until(90, sub { sql('SELECT count(queue_id) FROM clearout_queue') eq '1' }), 'that is known');
	sql('CREATE DATABASE copy TEMPLATE postgres');
	ok(wait_until(60, sub { value_of($node, q{SELECT state FROM clearout_status}, 'copy') eq 'running' }), 'a copy has a worker');
	is($mine->(), 0, 'it has spent nothing');
	is(value_of($node, 'SELECT clearout_resume()', 'copy'), 1, 'the search is adopted');
	is($mine->(), 4, 'with all that it may cost');
	ok(wait_until(90, sub { $status->() eq '4' }), 'which counts against budgets') or diag $status->();
	$api->release;
	ok(wait_until(60, sub { value_of($node, 'SELECT count(*) FROM clearout_queue', 'copy') eq '0' }), 'it ends');
	ok(wait_until(90, sub { $mine->() eq '0' }), 'and has cost nothing') or diag $mine->();
	is($status->(), 0, 'there is no more to spend than there was');
	ok(is_empty(), 'it ends where it was begun');
	sql('DROP DATABASE copy');
	$api->config(find_time => 0);
	sql($_) foreach 'ALTER SYSTEM RESET clearout.daily_budget', 'SELECT pg_reload_conf()';
};

subtest 'settings are read while a search is asked about' => sub {
	sql(q{DELETE FROM clearout_usage_parts});
	$node->restart;
	ok(worker_pid($node), 'nobody has spent anything');
	my $before = charged();

	$api->config(find_time => 1200);
	$api->hold(endpoint => 'queue');
	sql(q{CREATE ROLE late; SELECT clearout_grant('late', 'find')});
	my $caller = start_psql($node, q{SET ROLE late; SELECT status FROM clearout_find('Somebody Held', 'corp.test', timeout => '120s')});
	ok($api->wait_for(held => 1), 'the service is asked how far it is');
	# budgets are read anew while her call is in flight
	sql(q{SELECT clearout_set_budget('shop', 1000)});
	ok(wait_until(60, sub { status($node, 'state') eq 'running' }), 'budgets are read');
	as($_, "SELECT clearout_verify('valid-meanwhile-$_\@x.test')") foreach qw(alice bob carol);
	$api->release;
	is((finish_psql($caller))[0], 'found', 'the answer');
	usage_is('late', 'find', '2 4', 'is charged to who has asked');
	ok(wait_until(60, sub { sql('SELECT sum(credits) FROM clearout_usage') == charged() - $before }), 'and is all')
	  or diag sql('SELECT sum(credits) FROM clearout_usage'), ' ', charged() - $before;
	$api->config(find_time => 0);
	sql(q{SELECT clearout_set_budget('shop', NULL)});
};

subtest 'a trigger' => sub {
	sql(q{SET ROLE shop; CREATE TABLE customer (email text);
		CREATE TRIGGER v AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger('email');
		GRANT INSERT ON customer TO clerk});
	my $before = charged();

	sql(q{SELECT clearout_set_budget('shop', 30), clearout_set_budget('clerk', 0)});
	is(as('clerk', q{INSERT INTO customer SELECT 'valid-row-' || i || '@x.test' FROM generate_series(1, 20) i})->{err}, '', 'somebody else inserts');
	ok(is_empty(), 'all is answered, though he has nothing to spend');
	usage_is('shop', 'verify', '20 20', 'at the expense of the owner');
	is(usage('clerk', 'verify'), '0 0', 'and not at his');
	is(as('clerk', q{INSERT INTO customer SELECT 'valid-more-' || i || '@x.test' FROM generate_series(1, 50) i})->{err}, '', 'more than is left');
	usage_is('shop', 'verify', '30 30', 'of the budget of the owner, which bounds it');
	is(sql('SELECT count(*), min(requested_by), max(requested_by) FROM clearout_queue'), '40|shop|shop', 'the rest waits');
	is(charged() - $before, 30, 'as the server has counted');
	is(as('clerk', q{INSERT INTO customer VALUES ('valid-last@x.test')})->{err}, '', 'inserts are not hindered by that');

	# statement triggers, and mode=wait, which asks at once
	sql(q{SET ROLE shop; DROP TRIGGER v ON customer;
		CREATE TRIGGER v AFTER INSERT ON customer REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION clearout_verify_trigger('email')});
	is(as('clerk', q{INSERT INTO customer VALUES ('valid-statement@x.test')})->{err}, '', 'a statement trigger');
	is(sql(q{SELECT requested_by FROM clearout_queue WHERE email = 'valid-statement@x.test'}), 'shop', 'likewise');
	sql(q{SELECT clearout_set_budget('shop', NULL)});
	ok(is_empty(), 'without a budget, the rest is answered');
	usage_is('shop', 'verify', '72 72', 'at his expense');
	sql(q{SET ROLE shop; DROP TRIGGER v ON customer;
		CREATE TRIGGER v BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger('email', 'mode=wait')});
	is(as('clerk', q{INSERT INTO customer VALUES ('valid-wait@x.test')})->{err}, '', 'mode=wait');
	usage_is('shop', 'verify', '73 73', 'likewise');
	is(usage('clerk', 'verify'), '0 0', 'he has spent nothing');
};

subtest 'how long the queue will take' => sub {
	my $rows = 1600;

	# 100 a second
	$node->stop;
	$api->stop;
	my $slow = ClearoutSandbox->new(limit => 100, window_ms => 1000, credits => 1_000_000);
	$node->append_conf('postgresql.conf', $slow->conf(max_parallel => 10));
	$node->start;
	ok(worker_pid($node), 'a worker');
	is(status($node, 'queue_eta IS NULL'), 't', 'nothing is known at first');
	# a call that brings no answer tells the limit
	$slow->fault(status => 400, times => 1);
	isnt(call_sql($node, q{SELECT status FROM clearout_verify('valid-none@x.test')})->{sqlstate}, '', 'a call is refused');
	sql('SELECT clearout_pause()');
	sql("INSERT INTO clearout_queue (email) SELECT 'valid-eta-' || i || '\@x.test' FROM generate_series(1, $rows) i");
	ok(wait_until(60, sub { abs(status($node, 'queued') - $rows) < 0.1 * $rows }), 'rows wait, as an estimate') or diag status($node, 'queued');
	is(status($node, q{rate_limit || ' ' || coalesce(answers_per_minute, 0)}), '100 0', 'the limit is known, and no rate');
	is(status($node, q{abs(extract(epoch FROM queue_eta) - queued * 60 / rate_limit::float8) < 0.01}), 't', 'the estimate is the queue over the limit');

	# What it says in the middle, and what becomes of it.
	sql('SELECT clearout_resume()');
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') <= $rows / 2 }), 'half of it is answered');
	my ($queued, $rate, $eta) = split /\|/, sql(q{SELECT queued, answers_per_minute, extract(epoch FROM queue_eta) FROM clearout_status});
	my $start = time;
	ok(is_empty(120), 'all of it is answered');
	my $took = time - $start;
	note sprintf '%d queued, %d answers a minute, %.1f s expected, %.1f s needed', $queued, $rate, $eta, $took;
	cmp_ok(abs($eta - $queued / $rate * 60), '<', 0.01, 'the estimate is the queue over the rate of late');
	cmp_ok($took, '>', 3, 'it takes a while');
	cmp_ok($eta, '<', 4 * $took, 'about as long as was estimated');
	cmp_ok($eta, '>', $took / 4, 'and not much shorter');
	$node->stop;
};

done_testing();
