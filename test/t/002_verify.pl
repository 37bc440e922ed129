# clearout_verify(), end to end: what it returns, what it stores, what it
# costs, and who learns what when things go otherwise.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $node = clearout_node('main', $api, request_slots => 100, max_attempts => 1);

# An address that no other part of this file asks about.
my $count = 0;

sub fresh
{
	my ($word) = @_;
	$count++;
	return ($word // 'valid') . "-$count\@clearout.test";
}

sub stored
{
	my ($email, $column) = @_;
	return value_of($node, 'SELECT ' . ($column // 'status') . " FROM clearout_results WHERE email = '$email'");
}

sub await_stored
{
	my ($email) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM clearout_results WHERE email = '$email'");
}

# Statuses by the words "status source".
sub verify
{
	my ($email, $arguments) = @_;
	return value_of($node,
		"SELECT status || ' ' || source FROM clearout_verify('$email'" . ($arguments ? ", $arguments" : '') . ')');
}

ok(poll_status($node, q{state = 'running'}), 'a worker runs');

subtest 'test addresses' => sub {
	# What the service's documents say of each, and no more.
	my @documented = (
		[ 'invalid', q{status = 'invalid'} ],
		[ 'valid', q{status = 'valid'} ],
		[ 'catch_all', q{status = 'catch_all'} ],
		[ 'unknown', q{status = 'unknown'} ],
		[ 'safe_to_send_yes', q{safe_to_send = 'yes'} ],
		[ 'safe_to_send_no', q{safe_to_send = 'no'} ],
		[ 'safe_to_send_risky', q{safe_to_send = 'risky'} ],
		[ 'disposable', q{disposable} ],
		[ 'role', q{role} ],
		[ 'free', q{free} ],
		[ 'gibberish', q{gibberish} ],
		[ 'hard_bounce', q{bounce_type = 'hard'} ],
		[ 'soft_bounce', q{bounce_type = 'soft'} ],
		[ 'suggested_email_address', q{suggested_email <> ''} ],
		map { [ $_, 'status IS NOT NULL' ] }
		  qw(syntax_error greylisted spamtrap blocklist_email_address allowlist_email_address
		  blocklist_domain allowlist_domain domain_not_found not_a_mailserver mailbox_not_found
		  mailbox_quota_exceeded dns_query_timeout unroutable_mailserver overquota_and_inactive
		  receiving_limit_reached));

	is(scalar @documented, 29, 'there are 29');
	foreach my $case (@documented)
	{
		my ($word, $condition) = @$case;
		my $email = "$word\@example.com";

		is(value_of($node, "SELECT $condition AND email = '$email' AND source = 'service' FROM clearout_verify('$email')"),
			't', "$word: $condition");
		is(value_of($node, "SELECT $condition FROM clearout_results WHERE email = '$email'"), 't', "$word: stored");
		is($api->calls($email), 1, "$word: one call");
	}
	is($api->total_calls, 29, 'no other call was made');
	is($api->stats->{charged}, 0, 'and they are free');
	is(value_of($node, q{SELECT status || ' ' || source FROM clearout_verify(' Valid@EXAMPLE.com ')}), 'valid stored',
		'the spelling does not matter');
	is($api->total_calls, 29, 'it is the same address');
	is( value_of($node, q{SELECT count(*) FROM clearout_results WHERE disposable IS NULL OR free IS NULL OR role IS NULL
			OR gibberish IS NULL}), 0, 'yes and no become booleans');
	is( value_of($node, q{SELECT count(*) FROM clearout_results WHERE disposable}), 1, 'the right ones');

	my ($request) = grep { $_->{email} eq 'valid@example.com' } @{ $api->requests };
	is($request->{authorization}, 'bearer', 'the token is spelt as documented');
	is($request->{content_type}, 'application/json', 'the body is JSON');
};

subtest 'columns' => sub {
	my $email = fresh();

	is(value_of($node, q{SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
			FROM pg_attribute WHERE attrelid = 'clearout_result'::regclass AND attnum > 0}),
		'email text, status text, safe_to_send text, sub_status integer, reason text, bounce_type text,'
		  . ' disposable boolean, free boolean, role boolean, gibberish boolean, suggested_email text,'
		  . ' account text, domain text, mx_record text, smtp_provider text, ai_verdict text,'
		  . ' verified_at timestamp with time zone, time_taken interval, source text, raw jsonb',
		'names and types');

	$api->fault(email => $email, times => 1, status => 200, body => '{"status":"success","data":{"email_address":"' . $email
		  . '","safe_to_send":"Risky","status":"Catch-All","verified_on":"2021-02-03T04:05:06+02:00","time_taken":1234,'
		  . '"sub_status":{"code":411,"desc":"Köln \u00e4 \u0000!"},"detail_info":{"account":"acc","domain":"dom.test",'
		  . '"mx_record":"mx.dom.test","smtp_provider":"prov"},"disposable":"yes","free":"no","role":"YES","gibberish":null,'
		  . '"suggested_email_address":"","bounce_type":"soft","ai_verdict":"so so","new_thing":[1,2]}}');
	my $row = value_of($node, "SELECT email, status, safe_to_send, sub_status, reason, bounce_type, disposable, free, role, gibberish,
			suggested_email, account, domain, mx_record, smtp_provider, ai_verdict, verified_at AT TIME ZONE 'UTC', time_taken,
			source, raw -> 'new_thing', raw ->> 'status' FROM clearout_verify('$email')");
	utf8::decode($row);
	is( $row,
		"$email|catch_all|risky|411|Köln ä \x{FFFD}!|soft|t|f|t|||acc|dom.test|mx.dom.test|prov|so so|"
		  . '2021-02-03 02:05:06|00:00:01.234|service|[1, 2]|Catch-All',
		'every field finds its column');
	is(verify($email), 'catch_all stored', 'it is as fresh as its call, whatever time it tells');
	is($api->calls($email), 1, 'so it is not asked again');
	is(stored($email, 'source'), 'instant', 'the table says how it came');
	is( value_of($node, "SELECT asked_at <= now() AND asked_at > now() - interval '1 hour' AND attempted_at = asked_at
			AND attempt_status IS NULL FROM clearout_results WHERE email = '$email'"), 't', 'and when it was asked');

	# A service whose clock is ahead.
	$email = fresh();
	$api->fault(email => $email, times => 1, status => 200, body =>
		  '{"status":"success","data":{"email_address":"' . $email . '","status":"valid","verified_on":"2099-01-01T00:00:00Z"}}');
	is(value_of($node, "SELECT verified_at <= clock_timestamp() FROM clearout_verify('$email')"), 't',
		'nothing is verified in the future');
};

subtest 'arguments' => sub {
	my $calls = $api->total_calls;
	my $email = fresh();

	is(value_of($node, q{SELECT clearout_verify(NULL) IS NULL}), 't', 'NULL is NULL');
	is(value_of($node, q{SELECT count(*) FROM clearout_verify(NULL) AS r WHERE r.email IS NOT NULL}), 0, 'likewise in FROM');
	is(sqlstate($node, "SELECT clearout_verify('$email', max_age => '-1 day')"), '22023', 'a negative max_age');
	is(sqlstate($node, "SELECT clearout_verify('$email', timeout => '-1 s')"), '22023', 'a negative timeout');
	like(error_of($node, "SELECT clearout_verify('$email', timeout => '-1 s')"), qr/"timeout" must not be negative/, 'by its name');
	is(sqlstate($node, "SELECT clearout_verify('$email', on_error => 'ignore')"), '22023', 'an unknown word');
	like(error_of($node, "SELECT clearout_verify('$email', on_error => 'ignore')"), qr/HINT:.*"error".*"unknown"/, 'with the known ones');
	is($api->total_calls, $calls, 'no call for any of them');
	is(value_of($node, "SELECT status FROM clearout_verify('$email', '1000000 years', '200000 years', 'ERROR')"), 'valid',
		'very long times, and any case');

	# timeout => '0' asks nobody
	$calls = $api->total_calls;
	$email = fresh();
	is(sqlstate($node, "SELECT clearout_verify('$email', timeout => '0')"), 'VC006', 'timeout => 0: no answer');
	is(verify($email, q{timeout => '0', on_error => 'unknown'}), 'unknown none', 'or a row that says so');
	is($api->total_calls, $calls, 'nobody was asked');
	is(value_of($node, 'SELECT slots_used FROM clearout_status'), 0, 'and no slot is taken');
	is(verify($email), 'valid service', 'asked');
	is(verify($email, q{timeout => '0'}), 'valid stored', 'timeout => 0: what is stored is given');
	$email = fresh();
	is( value_of($node, "SELECT (clearout_verify('$email', timeout => '0', on_error => 'unknown')).source || ' '
			|| (clearout_verify('$email')).source"), 'none service',
		'and it does not keep the rest of the statement from asking');
	is( value_of($node, q{SET clearout.statement_limit = 3;
			SELECT count(*) FROM generate_series(1, 10) i,
			LATERAL clearout_verify('none' || i || '@clearout.test', timeout => '0', on_error => 'unknown')}), 10,
		'nor count as a call');
};

subtest 'rolled back' => sub {
	my $email = fresh();

	is(value_of($node, "BEGIN; SELECT status FROM clearout_verify('$email'); ROLLBACK"), 'valid', 'asked in a transaction');
	is(stored($email), 'valid', 'that is rolled back: stored');
	is(verify($email), 'valid stored', 'the next one reads it');
	is($api->calls($email), 1, 'one call');

	my ($other, $third) = (fresh(), fresh('invalid'));
	is( value_of($node, "BEGIN; SAVEPOINT s; SELECT status FROM clearout_verify('$other'); ROLLBACK TO s;
			SELECT status || ' ' || source FROM clearout_verify('$other'); COMMIT"),
		"valid\nvalid stored", 'a savepoint rolled back');
	is($api->calls($other), 1, 'one call');
	is(sqlstate($node, "BEGIN; SELECT 1 / (length(status) - 7) FROM clearout_verify('$third'); COMMIT"), '22012', 'an error after the answer');
	is(verify($third), 'invalid stored', 'does not lose it');
	is($api->calls($third), 1, 'one call');
};

subtest 'waiters who leave' => sub {
	my ($out, $state, $email, $psql);

	# cancelled
	$email = fresh();
	$api->hold(email => $email);
	$psql = start_psql($node, "SELECT clearout_verify('$email')");
	ok($api->wait_for(held => 1), 'a call is on its way');
	is( value_of($node, q{SELECT slots_used, requests_waiting, calls_in_flight FROM clearout_status}), '1|1|1',
		'the status shows it');
	$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT clearout_verify'});
	(undef, $state) = finish_psql($psql);
	is($state, '57014', 'cancelled: at once');
	is(value_of($node, 'SELECT slots_used FROM clearout_status'), 0, 'its slot is free');
	is(stored($email), '', 'there is no answer yet');
	is($api->release, 1, 'the answer comes');
	ok(await_stored($email), 'it is stored');
	is(verify($email), 'valid stored', 'and read');
	is($api->calls($email), 1, 'one call');

	# statement_timeout
	# (On a busy machine a second may not be enough for the call to be made.)
	$email = fresh();
	$api->hold(email => $email);
	foreach my $seconds (1, 10, 60)
	{
		$state = sqlstate($node, "SET statement_timeout = '${seconds}s'; SELECT clearout_verify('$email')");
		last if $api->stats->{held};
	}
	is($state, '57014', 'statement_timeout');
	is($api->release, 1, 'the answer comes');
	ok(await_stored($email), 'it is stored');
	is($api->calls($email), 1, 'one call');

	# its own time limit
	$email = fresh();
	$api->hold(email => $email);
	my ($err, $took);
	foreach my $seconds (1, 10, 60)
	{
		my $begin = time;
		$err = error_of($node, "SELECT clearout_verify('$email', timeout => '${seconds}s')");
		$took = time - $begin - $seconds;
		last if $err =~ /stored/;
	}
	like($err, qr/ERROR:\s+VC006:/, 'its own time limit');
	like($err, qr/DETAIL:.*stored/, 'says that the answer will be stored');
	cmp_ok($took, '>=', 0, 'not before it is over');
	cmp_ok($took, '<', 30, 'and soon after');
	is(value_of($node, "SET clearout.wait_timeout = '500ms'; SELECT status || ' ' || source || ' ' || (reason <> '')
			FROM clearout_verify('$email', on_error => 'unknown')"), 'unknown none true', 'the setting, and a row in place of the error');
	is(value_of($node, 'SELECT slots_used FROM clearout_status'), 0, 'no slot is left behind');
	is($api->release, 1, 'the answer comes');
	ok(await_stored($email), 'it is stored');
	is($api->calls($email), 1, 'the second who asked has joined the call');

	# terminated
	$email = fresh();
	$api->hold(email => $email);
	$psql = start_psql($node, "SELECT clearout_verify('$email')");
	ok($api->wait_for(held => 1), 'a call is on its way');
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT clearout_verify'});
	(undef, $state) = finish_psql($psql);
	is($state, '57P01', 'terminated: at once');
	ok(poll_status($node, 'slots_used = 0'), 'its slot is free');
	is($api->release, 1, 'the answer comes');
	ok(await_stored($email), 'it is stored');
	is($api->calls($email), 1, 'one call');

	# the client is gone
	$email = fresh();
	$api->hold(email => $email);
	$psql = start_psql($node, q{SET client_connection_check_interval = '100ms'}, "SELECT clearout_verify('$email')");
	ok($api->wait_for(held => 1), 'a call is on its way');
	kill 'KILL', $psql->{run}->{KIDS}->[0]->{PID};
	eval { finish_psql($psql) };
	ok(poll_status($node, 'slots_used = 0'), 'the client is gone: its slot is free');
	is($api->release, 1, 'the answer comes');
	ok(await_stored($email), 'it is stored');
	is($api->calls($email), 1, 'one call');

	is(verify($email), 'valid stored', 'after all that, it is business as usual');
	is(value_of($node, 'SELECT slots_used, requests_waiting, calls_in_flight, answers_unstored FROM clearout_status'), '0|0|0|0',
		'nothing is left behind');
};

subtest 'many ask the same' => sub {
	my $email = fresh();
	my $joined = value_of($node, 'SELECT joined FROM clearout_status');
	my @sessions;

	$api->hold(email => $email);
	push @sessions, start_psql($node, "SELECT status || ' ' || source FROM clearout_verify('$email', max_age => '0')") foreach 1 .. 90;
	ok(poll_status($node, 'requests_waiting = 90'), '90 sessions wait');
	is(value_of($node, 'SELECT slots_used FROM clearout_status'), 90, 'each has a slot');
	is($api->release, 1, 'for one call');
	my %heard;
	foreach my $session (@sessions)
	{
		my ($out, $state) = finish_psql($session);
		$heard{"$out $state"}++;
	}
	is_deeply(\%heard, { 'valid service 00000' => 90 }, 'all of them hear its answer');
	is($api->calls($email), 1, 'one call');
	is($api->answered($email), 1, 'and one answer');
	is(value_of($node, 'SELECT joined FROM clearout_status') - $joined, 89, 'the status has counted them');
	ok(poll_status($node, 'slots_used = 0'), 'all slots are free again');

	# The same with nobody's help: a second of latency.
	$email = fresh();
	$api->config(latency => 1000);
	$node->pgbench(
		'-n -c 90 -j 2 -t 1 -M prepared', 0,
		[qr{actually processed: 90/90}], [qr/^$/],
		'90 sessions, one second of latency',
		{ same => "SELECT 1 / (status = 'valid')::integer FROM clearout_verify('$email');\n" });
	is($api->calls($email), 1, 'one call');

	# Different addresses in the same time.
	$email = fresh();
	my $begin = time;
	$api->config(latency => 3000);
	$node->pgbench(
		'-n -c 50 -j 2 -t 1', 0,
		[qr{actually processed: 50/50}], [qr/^$/],
		'50 sessions, 50 addresses',
		{ different => "SELECT 1 / (status = 'valid')::integer FROM clearout_verify('valid+' || :client_id || '$email');\n" });
	cmp_ok(time - $begin, '<', 100, 'take no hundred and fifty seconds');
	cmp_ok($api->stats->{max_in_flight}, '>=', 25, 'since the calls are made side by side');
	$api->config(latency => 0);
};

subtest 'few calls at once' => sub {
	my $email = fresh();

	# One place: each that comes free must be used at once.
	$node->append_conf('postgresql.conf', 'clearout.max_parallel = 1');
	$node->reload;
	ok($node->poll_query_until('postgres', q{SELECT setting = '1' FROM pg_settings WHERE name = 'clearout.max_parallel'}), 'max_parallel is 1');
	is(verify($email), 'valid service', 'one');
	$api->reset;
	$api->config(limit => 1_000_000);
	my $begin = time;
	$node->pgbench(
		'-n -c 20 -j 2 -t 5', 0,
		[qr{actually processed: 100/100}], [qr/^$/],
		'20 sessions, 100 addresses, one call at a time',
		{ few => "SELECT 1 / (status = 'valid')::integer FROM clearout_verify('valid+' || :client_id || 'x' || floor(random() * 1e9) || '$email');\n" });
	cmp_ok(time - $begin, '<', 100, 'nobody is forgotten');
	is($api->total_calls, 100, 'a hundred calls');
	is($api->stats->{max_in_flight}, 1, 'one at a time');
	$node->append_conf('postgresql.conf', 'clearout.max_parallel = 100');
	$node->reload;
};

subtest 'all columns' => sub {
	my $email = fresh();

	is(value_of($node, "SELECT count(*) FROM (SELECT (clearout_verify('$email', max_age => '0')).*) s WHERE status = 'valid' AND raw IS NOT NULL"),
		1, '(f(x)).* with max_age 0');
	# The planner keeps what is not used from being computed, so by name:
	is(value_of($node, "SELECT status, source, raw ->> 'status' FROM (SELECT (clearout_verify('$email', max_age => '0')).* OFFSET 0) s"),
		'valid|service|valid', 'and again');
	is($api->calls($email), 2, 'one call each');

	$email = fresh();
	$node->safe_psql('postgres', "CREATE TABLE expanded AS SELECT (clearout_verify('$email', max_age => '0')).*");
	is($api->calls($email), 1, 'one call for twenty columns');
	is(value_of($node, q{SELECT status, source, num_nulls(email, status, raw) FROM expanded}), 'valid|service|0', 'all of them filled');

	# the same with a service that fails
	my $fault = $api->fault(pattern => 'valid-*', status => 500);
	$email = fresh();
	$node->safe_psql('postgres',
		"CREATE TABLE failed AS SELECT (clearout_verify('$email', max_age => '0', on_error => 'unknown')).*");
	is($api->calls($email), 1, 'the service fails: one attempt for twenty columns');
	is(value_of($node, q{SELECT status, safe_to_send, source, reason <> '', raw FROM failed}), 'unknown|unknown|none|t|', 'which say so');
	is(stored($email), '', 'nothing is stored');
	is( value_of($node, "SELECT count(*) FROM generate_series(1, 5), LATERAL clearout_verify('$email', max_age => '0', on_error => 'unknown') AS r
			WHERE r.source = 'none'"), 5, 'five times in one statement');
	is($api->calls($email), 2, 'one attempt');
	$api->clear($fault);
	is(verify($email), 'valid service', 'the next statement asks again');
};

subtest 'older snapshots' => sub {
	foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
	{
		my ($mine, $others) = (fresh(), fresh());
		my $session = $node->background_psql('postgres', on_error_stop => 0);

		$session->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM clearout_results;");
		is($session->query("SELECT status || ' ' || source FROM clearout_verify('$mine')"), 'valid service', "$level: the answer");
		is($session->query("SELECT count(*) FROM clearout_results WHERE email = '$mine'"), '0', "$level: though its snapshot is older");
		is(verify($others), 'valid service', "$level: another session asks");
		is($session->query("SELECT status || ' ' || source FROM clearout_verify('$others')"), 'valid stored', "$level: its answer is used");
		is($session->query("SELECT status || ' ' || source FROM clearout_verify('$mine')"), 'valid stored', "$level: and one's own");
		is($session->query('COMMIT; SELECT 1'), '1', "$level: it commits");
		$session->quit;
		is($api->calls($mine), 1, "$level: one call");
		is($api->calls($others), 1, "$level: one call");
	}
	is(value_of($node, "DECLARE c CURSOR WITH HOLD FOR SELECT status FROM clearout_verify('" . fresh() . "'); FETCH c; CLOSE c"), 'valid', 'a cursor');
};

subtest 'freshness' => sub {
	my $email = fresh();
	my $catch_all = fresh('catch_all');
	my $unknown = fresh('unknown');
	my $age = sub {
		my ($which, $interval) = @_;
		$node->safe_psql('postgres', "UPDATE clearout_results SET verified_at = verified_at - interval '$interval',
			asked_at = asked_at - interval '$interval', attempted_at = attempted_at - interval '$interval' WHERE email = '$which'");
	};

	is(verify($email), 'valid service', 'asked');
	$age->($email, '29 days');
	is(verify($email), 'valid stored', '29 days old');
	is(verify($email, q{max_age => '28 days'}), 'valid service', 'too old for the argument');
	$age->($email, '29 days');
	is(value_of($node, "SET clearout.max_age = '28d'; SELECT source FROM clearout_verify('$email')"), 'service', 'too old for the setting');
	$age->($email, '31 days');
	is(verify($email, q{max_age => '1 year'}), 'valid stored', 'not too old for the argument');
	is(verify($email), 'valid service', 'but for the setting by default');
	is($api->calls($email), 4, 'four calls');
	is(stored($email, 'count(*)'), 1, 'one row');

	is(verify($catch_all), 'catch_all service', 'catch_all');
	$age->($catch_all, '2 days');
	is(verify($catch_all), 'catch_all stored', 'ages like others');
	is(value_of($node, "SET clearout.max_age_catch_all = '1d'; SELECT source FROM clearout_verify('$catch_all')"), 'service', 'unless set');
	$age->($catch_all, '2 days');
	is(value_of($node, "SET clearout.max_age_catch_all = '1d'; SELECT source FROM clearout_verify('$catch_all', max_age => '1 year')"),
		'service', 'a longer max_age does not help it');
	is(value_of($node, "SET clearout.max_age_catch_all = '1d'; SELECT source FROM clearout_verify('$catch_all', max_age => '0')"),
		'service', 'a shorter one holds');
	is($api->calls($catch_all), 4, 'four calls');

	is(verify($unknown), 'unknown service', 'unknown');
	is(verify($unknown), 'unknown stored', 'is not asked again at once');
	$age->($unknown, '59 minutes');
	is(verify($unknown), 'unknown stored', 'nor within the hour');
	$age->($unknown, '2 minutes');
	is(verify($unknown), 'unknown service', 'but after it');
	$age->($unknown, '2 hours');
	is(value_of($node, "SET clearout.max_age_unknown = '3h'; SELECT source FROM clearout_verify('$unknown')"), 'stored', 'or as set');
	is(value_of($node, "SET clearout.max_age_unknown = '3h'; SELECT source FROM clearout_verify('$unknown', max_age => '1 hour')"),
		'service', 'never longer than other answers');
	is($api->calls($unknown), 3, 'three calls');
	is($api->answered($unknown), 3, 'three answers');

	# An unknown gives way to a verdict.
	$age->($unknown, '2 hours');
	$api->fault(email => $unknown, times => 1, status => 200, body =>
		qq({"status":"success","data":{"email_address":"$unknown","status":"valid","sub_status":{"code":200,"desc":"Success"}}}));
	is(verify($unknown), 'valid service', 'an unknown gives way to a verdict');
	is(stored($unknown, 'status, attempt_status'), 'valid|', 'in the table too');
};

subtest 'unknown beside a verdict' => sub {
	my $email = fresh();
	my $row = q{status, sub_status, safe_to_send, attempt_status, attempt_sub_status, attempt_raw ->> 'status', attempted_at > asked_at};

	is(verify($email), 'valid service', 'a verdict');
	$api->fault(email => $email, times => 1, status => 200, body =>
		qq({"status":"success","data":{"email_address":"$email","status":"unknown","safe_to_send":"unknown","sub_status":{"code":414,"desc":"Mail Server Refused"}}}));
	is( value_of($node, "SELECT status, sub_status, safe_to_send, reason, disposable, raw ->> 'status', source FROM clearout_verify('$email', max_age => '0')"),
		'unknown|414|unknown|Mail Server Refused||unknown|service', 'who asks again hears the unknown');
	is(stored($email, $row), 'valid|200|yes|unknown|414|unknown|t', 'the row keeps the verdict, and the attempt beside it');
	is(verify($email), 'valid stored', 'who takes stored answers gets the verdict');
	is($api->calls($email), 2, 'two calls');

	# The verdict is too old, but the attempt is not.
	$node->safe_psql('postgres', "UPDATE clearout_results SET verified_at = verified_at - interval '60 days',
		asked_at = asked_at - interval '60 days' WHERE email = '$email'");
	is(verify($email), 'unknown stored', 'the verdict is too old: the attempt is told');
	is($api->calls($email), 2, 'and not repeated so soon');
	$node->safe_psql('postgres', "UPDATE clearout_results SET attempted_at = attempted_at - interval '2 hours' WHERE email = '$email'");
	is(verify($email), 'valid service', 'later it is');
	is(stored($email, 'status, attempt_status, attempt_raw'), 'valid||', 'a new verdict ends the attempt');
	is($api->calls($email), 3, 'three calls');

	# An answer that is older than the stored one, by the service's own times.
	$email = fresh();
	$node->safe_psql('postgres', "INSERT INTO clearout_results (email, status, verified_at, source)
		VALUES ('$email', 'invalid', now() - interval '10 days', 'import')");
	$api->fault(email => $email, status => 200, body =>
		qq({"status":"success","data":{"email_address":"$email","status":"valid","verified_on":"2020-01-01T00:00:00Z"}}));
	is(verify($email, q{max_age => '1 day'}), 'invalid service', 'an older answer does not replace a newer one');
	is(stored($email, 'status, source'), 'invalid|import', 'in the table either');
	is(verify($email, q{max_age => '1 day'}), 'invalid stored', 'but the question counts as asked');
	is($api->calls($email), 1, 'so it is not paid for again and again');
	$api->clear;
};

subtest 'malformed addresses' => sub {
	my $calls = $api->total_calls;

	is( value_of($node, q{SELECT email, status, safe_to_send, sub_status, reason <> '', bounce_type, verified_at <= now(), source, raw
			FROM clearout_verify('Jane..Doe@example.com')}),
		'Jane..Doe@example.com|invalid|no|400|t|hard|t|local|', 'answered here');
	is(value_of($node, q{SELECT count(*) FROM unnest(ARRAY['', ' ', 'x', '@', 'a@b', 'a b@example.com', 'a@-x.com']) a,
			LATERAL clearout_verify(a) r WHERE r.source = 'local' AND r.status = 'invalid'}), 7, 'many kinds');
	is($api->total_calls, $calls, 'nobody was asked');
	is(value_of($node, q{SELECT count(*) FROM clearout_results WHERE email ~ 'jane'}), 0, 'and nothing is stored');

	is(value_of($node, q{SET clearout.precheck = off; SELECT email || ' ' || status || ' ' || source FROM clearout_verify(' Jane..Doe@example.com ')}),
		'jane..doe@example.com invalid service', 'precheck off: the service is asked');
	is($api->calls('jane..doe@example.com'), 1, 'by one call');
	is(value_of($node, q{SET clearout.precheck = off; SELECT source FROM clearout_verify('JANE..doe@example.com')}), 'stored', 'and its answer kept');
	is(value_of($node, q{SELECT source FROM clearout_verify('JANE..doe@example.com')}), 'local', 'precheck on: not looked at');
	is(value_of($node, q{SET clearout.precheck = off; SELECT source FROM clearout_verify('  ')}), 'local', 'nothing is nothing');
	is(sqlstate($node, q{SET clearout.precheck = off; SELECT clearout_verify(repeat('x', 3000))}), '22023', 'and too much is too much');
	is($api->total_calls, $calls + 1, 'no further call');
};

subtest 'limits' => sub {
	my $calls = $api->total_calls;
	my $list = fresh();

	my $err = error_of($node, "SET clearout.statement_limit = 5;
		SELECT count(clearout_verify('valid+' || i || '$list')) FROM generate_series(1, 10) i");
	like($err, qr/ERROR:\s+53400:/, 'statement_limit');
	like($err, qr/HINT:.*clearout_enqueue\(\).*clearout_bulk_verify\(\).*clearout\.statement_limit/, 'with what to do');
	is($api->total_calls, $calls + 5, 'five calls were made');
	is(value_of($node, "SET clearout.statement_limit = 5;
		SELECT count(clearout_verify('valid+' || i || '$list')) FROM generate_series(1, 10) i"), 10, 'their answers are stored');
	is($api->total_calls, $calls + 10, 'so that the next five follow');
	is(value_of($node, "SET clearout.statement_limit = 0;
		SELECT count(clearout_verify('valid+' || i || 'x$list')) FROM generate_series(1, 10) i"), 10, 'zero is no limit');
	is(sqlstate($node, q{CREATE ROLE somebody; SET ROLE somebody; SET clearout.statement_limit = 0}), '42501', 'which not everybody may set');

	# slots
	my $email = fresh();
	$api->hold(pattern => '*+slot*');
	my @sessions = map { start_psql($node, "SELECT clearout_verify('valid+slot$_$email')") } 1 .. 100;
	ok(poll_status($node, 'slots_used = 100'), 'all slots are taken');
	$err = error_of($node, "SELECT clearout_verify('$email')");
	like($err, qr/ERROR:\s+53400:/, 'the next is told at once');
	like($err, qr/HINT:.*clearout\.request_slots/, 'with what to do');
	is(value_of($node, "SELECT source FROM clearout_verify('valid\@example.com')"), 'stored', 'stored answers need no slot');
	$api->release;
	my @states = grep { (finish_psql($_))[1] ne '00000' } @sessions;
	is(scalar @states, 0, 'all the others are answered');
	ok(poll_status($node, 'slots_used = 0'), 'and all slots are free');
	is(verify($email), 'valid service', 'for the next one');
};

subtest 'read-only transactions' => sub {
	my $email = fresh();

	is(sqlstate($node, "BEGIN READ ONLY; SELECT clearout_verify('$email')"), '25006', 'do not spend');
	is($api->calls($email), 0, 'no call');
	is(verify($email), 'valid service', 'asked elsewhere');
	is(value_of($node, "BEGIN READ ONLY; SELECT status || ' ' || source FROM clearout_verify('$email')"), 'valid stored', 'stored answers can be read');
};

subtest 'errors' => sub {
	my $email = fresh();
	my $fault;

	$fault = $api->fault(email => $email, status => 500);
	is(sqlstate($node, "SELECT clearout_verify('$email')"), 'VC007', 'the service fails: an error');
	is(verify($email, q{on_error => 'Unknown'}), 'unknown none', 'or a row');
	is(value_of($node, "SET clearout.on_error = unknown; SELECT source FROM clearout_verify('$email')"), 'none', 'by the setting');
	is(sqlstate($node, "SET clearout.on_error = unknown; SELECT clearout_verify('$email', on_error => 'error')"), 'VC007', 'the argument comes first');
	$api->clear($fault);
	is($api->calls($email), 4, 'each has asked once');
	is(stored($email), '', 'nothing is stored');
	is(value_of($node, 'SELECT last_error FROM clearout_status'), 'HTTP 500', 'the status names it');
	is(value_of($node, "SELECT count(*) FROM clearout_status WHERE clearout_status::text ~ '\@'"), 0, 'without an address');

	# A PL/pgSQL handler can tell them apart, and go on.
	my $other = fresh();
	$api->hold(email => $other);
	$node->safe_psql('postgres', q{
		CREATE FUNCTION try(address text, patience interval) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			RETURN (clearout_verify(address, timeout => patience)).status;
		EXCEPTION
			WHEN SQLSTATE 'VC006' THEN RETURN 'too late';
			WHEN SQLSTATE 'VC007' THEN RETURN 'failed';
		END $$;
		CREATE TABLE customer (email text, status text);
		CREATE FUNCTION check_customer() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			NEW.status := (clearout_verify(NEW.email)).status;
			IF NEW.status = 'invalid' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = 'P0042'; END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER check_customer BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION check_customer();
	});
	my $patient = start_psql($node, "SELECT clearout_verify('$other')");
	ok($api->wait_for(held => 1), 'a call is on its way');
	is(value_of($node, "SELECT try('$other', '300ms')"), 'too late', 'caught: too late');
	is(value_of($node, 'SELECT slots_used FROM clearout_status'), 1, 'the slot is free');
	$api->release;
	finish_psql($patient);
	ok(await_stored($other), 'the answer is stored');
	is(value_of($node, "SELECT try('$other', '60s')"), 'valid', 'and given the next time');
	is($api->calls($other), 1, 'one call');

	$fault = $api->fault(email => $email, status => 503);
	is(value_of($node, "SELECT string_agg(try('$email', '60s'), ' ') FROM generate_series(1, 3)"), 'failed failed failed', 'caught: failed');
	is($api->calls($email), 5, 'one attempt in one statement');
	$api->clear($fault);

	# a loop, with a failure in the middle
	my $list = fresh();
	$api->fault(email => "valid+3$list", status => 500);
	is( value_of($node, qq{DO \$\$
		DECLARE good integer := 0; bad integer := 0;
		BEGIN
			FOR i IN 1 .. 5 LOOP
				FOR again IN 1 .. 2 LOOP
					BEGIN
						PERFORM clearout_verify('valid+' || i || '$list', max_age => '0');
						good := good + 1;
					EXCEPTION WHEN SQLSTATE 'VC007' THEN bad := bad + 1;
					END;
				END LOOP;
			END LOOP;
			PERFORM set_config('loop.result', good || ' ' || bad, false);
		END \$\$;
		SELECT current_setting('loop.result')}),
		'8 2', 'a loop with handlers goes on');
	is($api->calls("valid+$_$list"), 1, "address $_: one call, though it asks twice") foreach 1 .. 5;

	my ($good, $bad) = (fresh(), fresh('invalid'));
	is(value_of($node, "INSERT INTO customer (email) VALUES ('$good') RETURNING status"), 'valid', 'in a trigger');
	is(sqlstate($node, "INSERT INTO customer (email) VALUES ('$bad')"), 'P0042', 'that refuses a row');
	is(stored($bad), 'invalid', 'which does not lose the answer');
	is(value_of($node, "INSERT INTO customer (email) SELECT '$good' FROM generate_series(1, 100); SELECT count(*) FROM customer"), 101, 'many rows');
	is($api->calls($_), 1, 'one call') foreach $good, $bad;
	$api->clear;
};

subtest 'extended protocol' => sub {
	my $list = fresh();

	# One plan, used for many addresses in one transaction.
	$node->pgbench(
		'-n -c 4 -j 2 -t 25 -M prepared', 0,
		[qr{actually processed: 100/100}], [qr/^$/],
		'prepared statements',
		{ prepared => "SELECT 1 / (status = 'valid')::integer FROM clearout_verify('valid+' || :client_id || 'x' || floor(random() * 10) || '$list');\n" });
	cmp_ok($api->address_stats->{max}, '<=', 6, 'no address was asked again');
};

is(value_of($node, 'SELECT slots_used, requests_waiting, calls_in_flight, answers_unstored, restarts FROM clearout_status'),
	'0|0|0|0|0', 'nothing is left behind, and it was one worker all the time');
is(value_of($node, 'SELECT count(*) FROM clearout_spill'), 0, 'nothing lies aside');

$node->stop;
done_testing();
