# clearout_verify(text[]): one row per element, all asked together, never more
# than a quarter of the slots, and nothing left behind.
#
# Measures time, so it wants a quiet machine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(status worker_pid wait_until start_caller start_verify
  finish_callers call_sql verify);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# 1000 addresses, 100 ms each, 200 at once: half a second, and the work.
my $THOUSAND_MAX = 1.5;

my $api = ClearoutSandbox->new(limit => 1000000, credits => 1000000);
my $node = clearout_node('main', $api, max_parallel => 200, request_slots => 1024, wait_timeout => '30s');

# Addresses as an SQL array, from one to the given number.
sub series
{
	my ($name, $count) = @_;
	return "(SELECT array_agg('valid-$name-' || i || '\@x.test' ORDER BY i) FROM generate_series(1, $count) i)";
}

# How many of a series the server was asked for, by all requests so far.
sub asked
{
	my ($before) = @_;
	return $api->address_stats->{asked} - ($before || 0);
}

sub rows
{
	my ($condition) = @_;
	return value_of($node, "SELECT count(*) FROM clearout_results WHERE $condition");
}

subtest 'rows' => sub {
	my $select = q{SELECT position || '|' || coalesce(input, 'NULL') || '|' || coalesce(email, 'NULL') || '|' || coalesce(status, 'NULL') || '|' || coalesce(source, 'NULL') FROM clearout_verify};

	is( value_of($node, qq{$select(ARRAY[' Valid\@Rows.Test', NULL, 'invalid\@rows.test', 'no address', 'valid\@rows.test', 'INVALID\@rows.test ', NULL, '', 'catch_all\@rows.test'])}),
		join("\n",
			'1| Valid@Rows.Test|valid@rows.test|valid|service',
			'2|NULL|NULL|NULL|NULL',
			'3|invalid@rows.test|invalid@rows.test|invalid|service',
			'4|no address|no address|invalid|local',
			'5|valid@rows.test|valid@rows.test|valid|service',
			'6|INVALID@rows.test |invalid@rows.test|invalid|service',
			'7|NULL|NULL|NULL|NULL',
			'8|||invalid|local',
			'9|catch_all@rows.test|catch_all@rows.test|catch_all|service'),
		'one row per element, in order');
	is($api->calls($_), 1, "$_: one call") foreach qw(valid@rows.test invalid@rows.test catch_all@rows.test);
	is($api->calls('no address') + $api->calls(''), 0, 'what is malformed is not sent');

	# Stored and new ones together.
	is( value_of($node, qq{$select(ARRAY['new-1\@rows.test', 'valid\@rows.test', 'valid-2\@rows.test', 'invalid\@rows.test'], max_age => '1 day') WHERE position IN (2, 3, 4)}),
		join("\n", '2|valid@rows.test|valid@rows.test|valid|stored', '3|valid-2@rows.test|valid-2@rows.test|valid|service', '4|invalid@rows.test|invalid@rows.test|invalid|stored'),
		'stored and new');
	is($api->calls('valid@rows.test'), 1, 'stored ones are not asked again');
	is($api->calls('valid-2@rows.test'), 1, 'new ones are');
	is( value_of($node, qq{$select(ARRAY['valid\@rows.test', 'valid-2\@rows.test'], max_age => '0')}),
		join("\n", '1|valid@rows.test|valid@rows.test|valid|service', '2|valid-2@rows.test|valid-2@rows.test|valid|service'), 'max_age of zero asks');
	is($api->calls('valid@rows.test'), 2, 'again');

	# the same columns as the other form
	is( value_of($node, q{SELECT (to_jsonb(a) - 'position' - 'input' - 'source') = (to_jsonb(b) - 'source') FROM clearout_verify(ARRAY['valid@rows.test']) a, clearout_verify('valid@rows.test') b}),
		't', 'the columns are those of clearout_verify(text)');

	# Shapes of arrays.
	my $before = $api->total_calls;
	is(value_of($node, "$select('{}'::text[])"), '', 'empty array: no row');
	is(value_of($node, "$select(NULL::text[])"), '', 'null array: no row');
	is(value_of($node, "$select(ARRAY[NULL, NULL]::text[])"), "1|NULL|NULL|NULL|NULL\n2|NULL|NULL|NULL|NULL", 'nulls only');
	is($api->total_calls, $before, 'none of these asks');
	is(value_of($node, "$select('{{valid\@rows.test,valid-3\@rows.test},{invalid\@rows.test,NULL}}'::text[])"),
		"1|valid\@rows.test|valid\@rows.test|valid|stored\n2|valid-3\@rows.test|valid-3\@rows.test|valid|service\n3|invalid\@rows.test|invalid\@rows.test|invalid|stored\n4|NULL|NULL|NULL|NULL",
		'two dimensions: in storage order');
	is(value_of($node, "$select('[5:6]={valid\@rows.test,valid-4\@rows.test}'::text[])"),
		"1|valid\@rows.test|valid\@rows.test|valid|stored\n2|valid-4\@rows.test|valid-4\@rows.test|valid|service",
		'another lower bound: positions count from one');
	is(value_of($node, q{SELECT count(*) FROM (SELECT ARRAY['valid@rows.test', email] AS list FROM clearout_results WHERE email LIKE '%@rows.test') s, LATERAL clearout_verify(list) WHERE source <> 'stored'}),
		0, 'per row of a table');
	is(value_of($node, q{SELECT count(*) FROM (SELECT (clearout_verify(ARRAY['valid@rows.test', 'invalid@rows.test'])).*) s}), 2, 'in the select list');

	# A thousand times the same.
	$before = $api->total_calls;
	is(value_of($node, q{SELECT count(*) FROM clearout_verify(array_fill('Valid-Same@rows.test'::text, ARRAY[5000])) WHERE status = 'valid'}), 5000, 'the same address five thousand times');
	is($api->total_calls - $before, 1, 'one call');
};

