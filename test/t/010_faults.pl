# Faults of the service, each with its outcome: a clear error or a row with the
# status unknown, within the timeout, and nothing wrong stored; the worker
# lives on and does not grow.  The same in databases of three encodings.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress;
use Encode qw(encode);
use File::Temp;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# Attempts, and seconds until a call that is never answered is given up: the
# time that the service was told, and two more.  It is told so little only where
# nothing else will come, so that a busy machine has time for all others.
my $ATTEMPTS = 3;
my $GIVE_UP = 3;
my $GROWTH_MAX = 8 * 1024;	# kB

my $api = ClearoutSandbox->new(limit => 1000000);
my $elsewhere = ClearoutSandbox->new(token => $api->token);
my $node = start_node(
	'main', $api,
	settings => { max_attempts => $ATTEMPTS, request_timeout => '10s', wait_timeout => '60s' },
	conf => "shared_buffers = 8MB\n");
my $html = '<html><head><title>Oops</title></head><body>nginx</body></html>';

# An answer as the service gives it, with some of it changed.
sub answer
{
	my ($email, %changed) = @_;

	return {
		status => 'success',
		data => {
			email_address => $email,
			status => 'valid',
			sub_status => { code => 200, desc => 'Success' },
			safe_to_send => 'yes',
			ai_verdict => 'fine',
			suggested_email_address => 's@x.test',
			verified_on => '2020-01-02T03:04:05.000Z',
			time_taken => 17,
			disposable => 'yes',
			free => 'yes',
			role => 'yes',
			gibberish => 'yes',
			bounce_type => 'hard',
			detail_info => { account => 'a', domain => 'd', mx_record => 'm', smtp_provider => 'p' },
			profile => undef,
			%changed
		}
	};
}

