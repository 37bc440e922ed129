# Single checks, look-ups and the account: what is asked, what is stored, and
# that what is stored is not asked again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid wait_until call_sql);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api, max_attempts => 2);

sub sql { return value_of($node, @_) }
sub asked { return $api->subject_stats(@_)->{asked} }

# The flag of another check must never be taken for one's own.
my %flags = (
	catchall => 'catchall', disposable => 'disposable', business => 'business_account',
	free => 'free_account', role => 'role_account', gibberish => 'gibberish');

subtest 'single checks' => sub {
	foreach my $check (sort keys %flags)
	{
		my $email = "some-$check\@x.test";
		foreach my $flag (qw(yes no))
		{
			$api->clear;
			$api->fault(endpoint => $check, processed => 1,
				body => { status => 'success', data => { email_address => $email,
					(map { $_ => $flag eq 'yes' ? 'no' : 'yes' } values %flags), $flags{$check} => $flag } });
			is(sql("SELECT clearout_is_$check('$email', max_age => '0')"), $flag eq 'yes' ? 't' : 'f', "$check: $flag");
		}
		is(asked($check, $email), 2, "$check: two calls");
		$api->clear;
		is(sql("SELECT clearout_is_$check(' Some-$check\@X.test ')"), 'f', "$check: stored");
		is(asked($check, $email), 2, "$check: no third");
		is(sql("SELECT kind, key, found, flag, answer ->> '$flags{$check}' FROM clearout_lookups WHERE kind = '$check'"),
			"$check|$email|t|f|no", "$check: the row");

		# its flag is not there
		$api->fault(endpoint => $check, processed => 1,
			body => { status => 'success', data => { email_address => "odd\@x.test",
				map { $_ => 'yes' } grep { $_ ne $flags{$check} } values %flags } });
		is(sql("SELECT clearout_is_$check('odd\@x.test') IS NULL"), 't', "$check: without its flag");
		is(sql("SELECT clearout_is_$check('odd\@x.test') IS NULL"), 't', "$check: and so it stays");
		is(asked($check, 'odd@x.test'), 1, "$check: by one call");
		$api->clear;

		is(sql("SELECT clearout_is_$check('malformed') IS NULL AND clearout_is_$check(NULL) IS NULL"), 't', "$check: malformed, null");
		like(sql("SELECT clearout_is_$check('real-$check\@x.test')"), qr/^[tf]$/, "$check: as the sandbox has it");
	}
};

# What a verification knows is not asked for.
subtest 'from a verification' => sub {
	my $calls = $api->total_calls;
	sql(q{INSERT INTO clearout_results (email, status, sub_status, disposable, free, role, gibberish, verified_at, source) VALUES
		('known@x.test', 'valid', 200, true, false, true, false, now(), 'instant'),
		('all@x.test', 'catch_all', 411, NULL, NULL, NULL, NULL, now(), 'instant'),
		('listed@x.test', 'valid', 601, false, false, false, false, now(), 'instant'),
		('bad@x.test', 'invalid', 406, false, false, false, false, now(), 'instant'),
		('old@x.test', 'valid', 200, true, true, true, true, now() - interval '40 days', 'instant')});
	is(sql(q{SELECT clearout_is_catchall('known@x.test'), clearout_is_disposable('known@x.test'), clearout_is_free('known@x.test'),
		clearout_is_role('known@x.test'), clearout_is_gibberish('known@x.test'), clearout_is_catchall('all@x.test')}), 'f|t|f|t|f|t', 'known');
	is($api->total_calls, $calls, 'without a call');

	my %asks = (business => 'known@x.test', catchall => 'bad@x.test', disposable => 'listed@x.test', free => 'all@x.test', role => 'old@x.test');
	foreach my $check (sort keys %asks)
	{
		like(sql("SELECT clearout_is_$check('$asks{$check}')"), qr/^[tf]?$/, "$check of $asks{$check}");
		is(asked($check, $asks{$check}), 1, "$check of $asks{$check}: asked");
	}
	is(sql(q{SELECT clearout_is_disposable('known@x.test', max_age => '0') IS NOT NULL}), 't', 'max_age');
	is(asked('disposable', 'known@x.test'), 1, 'holds for both');
};

