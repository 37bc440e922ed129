# What can go wrong with a bulk job, at the service, on the way, and here.

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

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 10_000_000, bulk_lists => undef);
my $node = clearout_node('main', $api, request_timeout => '5s', bulk_max_bytes => '1MB',
	conf => "log_statement = none\n");
my $round = 0;
my $PATIENCE = 180;				# seconds; far more than a slow machine needs

sub sql { return value_of($node, @_) }

sub job_state
{
	my ($job, $state) = @_;
	my $ok = wait_until($PATIENCE, sub { sql("SELECT state FROM clearout_jobs WHERE job = $job") eq $state });

	diag(show_job($job)) unless $ok;
	return $ok;
}

# Whether it comes to say that this hinders it.
sub job_says
{
	my ($job, $what) = @_;
	my $ok = wait_until($PATIENCE, sub { error_text($job) =~ $what });

	diag(show_job($job)) unless $ok;
	return $ok;
}

sub show_job { return sql("SELECT row_to_json(j) FROM clearout_jobs j WHERE job = $_[0]") }

# A job with so many addresses, which are round-N-1@x.test and so on.
sub order
{
	my ($rows, $more) = @_;
	$round++;
	return sql("SELECT clearout_bulk_verify('SELECT ''round-$round-'' || i || ''\@x.test'' FROM generate_series(1, $rows) i'" . ($more // '') . ')');
}

sub stored { return sql("SELECT count(*) FROM clearout_results WHERE email LIKE 'round-$round-%'") }
sub counts { return sql("SELECT rows_answered, rows_unanswered, rows_broken FROM clearout_jobs WHERE job = $_[0]") }
sub error_text { return sql("SELECT coalesce(error, '') FROM clearout_jobs WHERE job = $_[0]") }
sub calls { return $api->stats->{by_endpoint}{ $_[0] } }

subtest 'a result that is cut short' => sub {
	foreach my $fault ([ cut => end => 'reset' ], [ cut => end => 'close' ], [ cut => chunked => JSON::PP::true() ], ['half'], [ 'long', bytes => 100 ])
	{
		my ($kind, %more) = @$fault;
		my $name = join ' ', @$fault;
		my $downloads = calls('download');

		$api->fault(endpoint => 'download', kind => $kind, %more, times => 1);
		my $job = order(4000);
		ok(job_state($job, 'done'), "$name: done in the end");
		is(counts($job), '4000|0|0', "$name: with all rows");
		is(stored(), 4000, "$name: stored");
		cmp_ok(calls('download') - $downloads, '>=', 2, "$name: fetched again");
		$api->clear;
	}
	# it stays short: it is said, and not taken for all
	$api->fault(endpoint => 'download', kind => 'half');
	my $job = order(1000);
	ok(job_state($job, 'done'), 'always half: it comes to an end');
	my ($answered, $unanswered, $broken) = split /\|/, counts($job);
	cmp_ok($answered, '<', 700, 'always half: half is answered');
	is($answered + $unanswered, 1000, 'always half: what is missing is counted');
	is(sql("SELECT count(*) FROM clearout_spool WHERE job = $job"), $unanswered, 'always half: and named in clearout_spool');
	$api->clear;
};

subtest 'a result that is too large' => sub {
	foreach my $chunked (0, 1)
	{
		$api->fault(endpoint => 'download', kind => 'huge', megabytes => 64, $chunked ? (chunked => JSON::PP::true()) : ());
		my $job = order(1000);
		ok(job_state($job, 'failed'), 'failed');
		like(error_text($job), qr/longer than clearout\.bulk_max_bytes, 1 MB/, 'and says why');
		my $size = 0;
		$size += -s $_ foreach glob($node->data_dir . '/base/pgsql_tmp/*');
		cmp_ok($size, '<', 3_000_000, 'the disk is not filled');
		$api->clear;
	}
	is(sql(q{SELECT state FROM clearout_status}), 'running', 'the worker works on');
};

subtest 'the URL of the result' => sub {
	# expired: asked for anew
	$api->fault(endpoint => 'download', status => 403, times => 2);
	my $results = calls('result');
	my $job = order(100);
	ok(job_state($job, 'done'), 'refused twice: done in the end');
	is(calls('result') - $results, 3, 'a new one was asked for each time');
	$api->clear;

	# not ready yet
	$api->config(result_delay => 1500);
	$job = order(100);
	ok(job_state($job, 'done'), 'not ready at once: done in the end');
	$api->config(result_delay => 0);

	foreach my $url ('http://example.com/x', 'ftp://127.0.0.1/x', 'https://user@127.0.0.1/', 'file:///etc/passwd', '')
	{
		$api->fault(endpoint => 'result', body => { status => 'success', data => { url => $url } });
		$job = order(3);
		if ($url eq '')
		{
			ok(job_says($job, qr/not understood/), 'no URL: tried again');
			$api->clear;
			ok(job_state($job, 'done'), 'and done in the end');
			next;
		}
		ok(job_state($job, 'failed'), "$url: refused");
		like(error_text($job), qr/URL cannot be used/, 'and says why');
		$api->clear;
	}
	# a redirect is not followed
	$api->fault(endpoint => 'download', location => 'http://127.0.0.1:1/', times => 1);
	$job = order(3);
	ok(job_state($job, 'done'), 'a redirect: asked for anew');
	$api->clear;
	ok(!(grep { defined $_->{authorization} } grep { ($_->{endpoint} // '') eq 'download' } @{ $api->requests }), 'no token was sent there');
};

subtest 'upload and its answer' => sub {
	# accepted, and the answer lost: found by its name, not sent again
	foreach my $fault ([ kind => 'reset' ], [ kind => 'close' ], [ status => 502 ], [ status => 408 ], [ body => 'nonsense' ], [ kind => 'half' ])
	{
		my %fault = @$fault;
		my ($uploads, $lists) = (calls('upload'), scalar(my @a = $api->lists));

		$api->fault(endpoint => 'upload', processed => JSON::PP::true(), times => 1, %fault);
		my $job = order(50);
		ok(job_state($job, 'done'), "@$fault: done");
		is(calls('upload') - $uploads, 1, "@$fault: uploaded once");
		is(scalar(my @b = $api->lists) - $lists, 1, "@$fault: one list");
		$api->clear;
	}
	# lost before it was accepted: not found, and sent again
	my $uploads = calls('upload');
	$api->fault(endpoint => 'upload', kind => 'close', processed => JSON::PP::false(), times => 1);
	my $job = order(50);
	ok(job_state($job, 'done'), 'not accepted: done');
	is(calls('upload') - $uploads, 2, 'not accepted: sent again');
	is(scalar(grep { $_->{rows} == 50 && !$_->{removed} } ($api->lists)[-1]), 1, 'not accepted: one list of it');
	$api->clear;

	# Where the account cannot be asked, a user decides.
	$api->config(optional_endpoints => JSON::PP::false());
	$api->fault(endpoint => 'upload', kind => 'close', processed => JSON::PP::true(), times => 1);
	$job = order(50);
	ok(job_state($job, 'held'), 'cannot be looked for: held');
	like(error_text($job), qr/answer to its upload was lost.*"clearout-[^"]+\.csv".*clearout_bulk_resolve/, 'and says what to do');
	sleep 1;
	is(sql("SELECT state FROM clearout_jobs WHERE job = $job"), 'held', 'and waits');
	is(sqlstate($node, "SELECT clearout_bulk_resolve($job, 2, 'x')"), '55000', 'no such part');
	my $id = ($api->lists)[-1]{list_id};
	$uploads = calls('upload');
	sql("SELECT clearout_bulk_resolve($job, 1, '$id')");
	ok(job_state($job, 'done'), 'told the list: done');
	is(calls('upload'), $uploads, 'without another upload');

	$api->fault(endpoint => 'upload', kind => 'close', processed => JSON::PP::false(), times => 1);
	$job = order(50);
	ok(job_state($job, 'held'), 'held again');
	sql("SELECT clearout_bulk_resolve($job, 1, NULL)");
	ok(job_state($job, 'done'), 'told to send it again: done');

	$api->fault(endpoint => 'upload', kind => 'close', processed => JSON::PP::false(), times => 1);
	$job = order(50);
	ok(job_state($job, 'held'), 'held once more');
	sql("SELECT clearout_bulk_cancel($job)");
	ok(job_state($job, 'cancelled'), 'given up');
	is(counts($job), '0|50|0', 'all are unanswered');
	$api->config(optional_endpoints => JSON::PP::true());
	$api->clear;

	# refused for good
	$api->fault(endpoint => 'upload', status => 400, times => 1);
	$job = order(5);
	ok(job_state($job, 'failed'), '400: failed');
	like(error_text($job), qr/HTTP 400/, '400: and says so');
	is(counts($job), '0|5|0', '400: none is answered');
	$api->clear;
};

subtest 'limits of the account' => sub {
	# the first list stands until the second has been refused
	$api->config(bulk_lists => 1, bulk_speed => 0);
	$round++;
	my $job = sql(qq{SET clearout.bulk_rows = 100; SELECT clearout_bulk_verify('SELECT ''round-$round-'' || i || ''\@x.test'' FROM generate_series(1, 300) i')});
	ok(job_says($job, qr/waits for its turn/), 'too many lists: a part waits for its turn');
	$api->config(bulk_speed => 400);
	ok(job_state($job, 'done'), 'done one after the other');
	is(counts($job), '300|0|0', 'all are answered');
	$api->config(bulk_lists => undef, bulk_speed => undef);

	# 1028: the list costs more than there is; single calls go on
	$api->config(token => $api->token, credits => 20);
	$job = order(50);
	ok(job_says($job, qr/credits/), 'credits do not cover it: it waits');
	like(error_text($job), qr/the credits do not cover this list of 50 rows \(HTTP 402, code 1028\)/, 'and says so');
	is(sql(q{SELECT status FROM clearout_verify('valid-alone@x.test', timeout => '60s')}), 'valid', 'single calls go on');
	$api->config(token => $api->token, credits => 10_000_000);
	ok(job_state($job, 'done'), 'done when there are enough');

	# 1002: there are none at all
	$api->config(token => $api->token, credits => 0);
	$job = order(50);
	ok(job_says($job, qr/credits/), 'no credits: it waits');
	like(error_text($job), qr/needs up to 50/, 'and names how many it needs');
	$api->config(token => $api->token, credits => 10_000_000);
	ok(job_state($job, 'done'), 'done when there are some');

	# budgets
	sql(q{CREATE ROLE poor; SELECT clearout_grant('poor', 'enqueue'), clearout_set_budget('poor', 40)});
	my @lists = $api->lists;
	$job = sql(q{SET ROLE poor; SELECT clearout_bulk_verify(ARRAY(SELECT 'valid-poor-' || i || '@x.test' FROM generate_series(1, 50) i))});
	ok(job_says($job, qr/Role "poor" has spent 0 of 40 credits/), 'a budget holds a list back');
	is(scalar(my @same = $api->lists), scalar @lists, 'it is not sent');
	sql(q{SELECT clearout_set_budget('poor', 60)});
	ok(job_state($job, 'done'), 'done when the budget allows');
	$job = sql(q{SET ROLE poor; SELECT clearout_bulk_verify(ARRAY(SELECT 'valid-poorer-' || i || '@x.test' FROM generate_series(1, 20) i))});
	ok(job_says($job, qr/Role "poor" has spent 50 of 60 credits/), 'what lists have cost counts');
	sql("SELECT clearout_bulk_cancel($job)");
	ok(job_state($job, 'cancelled'), 'cancelled');

	# 429
	$api->fault(endpoint => '*', status => 429, reset => 1, times => 2);
	$job = order(50);
	ok(job_state($job, 'done'), 'a rate limit is waited out');
	$api->clear;
};

subtest 'lists that are gone' => sub {
	my %faults = (1008 => qr/another account/, 1029 => qr/does not have the list/, 1007 => qr/expired/);

	foreach my $code (sort keys %faults)
	{
		$api->fault(endpoint => 'progress', code => $code);
		my $job = order(20);
		ok(job_state($job, 'failed'), "$code: failed");
		like(error_text($job), $faults{$code}, "$code: and says why");
		is(counts($job), '0|20|0', "$code: all are unanswered");
		$api->clear;
	}
	$api->fault(endpoint => 'result', code => 1007);
	my $job = order(20);
	ok(job_state($job, 'failed'), 'the result has expired: failed');
	$api->clear;

	# In passing only.
	$api->fault(endpoint => 'progress', status => 500, times => 1);
	$api->fault(endpoint => 'progress', body => '<html>', times => 1);
	$api->fault(endpoint => 'result', kind => 'reset', times => 1);
	$job = order(20);
	ok(job_state($job, 'done'), 'faults in passing: done');
	$api->list(say => 'queued');
	$api->clear;
	$api->fault(endpoint => 'progress', body => { status => 'success', data => { progress_status => 'Something New', percentile => 'x' } }, times => 2);
	$job = order(20);
	ok(job_state($job, 'done'), 'a state that is not known is waited out');
	$api->clear;
	$api->fault(endpoint => 'cancel', code => 1116);
	$api->config(bulk_speed => 0);
	$job = order(20);
	ok(job_state($job, 'running'), 'running');
	sql("SELECT clearout_bulk_cancel($job)");
	$api->config(bulk_speed => undef);
	ok(job_state($job, 'cancelled'), '1116: cancelled too late, and fetched as it is');
	is(counts($job), '20|0|0', 'with all answers');
	$api->clear;
};

subtest 'rows that are broken fail alone' => sub {
	my @lines = (
		"Name,EMAIL,clearout_verification_status,Clearout Safe To Send,Clearout Bounce Type,Clearout Verified At (UTC),Mine",
		qq{"A, B",row-1\@x.test,Valid,Yes,,2025-09-01T04:31:20.042Z,x},
		qq{open "quote,row-2\@x.test,Valid,Yes,,2025-09-01T04:31:20.042Z,x},
		qq{few},
		qq{x,malformed,Valid,Yes,,2025-09-01T04:31:20.042Z,x},
		qq{x,,Valid,Yes,,2025-09-01T04:31:20.042Z,x},
		qq{x,row-3\@x.test,,Yes,,2025-09-01T04:31:20.042Z,x},
		qq{\\.,row-4\@x.test,Valid,Yes,,2025-09-01T04:31:20.042Z,x},
		qq{"two\nlines ""here""",ROW-5\@X.test,Invalid,No,Hard bounce,2025-09-01 04:31:20,x},
		qq{x,row-6\@x.test,Catch All,Risky,,not a time,x},
		qq{x,row-5\@x.test,Valid,Yes,,2024-01-01T00:00:00Z,x},
		qq{x,row-7\@x.test,Brand New Word,Maybe,,2025-09-01T04:31:20Z,x},
	);
	$api->fault(endpoint => 'download', body => join("\r\n", @lines) . "\r\n");
	my $job = sql(q{SELECT clearout_bulk_verify(ARRAY(SELECT 'row-' || i || '@x.test' FROM generate_series(1, 7) i))});
	ok(job_state($job, 'done'), 'done');
	is(sql("SELECT rows_read, rows_answered, rows_broken, broken FROM clearout_parts WHERE job = $job"),
		'11|4|6|quotes are left open, or the row is too long', 'each row is accounted for');
	is(sql("SELECT rows_unanswered FROM clearout_jobs WHERE job = $job"), 3, 'what has no answer is named');
	is(sql("SELECT string_agg(asked, ' ' ORDER BY asked) FROM clearout_spool WHERE job = $job"), 'row-2@x.test row-3@x.test row-4@x.test', 'by its address');
	is(sql(q{SELECT string_agg(concat_ws(',', email, status, safe_to_send, bounce_type, date(verified_at)), ' ' ORDER BY email) FROM clearout_results WHERE email LIKE 'row-_@x.test' AND email <> 'row-6@x.test'}),
		'row-1@x.test,valid,yes,2025-09-01 row-5@x.test,invalid,no,hard,2025-09-01 row-7@x.test,brand_new_word,maybe,2025-09-01', 'the others are read, the newest of two');
	is(sql(q{SELECT status, verified_at = asked_at FROM clearout_results WHERE email = 'row-6@x.test'}), 'catch_all|t', 'without a time, that of the upload');
	$api->clear;

	foreach my $body ('', "no,header\nthat,fits\n", "PK\3\4spreadsheet", "\xFF\xFEE\0m\0")
	{
		$api->fault(endpoint => 'download', body_hex => unpack('H*', $body));
		my $job = order(2);
		ok(job_state($job, 'failed'), 'not a result file: failed');
		like(error_text($job), qr/cannot be read: it (has no column|is )/, 'and says why: ' . error_text($job));
		$api->clear;
	}
};

subtest 'rows that are locked or refused here' => sub {
	# one row locked by somebody
	sql(q{INSERT INTO clearout_results (email, status, verified_at, source) VALUES ('round-locked-7@x.test', 'valid', now() - interval '1 year', 'instant')});
	my $blocker = $node->background_psql('postgres', on_error_stop => 0);
	$blocker->query_safe(q{BEGIN; SELECT 1 FROM clearout_results WHERE email = 'round-locked-7@x.test' FOR UPDATE});
	my $job = sql(q{SELECT clearout_bulk_verify('SELECT ''round-locked-'' || i || ''@x.test'' FROM generate_series(1, 3000) i')});
	ok(job_state($job, 'done'), 'a locked row does not hold up the job');
	# on a busy machine, some of its neighbours go the same way
	is(sql(q{SELECT count(*) FROM (SELECT email FROM clearout_results WHERE email LIKE 'round-locked-%' AND source = 'bulk' UNION SELECT email FROM clearout_spill) AS all_of_them}), 3000, 'all are stored');
	is(sql(q{SELECT count(*) FROM clearout_spill WHERE email = 'round-locked-7@x.test'}), 1, 'it is put aside');
	cmp_ok(sql('SELECT count(*) FROM clearout_spill'), '<', 2000, 'not so most of the others');
	$blocker->query_safe('COMMIT');
	ok(wait_until($PATIENCE, sub { sql('SELECT count(*) FROM clearout_spill') eq '0' }), 'and merged later');
	is(sql(q{SELECT source FROM clearout_results WHERE email = 'round-locked-7@x.test'}), 'bulk', 'it is there');

	# the whole table
	$api->config(bulk_speed => 0);
	$job = order(500);
	ok(job_state($job, 'running'), 'running');
	$blocker->query_safe('BEGIN; LOCK TABLE clearout_results IN EXCLUSIVE MODE');
	$api->config(bulk_speed => undef);
	sleep 1.5;
	is(sql(q{SELECT state FROM clearout_status}), 'running', 'a locked table: the worker waits for nobody');
	$blocker->query_safe('COMMIT');
	ok(job_state($job, 'done'), 'done after that');
	is(stored(), 500, 'all are stored');
	$blocker->quit;

	# one row that the table refuses
	sql(q{ALTER TABLE clearout_results ADD CONSTRAINT unwanted CHECK (email <> 'round-refused-5@x.test')});
	$job = sql(q{SELECT clearout_bulk_verify('SELECT ''round-refused-'' || i || ''@x.test'' FROM generate_series(1, 300) i')});
	ok(job_state($job, 'done'), 'a row that is refused does not hold up the job');
	# on a busy machine, some of its neighbours were put aside with it, for a moment
	ok(wait_until($PATIENCE, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'round-refused-%'}) eq '299' }), 'the others are stored');
	ok(wait_until($PATIENCE, sub { sql(q{SELECT email, error ~ 'unwanted' FROM clearout_spill}) eq 'round-refused-5@x.test|t' }), 'it is kept, with the reason')
	  or diag sql('SELECT email, error FROM clearout_spill');
	is(counts($job), '300|0|0', 'and counts as answered');
	sql(q{ALTER TABLE clearout_results DROP CONSTRAINT unwanted});
};

subtest 'somebody waits meanwhile' => sub {
	# a quarter of a minute, at the service's pace; a busy machine may miss it
	my $state = '';
	foreach my $try (1 .. 5)
	{
		$api->fault(endpoint => 'download', kind => 'drip', bytes => 2000, interval_ms => 100, times => 1);
		my $job = order(5000);
		wait_until($PATIENCE, sub { ($state = sql("SELECT state FROM clearout_jobs WHERE job = $job")) =~ /^(?:downloading|done)$/ });
		sql(join ';', map { "SELECT clearout_verify('interactive-$try-$_\@x.test')" } 1 .. 20);
		$state = sql("SELECT state FROM clearout_jobs WHERE job = $job");
		ok(job_state($job, 'done'), 'the job comes to its end');
		$api->clear;
		last if $state eq 'downloading';
	}
	is($state, 'downloading', 'single verifications are served while a result comes in');
};

my $log = slurp_file($node->logfile);
unlike($log, qr/signal 11|signal 6|TRAP:/, 'nothing has crashed');
is(scalar(grep { /\@x\.test/ } grep { /clearout: / } split /\n/, $log), 0, 'no address in what the worker logs');
$node->stop;
done_testing();