# [name, fault, outcome]: the SQLSTATE ('' for an answer), how often the
# server is asked, a pattern for DETAIL, whether the hint speaks of a charge,
# seconds that it takes at least and at most.
sub cases
{
	my ($db) = @_;
	my $json = JSON::PP->new->ascii->canonical;
	my $nul = $json->encode(answer('EMAIL'));

	return (
		[ 'reset', { kind => 'reset' }, 'VC007', charge => 1 ],
		[ 'reset-served', { kind => 'reset', processed => 1 }, 'VC007', charge => 1 ],
		[ 'close', { kind => 'close' }, 'VC007', charge => 1 ],
		[ 'hang', { kind => 'hang' }, 'VC006', charge => 1, from => $GIVE_UP - 0.2, to => $GIVE_UP + 30 ],
		[ 'not-http', { kind => 'raw', body => "SSH-2.0-OpenSSH_9.2\r\n" }, 'VC007', charge => 1 ],
		[ 'cut-header', { kind => 'raw', body => "HTTP/1.1 200 OK\r\nContent-Le", end => 'reset' }, 'VC007', charge => 1 ],
		[ 'endless-header', { kind => 'raw', body => 'HTTP/1.1 200 OK' . ("\r\nX-Filler: " . 'x' x 1000) x 600 }, 'VC007', charge => 1 ],
		[ 'cut-body', { kind => 'cut' }, 'VC007', charge => 1 ],
		[ 'cut-hang', { kind => 'cut', end => 'hang' }, 'VC006', charge => 1, from => $GIVE_UP - 0.2, to => $GIVE_UP + 30 ],
		[ 'cut-chunks', { kind => 'cut', chunked => 1 }, 'VC007', charge => 1 ],
		[ 'cut-chunks-reset', { kind => 'cut', chunked => 1, end => 'reset' }, 'VC007', charge => 1 ],
		[ 'too-long', { kind => 'long', bytes => 50 }, 'VC007', charge => 1 ],
		[ 'too-short', { kind => 'short', bytes => 50 }, 'VC007', charge => 1 ],
		[ 'slow-drip', { kind => 'drip', bytes => 20, interval_ms => 20 }, '' ],
		[ 'endless-drip', { kind => 'drip', bytes => 1, interval_ms => 100 }, 'VC006', charge => 1, from => $GIVE_UP - 0.2, to => $GIVE_UP + 30 ],
		[ 'huge', { kind => 'huge', megabytes => 400 }, 'VC007', charge => 1 ],
		[ 'huge-chunks', { kind => 'huge', megabytes => 400, chunked => 1 }, 'VC007', charge => 1 ],

		# The service says that it failed, so nothing was paid: asked again.
		[ 'http-500', { status => 500 }, 'VC007', calls => $ATTEMPTS, detail => qr/HTTP 500/ ],
		[ 'http-503', { status => 503 }, 'VC007', calls => $ATTEMPTS, detail => qr/no reason \(HTTP 503\)/ ],
		[ 'http-503-html', { status => 503, body => $html, content_type => 'text/html' }, 'VC007', calls => $ATTEMPTS, detail => qr/HTTP 503/ ],
		[ 'http-500-success', { status => 500, body => { status => 'success', data => { status => 'valid' } } }, 'VC007', calls => $ATTEMPTS, detail => qr/HTTP 500/ ],
		[ 'http-503-once', { status => 503, times => 2 }, '', calls => 2 ],

		# Its own timeout: whoever has waited that long has waited enough.
		[ 'http-524', { status => 524 }, 'VC006', detail => qr/HTTP 524/ ],
		[ 'http-524-html', { status => 524, body => $html, content_type => 'text/html' }, 'VC006' ],

		[ 'http-400', { status => 400, body => { status => 'failed', error => { message => 'validation failed', reasons => [ { field => ['email'], messages => ['no such thing'] } ] } } }, 'VC009', detail => qr/no such thing/ ],
		[ 'http-404-success', { status => 404, body => { status => 'success', data => { status => 'valid' } } }, 'VC007', detail => qr/HTTP 404/ ],
		[ 'http-404-html', { status => 404, body => $html, content_type => 'text/html' }, 'VC007', detail => qr/HTTP 404/ ],
		[ 'http-415', { status => 415 }, 'VC007', detail => qr/HTTP 415/ ],
		[ 'failed-1008', { code => 1008, message => '拒 é' }, 'VC007', detail => qr/code 1008/ ],
		[ 'failed-odd', { body => { status => 'failed', error => [ 1, 2 ] } }, 'VC007' ],
		[ 'failed-bare', { body => { status => 'failed' } }, 'VC007' ],
		[ 'redirect', { location => $elsewhere->url . '/email_verify/instant' }, 'VC007', detail => qr/HTTP 302/ ],
		[ 'redirect-307', { status => 307, location => $elsewhere->url . '/email_verify/instant' }, 'VC007' ],

		[ 'half', { kind => 'half' }, 'VC007', charge => 1, detail => qr/JSON/ ],
		[ 'empty', { body => '' }, 'VC007', charge => 1, detail => qr/empty/ ],
		[ 'html-200', { body => $html, content_type => 'text/html' }, 'VC007', charge => 1 ],
		[ 'nul', { body => "\0\0\0\0" }, 'VC007', charge => 1 ],
		[ 'bytes', { body_hex => 'fffe00feff22' }, 'VC007', charge => 1 ],
		[ 'nested-200000', { nested => 200000 }, 'VC007', charge => 1 ],
		[ 'nested-100000', { nested => 100000 }, 'VC007', charge => 1, detail => qr/deep/ ],
		[ 'open-200000', { body => '[' x 200000 }, 'VC007', charge => 1, detail => qr/deep/ ],
		[ 'objects-20000', { body => '{"a":' x 20000 }, 'VC007', charge => 1, detail => qr/deep/ ],
		[ 'number', { body => '17' }, 'VC007', charge => 1 ],
		[ 'null', { body => 'null' }, 'VC007', charge => 1 ],
		[ 'array', { body => [ answer('x@x.test') ] }, 'VC007', charge => 1 ],
		[ 'no-data', { body => { status => 'success' } }, 'VC007', charge => 1, detail => qr/no data/ ],
		[ 'null-data', { body => { status => 'success', data => undef } }, 'VC007', charge => 1 ],
		[ 'array-data', { body => { status => 'success', data => [] } }, 'VC007', charge => 1 ],
		[ 'text-data', { body => { status => 'success', data => 'valid' } }, 'VC007', charge => 1 ],
		[ 'empty-data', { body => { status => 'success', data => {} } }, 'VC007', charge => 1 ],
		[ 'neither', { body => { status => 'perhaps', data => answer('x@x.test')->{data} } }, 'VC007', charge => 1 ],
		[ 'another', { body => answer("somebody-else\@$db.test") }, 'VC007', charge => 1, detail => qr/another address/ ],
		(map {
				my ($name, $value) = @$_;
				[ "address-$name", { body => answer($value) }, 'VC007', charge => 1, detail => qr/another address/ ],
				  [ "status-$name", { body => answer("EMAIL", status => $value) }, 'VC007', charge => 1, detail => qr/usable status/ ]
			}
			[ number => 5 ], [ object => { a => 1 } ], [ array => ['valid'] ], [ bool => JSON::PP::true ], [ null => undef ], [ blank => '' ]),
	);
}

sub rows
{
	my ($db, $condition) = @_;
	return $node->safe_psql($db,
		"SELECT (SELECT count(*) FROM clearout_results WHERE $condition)"
		  . " + (SELECT count(*) FROM clearout_spill WHERE $condition)");
}

sub give_up_after
{
	my ($seconds) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET clearout.request_timeout = '${seconds}s'");
	$node->reload;
	return;
}

