# The sandbox itself: what the other tests rely on.  Needs no PostgreSQL.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use File::Temp;
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use Socket qw(:DEFAULT SHUT_RDWR);
use Test::More;
use Time::HiRes qw(sleep time);

my $json = JSON::PP->new->utf8->canonical;
my $api = ClearoutSandbox->new;
# One connection a call: on a kept one, head and body in two writes would wait
# for a delayed acknowledgement.
my $http = HTTP::Tiny->new(
	keep_alive => 0, proxy => undef, http_proxy => undef, max_redirect => 0, timeout => 20);

# The answer to one call: its status, headers, and content as data.
sub call
{
	my ($method, $path, %options) = @_;
	my $sandbox = delete $options{sandbox} || $api;
	my %headers = (Authorization => 'Bearer ' . $sandbox->token);

	$headers{'Content-Type'} = 'application/json' if $method eq 'POST';
	%headers = (%headers, %{ delete $options{headers} || {} });
	delete $headers{$_} foreach grep { !defined $headers{$_} } keys %headers;
	my $answer = $http->request($method, $sandbox->url . $path, { headers => \%headers, %options });
	$answer->{json} = eval { $json->decode($answer->{content}) };
	return $answer;
}

sub verify
{
	my ($email, %options) = @_;
	my $timeout = delete $options{timeout};

	return call(
		'POST', '/email_verify/instant',
		content => $json->encode({ email => $email, defined $timeout ? (timeout => $timeout) : () }),
		%options);
}

# A connection on which requests are written by hand.
sub dial
{
	my ($sandbox) = @_;
	my $socket = IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => ($sandbox || $api)->port,
		Proto => 'tcp') or die "connect: $!";

	$socket->autoflush(1);
	return $socket;
}

sub ask
{
	my ($socket, $email, $sandbox) = @_;
	my $body = $json->encode({ email => $email });

	print $socket "POST /v2/email_verify/instant HTTP/1.1\r\nHost: sandbox\r\n"
	  . 'Authorization: Bearer ' . ($sandbox || $api)->token . "\r\n"
	  . "Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
	return;
}

# All that comes, and how it ended: eof, reset or open.  A connection counts as
# open if nothing has come for so many seconds, once what must come is there;
# that, and the end of the others, may take a minute on a busy machine.
sub hear
{
	my ($socket, $seconds, $complete) = @_;
	my $end = time + 60;
	my $select = IO::Select->new($socket);
	my $heard = '';

	while ((my $left = $end - time) > 0)
	{
		my $quiet = $seconds && (!$complete || $complete->($heard));

		if (!$select->can_read($quiet ? $seconds : $left))
		{
			last if $quiet;
			next;
		}
		my $got = sysread($socket, $heard, 65536, length $heard);
		return ($heard, $!{ECONNRESET} ? 'reset' : "error $!") unless defined $got;
		return ($heard, 'eof') if $got == 0;
	}
	return ($heard, 'open');
}

# Have so many bytes of a body come?
sub has_body
{
	my ($length) = @_;
	return sub { return $_[0] =~ /\r\n\r\n(.*)/s && length $1 >= $length };
}

# A counter, once it has fallen to the value; what it is after a minute if not.
sub falls_to
{
	my ($what, $value) = @_;
	my $end = time + 60;

	sleep 0.02 while $api->stats->{$what} > $value && time < $end;
	return $api->stats->{$what};
}

# One whole answer from a connection that stays open.
sub hear_answer
{
	my ($socket) = @_;
	my $heard = '';

	while (sysread($socket, $heard, 65536, length $heard))
	{
		last if $heard =~ /\r\n\r\n/ && $heard =~ /Content-Length: (\d+)/i
		  && length((split /\r\n\r\n/, $heard, 2)[1]) >= $1;
	}
	return $heard;
}