subtest 'on_error, limits' => sub {
	# One address fails for good.
	$api->fault(status => 400, email => 'bad-1@errors.test');
	my $err = error_of($node, q{SELECT count(*) FROM clearout_verify(ARRAY['valid-1@errors.test', 'bad-1@errors.test', 'valid-2@errors.test'])});
	like($err, qr/ERROR:  VC009:/, q{on_error 'error': an error});
	is(status($node, 'slots_used'), 0, 'no slot is left');
	ok(wait_until(60, sub { rows(q{email LIKE 'valid-_@errors.test'}) == $api->answered('valid-1@errors.test') + $api->answered('valid-2@errors.test') }),
		'what was answered besides is stored');

	is(value_of($node, q{SELECT string_agg(concat_ws('|', position, status, source, reason), ',' ORDER BY position) FROM clearout_verify(ARRAY['valid-1@errors.test', 'bad-1@errors.test', 'valid-2@errors.test', 'bad-1@errors.test'], on_error => 'unknown') }) =~ s/\|(service|stored)\|[^,]*/|answered/gr,
		'1|valid|answered,2|unknown|none|the Clearout service refused the request,3|valid|answered,4|unknown|none|the Clearout service refused the request',
		q{on_error 'unknown': a row in its place});
	is(rows(q{email LIKE 'bad%'}), 0, 'which is not stored');
	is($api->calls('bad-1@errors.test'), 2, 'asked once by each statement');
	like(error_of($node, q{SELECT clearout_verify(ARRAY['a@x.test'], on_error => 'maybe')}), qr/22023/, 'another word is refused');
	like(error_of($node, q{SELECT clearout_verify(ARRAY['a@x.test'], timeout => '-1s')}), qr/22023/, 'as is a negative time');
	$api->clear;

	# How many calls one statement may cause.
	my $before = $api->total_calls;
	$err = error_of($node, 'SELECT count(*) FROM clearout_verify(' . series('over', 1001) . ')');
	like($err, qr/ERROR:  53400:/, 'more than clearout.statement_limit');
	like($err, qr/HINT:/, 'with a hint');
	is($api->total_calls, $before, 'no call is made at all');
	$err = error_of($node, 'SET clearout.statement_limit = 10; SELECT count(*) FROM clearout_verify(' . series('sum-a', 6) . ') a, LATERAL clearout_verify(' . series('sum-b', 6) . ') b');
	like($err, qr/ERROR:  53400:/, 'the sum over a statement counts');
	is($api->total_calls - $before, 6, 'what was allowed was done');
	is(value_of($node, 'SET clearout.statement_limit = 10; SELECT count(*) FROM clearout_verify(' . series('sum-a', 6) . ' || ' . series('sum-c', 10) . ')'), 16,
		'stored ones and equal ones do not count');
	is(value_of($node, 'SET clearout.statement_limit = 0; SELECT count(*) FROM clearout_verify(' . series('over', 1001) . ')'), 1001, 'zero means no limit');

	# Who may not change anything, may not ask.
	is(sqlstate($node, q{BEGIN READ ONLY; SELECT clearout_verify(ARRAY['valid-ro@errors.test'])}), '25006', 'read only: refused');
	is(value_of($node, q{BEGIN READ ONLY; SELECT source FROM clearout_verify(ARRAY['valid-1@errors.test'])}), 'stored', 'unless it is stored');
	is(sqlstate($node, q{BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; SELECT count(*) FROM clearout_verify(ARRAY['valid-ser@errors.test'])}), '00000', 'SERIALIZABLE: answered');
};