# One fault, asked about by one caller who wants an error and one who does not.
sub check_case
{
	my ($db, $case) = @_;
	my ($name, $fault, $sqlstate, %expect) = @$case;
	my ($strict, $lenient) = map { "$name-$_\@$db.test" } qw(e u);
	my $calls = $expect{calls} || 1;
	my $to = $expect{to} || 45;

	$api->clear;
	give_up_after(1) if $expect{from};
	foreach my $email ($strict, $lenient)
	{
		my %rule = %$fault;
		if (ref $rule{body} eq 'HASH' && ref $rule{body}{data} eq 'HASH'
			&& defined $rule{body}{data}{email_address}
			&& $rule{body}{data}{email_address} eq 'EMAIL')
		{
			$rule{body} = answer($email, status => $rule{body}{data}{status});
		}
		$rule{times} = 1 if $rule{times};
		$api->fault(%rule, email => $email);
	}
	my @callers = (
		start_verify($node, $strict, undef, $db),
		start_verify($node, $lenient, "on_error => 'unknown'", $db));
	finish_callers(90, @callers);

	is($callers[0]{sqlstate}, $sqlstate, "$db, $name: outcome")
	  or diag $callers[0]{err};
	is($callers[1]{sqlstate}, '', "$db, $name: a row on demand")
	  or diag $callers[1]{err};
	if ($sqlstate eq '')
	{
		unlike($callers[0]{out}, qr/\|none\|/, "$db, $name: answered");
		is(rows($db, "email IN ('$strict', '$lenient')"), 2, "$db, $name: stored");
	}
	else
	{
		is($callers[1]{out}, "unknown|unknown|none|$callers[0]{message}", "$db, $name: status unknown");
		is(rows($db, "email IN ('$strict', '$lenient')"), 0, "$db, $name: nothing stored");
		like($callers[0]{detail}, $expect{detail}, "$db, $name: detail") if $expect{detail};
		my $charge = ($callers[0]{hint} || '') =~ /may have been charged/ ? 1 : 0;
		is($charge, $expect{charge} || 0, "$db, $name: hint");
	}
	is($api->calls($strict) . ' ' . $api->calls($lenient), "$calls $calls", "$db, $name: calls");
	foreach my $caller (@callers)
	{
		cmp_ok($caller->{seconds}, '>=', $expect{from}, "$db, $name: not sooner") if $expect{from};
		cmp_ok($caller->{seconds}, '<', $to, "$db, $name: in time");
	}

	# And the next one is none the worse.
	$api->clear;
	give_up_after(10) if $expect{from};
	my $next = "valid-after-$name\@$db.test";
	is(verify($node, $next, undef, $db)->{out}, 'valid|yes|service|Success', "$db, $name: the next is answered");
	is($api->calls($next), 1, "$db, $name: by one call");
	return;
}

# Each field of an answer as every type that it should not have: the answer
# counts, the column is null, and raw has what came.
sub check_wrong_types
{
	my ($db) = @_;
	my $json = JSON::PP->new->ascii->canonical->allow_nonref;
	my %types = (
		number => 12.5,
		object => { yes => 'no' },
		array => [ 'yes', 1 ],
		null => undef,
		true => JSON::PP::true,
		string => 'some text');
	# field => [column, types that are accepted, or the column is not null anyway]
	my %fields = (
		'safe_to_send' => [ 'safe_to_send', 'string' ],
		'ai_verdict' => [ 'ai_verdict', 'string' ],
		'suggested_email_address' => [ 'suggested_email', 'string' ],
		'bounce_type' => [ 'bounce_type', 'string' ],
		'time_taken' => ['time_taken'],
		'disposable' => [ 'disposable', 'true' ],
		'free' => [ 'free', 'true' ],
		'role' => [ 'role', 'true' ],
		'gibberish' => [ 'gibberish', 'true' ],
		'sub_status' => ['coalesce(sub_status::text, reason)'],
		'sub_status.code' => ['sub_status'],
		'sub_status.desc' => [ 'reason', 'string' ],
		'detail_info' => ['coalesce(account, domain, mx_record, smtp_provider)'],
		'detail_info.account' => [ 'account', 'string' ],
		'detail_info.domain' => [ 'domain', 'string' ],
		'detail_info.mx_record' => [ 'mx_record', 'string' ],
		'detail_info.smtp_provider' => [ 'smtp_provider', 'string' ],
		# always stored: the time of arrival in its place
		'verified_on' => ["CASE WHEN verified_at < now() - interval '1 hour' THEN verified_at END"],
		'profile' => ['NULL'],
		'surprise' => ['NULL']);
	my @emails;
	my @expected;

	$api->clear;
	foreach my $field (sort keys %fields)
	{
		my ($column, @accepted) = @{ $fields{$field} };
		foreach my $type (sort keys %types)
		{
			(my $email = "types-$field-$type\@$db.test") =~ tr/_/-/;
			my $answer = answer($email);
			my ($outer, $inner) = split /\./, $field;

			if (defined $inner) { $answer->{data}{$outer}{$inner} = $types{$type} }
			else { $answer->{data}{$outer} = $types{$type} }
			$api->fault(body => $answer, email => $email);
			push @emails, "('$email', \$sql\$$column\$sql\$, \$raw\$" . $json->encode($answer->{data}) . '$raw$)';
			push @expected, "$email|valid|" . ((grep { $_ eq $type } @accepted) ? 'f' : 't') . '|t';
		}
	}
	# what is null is asked in one query per row, so that the column can be one
	my $result = call_sql(
		$node, qq{
		CREATE TEMP TABLE wanted (email text, expression text, raw jsonb);
		INSERT INTO wanted VALUES @{[ join ', ', @emails ]};
		SELECT count((clearout_verify(email)).status) FROM wanted;
		CREATE FUNCTION pg_temp.is_missing(which text, expression text) RETURNS boolean LANGUAGE plpgsql AS \$\$
		DECLARE answer boolean;
		BEGIN
			EXECUTE format('SELECT (%s) IS NULL FROM clearout_results WHERE email = \$1', expression) INTO answer USING which;
			RETURN answer;
		END \$\$;
		SELECT w.email, r.status, pg_temp.is_missing(w.email, w.expression), r.raw = w.raw
		FROM wanted w LEFT JOIN clearout_results r USING (email) ORDER BY w.email COLLATE "C"}, $db);
	is($result->{err}, '', "$db, wrong types: no error");
	my ($count, @got) = split /\n/, $result->{out};
	is($count, scalar @emails, "$db, wrong types: all answered");
	is_deeply(\@got, [ sort @expected ], "$db, wrong types: null, and raw keeps them");
	is($api->calls('types-free-null@' . "$db.test"), 1, "$db, wrong types: one call each");
	$api->clear;
	return;
}

