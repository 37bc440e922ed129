# The sandbox's lists: upload, progress, result, cancel, remove.  Needs no
# PostgreSQL.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use IO::Socket::INET;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

my @columns = (
	'Clearout Safe to Send', 'Clearout Verification Status', 'Clearout Reason',
	'Clearout Suggested Email', 'Clearout Bounce Type', 'Clearout Disposable Status',
	'Clearout Free Account Status', 'Clearout Role Account Status', 'Clearout Gibberish Status',
	'Clearout Account', 'Clearout Domain', 'Clearout MX Record', 'Clearout SMTP Provider',
	'Clearout Verified At (UTC)', 'Clearout Time Taken (ms)');
my $api = ClearoutSandbox->new;

sub upload { return $api->upload('/email_verify/bulk', @_) }

# The id of an upload that must have worked.
sub uploaded
{
	my $answer = upload(@_);

	like($answer->{json}{data}{list_id} // '', qr/^[0-9a-f]{24}$/, "uploaded: $_[0]") or diag $answer->{content};
	return $answer->{json}{data}{list_id};
}

sub progress
{
	my ($id) = @_;
	my $data = $api->call('GET', "/email_verify/bulk/progress_status?list_id=$id")->{json}{data};

	die "no progress of $id" unless $data;
	return "$data->{progress_status} $data->{percentile}";
}

sub wait_until
{
	my ($id, $state) = @_;
	my $end = time + 120;
	my $seen;

	sleep 0.01 while ($seen = progress($id)) !~ /^$state / && time < $end;
	return is($seen, "$state 100", "it is $state");
}

sub post
{
	my ($path, $id, %more) = @_;
	return $api->call('POST', $path, json => { list_id => $id, %more });
}

sub code { return $_[0]{json}{error}{code} // "HTTP $_[0]{status} " . ($_[0]{json}{status} // '') }

sub url { return post('/download/result', $_[0])->{json}{data}{url} }
sub get { return $api->call('GET', $_[0], headers => { Authorization => undef, %{ $_[1] || {} } }) }

# Records of fields.
sub parse
{
	my ($text) = @_;
	my @records = ([]);

	while ($text =~ /\G(?:"((?:[^"]|"")*)"|([^,"\r\n]*))(,|\r?\n|\z)/g)
	{
		my ($value, $end) = (defined $1 ? $1 : $2, $3);

		$value =~ s/""/"/g;
		push @{ $records[-1] }, $value;
		last if $end eq '' || pos($text) == length $text;
		push @records, [] if $end ne ',';
	}
	return @records;
}

my $csv = "\x{ef}\x{bb}\x{bf}Name, Email ,Note\r\n"
  . "Jane,valid-1\@x.test,\"a, \"\"b\"\"\nc\"\r\n"
  . "\r\n"
  . "Joe,\"invalid-1\@x.test\",\r\n"
  . "Jim, unknown-1\@x.test ,x\r\n"
  . "Jane again,VALID-1\@x.test,\r\n"
  . "Test,catch_all\@example.com,\r\n"
  . "Nobody,,\r\n";