subtest 'timeout' => sub {
	$api->fault(kind => 'hang', pattern => '*-slow-*');
	my $start = time;
	my $err = error_of($node, q{SELECT count(*) FROM clearout_verify(ARRAY['valid-fast-1@time.test', 'valid-slow-1@time.test', 'valid-fast-2@time.test'], timeout => '8s')});
	like($err, qr/ERROR:  VC006:/, 'some do not come: an error');
	cmp_ok(time - $start, '<', 40, 'in time');
	is(rows(q{email LIKE 'valid-fast-%@time.test'}), 2, 'those that came are stored');
	is(value_of($node, q{SELECT string_agg(concat_ws('|', position, status, source), ',' ORDER BY position) FROM clearout_verify(ARRAY['valid-fast-1@time.test', 'valid-slow-2@time.test', 'valid-fast-3@time.test'], timeout => '8s', on_error => 'unknown')}),
		'1|valid|stored,2|unknown|none,3|valid|service', 'or a row for each');
	is(status($node, 'slots_used'), 0, 'no slot is left');

	# statement_timeout and cancel end the wait at once, too.
	$start = time;
	is(sqlstate($node, q{SET statement_timeout = '8s'; SELECT count(*) FROM clearout_verify(ARRAY['valid-fast-4@time.test', 'valid-slow-3@time.test'])}), '57014', 'statement_timeout');
	cmp_ok(time - $start, '<', 40, 'in time');
	is(status($node, 'slots_used'), 0, 'no slot is left');
	ok(wait_until(60, sub { rows(q{email = 'valid-fast-4@time.test'}) == 1 }), 'what came is stored');
	$api->clear;
	$node->restart;	# what hangs would hang on
	worker_pid($node);

	# The first answer tells the limit: before it, few calls are risked.
	is(verify($node, 'valid-learn@x.test')->{out}, 'valid|yes|service|Success', 'a new start');
};

# No call is made, so nobody waits; but it takes a while, and can be ended.
subtest 'cancelled while it reads' => sub {
	$node->safe_psql('postgres', q{CREATE TABLE big AS SELECT array_agg('malformed ' || i) AS a FROM generate_series(1, 1500000) i});
	my $sql = 'SELECT count(*) FROM big, clearout_verify(a)';
	my ($whole, $ended);
	foreach my $try (1 .. 5)
	{
		$whole = call_sql($node, "$sql;");
		is($whole->{out}, 1500000, 'a row for each');
		$ended = call_sql($node, "SET statement_timeout = '100ms'; $sql;");
		is($ended->{sqlstate}, '57014', 'statement_timeout');
		last if $ended->{seconds} < 0.1 + $whole->{seconds} / 2;
	}
	cmp_ok($ended->{seconds}, '<', 0.1 + $whole->{seconds} / 2, "in $ended->{seconds} s instead of $whole->{seconds}");
	$node->safe_psql('postgres', 'DROP TABLE big');
};