# Answers of other shapes than the documented one: what is stored is what the
# server's own parser makes of the same text, and every key is found in it.  (In
# other encodings the codec reads all answers, and writes numbers in its way.)
sub check_shapes
{
	my ($db) = @_;
	my $long = join(',', map { qq("key_$_":$_) } reverse 1 .. 60);
	my $list = join(',', 1 .. 400);
	my %shapes = (
		order => '"zz":1,"a":2,"bb":{"y":1,"x":{"ccc":1,"b":[]}},"aa":3,"":4,"b":5',
		numbers => '"a":[0,-0,7,-12,123456789012345678,-99999999999999999,0.50,-1.5,1234567890123.25]',
		words => '"a":true,"b":false,"c":null,"d":[true,false,null,"true"]',
		empty => '"a":{},"b":[],"c":"","d":[[],{},[{}]]',
		texts => '"a":"x:{}[],1","b":"","c d":"e"',
		blanks => " \"a\" : [ 1 ,\t2 ] ,\r\n\"b\" : { } ",
		many => $long,
		twice => '"a":1,"b":{"c":1,"c":2},"a":3,"status":"valid","b":4,"a":5.0',
		digits => '"a":1234567890123456789,"b":-1234567890123456789,"c":1234567890123456789012,"d":0.1234567890123456789012345678901',
		# left to the codec
		escaped => '"a\u0062":"\"\\\\\/\n","c":"\u00e9"',
		list => qq("a":[$list]),
		deep => '"a":' . '[' x 50 . ']' x 50,
		large => '"a":"' . 'x' x 70000 . '"');
	my @emails;

	$api->clear;
	foreach my $name (sort keys %shapes)
	{
		my $email = "shape-$name\@$db.test";
		my $data = qq({"status":"valid",$shapes{$name},"email_address":"$email"});

		$api->fault(body => qq({"status":"success","data":$data}), email => $email);
		push @emails, "('$email', \$raw\$$data\$raw\$)";
	}
	my $result = call_sql(
		$node, qq{
		CREATE TEMP TABLE wanted (email text, raw jsonb);
		INSERT INTO wanted VALUES @{[ join ', ', @emails ]};
		SELECT count((clearout_verify(email)).status) FROM wanted;
		SELECT w.email, r.status, r.raw = w.raw, r.raw::text = w.raw::text, jsonb_hash_extended(r.raw, 0) = jsonb_hash_extended(w.raw, 0),
			(SELECT count(*) FROM jsonb_each(w.raw) e WHERE r.raw -> e.key IS DISTINCT FROM e.value) AS missed
		FROM wanted w LEFT JOIN clearout_results r USING (email) ORDER BY w.email COLLATE "C"}, $db);
	is($result->{err}, '', "$db, shapes: no error");
	my ($count, @got) = split /\n/, $result->{out};
	is($count, scalar @emails, "$db, shapes: all answered");
	is_deeply(\@got, [ map { "shape-$_\@$db.test|valid|t|t|t|0" } sort keys %shapes ], "$db, shapes: as the server reads them");
	$api->clear;
	return;
}