sub rate
{
	my ($answer) = @_;
	return join ' ', map { $answer->{headers}{"x-ratelimit-$_"} // '-' } qw(limit remaining reset);
}

subtest 'token' => sub {
	my $token = $api->token;
	my $failure = {
		status => 'failed',
		error => { code => 1000, message => 'Invalid API Token, please generate new token' }
	};

	foreach my $bad (undef, '', 'Bearer', 'Bearer wrong', "bearer $token", "Bearer  $token", "$token ", "Basic $token")
	{
		# the blanks around a header's value do not belong to it
		next if defined $bad && $bad eq "$token ";
		my $answer = verify('valid@example.com', headers => { Authorization => $bad });
		is($answer->{status}, 401, 'refused: ' . ($bad // 'none'));
		is_deeply($answer->{json}, $failure, 'with its code');
	}
	foreach my $path ('/nowhere', '/email_verify/getcredits', '/../x')
	{
		is(call('GET', $path, headers => { Authorization => 'x' })->{status}, 401, "before routing: $path");
	}
	foreach my $good ("Bearer $token", $token, "Bearer:$token")
	{
		is(verify('valid@example.com', headers => { Authorization => $good })->{status}, 200, 'accepted');
	}
	$api->config(auth_scheme => 'colon');
	is(verify('valid@example.com')->{status}, 401, 'one spelling alone: others refused');
	is(verify('valid@example.com', headers => { Authorization => "Bearer:$token" })->{status}, 200, 'and this accepted');
	$api->config(auth_scheme => 'any');
	$api->config(valid => 0);
	is(verify('valid@example.com')->{status}, 401, 'token revoked');
	$api->config(token => 'another', credits => 7);
	my $other = call('GET', '/email_verify/getcredits', headers => { Authorization => 'another' });
	is($other->{json}{data}{available_credits}, 7, 'another token added');
	$api->config(valid => 1);
	is(verify('valid@example.com')->{status}, 200, 'valid again');
};

subtest 'strictness' => sub {
	$api->reset;
	is(call('GET', '/nowhere')->{status}, 404, 'unknown path');
	is(call('GET', '/nowhere')->{json}{status}, 'failed', 'with an envelope');
	is(call('GET', '/email_verify/instant')->{status}, 404, 'wrong method');
	is(call('POST', '/email_verify/instant/', content => '{"email":"a@b.cd"}')->{status}, 404, 'slash too many');
	foreach my $type (undef, 'text/plain', 'application/x-www-form-urlencoded', 'application/jsonp')
	{
		is(verify('valid@example.com', headers => { 'Content-Type' => $type })->{status}, 415, 'content type ' . ($type // 'none'));
	}
	is(verify('valid@example.com', headers => { 'Content-Type' => 'Application/JSON;charset=UTF-8' })->{status}, 200, 'with a character set');

	my %wrong = (
		'{}' => [ 'email', '"email" is required', 'any.required' ],
		'{"email":""}' => [ 'email', '"email" is not allowed to be empty', 'any.empty' ],
		'{"email":5}' => [ 'email', '"email" must be a string', 'string.base' ],
		'{"email":null}' => [ 'email', '"email" must be a string', 'string.base' ],
		'{"email":"a@b.cd","timeout":"5000"}' => [ 'timeout', '"timeout" must be a number', 'number.base' ],
		'{"email":"a@b.cd","timeout":5000.5}' => [ 'timeout', '"timeout" must be an integer', 'number.integer' ],
		'{"email":"a@b.cd","timeout":999}' => [ 'timeout', '"timeout" must be larger than or equal to 1000', 'number.min' ],
		'{"email":"a@b.cd","timeout":180001}' => [ 'timeout', '"timeout" must be less than or equal to 180000', 'number.max' ],
		'' => [ 'value', '"value" must be an object', 'object.base' ],
		'[]' => [ 'value', '"value" must be an object', 'object.base' ],
		'{"email":"a@b.cd"' => [ 'value', '"value" must be an object', 'object.base' ],
	);
	foreach my $body (sort keys %wrong)
	{
		my $answer = call('POST', '/email_verify/instant', content => $body);
		my ($field, $message, $type) = @{ $wrong{$body} };

		is($answer->{status}, 400, "wrong: $body");
		is_deeply(
			$answer->{json},
			{
				status => 'failed',
				error => {
					message => 'validation failed',
					reasons => [ {
						field => [$field],
						location => 'body',
						messages => [$message],
						types => [$type] } ] } },
			'reasons');
	}
	my $both = call('POST', '/email_verify/instant', content => '{"timeout":1}');
	is(scalar @{ $both->{json}{error}{reasons} }, 2, 'all reasons at once');
	is(verify('valid@example.com', timeout => 180000)->{status}, 200, 'largest timeout');
	is($api->stats->{charged}, 0, 'nothing charged');
};

subtest 'test addresses' => sub {
	$api->reset;
	my %expected = (
		invalid => 'invalid 406 no hard', valid => 'valid 200 yes ', catch_all => 'catch_all 411 risky ',
		unknown => 'unknown 412 unknown ', safe_to_send_yes => 'valid 200 yes ',
		safe_to_send_no => 'invalid 406 no ', safe_to_send_risky => 'valid 200 risky ',
		disposable => 'valid 200 risky ', role => 'valid 200 risky ', free => 'valid 200 yes ',
		gibberish => 'valid 200 risky ', hard_bounce => 'invalid 406 no hard',
		soft_bounce => 'invalid 413 no soft', suggested_email_address => 'invalid 403 no ',
		syntax_error => 'invalid 400 no hard', greylisted => 'unknown 407 unknown ',
		spamtrap => 'invalid 401 no soft', blocklist_email_address => 'invalid 602 no ',
		allowlist_email_address => 'valid 601 yes ', blocklist_domain => 'invalid 604 no ',
		allowlist_domain => 'valid 603 yes ', domain_not_found => 'invalid 403 no hard',
		not_a_mailserver => 'invalid 404 no hard', mailbox_not_found => 'invalid 406 no hard',
		mailbox_quota_exceeded => 'invalid 413 no soft', dns_query_timeout => 'unknown 417 unknown ',
		unroutable_mailserver => 'invalid 404 no hard', overquota_and_inactive => 'invalid 428 no soft',
		receiving_limit_reached => 'invalid 421 no soft',
		blacklisted_email_address => 'invalid 602 no ', whitelisted_email_address => 'valid 601 yes ',
		blacklisted_domain => 'invalid 604 no ', whitelisted_domain => 'valid 603 yes ',
	);
	my @flags = qw(disposable free role gibberish);

	foreach my $word (sort keys %expected)
	{
		my $data = verify("$word\@example.com")->{json}{data};
		is("$data->{status} $data->{sub_status}{code} $data->{safe_to_send} $data->{bounce_type}", $expected{$word}, $word);
		foreach my $flag (@flags)
		{
			is($data->{$flag}, $flag eq $word ? 'yes' : 'no', "$word: $flag");
		}
	}
	isnt(verify('suggested_email_address@example.com')->{json}{data}{suggested_email_address}, '', 'suggestion');
	is($api->stats->{charged}, 0, 'free of charge');
	is(verify('Valid@Example.COM')->{json}{data}{email_address}, 'Valid@Example.COM', 'echoed as sent');
	is(verify('jane@example.com')->{status}, 200, 'another address there');
	is($api->stats->{charged}, 1, 'costs');
};

subtest 'other addresses' => sub {
	$api->reset;
	my %chosen = (
		'valid-1@x.test' => 'valid 200', 'invalid.7@x.test' => 'invalid 406', 'catch_all+a@x.test' => 'catch_all 411',
		'jane+unknown@x.test' => 'unknown 412', 'jane+greylisted-3@x.test' => 'unknown 407',
		'jane@mailbox-not-found.test' => 'invalid 406', 'sub_419@x.test' => 'invalid 419',
		'not an address' => 'invalid 400', 'a@b' => 'invalid 400', '.a@b.cd' => 'invalid 400', 'a@-b.cd' => 'invalid 400',
		('x' x 65) . '@b.cd' => 'invalid 400', '@' => 'invalid 400',
	);
	foreach my $email (sort keys %chosen)
	{
		my $data = verify($email)->{json}{data};
		is("$data->{status} $data->{sub_status}{code}", $chosen{$email}, $email);
	}
	is($api->charged('invalid.7@x.test'), 1, 'invalid costs');
	is($api->charged('jane+unknown@x.test'), 0, 'unknown does not');

	my $data = verify('jane.doe@gmail.com')->{json}{data};
	is_deeply(
		[ sort keys %$data ],
		[ sort qw(email_address status sub_status safe_to_send ai_verdict suggested_email_address verified_on
			  time_taken disposable free role gibberish bounce_type detail_info profile) ],
		'all members');
	is_deeply(
		$data->{detail_info},
		{ account => 'jane.doe', domain => 'gmail.com', mx_record => 'aspmx.l.google.com', smtp_provider => 'gsuite' },
		'detail_info');
	like($data->{verified_on}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'verified_on');
	like($data->{time_taken}, qr/^\d+$/, 'time_taken');
	is($data->{profile}, undef, 'profile');
	is($data->{free}, 'yes', 'free provider');
	is(verify('jane.doe@gmail.com')->{json}{data}{status}, $data->{status}, 'the same again');
	is(verify("m\x{fc}ller\@b\x{fc}cher.test")->{json}{data}{detail_info}{account}, "m\x{fc}ller", 'beyond ASCII');

	my %seen;
	$seen{ verify("user$_\@mixed.test")->{json}{data}{status} // 'failed' }++ foreach 1 .. 400;
	note join ', ', map { "$_ $seen{$_}" } sort keys %seen;
	cmp_ok($seen{valid}, '>', 220, 'mostly valid');
	cmp_ok($seen{$_}, '>', 0, "some $_") foreach qw(invalid catch_all unknown);
};

subtest 'credits' => sub {
	$api->reset;
	$api->config(credits => 3);
	my $credits = sub { return call('GET', '/email_verify/getcredits')->{json}{data} };

	my $data = $credits->();
	is($data->{available_credits}, 3, 'available_credits');
	is($data->{credits}{available}, 3, 'credits.available');
	ok(exists $data->{credits}{subs} && !defined $data->{credits}{subs}, 'credits.subs');
	is($data->{credits}{available_daily_verify_limit}, undef, 'no daily limit');
	like($data->{credits}{reset_daily_verify_limit_date}, qr/T00:00:00\.000Z$/, 'next day');

	verify("valid-$_\@x.test") foreach 1 .. 2;
	verify('unknown-1@x.test');
	verify('valid@example.com');
	is($credits->()->{available_credits}, 1, 'two paid, two free');
	is(verify('valid-3@x.test')->{status}, 200, 'the last one');
	foreach my $email ('valid-4@x.test', 'valid@example.com')
	{
		my $answer = verify($email);
		is($answer->{status}, 402, "exhausted: $email");
		is($answer->{json}{error}{code}, 1002, 'code');
	}
	$api->config(credits_code => 1031);
	is(verify('valid-4@x.test')->{json}{error}{code}, 1031, 'the twin');
	$api->config(credits => 10);
	is(verify('valid-4@x.test')->{status}, 200, 'credits bought');
	is($api->stats->{payment_required}, 3, 'counted');

	$api->config(daily_limit => 2);
	verify("valid-$_\@day.test") foreach 1 .. 2;
	my $answer = verify('valid-3@day.test');
	is($answer->{status}, 200, 'daily limit under 200');
	is($answer->{json}{status}, 'failed', 'a failure all the same');
	is($answer->{json}{error}{code}, 1017, 'code');
	is($credits->()->{credits}{available_daily_verify_limit}, 0, 'daily limit used up');
	$api->config(daily_limit => undef);
	is(verify('valid-3@day.test')->{json}{status}, 'success', 'lifted');
};

subtest 'rate limit' => sub {
	$api->reset;
	is(rate(verify('valid@example.com')), '- - -', 'no limit, no headers');

	# A machine that stands still for a while may miss the end of a window.
	my @answers;
	my $credits;
	foreach my $try (1 .. 10)
	{
		$api->reset;
		$api->config(limit => 5, window_ms => 2000);
		my $start = time;
		@answers = map { verify("valid-$_\@x.test") } 1 .. 7;
		$credits = call('GET', '/email_verify/getcredits')->{status};
		last if time - $start < 1.5;
	}
	is(join(' ', map { $_->{status} } @answers), '200 200 200 200 200 429 429', 'exactly five');
	is(rate($answers[0]), '5 4 2', 'first');
	like(rate($answers[4]), qr/^5 0 [12]$/, 'last');
	like(rate($answers[5]), qr/^5 0 [12]$/, 'refused');
	is($answers[5]{json}{error}{code}, 1030, 'code');
	like($answers[5]{json}{error}{message}, qr/try calling after \w{3} \w{3} \d\d \d{4} \d\d:\d\d:\d\d GMT\+0000 \(UTC\)/, 'names the time');
	is($api->charged('valid-6@x.test'), 0, 'not charged');
	is($credits, 429, 'shared by all services');
	sleep $answers[6]{headers}{'x-ratelimit-reset'};
	is(verify('valid-8@x.test')->{status}, 200, 'waited as told');

	my $windows = $api->stats->{windows};
	is($windows->[-2]{counted}, 5, 'history: counted');
	is($windows->[-2]{refused}, 3, 'history: refused');
	is($windows->[-2]{end_ms} - $windows->[-2]{start_ms}, 2000, 'history: length');
	is($windows->[-1]{counted}, 1, 'the current one');

	$api->config(shared_window => 0, limit_verify => 1, window_ms => 60000);
	is(verify('valid@example.com')->{status}, 200, 'own window');
	is(verify('valid@example.com')->{status}, 429, 'of verify');
	is(rate(call('GET', '/email_verify/getcredits')), '5 4 60', 'others have theirs');

	my @rates;
	foreach my $try (1 .. 10)
	{
		$api->config(shared_window => 1, limit => 100, window_ms => 4000 - $try, reset_rounding => 'up');
		my $start = time;
		@rates = rate(verify('valid@example.com'));
		sleep 0.2;
		$api->config(reset_rounding => 'down');
		push @rates, rate(verify('valid@example.com'));
		$api->config(reset_rounding => 'nearest');
		push @rates, rate(verify('valid@example.com'));
		last if time - $start < 0.45;
	}
	is(join(', ', @rates), '100 99 4, 100 98 3, 100 97 4', 'new window, rounded down, and to the nearest');
	$api->config(window_start => 'aligned', window_ms => 1000);
	verify('valid@example.com');
	is($api->stats->{windows}[-1]{start_ms} % 1000, 0, 'aligned');

	# Two that are answered when both have come.
	my $both = sub {
		my @sockets = map { dial() } 1 .. 2;

		$api->hold;
		foreach my $number (1, 2)
		{
			ask($sockets[ $number - 1 ], 'valid@example.com');
			$api->wait_for(held => $number);
		}
		$api->release;
		hear_answer($sockets[1]);
		return hear_answer($sockets[0]);
	};
	$api->config(window_start => 'first_call', window_ms => 3_600_000, headers_at => 'response');
	like($both->(), qr/remaining: 98/i, 'values of the response');
	$api->config(headers_at => 'arrival', window_ms => 3_500_000);
	like($both->(), qr/remaining: 99/i, 'values of the arrival');

	$api->reset;
	$api->config(limit => 1);
	$api->config(token => 'another', credits => 5);
	verify('valid@example.com');
	is(verify('valid@example.com')->{status}, 429, 'one token at its limit');
	is(verify('valid@example.com', headers => { Authorization => 'another' })->{status}, 200, 'another is not');
	$api->config(rate_headers => 0, rate_code => 0);
	my $bare = verify('valid@example.com');
	is(rate($bare), '- - -', 'headers switched off');
	ok(!exists $bare->{json}{error}{code}, 'code switched off');
};

subtest 'latency' => sub {
	$api->reset;
	$api->config(latency => 200);
	my $start = time;
	verify('valid@example.com');
	cmp_ok(time - $start, '>=', 0.19, 'fixed');
	$api->config(latency => '10..20');
	verify('valid@example.com') foreach 1 .. 3;
	pass('range');

	my $count = 300;
	$api->config(latency => 3000);
	$start = time;
	my @sockets = map { dial() } 1 .. $count;
	ask($sockets[$_], "valid-$_\@parallel.test") foreach 0 .. $#sockets;
	my $good = grep { hear_answer($_) =~ /"success"/ } @sockets;
	is($good, $count, 'many at the same time');
	cmp_ok(time - $start, '<', 75, 'and not one after the other, which takes 900 s');
	cmp_ok($api->stats->{max_in_flight}, '>', 50, 'in flight together');

	$api->config(latency => 30000);
	$start = time;
	my $answer = verify('valid-1@x.test', timeout => 1000);
	is($answer->{status}, 524, 'longer than the request allows');
	cmp_ok(time - $start, '<', 25, 'ends at its timeout');
	is_deeply(
		$answer->{json}{error},
		{ message => 'Timeout Occurred', additional_info => { resource_name => 'email', resource_value => 'valid-1@x.test' } },
		'as documented');
	is($api->charged('valid-1@x.test'), 0, 'not charged');
};

subtest 'status faults' => sub {
	$api->reset;
	foreach my $status (400, 401, 402, 403, 404, 415, 429, 500, 502, 503, 524)
	{
		$api->fault(status => $status, times => 1);
		is(verify('valid-1@x.test')->{status}, $status, "status $status");
	}
	is(verify('valid-1@x.test')->{status}, 200, 'over');
	is($api->charged('valid-1@x.test'), 1, 'charged once');
	is($api->calls('valid-1@x.test'), 12, 'asked for each time');
	is($api->answered('valid-1@x.test'), 1, 'answered once');

	$api->fault(status => 503, times => 1);
	is(verify('valid@example.com')->{content}, '', 'no body');
	$api->fault(status => 502, body => '<html>Bad Gateway</html>', content_type => 'text/html', times => 1);
	my $answer = verify('valid@example.com');
	is("$answer->{headers}{'content-type'} $answer->{content}", 'text/html <html>Bad Gateway</html>', 'HTML');
	$api->fault(code => 1008, times => 1);
	$answer = verify('valid@example.com');
	is("$answer->{status} $answer->{json}{status} $answer->{json}{error}{code}", '200 failed 1008', 'failure under 200');
	$api->fault(status => 500, code => 4711, message => 'so what', times => 1);
	is_deeply(verify('valid@example.com')->{json}{error}, { code => 4711, message => 'so what' }, 'any code');

	$api->fault(status => 429, reset => 1, times => 1);
	is(rate(verify('valid@example.com')), '100 0 1', 'rate headers: value');
	$api->fault(status => 429, reset => 'soon', remaining => -7, limit => undef, times => 1);
	is(rate(verify('valid@example.com')), '- -7 soon', 'rate headers: nonsense');
	$api->fault(status => 429, rate_headers => 0, times => 1);
	is(rate(verify('valid@example.com')), '- - -', 'rate headers: none');
	$api->fault(limit => 5, remaining => 3, reset => 99999999999, times => 1);
	$answer = verify('valid-2@x.test');
	is(rate($answer) . " $answer->{json}{status}", '5 3 99999999999 success', 'on a true answer');
	$api->fault(headers => { 'Retry-After' => '5', 'X-Other' => 'y' }, status => 503, times => 1);
	is(verify('valid@example.com')->{headers}{'retry-after'}, '5', 'other headers');
	$api->fault(location => 'http://127.0.0.1:1/', times => 1);
	$answer = verify('valid@example.com');
	is("$answer->{status} $answer->{headers}{location}", '302 http://127.0.0.1:1/', 'redirect');
	$api->fault(status => 500, processed => 1, times => 1);
	is(verify('valid-3@x.test')->{status}, 500, 'lost answer');
	is($api->charged('valid-3@x.test'), 1, 'that was charged');

	$api->fault(body => { status => 'success', data => [ 1, 'x', undef ] }, times => 1);
	is_deeply(verify('valid@example.com')->{json}{data}, [ 1, 'x', undef ], 'any JSON');
	$api->fault(body => "a\0b", times => 1);
	is(verify('valid@example.com')->{content}, "a\0b", 'NUL');
	$api->fault(body_hex => 'ff00fe', times => 1);
	is(verify('valid@example.com')->{content}, "\xff\0\xfe", 'any bytes');
	$api->fault(body => '', times => 1);
	is(verify('valid@example.com')->{content}, '', 'empty');
	$api->fault(nested => 5000, times => 1);
	is(verify('valid@example.com')->{content}, ('[' x 5000) . (']' x 5000), 'brackets');
	$api->fault(kind => 'half', times => 1);
	$answer = verify('valid@example.com');
	ok(!$answer->{json} && $answer->{content} =~ /^\{"status":"success"/, 'half of the JSON');
};

subtest 'which requests' => sub {
	$api->reset;
	my $statuses = sub { return join ' ', map { verify($_)->{status} } @_ };

	$api->fault(status => 500, email => 'a@x.test');
	is($statuses->('a@x.test', 'b@x.test', 'a@x.test'), '500 200 500', 'one address, until cleared');
	$api->clear;
	is($statuses->('a@x.test'), '200', 'cleared');
	my $first = $api->fault(status => 500, pattern => '*@y.test');
	my $second = $api->fault(status => 502, pattern => 'z*');
	is($statuses->('a@y.test', 'b@x.test', 'z@x.test', 'z@y.test'), '500 200 502 500', 'pattern; the first that fits');
	$api->clear($first);
	is($statuses->('a@y.test', 'z@y.test'), '200 502', 'one cleared');
	$api->clear;
	$api->fault(status => 500, after => 2, times => 2);
	is($statuses->(map { "a$_\@x.test" } 1 .. 6), '200 200 500 500 200 200', 'after and times');
	is($api->faults->[0]{hits}, 2, 'hits');
	$api->clear;
	$api->fault(status => 500, endpoint => 'credits');
	is($statuses->('a@x.test') . ' ' . call('GET', '/email_verify/getcredits')->{status}, '200 500', 'endpoint');
	$api->clear;
	$api->fault(status => 500, probability => 0.5);
	my $hit = grep { verify('valid@example.com')->{status} == 500 } 1 .. 100;
	ok($hit > 25 && $hit < 75, "probability: $hit of 100");
	$api->clear;
	my $socket = dial();
	$api->fault(status => 500, request => 2);
	my @heard;
	foreach (1 .. 3)
	{
		ask($socket, 'valid@example.com');
		push @heard, hear_answer($socket) =~ m{^HTTP/1.1 (\d+)};
	}
	is("@heard", '200 500 200', 'the second of a connection');

	foreach my $wrong ({ foo => 1 }, { kind => 'x' }, { status => 'x' }, { times => -1 }, { kind => 'raw' }, { end => 1 })
	{
		ok(!eval { $api->fault(%$wrong); 1 }, 'not accepted: ' . join ' ', %$wrong);
	}
	foreach my $wrong ({ foo => 1 }, { limit => 'x' }, { latency => '5..1' }, { auth_scheme => 'no' }, { credits => -1 })
	{
		ok(!eval { $api->config(%$wrong); 1 }, 'not accepted: ' . join ' ', %$wrong);
	}
};

subtest 'broken connections' => sub {
	$api->reset;
	my $try = sub {
		my ($email, $bytes, %fault) = @_;
		my $socket = dial();

		$api->fault(%fault, times => 1);
		ask($socket, $email);
		return hear($socket, defined $bytes ? 0.3 : undef, $bytes ? has_body($bytes) : undef);
	};
	my ($heard, $how) = $try->('valid-1@x.test', undef, kind => 'reset');
	is("$heard$how", 'reset', 'RST');
	is($api->charged('valid-1@x.test') . $api->calls('valid-1@x.test'), '01', 'asked, not charged');
	($heard, $how) = $try->('valid-1@x.test', undef, kind => 'reset', processed => 1);
	is($api->charged('valid-1@x.test') . $api->answered('valid-1@x.test'), '10', 'charged, not answered');
	($heard, $how) = $try->('valid-2@x.test', undef, kind => 'close');
	is("$heard$how", 'eof', 'FIN');
	($heard, $how) = $try->('valid-2@x.test', 0, kind => 'hang');
	is("$heard$how", 'open', 'silence');

	my $length = sub { return $heard =~ /Content-Length: (\d+)/i ? $1 : -1 };
	my $body = sub { return (split /\r\n\r\n/, $heard, 2)[1] };

	($heard, $how) = $try->('valid-3@x.test', undef, kind => 'cut');
	is($how, 'eof', 'cut: end');
	is(length($body->()), int($length->() / 2), 'cut: half of it');
	is($api->charged('valid-3@x.test') . $api->answered('valid-3@x.test'), '10', 'cut: charged, not answered');
	($heard, $how) = $try->('valid-3@x.test', undef, kind => 'cut', bytes => 10, end => 'reset');
	is(length($body->()) . $how, '10reset', 'reset within the body');
	($heard, $how) = $try->('valid-3@x.test', 10, kind => 'cut', bytes => 10, end => 'hang');
	is(length($body->()) . $how, '10open', 'stopped within the body');
	($heard, $how) = $try->('valid-3@x.test', undef, kind => 'cut', bytes => 10, chunked => 1);
	like($heard, qr/Transfer-Encoding: chunked/i, 'cut chunks');
	is($how, 'eof', 'end');
	($heard, $how) = $try->('valid-3@x.test', undef, kind => 'long', bytes => 50);
	is($length->() - length($body->()), 50, 'length too large');
	($heard, $how) = $try->('valid-3@x.test', 60, kind => 'short', bytes => 50);
	is(length($body->()) - $length->(), 50, 'length too small');
	is(scalar(() = $heard =~ /Content-Length/gi), 1, 'said once');

	my $drip = dial();
	my $start = time;

	$api->fault(kind => 'drip', bytes => 100, interval_ms => 50, times => 1);
	ask($drip, 'valid-3@x.test');
	$heard = hear_answer($drip);
	is(length($body->()), $length->(), 'drip: to the end');
	cmp_ok(time - $start, '>=', 0.05 * int(($length->() - 1) / 100) - 0.01, 'drip: slowly');

	($heard, $how) = $try->('valid-3@x.test', undef, kind => 'raw', body => "SSH-2.0-x\r\n");
	is("$heard$how", "SSH-2.0-x\r\neof", 'not HTTP');
	($heard, $how) = $try->('valid-3@x.test', undef, kind => 'raw', body => "HTTP/1.1 200 OK\r\nCont", end => 'reset');
	is("$heard$how", "HTTP/1.1 200 OK\r\nContreset", 'reset within the header');

	my $bytes = 0;
	$api->fault(kind => 'huge', megabytes => 20, times => 1);
	my $answer = verify('valid@example.com', data_callback => sub { $bytes += length $_[0] });
	is($bytes, 20 << 20, 'huge');
	is($answer->{headers}{'content-length'}, 20 << 20, 'with its length');
	$bytes = 0;
	$api->fault(kind => 'huge', megabytes => 20, chunked => 1, times => 1);
	$answer = verify('valid@example.com', data_callback => sub { $bytes += length $_[0] });
	is($bytes . ($answer->{headers}{'transfer-encoding'} // ''), (20 << 20) . 'chunked', 'huge, in chunks');
	$api->fault(kind => 'huge', megabytes => 1, times => 1);
	is(verify('valid@example.com')->{json}{status}, 'success', 'huge, but JSON');

	$start = time;
	$api->fault(delay_ms => 300, times => 1);
	is(verify('valid@example.com')->{status}, 200, 'delayed');
	cmp_ok(time - $start, '>=', 0.29, 'by that much');

	$api->fault(kind => 'dead');
	my $before = $api->stats->{requests};
	foreach (1 .. 2)
	{
		my $socket = dial();
		ask($socket, 'valid-4@x.test');
		like(hear_answer($socket), qr/"success"/, 'dead: the first is answered');
		ask($socket, 'valid-5@x.test');
		is(join('', hear($socket)), 'eof', 'dead: the second is not');
	}
	is($api->calls('valid-5@x.test'), 2, 'dead: but counted');
	$api->clear;

	is(falls_to(hung => 0), 0, 'clients that left are let go');
};

subtest 'hold and release' => sub {
	$api->reset;
	$api->hold(email => 'valid-1@x.test');
	my @sockets = map { dial() } 1 .. 3;
	ask($sockets[0], 'valid-1@x.test');
	ask($sockets[1], 'valid-2@x.test');
	like(hear_answer($sockets[1]), qr/"success"/, 'another is answered');
	ok($api->wait_for(held => 1), 'one is held');
	is(join('', hear($sockets[0], 0.2)), 'open', 'nothing comes');
	is($api->calls('valid-1@x.test') . $api->charged('valid-1@x.test') . $api->answered('valid-1@x.test'), '110', 'asked, charged, not answered');
	is($api->stats->{in_flight}, 1, 'in flight');
	is($api->release(email => 'other@x.test'), 0, 'release of another');
	is($api->release, 1, 'released');
	like(hear_answer($sockets[0]), qr/"success"/, 'answered');
	ask($sockets[0], 'valid-1@x.test');
	like(hear_answer($sockets[0]), qr/"success"/, 'no hold any more');

	$api->hold;
	ask($sockets[$_], "valid-$_\@y.test") foreach 0 .. 2;
	ok($api->wait_for(held => 3), 'all are held');
	is($api->release(email => 'valid-1@y.test'), 1, 'one released');
	like(hear_answer($sockets[1]), qr/valid-1\@y/, 'answered');
	is($api->release(keep => 1), 2, 'the rest released');
	hear_answer($_) foreach @sockets[ 0, 2 ];
	ask($sockets[0], 'valid-9@y.test');
	ok($api->wait_for(held => 1), 'the hold was kept');
	close $sockets[0];
	is(falls_to(held => 0), 0, 'a client that leaves is noticed');
	is($api->stats->{broken}, 1, 'and counted');
	is($api->release, 0, 'nothing left');

	$api->hold(times => 1);
	$api->fault(kind => 'cut', times => 1);
	ask($sockets[1], 'valid-1@z.test');
	ok($api->wait_for(held => 1), 'hold and fault together');
	$api->release;
	is((hear($sockets[1]))[1], 'eof', 'the fault comes after');
};

subtest 'counters' => sub {
	$api->reset;
	verify($_) foreach qw(a@x.test b@x.test a@x.test);
	my $all = $api->address_stats;
	is("$all->{distinct} $all->{asked} $all->{max}", '2 3 2', 'summary');
	is_deeply([ map { "$_->{email} $_->{asked}" } @{ $all->{repeated} } ], ['a@x.test 2'], 'asked more than once');
	call('GET', '/email_verify/getcredits', headers => { 'User-Agent' => 'me/1' });
	my $stats = $api->stats;
	is($api->total_calls, 4, 'total');
	is($stats->{answered}, 4, 'answered');
	is($stats->{by_endpoint}{verify} . $stats->{by_endpoint}{credits}, '31', 'by endpoint');
	is($stats->{by_status}{200}, 4, 'by status');
	is($stats->{credits}, 100000 - $stats->{charged}, 'credits');
	my $last = $api->requests->[-1];
	is("$last->{method} $last->{path} $last->{user_agent} $last->{authorization} $last->{status}",
		'GET /v2/email_verify/getcredits me/1 bearer 200', 'the last request');
	is($api->calls("b+c\@x.test"), 0, 'never asked');
};

subtest 'life' => sub {
	my $other = ClearoutSandbox->new(token => [ 'one', 'two' ], credits => 5, latency => [ 1, 2 ], args => ['--idle-timeout=3']);
	is(verify('valid-1@x.test', sandbox => $other)->{status}, 200, 'a second sandbox');
	is(scalar @{ $other->stats->{tokens} }, 2, 'with two tokens');
	is((stat $other->token_file)[2] & 0777, 0600, 'token file for its owner alone');
	like($other->conf(max_parallel => 5), qr/base_url = 'http:.*max_parallel = '5'/s, 'conf');
	my $socket = dial($other);
	ask($socket, 'valid-1@x.test', $other);
	hear_answer($socket);
	is((hear($socket))[1], 'eof', 'idle connection closed');

	my $port = $other->port;
	$other->stop;
	ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port), 'stopped');
	$other->start;
	is($other->port, $port, 'same port again');
	is(verify('valid-1@x.test', sandbox => $other)->{status}, 200, 'and it works');
	$other->crash;
	$other->start;
	is($other->total_calls, 0, 'fresh after a crash');
	my $pid = $other->pid;
	undef $other;
	ok(!kill(0, $pid), 'gone with its object');
};

subtest 'TLS' => sub {
	plan skip_all => 'needs openssl and curl'
	  if system('openssl version >/dev/null 2>&1') || system('curl --version >/dev/null 2>&1');
	my $dir = File::Temp->newdir;
	system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
		  . "-addext subjectAltName=IP:127.0.0.1 -keyout $dir/key -out $dir/cert 2>/dev/null") == 0
	  or plan skip_all => 'no certificate';
	my $tls = ClearoutSandbox->new(tls_cert => "$dir/cert", tls_key => "$dir/key", latency => 20);
	my $curl = sub {
		my $url = $tls->url . '/email_verify/instant';
		my $token = $tls->token;
		my $out = `curl -sS --noproxy '*' --max-time 60 --cacert $dir/cert -H 'Authorization: $token' -H 'Content-Type: application/json' -d '{"email":"valid-1\@x.test"}' $url 2>&1`;
		return ($out, $? >> 8);
	};

	like($tls->url, qr/^https:/, 'https');
	like(($curl->())[0], qr/"status":"valid"/, 'answered');
	foreach my $kind (qw(reset close cut long))
	{
		$tls->fault(kind => $kind, times => 1);
		my ($out, $code) = $curl->();
		isnt($code, 0, "$kind: " . ($out =~ /(curl: .*)/)[0]);
	}
	$tls->fault(kind => 'drip', bytes => 100, interval_ms => 10, times => 1);
	like(($curl->())[0], qr/"status":"valid"/, 'drip');
	ok(!eval { $tls->fault(kind => 'raw', body => 'x'); 1 }, 'raw is for plain HTTP');
	my $end = time + 60;
	sleep 0.02 while $tls->stats->{in_flight} && time < $end;
	is($tls->stats->{in_flight}, 0, 'all over');
};

is($api->log, '', 'nothing on standard error');

done_testing();