subtest 'early ends' => sub {
	my %ends = (
		cancel => sub { $node->safe_psql('postgres', "SELECT pg_cancel_backend($_[0])") },
		terminate => sub { $node->safe_psql('postgres', "SELECT pg_terminate_backend($_[0])") });

	foreach my $end (sort keys %ends)
	{
		$api->hold(pattern => "valid-$end-*");
		my $caller = start_caller($node, "SELECT count(*) FROM clearout_verify(" . series($end, 100) . ")");
		ok(wait_until(60, sub { status($node, 'requests_waiting') == 100 }), "$end: a hundred slots are in use");
		is(status($node, 'slots_used'), 100, "$end: no more");
		ok($api->wait_for(held => 100), "$end: all are asked at once");
		$ends{$end}->(value_of($node, "SELECT pid FROM pg_stat_activity WHERE query LIKE '%valid-$end-%' AND pid <> pg_backend_pid()"));
		is(finish_callers(30, $caller), 0, "$end: the caller ends");
		ok(wait_until(60, sub { status($node, 'slots_used') == 0 }), "$end: all slots are free");
		$api->release;
		ok(wait_until(60, sub { rows("email LIKE 'valid-$end-%'") == 100 }), "$end: the answers are stored all the same");
		ok(wait_until(60, sub { status($node, 'calls_in_flight') == 0 }), "$end: nothing is in flight");
	}

	# A session that goes on.
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	is($session->query_safe('SELECT position FROM clearout_verify(' . series('limit', 50) . ') LIMIT 1'), 1, 'LIMIT');
	is(status($node, 'slots_used'), 0, 'LIMIT: no slot is left');
	ok(wait_until(60, sub { rows(q{email LIKE 'valid-limit-%'}) == 50 }), 'LIMIT: all are stored, since all were asked');
	$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT position FROM clearout_verify(' . series('cursor', 50) . '); FETCH 3 FROM c; CLOSE c;');
	is(status($node, 'slots_used'), 0, 'cursor closed early: no slot is left');
	$session->query_safe('ROLLBACK');
	ok(wait_until(60, sub { rows(q{email LIKE 'valid-cursor-%'}) == 50 }), 'rolled back: stored all the same');

	# an error caught inside a function
	$api->fault(status => 400, email => 'valid-caught-7@x.test');
	$session->query_safe(q{DO $$ BEGIN PERFORM count(*) FROM clearout_verify((SELECT array_agg('valid-caught-' || i || '@x.test') FROM generate_series(1, 50) i)); EXCEPTION WHEN SQLSTATE 'VC009' THEN NULL; END $$});
	is(status($node, 'slots_used'), 0, 'an error that is caught: no slot is left');
	is($session->query_safe(q{SELECT count(*) FROM clearout_verify(ARRAY['valid-on@x.test'])}), 1, 'and the session goes on');
	$api->clear;
	$session->quit;
};

# The bound is what counts; a noisy machine may have some more tries.
sub thousand
{
	my ($server, $name, $limit) = @_;
	my $best;

	foreach my $try (1 .. 6)
	{
		my $before = asked();
		my $session = $server->background_psql('postgres');
		$session->query_safe("CREATE TEMP TABLE list AS SELECT array_agg('valid-$name-$try-' || i || '\@x.test') AS emails FROM generate_series(1, 1000) i");
		my $start = time;
		my $count = $session->query_safe(q{SELECT count(*) FROM list, clearout_verify(emails) WHERE status = 'valid' AND source = 'service'});
		my $seconds = time - $start;
		$session->quit;

		is($count, 1000, "$name: all are answered");
		is(asked($before), 1000, "$name: by one call each");
		note sprintf '%s: %.2f s', $name, $seconds;
		$best = $seconds if !defined $best || $seconds < $best;
		last if $best < $limit;
	}
	return $best;
}

subtest 'a thousand' => sub {
	$api->config(latency => 100);

	# From another session: how many slots, how many calls.
	my $watcher = start_caller($node, q{
		CREATE TEMP TABLE seen (slots integer, calls integer);
		CREATE TABLE watched ();
		DO $$
		BEGIN
			WHILE NOT EXISTS (SELECT FROM pg_class WHERE relname = 'unwatched') LOOP
				INSERT INTO seen SELECT slots_used, calls_in_flight FROM clearout_status;
				PERFORM pg_sleep(0.01);
			END LOOP;
		END $$;
		SELECT max(slots), max(calls), count(*) FROM seen});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_class WHERE relname = 'watched'}), 'it watches');
	my $seconds = thousand($node, 'thousand', $THOUSAND_MAX);
	cmp_ok($seconds, '<', $THOUSAND_MAX, 'a thousand of 100 ms, 200 at once');
	$node->safe_psql('postgres', 'CREATE TABLE unwatched ()');
	finish_callers(60, $watcher);
	my ($slots, $calls, $samples) = split /\|/, $watcher->{out};
	note "slots $slots, calls $calls, in $samples samples";
	cmp_ok($slots, '<=', 256, 'never more than a quarter of the slots');
	cmp_ok($slots, '>', 150, 'but many');
	cmp_ok($calls, '<=', 200, 'never more than max_parallel calls');
	cmp_ok($calls, '>', 100, 'but many');

	# Several of these share the slots, and leave some to others.
	$api->hold(pattern => 'valid-share*');
	my @callers = map { start_caller($node, "SELECT count(*) FROM clearout_verify(" . series("share$_", 500) . ", timeout => '120s') WHERE status = 'valid'") } 1 .. 3;
	ok(wait_until(60, sub { status($node, 'slots_used') > 256 }), 'several are under way');
	my $single = start_verify($node, 'valid-single@x.test', "timeout => '120s'");
	ok(wait_until(60, sub { value_of($node, q{SELECT count(*) FROM pg_stat_activity WHERE query ~ 'valid-single' AND pid <> pg_backend_pid() AND wait_event IS NOT NULL}) eq '1' }), 'a single question has its slot');
	$api->release;
	is(finish_callers(120, @callers, $single), 0, 'all come to an end');
	is($single->{out}, 'valid|yes|service|Success', 'the single one too');
	is(join(' ', map { $_->{out} } @callers), join(' ', (500) x 3), 'with all answers') or diag map { $_->{err} } @callers;
	is(status($node, 'slots_used'), 0, 'no slot is left');
	is($api->address_stats->{max} - 1, 1, 'nothing was asked again and again') or diag explain $api->address_stats;
	$api->config(latency => 0);
};