# Text that the answer brings: characters that the database may not have, NUL,
# bytes that are no UTF-8.
sub check_text
{
	my ($db) = @_;
	my $json = JSON::PP->new->utf8->canonical;
	my $reason = "Postfach überfüllt: 4 € 邮箱 \x{1F600}";
	my %stored = (
		utf8 => $reason,
		latin1 => 'Postfach überfüllt: 4 ? ?? ?',
		ascii => $reason);
	my %text = (
		foreign => [ $json->encode(answer("text-foreign\@$db.test", sub_status => { code => 413, desc => $reason })), $stored{$db} ],
		'nul-escape' => [ $json->encode(answer("text-nul-escape\@$db.test", sub_status => { code => 413, desc => "a\0b" })), $db eq 'latin1' ? 'a?b' : "a\x{FFFD}b" ],
		'nul-byte' => [ $json->encode(answer("text-nul-byte\@$db.test", sub_status => { code => 413, desc => 'a*b' })) =~ s/a\*b/a\0b/r, 'a b' ],
		'bad-utf8' => [ $json->encode(answer("text-bad-utf8\@$db.test", sub_status => { code => 413, desc => 'a*b' })) =~ s/a\*b/a\xFFb/r, $db eq 'latin1' ? 'a?b' : "a\x{FFFD}b" ],
		'half-surrogate' => [ $json->encode(answer("text-half-surrogate\@$db.test", sub_status => { code => 413, desc => 'a*b' })) =~ s/a\*b/a\\uD800b/r, $db eq 'latin1' ? 'a?b' : "a\x{FFFD}b" ]);

	foreach my $name (sort keys %text)
	{
		my ($body, $expected) = @{ $text{$name} };
		my $email = "text-$name\@$db.test";

		$api->fault(body_hex => unpack('H*', $body), email => $email);
		my $caller = call_sql($node, "SET client_encoding = 'UTF8'; SELECT reason, raw #>> '{sub_status,desc}' FROM clearout_verify('$email')", $db);
		is($caller->{err}, '', "$db, $name text: no error");
		is($caller->{out}, encode('UTF-8', "$expected|$expected"), "$db, $name text: stored");
		is(rows($db, "email = '$email'"), 1, "$db, $name text: in the table");
	}

	# What the service says of a failure may have such characters as well.
	$api->fault(code => 1008, message => $reason, email => "text-failure\@$db.test");
	my $caller = call_sql($node, "SET client_encoding = 'UTF8'; SELECT clearout_verify('text-failure\@$db.test')", $db);
	is($caller->{sqlstate}, 'VC007', "$db, foreign message: outcome");
	is($caller->{detail}, encode('UTF-8', "The service said: $stored{$db} (HTTP 200, code 1008)."), "$db, foreign message: detail");

	# The address itself is sent as UTF-8, whatever the database has.
	my $email = "jürgen-$db\@x.test";
	my $client = $db eq 'ascii' ? '' : "SET client_encoding = 'UTF8'; ";
	$caller = call_sql($node, encode('UTF-8', "${client}SELECT email, source FROM clearout_verify('$email')"), $db);
	is($caller->{out}, encode('UTF-8', "$email|service"), "$db: address beyond ASCII");
	is($api->calls($email), 1, "$db: it is known to the server as UTF-8");

	if ($db eq 'ascii')
	{
		# JSON cannot carry this; nobody can be asked.
		my $before = $api->total_calls;
		$caller = call_sql($node, q{SELECT status, source FROM clearout_verify(E'j\377rgen@x.test')}, $db);
		is($caller->{out}, 'invalid|local', "$db: bytes that are no text are no address");
		$caller = call_sql($node, q{SET clearout.precheck = off; SELECT clearout_verify(E'j\377rgen@x.test')}, $db);
		is($caller->{sqlstate}, 'VC009', "$db: nor with the precheck off");
		is($api->total_calls, $before, "$db: nothing was sent");
	}
	$api->clear;
	return;
}