subtest 'life of a list' => sub {
	my $id = uploaded('my list.csv', $csv, optimize => 'fastest_turnaround');
	wait_until($id, 'completed');
	my ($list) = $api->lists('my list.csv');
	is("$list->{rows} $list->{processed} $list->{charged} $list->{state}", '6 6 2 completed', 'its counters');
	is(join(' ', map { $api->charged($_) } qw(valid-1@x.test VALID-1@x.test unknown-1@x.test catch_all@example.com)),
		'1 0 0 0', 'duplicates, unknown and test addresses cost nothing');
	is($api->rows('invalid-1@x.test'), 1, 'row counted');
	is($api->calls('invalid-1@x.test'), 0, 'that is no instant call');
	is($api->stats->{credits}, 99998, 'credits');

	my $url = url($id);
	like($url, qr{^http://127\.0\.0\.1:\d+/results/$id/my%20list_clearout_results\.csv\?Expires=\d+&Signature=}, 'URL');
	my $answer = get($url);
	is("$answer->{status} $answer->{headers}{'content-type'}", '200 text/csv', 'download');
	is($answer->{headers}{'x-ratelimit-limit'}, undef, 'no rate headers');
	my @records = parse($answer->{content});
	is_deeply(shift @records, [ 'Name', ' Email ', 'Note', @columns ], 'header: original columns first');
	is_deeply([ map { scalar @$_ } @records ], [ (18) x 6 ], 'as many fields in each row');
	is($records[0][2], "a, \"b\"\nc", 'original fields stay');
	is(join('|', @{ $records[0] }[ 3 .. 15 ]), 'Yes|Valid|Success|||No|No|No|No|valid-1|x.test|' . join('|', @{ $records[0] }[ 14, 15 ]), 'valid');
	is(join('|', @{ $records[1] }[ 3 .. 7 ]), 'No|Invalid|Mailbox Not Found||Hard', 'invalid');
	is(join('|', @{ $records[2] }[ 3 .. 5 ]), 'Unknown|Unknown|Undeterminable', 'unknown');
	is(join('|', @{ $records[4] }[ 3 .. 5 ]), 'Risky|Catch All|Catch All Mail Server', 'catch-all');
	is(join('|', @{ $records[5] }[ 3 .. 5 ]), 'No|Invalid|Syntax Error', 'no address');
	like($records[0][16], qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'time');
	like($records[0][17], qr/^\d+$/, 'time taken');

	is(get($url, { Authorization => 'Bearer ' . $api->token })->{status}, 400, 'with a token it is refused');
	(my $wrong = $url) =~ s/Signature=.*/Signature=0123456789abcdef/;
	is(get($wrong)->{status}, 403, 'with another signature too');
	(my $later = $url) =~ s/Expires=(\d+)/'Expires=' . ($1 + 1000)/e;
	is(get($later)->{status}, 403, 'or another time');
	is(get($url =~ s/results\/.{24}/results\/000000000000000000000000/r)->{status}, 404, 'no such result');
	is(($api->lists('my list.csv'))[0]{downloads}, 1, 'downloads counted');

	is(code(post('/email_verify/list/cancel', $id)), 1116, 'too late to cancel');
	my $data = post('/email_verify/list/remove', $id)->{json}{data};
	is("$data->{list_id} $data->{name} $data->{source}", "$id my list.csv upload", 'removed');
	like($data->{created_on}, qr/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z$/, 'created_on');
	is(code(post($_, $id)), 1029, "gone: $_") foreach '/download/result', '/email_verify/list/cancel', '/email_verify/list/remove';
	is(code($api->call('GET', "/email_verify/bulk/progress_status?list_id=$id")), 1008, 'gone: progress');
	is(get($url)->{status}, 404, 'gone: result');
	ok(($api->lists('my list.csv'))[0]{removed}, 'but not forgotten');
};

subtest 'uploads refused' => sub {
	$api->reset;
	is(upload('a.xlsx', $csv)->{json}{error}{reasons}[0]{field}[0], 'file', 'no CSV');
	foreach my $bad ("Name,Mail\nx,a\@b.test\n", "Email\n", "Email\n\n \n", '', "a\@b.test\n")
	{
		is(code(upload('a.csv', $bad)), 1004, 'no addresses: ' . ($bad =~ s/\n/ /gr));
	}
	foreach my $name ('Email', 'emails', 'EMAIL ADDRESS', 'Emailaddress', '"Email"')
	{
		ok(upload("$name.csv" =~ tr/"//dr, "$name\na\@b.test")->{json}{data}{list_id}, "header $name");
		$api->list(finish => 1);
	}
	my $answer = $api->call('POST', '/email_verify/bulk', headers => { 'Content-Type' => 'multipart/form-data; boundary=edge' },
		content => "--edge\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nEmail\na\@b.test\r\n--edge--\r\n");
	is_deeply($answer->{json}{error}{reasons}, [ { field => ['file'], messages => ['"file" is required'], types => ['any.required'] } ], 'without a file name');
	is($api->call('POST', '/email_verify/bulk', json => { emails => ['a@b.test'] })->{status}, 415, 'JSON');
	$answer = $api->call('POST', '/email_verify/bulk', headers => { 'Content-Type' => 'multipart/form-data; boundary=edge' },
		content => "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\nEmail\na\@b.test");
	is($answer->{status}, 400, 'cut short');
	is(upload('b.csv', $csv, optimize => 'best')->{status}, 400, 'wrong optimize');
	is(upload('b.csv', $csv, ignore_duplicate_file => 'yes')->{status}, 400, 'wrong ignore_duplicate_file');
	is(upload('b.csv', $csv, list_name => 'x')->{status}, 400, 'unknown field');
	$api->config(unknown_parameters => 'ignore');
	is(upload('b.csv', $csv, list_name => 'x')->{json}{status}, 'success', 'that may be ignored');
	is(upload('b.csv', $csv)->{status}, 400, 'the same name and size again');
	is(upload('b.csv', $csv, ignore_duplicate_file => 'true')->{json}{status}, 'success', 'unless it may be');
	is(upload('b.csv', $csv . "x,y\@z.test,\n")->{json}{status}, 'success', 'another size is another file');
	is($api->upload('/email_verify/bulk', 'b.csv', $csv)->{status}, 400, 'still');

	$api->reset;
	$api->config(bulk_speed => 0, bulk_lists => 2);
	uploaded("$_.csv", $csv) foreach 1 .. 2;
	is(code(upload('3.csv', $csv)), 1001, 'too many lists');
	$api->list(name => '1.csv', finish => 1);
	uploaded('3.csv', $csv);
	$api->config(bulk_lists => undef, credits => 5);
	is(code(upload('4.csv', $csv)), 1028, 'credits for five rows of six');
	is(upload('4.csv', $csv)->{status}, 402, 'is 402');
	$api->config(credits => 0);
	is(code(upload('4.csv', $csv)), 1002, 'no credits');
	$api->config(credits => 9, daily_limit => 0);
	is(code(upload('4.csv', $csv)), 1017, 'daily limit');
	is($api->stats->{lists}, 3, 'accepted');
	my $small = ClearoutSandbox->new(args => ['--max-upload=100']);
	is($small->upload('/email_verify/bulk', 'x.csv', $csv)->{status}, 413, 'too large');
	is($small->upload('/email_verify/bulk', 'x.csv', "Email\na\@b.test")->{status}, 200, 'small enough');
};

subtest 'requests refused' => sub {
	$api->reset;
	my $id = uploaded('a.csv', $csv);
	my $token = 'another';
	$api->config(token => $token, credits => 5);
	foreach my $path ('/download/result', '/email_verify/list/cancel', '/email_verify/list/remove')
	{
		my $answer = $api->call('POST', $path, json => {});
		is($answer->{json}{error}{reasons}[0]{messages}[0], '"list_id" is required', "$path: no list_id");
		is(post($path, '')->{status}, 400, 'empty');
		is(post($path, 5)->{json}{error}{reasons}[0]{types}[0], 'string.base', 'a number');
		is(post($path, $id, more => 1)->{status}, 400, 'something unknown');
		is(code(post($path, 'x' x 24)), 1029, 'no such list');
		is(code($api->call('POST', $path, json => { list_id => $id }, headers => { Authorization => $token })), 1029, 'of somebody else');
		is($api->call('POST', $path, content => '{}', headers => { 'Content-Type' => 'text/plain' })->{status}, 415, 'content type');
	}
	my $path = '/email_verify/bulk/progress_status';
	my $reason = $api->call('GET', $path)->{json}{error}{reasons}[0];
	is("$reason->{location} $reason->{messages}[0]", 'query "list_id" is required', 'progress without list_id');
	is($api->call('GET', "$path?list_id=")->{status}, 400, 'empty');
	is($api->call('GET', "$path?list_id=$id&x=1")->{status}, 400, 'something unknown');
	is(code($api->call('GET', "$path?list_id=$id", headers => { Authorization => $token })), 1008, 'of somebody else');
	is(post('/email_verify/list/remove', $id, ignore_result => 'true')->{status}, 400, 'ignore_result is a boolean');
	is(code(post('/email_verify/list/remove', $id)), 1029, 'not downloaded');
	is(post('/email_verify/list/remove', $id, ignore_result => JSON::PP::true)->{json}{status}, 'success', 'told to remove it all the same');
};

subtest 'progress' => sub {
	$api->reset;
	$api->config(bulk_speed => 0);
	my $id = uploaded('slow.csv', $csv);
	is(progress($id), 'running 0', 'it stands');
	is(code(post('/download/result', $id)), 1029, 'no result yet');
	is(code(post('/email_verify/list/remove', $id)), 1029, 'cannot be removed');
	$api->config(bulk_speed => 20);
	my $start = time;
	wait_until($id, 'completed');
	cmp_ok(time - $start, '<', 60, 'it goes on');

	$id = uploaded('slow2.csv', join("\n", 'Email', map { "valid-$_\@slow.test" } 1 .. 20));
	my %seen;
	my $end = time + 120;
	while (time < $end)
	{
		my $now = progress($id);
		$seen{$now}++;
		last if $now eq 'completed 100' && keys %seen > 5;
		# it was done while we did not look: another one
		$id = uploaded('slow2.csv', join("\n", 'Email', map { "valid-$_\@slow.test" } 1 .. 20)) if $now eq 'completed 100';
		sleep 0.02;
	}
	cmp_ok(scalar keys %seen, '>', 5, 'percents: ' . join ', ', sort keys %seen);
	$api->list(name => 'slow2.csv', say => 'reticulating', percent => 42);
	is(progress($id), 'reticulating 42', 'any word and percent');
	$api->list(name => 'slow2.csv', say => undef, percent => undef);
	is(progress($id), 'completed 100', 'the true ones again');

	$api->config(bulk_speed => undef, bulk_delay => [ 3000, 3000 ], result_delay => 3000);
	$start = time;
	$id = uploaded('delayed.csv', $csv);
	is(progress($id), 'running 0', 'delayed');
	wait_until($id, 'completed');
	cmp_ok(time - $start, '>=', 2.9, 'by that much');
	is(code(post('/download/result', $id)), 1029, 'completed, but no result yet');
	$end = time + 60;
	my $url;
	sleep 0.02 while !($url = url($id)) && time < $end;
	ok($url, 'a moment later there is');

	$api->config(result_life => 3000);
	$url = url($id);
	is(get($url)->{status}, 200, 'URL in time');
	sleep 3.1;
	my $answer = get($url);
	is($answer->{status}, 403, 'URL expired');
	like($answer->{content}, qr/<Code>AccessDenied</, 'XML');
	is(get(url($id))->{status}, 200, 'another one');
	$api->list(list_id => $id, expire => 1);
	is(code(post('/download/result', $id)), 1007, 'result expired');
	is(progress($id), 'completed 100', 'still known');

	$api->config(bulk_delay => 0, result_delay => 0, retention => 100);
	$id = uploaded('short-lived.csv', $csv);
	wait_until($id, 'completed');
	sleep 0.2;
	is(code(post('/download/result', $id)), 1007, 'deleted by itself');
};

subtest 'cancel' => sub {
	$api->reset;
	$api->config(bulk_speed => 10, cancel_delay => 3000);
	my $id = uploaded('c.csv', join("\n", 'Email', map { "valid-$_\@cancel.test" } 1 .. 500));
	my $end = time + 60;
	sleep 0.02 while ($api->lists)[0]{processed} < 3 && time < $end;
	my $data = post('/email_verify/list/cancel', $id)->{json}{data};
	is("$data->{list_id} $data->{name} $data->{source}", "$id c.csv upload", 'cancelled');
	is((split / /, progress($id))[0], 'running', 'takes its time');
	is(code(post('/email_verify/list/cancel', $id)), 1116, 'once is enough');
	wait_until($id, 'cancelled');
	my ($list) = $api->lists;
	cmp_ok($list->{charged}, '<', 400, "charged: $list->{charged}");
	is($list->{charged}, $list->{processed}, 'what was processed');
	my @records = parse(get(url($id))->{content});
	my @cancelled = grep { $_->[3] eq 'Request cancelled' } @records;
	is(scalar @records, 501, 'all rows in the result');
	is(scalar @cancelled, 500 - $list->{processed}, 'the rest is cancelled');
	is("$cancelled[0][1] $cancelled[0][2]", 'Unknown Unknown', 'and unknown');
	is($api->charged($cancelled[0][0]), 0, 'and costs nothing');
};

subtest 'lists of lists' => sub {
	$api->reset;
	$api->config(bulk_lists => undef);
	my @ids = map { uploaded("l$_.csv", $csv) } 1 .. 12;
	my $page = sub { return $api->call('POST', '/email_verify/list', json => {@_})->{json} };

	wait_until($ids[-1], 'completed');
	$api->list(finish => 1);
	my $first = $page->(start_after => undef);
	is(scalar @{ $first->{data} }, 10, 'ten by default');
	is("$first->{data}[0]{name} $first->{data}[0]{list_id}", "l12.csv $ids[-1]", 'youngest first');
	is("$first->{page_info}{limit} $first->{page_info}{last_cursor}", "10 $ids[2]", 'page_info');
	ok($first->{page_info}{has_more}, 'there are more');
	my $second = $page->(start_after => $first->{page_info}{last_cursor}, limit => 5);
	is(join(' ', map { $_->{name} } @{ $second->{data} }), 'l2.csv l1.csv', 'the rest');
	ok(!$second->{page_info}{has_more}, 'no more');
	is(scalar @{ $page->(filter => { verified => 'in_progress' })->{data} }, 0, 'filter: state');
	is(scalar @{ $page->(filter => { verified => 'verified', type => 'upload', date_range => 'ps_today' }, limit => 100)->{data} }, 12, 'filter: all that fit');
	is(scalar @{ $page->(filter => { date_range => 'ps_yesterday' })->{data} }, 0, 'filter: date');
	is($page->(filter => { date_range => 'ps_tomorrow' })->{status}, 'failed', 'filter: unknown word');
	is($page->(limit => $_)->{status}, 'failed', "limit $_") foreach 0, 101, '5';
	is($page->(start_after => 5)->{status}, 'failed', 'start_after is a string');
	$api->config(optional_endpoints => 0);
	is($api->call('POST', '/email_verify/list', json => {})->{status}, 404, 'accounts that lack it');
};

subtest 'odd results' => sub {
	$api->reset;
	my $n = 0;
	my $result = sub {
		my $id = uploaded('odd' . ++$n . '.csv', "id,Email\n" . join('', map { "$_,valid-$_\@odd.test\n" } 1 .. 7));
		wait_until($id, 'completed');
		return get(url($id))->{content};
	};

	$api->config(result_order => 'mixed', result_header => 'upper', result_bom => 1, result_line_end => 'crlf', result_extra => 1);
	my $text = $result->();
	like($text, qr/^\xef\xbb\xbf/, 'BOM');
	is(scalar(() = $text =~ /\r\n/g), 8, 'CRLF');
	my @records = parse(substr $text, 3);
	is_deeply([ sort @{ $records[0] } ], [ sort 'id', 'Email', 'Clearout AI Verdict', map { uc } @columns ], 'the same columns');
	isnt($records[0][0], 'id', 'in another order');
	my %at = map { $records[0][$_] => $_ } 0 .. $#{ $records[0] };
	is("$records[7][$at{id}] $records[7][$at{Email}] $records[7][$at{'CLEAROUT VERIFICATION STATUS'}] $records[7][$at{'CLEAROUT ACCOUNT'}]",
		'7 valid-7@odd.test Valid valid-7', 'and the values with them');
	$api->config(result_order => 'documented', result_header => 'mixed', result_bom => 0, result_line_end => 'lf', result_extra => 0,
		result_line_breaks => 1, result_bad_row => 5, result_time => 'blank');
	$text = $result->();
	@records = parse($text);
	is($records[0][2], 'ClEaRoUt sAfE To sEnD', 'mixed letters');
	is($records[3][4], "Success,\n\"Success\"", 'line break within quotes');
	is(scalar @records, 8, 'no row more for that');
	is($records[5][4], "Success \xe9t\xe9", 'not UTF-8');
	like($records[1][15], qr/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/, 'time with a blank');
};

subtest 'faults' => sub {
	$api->reset;
	my $id = uploaded('f.csv', join("\n", 'Email', map { "valid-$_\@fault.test" } 1 .. 2000));
	wait_until($id, 'completed');
	my $whole = get(url($id))->{content};
	my $try = sub { $api->fault(endpoint => 'download', times => 1, @_); return get(url($id)) };

	is($try->(kind => 'half')->{content}, substr($whole, 0, length($whole) / 2), 'half of it, as if that were all');
	# HTTP::Tiny repeats a GET once where the stream ends too soon
	is($try->(kind => 'cut', bytes => 50000, times => 2)->{status}, 599, 'cut short');
	is($try->(kind => 'cut', bytes => 50000, end => 'reset')->{status}, 599, 'reset within');
	is($try->(kind => 'long', bytes => 7, times => 2)->{status}, 599, 'length too large');
	is($try->(kind => 'short', bytes => 1000, end => 'close')->{content}, substr($whole, 0, -1000), 'length too small');
	is($try->(kind => 'drip', bytes => 100000, interval_ms => 20)->{content}, $whole, 'drip');
	is($try->(chunked => 1)->{content}, $whole, 'in chunks');
	is($try->(status => 503)->{status}, 503, 'status');
	is($try->(body => "Email\nx\n", content_type => 'text/html')->{content}, "Email\nx\n", 'another body');
	my $bytes = 0;
	my $end = '';
	$api->fault(endpoint => 'download', kind => 'huge', megabytes => 30, chunked => 1, times => 1);
	$api->call('GET', url($id), headers => { Authorization => undef },
		data_callback => sub { $bytes += length $_[0]; $end = substr($end . $_[0], -100000) });
	is($bytes, 30 << 20, 'endless');
	my @rows = grep { /^valid-\d+\@fault\.test,Yes,Valid,/ } split /\n/, $end;
	cmp_ok(scalar @rows, '>', 500, 'with rows that are well formed');
	is($api->stats->{lists}, 1, 'one list all the time');

	my %path = (progress => '/email_verify/bulk/progress_status?list_id=' . $id, result => '/download/result');
	$api->fault(endpoint => 'prog*', subject => 'f.csv', code => 1017, times => 1);
	is(code($api->call('GET', $path{progress})), 1017, 'by endpoint and list');
	$api->fault(endpoint => 'progress', subject => 'other.csv', code => 1017);
	is(code($api->call('GET', $path{progress})), 'HTTP 200 success', 'of another list');
	$api->clear;
	$api->fault(endpoint => 'upload', status => 500, processed => 1, times => 1);
	is(upload('g.csv', $csv)->{status}, 500, 'answer lost');
	is(scalar $api->lists('g.csv'), 1, 'but the list is there');
	$api->fault(endpoint => 'upload', status => 500, times => 1);
	upload('h.csv', $csv);
	is(scalar $api->lists('h.csv'), 0, 'this one is not');
};

subtest 'hold' => sub {
	$api->reset;
	my $ask = sub {
		my ($head, $body) = @_;
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $api->port) or die "connect: $!";
		print $socket "$head HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: " . $api->token . "\r\n"
		  . "Content-Length: " . length($body) . "\r\n";
		print $socket 'Content-Type: ' . ($body =~ /^--edge/ ? 'multipart/form-data; boundary=edge' : 'application/json') . "\r\n\r\n$body";
		return $socket;
	};
	my $form = sub { return "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"$_[0]\"\r\n\r\n$csv\r\n--edge--\r\n" };
	my $all = sub { my ($socket) = @_; local $/; return <$socket> };

	$api->hold(endpoint => $_) foreach qw(upload result);
	my $socket = $ask->('POST /v2/email_verify/bulk', $form->('held.csv'));
	ok($api->wait_for(held => 1), 'upload held');
	my ($list) = $api->lists('held.csv');
	is($list->{rows}, 6, 'the list is there, the answer not');
	is($api->release(endpoint => 'result'), 0, 'another endpoint');
	is($api->release(endpoint => 'upload'), 1, 'released');
	like($all->($socket), qr/$list->{list_id}/, 'answered');
	$api->release;
	wait_until($list->{list_id}, 'completed');

	my $body = "{\"list_id\":\"$list->{list_id}\"}";
	foreach my $call (
		[ 'progress', "GET /v2/email_verify/bulk/progress_status?list_id=$list->{list_id}", '' ],
		[ 'result', 'POST /v2/download/result', $body ],
		[ 'download', 'GET ' . (url($list->{list_id}) =~ s{^http://[^/]+}{}r), '' ],
		[ 'lists', 'POST /v2/email_verify/list', '{}' ],
		[ 'remove', 'POST /v2/email_verify/list/remove', "{\"list_id\":\"$list->{list_id}\",\"ignore_result\":true}" ],
		[ 'cancel', 'POST /v2/email_verify/list/cancel', $body ])
	{
		my ($name, $head, $content) = @$call;
		$api->hold(endpoint => $name, $name eq 'lists' || $name eq 'cancel' ? () : (subject => 'held.csv'));
		my $socket = $ask->($head, $content);
		ok($api->wait_for(held => 1), "$name held");
		is($api->release, 1, "$name released");
		like($all->($socket), qr{^HTTP/1.1 }, "$name answered");
	}
};

subtest 'many rows' => sub {
	$api->reset;
	$api->config(credits => 1_000_000, remember => 0);
	my $status = sub { open my $fh, '<', '/proc/' . $api->pid . '/status' or die $!; return join '', <$fh> };
	my ($before) = $status->() =~ /VmRSS:\s+(\d+)/;
	my $id = uploaded('many.csv', join("\n", 'Email', map { "user$_\@many.test" } 1 .. 200_000));
	wait_until($id, 'completed');
	my ($lines, $last) = (0, '');
	my $start = time;
	my $bytes = 0;
	$api->call('GET', url($id), headers => { Authorization => undef },
		data_callback => sub { $lines += $_[0] =~ tr/\n//; $bytes += length $_[0] });
	is($lines, 200_001, 'all rows');
	my ($after, $peak) = ($status->() =~ /VmRSS:\s+(\d+)/, $status->() =~ /VmHWM:\s+(\d+)/);
	note sprintf '%.0f MB at %.0f MB/s; %d kB before, %d after, %d at most', $bytes / 1e6, $bytes / 1e6 / (time - $start), $before, $after, $peak;
	cmp_ok($after - $before, '<', 4096, 'memory is flat');
	cmp_ok($peak - $before, '<', 16384, 'and was never large');
	is($api->address_stats->{distinct}, 0, 'nothing remembered');
};

is($api->log, '', 'nothing on standard error');

done_testing();