subtest 'reverse look-up' => sub {
	my @kinds = (
		[ 'email', 'somebody@x.test', 'nobody@x.test', 'somebody@x.test' ],
		[ 'linkedin', 'https://www.linkedin.com/in/somebody', 'https://www.linkedin.com/in/nobody', 'https://www.linkedin.com/in/somebody' ],
		[ 'domain', 'https://www.Somebody.test/', 'nobody.test', 'somebody.test' ]);

	foreach my $kind (@kinds)
	{
		my ($name, $some, $none, $key) = @$kind;
		like(sql("SELECT clearout_reverse_$name('$some') ->> 'name'"), qr/./, "$name: somebody");
		like(sql("SELECT clearout_reverse_$name('$some') ->> 'type'"), qr/^(?:person|company)$/, "$name: stored");
		is(asked("reverse_$name", $key), 1, "$name: one call");
		is(sql("SELECT clearout_reverse_$name('$none') IS NULL"), 't', "$name: nobody");
		is(sql("SELECT clearout_reverse_$name('$none') IS NULL"), 't', "$name: stored as well");
		is(asked("reverse_$name", $none), 1, "$name: one call for nobody");
		is(sql("SELECT found FROM clearout_lookups WHERE kind = 'reverse_$name' AND key = '$none'"), 'f', "$name: the row");
	}
	foreach my $answer ('{"lead":null}', '{}', '{"lead":{}}')
	{
		$api->fault(endpoint => 'reverse_email', body => qq({"status":"success","data":$answer}));
		is(sql(q{SELECT clearout_reverse_email('shape@x.test', max_age => '0') IS NULL}), 't', "nobody as $answer");
		$api->clear;
	}
	$api->fault(endpoint => 'reverse_email', status => 404, body => '{"status":"failed","error":{"message":"not found"}}');
	is(sql(q{SELECT clearout_reverse_email('shape404@x.test') IS NULL}), 't', 'nobody as 404');
	is(sql(q{SELECT found, answer IS NULL FROM clearout_lookups WHERE key = 'shape404@x.test'}), 'f|t', 'stored');
	$api->clear;
	$api->fault(endpoint => 'reverse_email', status => 404, body => '<html>nginx</html>', content_type => 'text/html');
	is(sqlstate($node, q{SELECT clearout_reverse_email('shapehtml@x.test')}), 'VC007', 'a 404 of somebody else is no answer');
	$api->clear;

	my $long = 'https://www.linkedin.com/in/' . 'x' x 2020;
	is(length $long, 2048, 'a long URL');
	like(sql("SELECT clearout_reverse_linkedin('$long') IS NOT NULL"), qr/^[tf]$/, 'is taken');
	is(sql("SELECT count(*) FROM clearout_lookups WHERE key = '$long'"), 1, 'and stored');
	is(sqlstate($node, "SELECT clearout_reverse_linkedin('${long}y')"), '22023', 'a longer one is not');
	like(sql(q{SELECT clearout_reverse_linkedin('https://linkedin.com/in/j%C3%B6rg ü&a=b+c') IS NOT NULL}), qr/^[tf]$/, 'odd characters pass');
	is(asked('reverse_linkedin', "https://linkedin.com/in/j%C3%B6rg \xC3\xBC&a=b+c"), 1, 'as they are');
};

subtest 'domains and names' => sub {
	my $mx = sql(q{SELECT exchange, priority FROM clearout_mx('Corp.test')});
	like($mx, qr/^\S+\|\d+/, 'mx');
	is(sql(q{SELECT exchange, priority FROM clearout_mx('corp.test')}), $mx, 'mx: stored');
	is(asked('mx', 'corp.test'), 1, 'mx: one call');
	is(sql(q{SELECT count(*) FROM clearout_mx('no-mx.test')}) . asked('mx', 'no-mx.test'), '01', 'mx: none');
	is(sql(q{SELECT count(*) FROM clearout_mx('no-mx.test')}) . asked('mx', 'no-mx.test'), '01', 'mx: none, stored');
	is(sql(q{SELECT count(*) FROM clearout_mx('no domain')}), 0, 'mx: of what is no domain');
	like(sql(q{SELECT clearout_whois('corp.test') -> 'domain' ->> 'name'}), qr/corp/, 'whois');
	is(sql(q{SELECT clearout_whois('bücher.test') IS NOT NULL}) && asked('whois', 'xn--bcher-kva.test'), 1, 'whois: A-labels');
	is(sql(q{SELECT clearout_whois('') IS NULL AND clearout_whois(NULL) IS NULL}), 't', 'whois: nothing');
	like(sql(q{SELECT clearout_validate_name('  Jane   Doe ') ->> 'status'}), qr/./, 'name');
	is(sql(q{SELECT clearout_validate_name('Jane Doe') ->> 'gibberish' IS NOT NULL}) . asked('name', 'Jane Doe'), 't1', 'name: stored');
};