# Rate-limit headers that make no sense: the answer counts, and nobody waits.
sub check_rate_headers
{
	my ($db) = @_;
	my %absurd = (
		negative => { limit => -1, remaining => -5, reset => -60 },
		large => { limit => '99999999999999999999999', remaining => '99999999999999999999999', reset => '99999999999999999999999' },
		larger => { limit => '9223372036854775807', remaining => '9223372036854775807', reset => '9223372036854775807' },
		text => { limit => 'many', remaining => 'some', reset => 'Wed, 21 Oct 2015 07:28:00 GMT' },
		empty => { limit => '', remaining => '', reset => '' },
		fraction => { limit => '0.5', remaining => '0.1', reset => '1e99' },
		list => { limit => '1, 2', remaining => '0, 0', reset => '60;w=1' },
		zero => { limit => 0, remaining => undef, reset => undef },
		missing => { rate_headers => 0 },
		repeated => { headers => { 'X-RateLimit-Limit' => '1', 'X-RateLimit-Remaining' => '0', 'X-Ratelimit-Reset' => '86400', 'X-RATELIMIT-LIMIT' => '-7' } },
		'text-first' => { limit => 'many', headers => { 'X-RateLimit-Limit' => '1000000' } },
		long => { limit => '9' x 1000, remaining => '9' x 1000, reset => '1' x 1000 });

	foreach my $name (sort keys %absurd)
	{
		my $email = "valid-rate-$name\@$db.test";

		$api->fault(%{ $absurd{$name} }, email => $email, times => 1);
		is(verify($node, $email, undef, $db)->{out}, 'valid|yes|service|Success', "$db, $name rate headers: answered");
		my $next = verify($node, "valid-rate-$name-next\@$db.test", "timeout => '50s'", $db);
		is($next->{out}, 'valid|yes|service|Success', "$db, $name rate headers: the next too");
		is($api->calls($email), 1, "$db, $name rate headers: one call");
	}
	is(status($node, 'rate_limit', $db), 1000000, "$db, rate headers: the true limit is known");

	# A 429 is waited out, and counts as nobody's attempt.
	$api->fault(status => 429, reset => 1, times => 1, email => "valid-429\@$db.test");
	my $caller = verify($node, "valid-429\@$db.test", undef, $db);
	is($caller->{out}, 'valid|yes|service|Success', "$db, 429: answered in the end");
	is($api->calls("valid-429\@$db.test"), 2, "$db, 429: by a second call");
	cmp_ok($caller->{seconds}, '<', 45, "$db, 429: in time");

	$api->fault(status => 429, reset => 1, email => "valid-429s\@$db.test");
	$caller = verify($node, "valid-429s\@$db.test", "timeout => '5s'", $db);
	like($caller->{sqlstate}, qr/^VC00[56]$/, "$db, 429 again and again: outcome");
	cmp_ok($caller->{seconds}, '<', 35, "$db, 429 again and again: in time");
	cmp_ok($api->calls("valid-429s\@$db.test"), '<=', 8, "$db, 429 again and again: no hammering");
	is(rows($db, "email LIKE 'valid-429s%'"), 0, "$db, 429 again and again: nothing stored");
	$api->clear;
	return;
}

# A connection that was good for one answer and dies on the next request: curl
# by itself would send the POST again.
sub check_dead_connection
{
	my ($db) = @_;

	$api->fault(kind => 'dead');
	my %seen = (answered => 0, lost => 0);
	foreach my $i (1 .. 6)
	{
		my $email = "valid-dead-$i\@$db.test";
		my $caller = verify($node, $email, undef, $db);

		is($api->calls($email), 1, "$db, dead connection: call $i was made once");
		if ($caller->{sqlstate} eq '') { $seen{answered}++ }
		else
		{
			$seen{lost}++;
			is($caller->{sqlstate}, 'VC007', "$db, dead connection: outcome of call $i");
			like($caller->{hint}, qr/may have been charged/, "$db, dead connection: hint");
			is(rows($db, "email = '$email'"), 0, "$db, dead connection: nothing stored");
		}
	}
	cmp_ok($seen{lost}, '>=', 2, "$db, dead connection: met");
	cmp_ok($seen{answered}, '>=', 2, "$db, dead connection: new ones are made");
	$api->clear;
	return;
}

