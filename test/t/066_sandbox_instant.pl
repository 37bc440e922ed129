# The sandbox's other instant calls: finder, single checks, lookups, account.
# Needs no PostgreSQL.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

my $api = ClearoutSandbox->new;

sub post { my ($path, %body) = @_; return $api->call('POST', $path, json => \%body) }
sub get { my ($path, %options) = @_; return $api->call('GET', $path, %options) }
sub code { return $_[0]{json}{error}{code} // "HTTP $_[0]{status} " . ($_[0]{json}{status} // '') }
sub reason { my $r = $_[0]{json}{error}{reasons}[0] || {}; return join ' ', $_[0]{status}, $r->{location} // '', $r->{messages}[0] // '', $r->{types}[0] // '' }
sub rate { my ($answer) = @_; return join ' ', map { $answer->{headers}{"x-ratelimit-$_"} // '-' } qw(limit remaining) }

sub find
{
	my ($name, $domain, %more) = @_;
	return post('/email_finder/instant', name => $name, domain => $domain, %more);
}

subtest 'finder' => sub {
	my $answer = find('Dr. Somebody von Doe', 'https://www.Acme.test/about');
	my $data = $answer->{json}{data};
	is_deeply($data->{emails}, [ { email_address => 'somebodyvon.doe@acme.test', role => 'no', business => 'yes' } ], 'found');
	is("$data->{first_name}|$data->{last_name}|$data->{full_name}|$data->{domain}|$data->{company}{name}|$data->{total}|$data->{credits_charged}",
		'somebody von|doe|somebody von doe|acme.test|acme|1|4', 'in small letters');
	cmp_ok($data->{confidence_score}, '>=', 50, 'confidence');
	like($data->{found_on}, qr/^\d{4}-\d\d-\d\dT.*Z$/, 'found_on');
	is($api->stats->{credits}, 99996, 'four credits');
	is($api->subject_stats('find', 'Dr. Somebody von Doe|https://www.Acme.test/about')->{charged}, 4, 'counted for the subject');

	$data = find('Role Doe', 'x.test')->{json}{data};
	is("$data->{emails}[0]{email_address} $data->{emails}[0]{role} $data->{credits_charged}", 'info@x.test yes 2', 'of a group');
	is(scalar @{ find('Many Doe', 'x.test')->{json}{data}{emails} }, 3, 'several');
	is(find('Somebody', 'acme')->{json}{data}{emails}[0]{email_address}, 'somebody@acme.test', 'without a last name, at a company');
	my $before = $api->stats->{credits};
	is(code(find('Nobody Doe', 'x.test')), 1027, 'not found');
	$api->config(find_nothing => 'empty');
	$data = find('Jane Doe', 'nobody.test')->{json}{data};
	is(scalar @{ $data->{emails} } . "$data->{total} $data->{credits_charged}", '00 0', 'or without addresses');
	is($api->stats->{credits}, $before, 'free of charge');
	is(code(find($_, 'x.test')), 1088, "unsupported: $_") foreach 'J4ne', 'jane@doe', '!?', '{}';
	is(code(find("Jos\x{e9} O'Neill-Smith, Jr.", 'somebody.test')), 'HTTP 200 success', 'supported');
	$api->config(daily_limit => 5);
	find('Somebody Else', 'x.test');
	is($api->stats->{tokens}[0]{daily_left}, 5, 'the daily limit is for verifications');
	$api->config(daily_limit => undef, credits => 3);
	$answer = find('Somebody', 'x.test');
	is($answer->{status} . code($answer), '4021099', 'not enough credits');
	$api->config(credits => 1000);

	is(reason(post('/email_finder/instant', domain => 'x.test')), '400 body "name" is required any.required', 'no name');
	is(reason(find('Jane', '')), '400 body "domain" is not allowed to be empty any.empty', 'empty domain');
	is(reason(find('Jane', 'x.test', queue => 'true')), '400 body "queue" must be a boolean boolean.base', 'queue');
	is(reason(find('Jane', 'x.test', timeout => 180001)), '400 body "timeout" must be less than or equal to 180000 number.max', 'timeout');
	is(reason(find('Jane', 'x.test', timeout => 999)), '400 body "timeout" must be larger than or equal to 1000 number.min', 'timeout');
	is(reason(find('Jane', 'x.test', company => 1)), '400 body "company" is not allowed object.allowUnknown', 'unknown parameter');
	is($api->call('POST', '/email_finder/instant', content => '{}', headers => { 'Content-Type' => 'text/plain' })->{status}, 415, 'content type');
};

subtest 'finder, resumed' => sub {
	$api->reset;
	$api->config(find_time => 12_000);
	my $start = time;
	my $answer = find('Somebody Late', 'x.test', timeout => 1000);
	my $took = time - $start;
	is($answer->{status}, 524, 'timeout');
	cmp_ok($took, '<', 11, 'as the request wanted');
	my $info = $answer->{json}{error}{additional_info};
	my $id = $info->{queue_id};
	is("$info->{resource_name} $info->{resource_value}", 'email_finder Somebody Late', 'what');
	like($id, qr/^[0-9a-f]{24}$/, 'queue_id');
	ok(!exists $answer->{json}{error}{code}, 'no code');
	is_deeply(get("/email_finder/instant/queue_status?qid=$id")->{json}{data}, { query_status => 'running' }, 'running');
	is($api->stats->{searches} . $api->stats->{charged}, '10', 'goes on, not charged yet');
	my $end = time + 60;
	my $data;
	sleep 0.05 until ($data = get("/email_finder/instant/queue_status?qid=$id")->{json}{data})->{emails} || time > $end;
	is($data->{emails}[0]{email_address}, 'somebody.late@x.test', 'found later');
	is($api->stats->{charged}, 4, 'and charged');
	get("/email_finder/instant/queue_status?qid=$id");
	is($api->stats->{charged}, 4, 'once');
	is(code(get("/email_finder/instant/queue_status?qid=$id", headers => { Authorization => 'other' })), 1000, 'another token');
	$api->config(token => 'other');
	is(code(get("/email_finder/instant/queue_status?qid=$id", headers => { Authorization => 'other' })), 1104, 'another account');
	is(code(get('/email_finder/instant/queue_status?qid=' . 'a' x 24)), 1104, 'unknown');
	is(reason(get('/email_finder/instant/queue_status')), '400 query "qid" is required any.required', 'missing');

	$answer = find('Somebody Late', 'x.test', timeout => 1000, queue => JSON::PP::false);
	is($answer->{status} . (exists $answer->{json}{error}{additional_info}{queue_id} ? 1 : 0), '5240', 'not wanted: dropped');

	$api->config(find_time => 0, find_later => 200, queue_life => 4000);
	$api->fault(endpoint => 'find', status => 524, times => 2);
	$answer = find('Nobody Later', 'x.test');
	$id = $answer->{json}{error}{additional_info}{queue_id};
	is($answer->{status} . (defined $id ? 1 : 0), '5241', 'ordered by a fault');
	sleep 0.25;
	is(code(get("/email_finder/instant/queue_status?qid=$id")), 1027, 'not found later');
	sleep 4.1;
	is(code(get("/email_finder/instant/queue_status?qid=$id")), 1104, 'and forgotten');
	$api->fault(endpoint => 'queue', body => { status => 'success', data => { query_status => 'reticulating' } }, times => 1);
	is(get("/email_finder/instant/queue_status?qid=$id")->{json}{data}{query_status}, 'reticulating', 'any word');
};

subtest 'single checks' => sub {
	$api->reset;
	my %key = (catchall => 'catchall', disposable => 'disposable', business => 'business_account', free => 'free_account', role => 'role_account', gibberish => 'gibberish');
	my %yes = (catchall => 'catch_all@example.com', business => 'jane@corp.test', map { $_ => "$_\@example.com" } qw(disposable free role gibberish));

	foreach my $check (sort keys %key)
	{
		my $path = "/email/verify/$check";
		my $data = post($path, email => $yes{$check})->{json}{data};
		is_deeply([ sort keys %$data ], [ sort 'email_address', 'verified_on', 'time_taken', $key{$check} ], "$check: members");
		is($data->{ $key{$check} }, 'yes', 'yes');
		is($data->{email_address}, $yes{$check}, 'echo');
		my $no = $check eq 'business' ? 'jane@gmail.com' : 'valid-1@corp.test';
		is(post($path, email => $no)->{json}{data}{ $key{$check} }, 'no', 'no');
		is($api->subject_stats($check, $no)->{charged}, 1, 'charged');
		is($api->calls($no), 0, 'not counted as verified');
		is(reason(post($path)), '400 body "email" is required any.required', 'no address');
		is(reason(post($path, email => 'a@b.test', timeout => 110001)), '400 body "timeout" must be less than or equal to 110000 number.max', 'timeout');
		is(code(post($path, email => 'a@b.test', timeout => 110000)), 'HTTP 200 success', 'largest timeout');
		is(post($path, email => 'a@b.test', x => 1)->{status}, 400, 'unknown parameter');
		is($api->call('POST', $path, content => 'email=a@b.test', headers => { 'Content-Type' => 'application/x-www-form-urlencoded' })->{status}, 415, 'content type');
	}
	$api->config(check_price => 0);
	my $before = $api->stats->{charged};
	post('/email/verify/role', email => 'valid-1@corp.test');
	is($api->stats->{charged}, $before, 'price 0');
	$api->config(credits => 0);
	is(code(post('/email/verify/role', email => 'valid-1@corp.test')), 1002, 'without credits');
	$api->config(credits => 10, daily_limit => 0);
	is(code(post('/email/verify/role', email => 'valid-1@corp.test')), 1017, 'daily limit');
	$api->config(daily_limit => undef, latency => 1100);
	my $answer = post('/email/verify/catchall', email => 'valid-1@corp.test', timeout => 1000);
	is("$answer->{status} $answer->{json}{error}{additional_info}{resource_name}", '524 email', 'timeout');
};

subtest 'reverse lookup' => sub {
	$api->reset;
	my $lead = get('/reverse_lookup/email?email_address=somebody%40acme.test')->{json}{data};
	is($lead->{email_address}, 'somebody@acme.test', 'echo');
	$lead = $lead->{lead};
	is_deeply(
		[ sort keys %$lead ],
		[ sort qw(type id name contructed_title title profile_picture linkedin_url company_name company_domain addresses total_experience_in_months) ],
		'a person');
	is(ref($lead->{addresses}) . "$lead->{type} $lead->{company_domain}", 'ARRAYperson acme.test', 'with several addresses');
	is($api->charged('somebody@acme.test') . $api->subject_stats('reverse_email', 'somebody@acme.test')->{charged}, '04', 'charged');
	get('/reverse_lookup/email?email_address=info%40somebody.test');
	is($api->subject_stats('reverse_email', 'info@somebody.test')->{charged}, 2, 'less for a group');
	my $url = 'https://www.linkedin.com/in/somebody';
	$lead = get('/reverse_lookup/linkedin?url=https%3A%2F%2Fwww.linkedin.com%2Fin%2Fsomebody')->{json}{data};
	is("$lead->{url} $lead->{lead}{linkedin_url}", "$url $url", 'by profile');
	$lead = get('/reverse_lookup/domain?name=somebody.test')->{json}{data};
	is("$lead->{name} $lead->{lead}{type} " . ref $lead->{lead}{addresses}, 'somebody.test company HASH', 'a company with one address');

	my $before = $api->stats->{charged};
	my $nobody = sub { return get('/reverse_lookup/email?email_address=nobody%40acme.test') };
	my $data = $nobody->()->{json}{data};
	ok(exists $data->{lead} && !defined $data->{lead}, 'nothing: null');
	$api->config(lead_nothing => 'empty');
	is_deeply($nobody->()->{json}{data}{lead}, {}, 'nothing: {}');
	$api->config(lead_nothing => 'absent');
	ok(!exists $nobody->()->{json}{data}{lead}, 'nothing: absent');
	$api->config(lead_nothing => '404');
	is($nobody->()->{status}, 404, 'nothing: 404');
	is($api->stats->{charged}, $before, 'for nothing');
	$api->config(lead_title => 'constructed');
	ok(get('/reverse_lookup/email?email_address=somebody%40acme.test')->{json}{data}{lead}{constructed_title}, 'spelt right');

	is(reason(get('/reverse_lookup/email')), '400 query "email_address" is required any.required', 'missing');
	is(reason(get('/reverse_lookup/email?email_address=x')), '400 query "email_address" must be a valid email string.uri', 'no address');
	is(reason(get('/reverse_lookup/linkedin?url=somebody')), '400 query "url" must be a valid uri string.uri', 'no profile');
	is(reason(get('/reverse_lookup/domain?name=somebody.test&domain=x')), '400 query "domain" is not allowed object.allowUnknown', 'unknown parameter');
	is(get('/reverse_lookup/linkedin?url=https%3A%2F%2Fwww.linkedin.com%2Fin%2Fsomebody-' . 'x' x 1900)->{status}, 200, 'a long one');
	$api->config(credits => 0);
	is(code(get('/reverse_lookup/email?email_address=a%40acme.test')), 1002, 'without credits');
};

subtest 'autocomplete' => sub {
	$api->reset;
	$api->config(limit => 1);
	(my $base = $api->url) =~ s{/v2$}{};
	foreach my $path ("$base/public/companies/autocomplete", "$base/v2/public/companies/autocomplete")
	{
		my $answer = get("$path?query=Acme%20Inc", headers => { Authorization => undef });
		my $first = $answer->{json}{data}[0];
		is("$answer->{status} $first->{name} $first->{domain} $first->{confidence_score}", '200 Acme Inc acmeinc.test 100', 'no token needed');
		is(rate($answer), '- -', 'no window');
		like($first->{logo_url}, qr{^https://}, 'logo');
	}
	is(get("$base/public/companies/autocomplete?query=acme", headers => { Authorization => 'wrong' })->{status}, 200, 'a wrong token does no harm');
	is_deeply(get("$base/public/companies/autocomplete?query=nobody")->{json}{data}, [], 'nothing');
	is(reason(get("$base/public/companies/autocomplete")), '400 query "query" is required any.required', 'missing');
	is($api->stats->{by_endpoint}{autocomplete}, 5, 'counted under one name');
	$api->fault(endpoint => 'autocomplete', status => 429, times => 1);
	is(get("$base/public/companies/autocomplete?query=acme")->{status}, 429, 'faults fit too');
};

subtest 'utilities' => sub {
	$api->reset;
	my $data = post('/domain/resolve/mx', domain => 'acme.test')->{json}{data};
	is_deeply($data->{mx_records}, [ { exchange => 'mx1.acme.test', priority => 10 }, { exchange => 'mx2.acme.test', priority => 20 } ], 'mx');
	like("$data->{domain} $data->{verified_on} $data->{time_taken}", qr/^acme\.test \S+Z \d+$/, 'the rest');
	is_deeply(post('/domain/resolve/mx', domain => 'no-mx.test')->{json}{data}{mx_records}, [], 'none');
	$data = post('/domain/resolve/whois', domain => 'acme.test')->{json}{data};
	is($data->{whoisRecord}{domain}{name}, 'acme.test', 'whois');
	is_deeply([ sort keys %{ $data->{whoisRecord} } ], [ sort qw(domain registrar registrant admin tech nameservers dnssec last_update_whois_database notice term_of_use) ], 'members');
	foreach my $path ('/domain/resolve/mx', '/domain/resolve/whois')
	{
		is(reason(post($path)), '400 body "domain" is required any.required', 'missing');
		is(post($path, domain => 'a b')->{status}, 400, 'no domain');
		is(post($path, domain => 'a.test', timeout => 110001)->{status}, 400, 'timeout');
		is(post($path, domain => 'a.test', email => 'x')->{status}, 400, 'unknown parameter');
	}
	$data = post('/name/validate', name => 'Jane Doe')->{json}{data};
	is("$data->{input_name} $data->{status}", 'Jane Doe valid', 'name');
	ok(JSON::PP::is_bool($data->{$_}) && !$data->{$_}, "$_ is false, a boolean") foreach qw(profanity gibberish);
	$data = post('/name/validate', name => 'Xkcdqw Doe', settings => { gibberish_threshold => 'high' })->{json}{data};
	ok($data->{gibberish}, 'gibberish');
	ok(!post('/name/validate', name => 'Xkcdqw', settings => { gibberish_threshold => 'off' })->{json}{data}{gibberish}, 'switched off');
	is(post('/name/validate', name => 'x', settings => { gibberish_threshold => 'low' })->{status}, 400, 'wrong threshold');
	is(post('/name/validate', name => 'x', timeout => $_)->{status}, 400, "timeout $_") foreach 999, 10001;
	is(post('/name/validate', name => '')->{status}, 400, 'empty');
	is($api->stats->{charged}, 0, 'nothing charged');
	$api->config(utility_price => 2);
	post('/name/validate', name => 'Jane Doe');
	post('/domain/resolve/mx', domain => 'acme.test');
	is($api->stats->{charged}, 4, 'unless told to');
};

subtest 'account' => sub {
	$api->reset;
	$api->config(credits => 77, limit => 50, shared_window => 0, bulk_lists => 3);
	my $data = get('/account/credits')->{json}{data};
	is("$data->{total_remaining_credits} $data->{plan_remaining_credits}{'pay-as-you-go'} $data->{low_credit_balance_min_threshold}", '77 77 50', 'credits');
	$api->call('POST', '/email_verify/instant', json => { email => 'valid@example.com' });
	$data = get('/account/limits')->{json}{data}{email_verify};
	is_deeply(
		[ map { $api->{json}->encode($_) } @{ $data->{api_rate_limit} }{qw(total remaining)}, @{ $data->{bulk_verify_concurrency_limit} }{qw(total remaining)} ],
		[ '"50"', '"49"', '"3"', '"3"' ],
		'limits, as strings');
	$data = get('/account/myplans')->{json}{data};
	is("$data->{current_plan}{status} $data->{current_plan}{type}", 'active subscription', 'plan');
	is(ref $data->{addons}, 'ARRAY', 'addons');
	is(get("/account/$_?x=1")->{status}, 400, "unknown parameter: $_") foreach qw(credits limits myplans);
	is(get('/email_verify/getcredits?x=1')->{status}, 400, 'unknown parameter: getcredits');
	$api->config(optional_endpoints => 0);
	is(get("/account/$_")->{status}, 404, "accounts that lack it: $_") foreach qw(credits limits myplans);
	is(post('/name/validate', name => 'Jane')->{status}, 404, 'and name');
};

subtest 'windows' => sub {
	$api->reset;
	$api->config(shared_window => 0, limit => 9, limit_verify => 5, limit_find => 3, limit_other => 7);
	is(rate(post('/email/verify/role', email => 'role@example.com')), '5 4', 'checks: as verify');
	is(rate($api->call('POST', '/email_verify/instant', json => { email => 'valid@example.com' })), '5 3', 'verify');
	is(rate(find('Nobody', 'x.test')), '3 2', 'finder');
	is(rate(get('/email_finder/instant/queue_status?qid=x')), '3 1', 'and its queue');
	is(rate(get('/reverse_lookup/domain?name=nobody.test')), '7 6', 'others');
	is(rate(get('/account/limits')), '7 5', 'others');
	find('Nobody', 'x.test');
	is(find('Nobody', 'x.test')->{status}, 429, 'finder: used up');
	is(post('/domain/resolve/mx', domain => 'x.test')->{status}, 200, 'others: not');
	$api->config(shared_window => 1);
	is(rate(find('Nobody', 'x.test')), '9 8', 'shared');
	is(rate(get('/account/limits')), '9 7', 'by all');
};

subtest 'every code from every endpoint' => sub {
	$api->reset;
	my %call = (
		verify => sub { post('/email_verify/instant', email => 'a@b.test') },
		credits => sub { get('/email_verify/getcredits') },
		upload => sub { $api->upload('/email_verify/bulk', 'a.csv', "Email\na\@b.test") },
		progress => sub { get('/email_verify/bulk/progress_status?list_id=x') },
		result => sub { post('/download/result', list_id => 'x') },
		cancel => sub { post('/email_verify/list/cancel', list_id => 'x') },
		remove => sub { post('/email_verify/list/remove', list_id => 'x') },
		lists => sub { post('/email_verify/list', limit => 1) },
		find => sub { find('Jane', 'x.test') },
		queue => sub { get('/email_finder/instant/queue_status?qid=x') },
		(map { my $check = $_; $check => sub { post("/email/verify/$check", email => 'a@b.test') } } qw(catchall disposable business free role gibberish)),
		find_upload => sub { $api->upload('/email_finder/bulk', 'n.csv', "Name,Domain\nJane,x.test") },
		find_progress => sub { get('/email_finder/bulk/progress_status?list_id=x') },
		find_result => sub { post('/email_finder/download/result', list_id => 'x') },
		find_cancel => sub { post('/email_finder/list/cancel', list_id => 'x') },
		find_remove => sub { post('/email_finder/list/remove', list_id => 'x') },
		find_lists => sub { post('/email_finder/list', limit => 1) },
		reverse_email => sub { get('/reverse_lookup/email?email_address=a%40b.test') },
		reverse_linkedin => sub { get('/reverse_lookup/linkedin?url=https%3A%2F%2Flinkedin.com%2Fin%2Fx') },
		reverse_domain => sub { get('/reverse_lookup/domain?name=x.test') },
		mx => sub { post('/domain/resolve/mx', domain => 'x.test') },
		whois => sub { post('/domain/resolve/whois', domain => 'x.test') },
		name => sub { post('/name/validate', name => 'Jane') },
		account_credits => sub { get('/account/credits') },
		account_limits => sub { get('/account/limits') },
		account_plan => sub { get('/account/myplans') },
		autocomplete => sub { get('/public/companies/autocomplete?query=x') });
	my @codes = (1000, 1001, 1002, 1004, 1007, 1008, 1017, 1027 .. 1032, 1074, 1083, 1088, 1099, 1100, 1104, 1116);

	foreach my $name (sort keys %call)
	{
		my @got;
		foreach my $code (@codes)
		{
			$api->fault(endpoint => $name, code => $code, times => 1);
			my $answer = $call{$name}->();
			push @got, code($answer);
			fail("$name: no message for $code") if ($answer->{json}{error}{message} // 'Something went wrong') eq 'Something went wrong';
		}
		is("@got", "@codes", $name);
		$api->hold(endpoint => $name);
		is(scalar @{ $api->_control('GET', '/faults')->{holds} }, 1, "$name can be held");
		$api->release;
	}
	my %seen = map { $_ => 1 } keys %{ $api->stats->{by_endpoint} };
	delete @seen{ keys %call };
	is(join(' ', sort keys %seen), 'download', 'no endpoint left out');
};

is($api->log, '', 'nothing on standard error');

done_testing();