subtest 'the account' => sub {
	my $calls = $api->total_calls;
	is(sql(q{SELECT available > 0, total >= available, daily_limit_available IS NULL, asked_at <= now() + interval '1 minute', raw IS NOT NULL FROM clearout_credits()}),
		't|t|t|t|t', 'credits');
	is($api->total_calls - $calls, 1, 'one call');
	sql('SELECT (clearout_credits()).*');
	is($api->total_calls - $calls, 2, 'one more, however many columns');
	foreach my $name (qw(credits limits plan))
	{
		is(sql("SELECT jsonb_typeof(clearout_account_$name())"), 'object', $name);
	}
	like(sql(q{SELECT clearout_account_limits() #>> '{email_verify,api_rate_limit,total}'}), qr/^\d+$/, 'limits: the rate');
	is(sqlstate($node, q{SELECT clearout_credits(timeout => '0')}), 'VC006', 'no time, no call');
	$api->fault(endpoint => 'credits', body => '[{"status":"success","data":{"available_credits":null,"credits":{"available":"17","available_daily_verify_limit":5,"reset_daily_verify_limit_date":"2019-03-04T18:30:00.000Z"}}}]');
	is(sql(q{SET timezone = 'UTC'; SELECT available, daily_limit_available, daily_limit_resets_at FROM clearout_credits()}), '17|5|2019-03-04 18:30:00+00', 'other shapes');
	$api->clear;
	$api->fault(endpoint => 'account_*', status => 403, body => { status => 'failed', error => { message => 'forbidden' } });
	is(sqlstate($node, 'SELECT clearout_account_plan()'), 'VC007', 'an account that lacks it');
	$api->clear;
	is(sql(q{SELECT status FROM clearout_verify('valid-after@x.test')}), 'valid', 'and nothing else is stopped by that');

	my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
	$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
	my $text = slurp_file($dump);
	like($text, qr/^reverse_email\t/m, 'look-ups are dumped');
	unlike($text, qr/^(?:credits|account_\w+)\t/m, 'the account is not');
};

# No token, no window, another URL.
subtest 'autocomplete' => sub {
	my $some = sql(q{SELECT name, domain, confidence_score IS NOT NULL FROM clearout_autocomplete('Apple') LIMIT 1});
	like($some, qr/^[^|]+\|\S+\|t$/, 'companies');
	is(sql(q{SELECT name, domain, confidence_score IS NOT NULL FROM clearout_autocomplete('  APPLE ') LIMIT 1}), $some, 'stored');
	is(asked('autocomplete', 'apple'), 1, 'one call');
	is(sql(q{SELECT count(*) FROM clearout_autocomplete('nobody')}), 0, 'none');
	is(sql(q{SELECT count(*) FROM clearout_autocomplete(' ')}), 0, 'nothing asked');
	is(sql(q{SET clearout.statement_limit = 1; SELECT count(DISTINCT q) FROM unnest(ARRAY['aa', 'bb', 'cc', 'dd']) q, clearout_autocomplete(q)}) <= 4, 1, 'free calls do not count');

	my $calls = $api->total_calls;
	$node->append_conf('postgresql.conf', "clearout.api_token_file = 'absent'");
	$node->restart;
	is(sqlstate($node, q{SELECT clearout_verify('valid-none@x.test')}), 'VC001', 'without a token: no verification');
	is(sqlstate($node, q{SELECT clearout_mx('none.test')}), 'VC001', 'without a token: no look-up');
	like(sql(q{SELECT count(*) FROM clearout_autocomplete('tokenless')}), qr/^\d+$/, 'but companies');
	is($api->total_calls, $calls + 1, 'by a call');

	$node->append_conf('postgresql.conf', "clearout.public_url = '" . $api->url . "/'");
	$node->reload;
	like(sql(q{SELECT count(*) FROM clearout_autocomplete('elsewhere')}), qr/^\d+$/, 'under another URL');
	is(asked('autocomplete', 'elsewhere'), 1, 'asked there');
	$node->append_conf('postgresql.conf', "clearout.public_url = 'http://192.0.2.1'");
	$node->reload;
	ok(wait_until(60, sub { sqlstate($node, q{SELECT * FROM clearout_autocomplete('insecure', timeout => '2s')}) eq 'VC001' }), 'plain http elsewhere is refused');
};

my $log = slurp_file($node->logfile);
unlike($log, qr/signal 11|signal 6|TRAP:|PANIC:.*clearout/, 'nothing has crashed of itself');
$node->stop;
done_testing();