# Causes that hold for every call: told to everybody, without more calls.
sub check_pauses
{
	my ($db) = @_;
	my %causes = (
		401 => [ 'VC002', { status => 401 } ],
		403 => [ 'VC002', { status => 403 } ],
		402 => [ 'VC003', { status => 402 } ],
		1002 => [ 'VC003', { status => 402, code => 1002 } ],
		1031 => [ 'VC003', { code => 1031 } ],
		1017 => [ 'VC004', { code => 1017 } ],
		1032 => [ 'VC004', { code => 1032 } ]);

	foreach my $cause (sort keys %causes)
	{
		my ($sqlstate, $fault) = @{ $causes{$cause} };
		my @email = map { "valid-pause-$cause-$_\@$db.test" } 1 .. 4;

		my $id = $api->fault(%$fault);
		is(verify($node, $email[0], undef, $db)->{sqlstate}, $sqlstate, "$db, $cause: outcome");
		is($api->calls($email[0]), 1, "$db, $cause: one call");
		is(status($node, 'state', $db), 'paused', "$db, $cause: state");
		is(verify($node, $email[1], undef, $db)->{sqlstate}, $sqlstate, "$db, $cause: the next are told the same");
		like(verify($node, $email[2], "on_error => 'unknown'", $db)->{out}, qr/^unknown\|unknown\|none\|/, "$db, $cause: a row on demand");
		is($api->calls($email[1]) + $api->calls($email[2]), 0, "$db, $cause: without a call");
		is(rows($db, "email LIKE 'valid-pause-$cause-%'"), 0, "$db, $cause: nothing stored");
		$api->clear($id);
		$node->reload;
		is(wait_until(60, sub { status($node, 'state', $db) eq 'running' }), 1, "$db, $cause: a reload ends the pause");
		is(verify($node, $email[3], undef, $db)->{out}, 'valid|yes|service|Success', "$db, $cause: and calls are made again");
	}

	# The same, as the sandbox itself sees its accounts.
	$api->config(credits => 0);
	is(verify($node, "valid-broke\@$db.test", undef, $db)->{sqlstate}, 'VC003', "$db, no credits: outcome");
	$api->config(credits => 1000000, daily_limit => 0);
	$node->reload;
	ok(wait_until(60, sub { status($node, 'state', $db) eq 'running' }), "$db: running again");
	is(verify($node, "valid-daily\@$db.test", undef, $db)->{sqlstate}, 'VC004', "$db, daily limit: outcome");
	$api->config(daily_limit => undef);
	$node->reload;
	ok(wait_until(60, sub { status($node, 'state', $db) eq 'running' }), "$db: running again");

	# A wrong token, put right without a reload.
	my $token = $api->token;
	$api->write_token_file('wrong' . $token);
	$node->reload;
	my $tries = 0;
	my $caller = wait_until(60, sub {
		my $try = verify($node, "valid-token-@{[ ++$tries ]}\@$db.test", undef, $db);
		return $try->{sqlstate} ne '' && $try;
	});
	is($caller->{sqlstate}, 'VC002', "$db, wrong token: outcome");
	unlike($caller->{err}, qr/\Q$token\E/, "$db, wrong token: not in the error");
	$api->write_token_file($token);
	ok(wait_until(60, sub { verify($node, "valid-token\@$db.test", undef, $db)->{out} =~ /^valid/ }),
		"$db, wrong token: replaced by a right one");
	is(wait_until(60, sub { status($node, 'state', $db) eq 'running' }), 1, "$db, right token: running");
	return;
}

# The nastiest, hundreds of times.
sub repeat
{
	my ($db, $times) = @_;
	my %faults = (
		reset => { kind => 'reset' },
		close => { kind => 'close' },
		garbage => { kind => 'raw', body => "SSH-2.0-OpenSSH_9.2\r\n" },
		cut => { kind => 'cut' },
		short => { kind => 'short', bytes => 50 },
		half => { kind => 'half' },
		huge => { kind => 'huge', megabytes => 400 },
		nested => { nested => 100000 },
		nul => { body => "\0" x 1000 },
		other => { body => answer("somebody-else\@$db.test") },
		redirect => { location => $elsewhere->url . '/' },
		headers => { limit => '9' x 1000, body => '' });

	foreach my $name (sort keys %faults)
	{
		$api->fault(%{ $faults{$name} });
		my $caller = call_sql($node,
			"SELECT count(*) FROM generate_series(1, $times) i,"
			  . " LATERAL clearout_verify('repeat-$name-' || i || '\@$db.test', on_error => 'unknown') v"
			  . " WHERE v.source = 'none'", $db);
		is($caller->{out}, $times, "$db, $name $times times: each with its outcome") or diag $caller->{err};
		is($api->calls("repeat-$name-7\@$db.test"), 1, "$db, $name $times times: one call each");
		$api->clear;
	}
	return;
}

my %databases = (
	utf8 => "ENCODING 'UTF8'",
	latin1 => "ENCODING 'LATIN1'",
	ascii => "ENCODING 'SQL_ASCII'");

foreach my $db (sort { $b cmp $a } keys %databases)
{
	$node->safe_psql('postgres', "CREATE DATABASE $db $databases{$db} LOCALE 'C' TEMPLATE template0");
	my $pid = create_extension($node, $db);

	ok($pid, "$db: there is a worker");

	# Until caches and buffers have the size that ordinary work takes.
	is(call_sql($node,
			"SET clearout.statement_limit = 0;"
			  . "SELECT count(*) FROM generate_series(1, 2000) i,"
			  . " LATERAL clearout_verify('valid-warm-' || i || '\@$db.test') v WHERE v.status = 'valid'", $db)->{out},
		2000, "$db: warmed up");
	my $before = rss_kb($pid);

	check_case($db, $_) foreach cases($db);
	check_wrong_types($db);
	check_shapes($db) if $db eq 'utf8';
	check_text($db);
	check_rate_headers($db);
	check_dead_connection($db);
	check_pauses($db);
	is(status($node, 'worker_pid', $db), $pid, "$db: the same worker");
	my $after = rss_kb($pid);
	cmp_ok($after - $before, '<=', $GROWTH_MAX, "$db: memory after the matrix");

	repeat($db, 300);
	is(status($node, 'worker_pid', $db), $pid, "$db: the same worker to the end");
	my $end = rss_kb($pid);
	cmp_ok($end - $before, '<=', $GROWTH_MAX, "$db: memory after repetitions");
	note "$db: resident $before kB before, $after kB after the matrix, $end kB at the end";

	is(rows($db, "email LIKE 'somebody-else%' OR email LIKE 'repeat-%' OR status NOT IN ('valid', 'invalid', 'catch_all', 'unknown')"),
		0, "$db: nothing wrong is stored");
	is(status($node, 'requests_waiting || calls_in_flight::text || answers_unstored || slots_used', $db),
		'0000', "$db: nothing is left over");
}
is($elsewhere->total_calls, 0, 'no redirect was followed');