subtest 'behind a slow one' => sub {
	foreach my $try (1 .. 3)
	{
		$api->fault(delay_ms => 10000, email => "valid-slow-$try\@x.test");
		my $slow = start_verify($node, "valid-slow-$try\@x.test", "timeout => '60s'");
		ok(wait_until(60, sub { $api->calls("valid-slow-$try\@x.test") == 1 }), 'the slow one is on the wire');
		my $seconds = thousand($node, "fast$try", 1);
		my $waiting = status($node, 'requests_waiting');
		finish_callers(60, $slow);
		is($slow->{out}, 'valid|yes|service|Success', 'the slow one has its answer as well');
		cmp_ok($slow->{seconds}, '>', 9, 'in its own time');
		next if $seconds >= 1 && $try < 3;
		cmp_ok($seconds, '<', 1, 'a thousand fast ones are done within a second');
		is($waiting, 1, 'while the slow one still waits');
		last;
	}
	$api->clear;
};
$node->stop;

# Few descriptors: calls wait for each other, and none fails.
foreach my $limit ('-Sn 1024', '-n 256')
{
	(my $name = "files$limit") =~ tr/ //d;
	subtest "ulimit $limit" => sub {
		my $directory = PostgreSQL::Test::Utils::tempdir();
		my $pg_ctl = $node->config_data('--bindir') . '/pg_ctl';
		append_to_file("$directory/pg_ctl", "#!/bin/sh\nulimit $limit || exit 1\nexec '$pg_ctl' \"\$@\"\n");
		chmod 0755, "$directory/pg_ctl";
		local $ENV{PATH} = "$directory:$ENV{PATH}";

		my $poor = clearout_node($name, $api, max_parallel => 1000, request_slots => 8192, wait_timeout => '60s');
		my $pid = worker_pid($poor);
		my $soft = slurp_file("/proc/$pid/limits") =~ /^Max open files\s+(\d+)/m ? $1 : 0;
		my ($postmaster) = split /\n/, slurp_file($poor->data_dir . '/postmaster.pid');
		my ($limits) = slurp_file("/proc/$postmaster/limits") =~ /^Max open files\s+(\d+)/m;
		is($limits, $limit =~ s/\D+//r, 'the server may open few files');
		note "the worker may open $soft";
		$api->config(latency => 100);
		my $seconds = thousand($poor, $name, $THOUSAND_MAX);
		$limit eq '-n 256'
		  ? cmp_ok($seconds, '<', 30, 'a thousand, as fast as the descriptors allow')
		  : cmp_ok($seconds, '<', $THOUSAND_MAX, 'a thousand, a thousand at once');

		my @callers = map {
			start_caller($poor, "SET clearout.statement_limit = 0; SELECT count(*) FROM clearout_verify(" . series("$name-many-$_", 2000) . ") WHERE status = 'valid'")
		} 1 .. 3;
		is(finish_callers(120, @callers), 0, 'three times two thousand come to an end');
		is(join(' ', map { $_->{out} } @callers), '2000 2000 2000', 'with all answers') or diag map { $_->{err} } @callers;
		is(worker_pid($poor), $pid, 'by the same worker');
		is(status($poor, 'faults'), 0, 'and no call has failed');
		is(status($poor, 'slots_used'), 0, 'no slot is left');
		unlike(slurp_file($poor->logfile), qr/Too many open files|out of file descriptors/i, 'nor was the server short of files');
		$api->config(latency => 0);
		$poor->stop;
	};
}

done_testing();