# Nobody there: asked again with backoff, and found when it is back.
{
	my $calls = status($node, 'calls', 'utf8');
	$api->crash;
	my $caller = verify($node, 'valid-refused@utf8.test', undef, 'utf8');
	is($caller->{sqlstate}, 'VC007', 'connection refused: outcome');
	like($caller->{message}, qr/cannot be reached/, 'connection refused: message');
	is(status($node, 'calls', 'utf8') - $calls, $ATTEMPTS, 'connection refused: attempts');
	like(verify($node, 'valid-refused@utf8.test', "on_error => 'unknown'", 'utf8')->{out}, qr/^unknown\|/, 'connection refused: a row on demand');
	my $waiting = start_caller($node, "SET clearout.wait_timeout = '60s'; SELECT status FROM clearout_verify('valid-refused\@utf8.test')", 'utf8');
	$api->start;
	finish_callers(90, $waiting);
	is(verify($node, 'valid-refused@utf8.test', undef, 'utf8')->{out} =~ /^valid/, 1, 'and again when it is back');
}
$node->stop;

# TLS: the certificate is looked at.
SKIP:
{
	my $dir = File::Temp->newdir;
	my $self_signed = 'openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost';

	skip 'needs openssl', 1
	  if system("$self_signed -addext subjectAltName=IP:127.0.0.1 -keyout $dir/key -out $dir/cert 2>/dev/null")
	  || system("$self_signed -addext subjectAltName=IP:127.0.0.2 -keyout $dir/key2 -out $dir/cert2 2>/dev/null");
	my $tls = ClearoutSandbox->new(tls_cert => "$dir/cert", tls_key => "$dir/key", limit => 1000000);
	my $secure = start_node('tls', $tls, settings => { max_attempts => 3 });
	my $pid = worker_pid($secure);
	my $trust = sub {
		my ($file) = @_;
		$secure->safe_psql('postgres', "ALTER SYSTEM SET clearout.ca_file = '$file'");
		$secure->reload;
		# another certificate means another worker
		$pid = wait_until(60, sub { my $new = status($secure, 'worker_pid'); $new && $new ne $pid && $new });
		return $pid;
	};

	my $caller = verify($secure, 'valid-1@x.test');
	is($caller->{sqlstate}, 'VC007', 'TLS: an unknown certificate is refused');
	like($caller->{message}, qr/cannot be reached/, 'TLS: message');
	is($tls->total_calls, 0, 'TLS: nothing was sent');
	is(status($secure, 'worker_pid'), $pid, 'TLS: the same worker');

	ok($trust->("$dir/cert"), 'TLS: with ca_file');
	is(verify($secure, 'valid-1@x.test')->{out}, 'valid|yes|service|Success', 'TLS: the same certificate is fine then');
	is($tls->calls('valid-1@x.test'), 1, 'TLS: one call');
	foreach my $kind (qw(reset close cut long))
	{
		$tls->fault(kind => $kind);
		is(verify($secure, "valid-$kind\@x.test")->{sqlstate}, 'VC007', "TLS, $kind: outcome");
		is($tls->calls("valid-$kind\@x.test"), 1, "TLS, $kind: one call");
		$tls->clear;
	}
	$tls->fault(kind => 'dead');
	foreach my $i (1 .. 4)
	{
		verify($secure, "valid-dead-$i\@x.test");
		is($tls->calls("valid-dead-$i\@x.test"), 1, "TLS, dead connection: call $i was made once");
	}
	$tls->clear;
	is(status($secure, 'worker_pid'), $pid, 'TLS: the same worker after faults');

	# A certificate for somebody else, although it is trusted.
	my $impostor = ClearoutSandbox->new(tls_cert => "$dir/cert2", tls_key => "$dir/key2", token => $tls->token);
	$secure->safe_psql('postgres', "ALTER SYSTEM SET clearout.base_url = '@{[ $impostor->url ]}'");
	ok($trust->("$dir/cert2"), 'TLS: another server');
	is(verify($secure, 'valid-2@x.test')->{sqlstate}, 'VC007', 'TLS: a certificate for another host is refused');
	is($impostor->total_calls, 0, 'TLS: nothing was sent to it');
	$secure->stop;
}

done_testing();
