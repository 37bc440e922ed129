# Bulk jobs: what is spooled, sent, stored and shown; waiting, cancelling,
# removing; who may; and what result files may look like.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until);
use ClearoutTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $api = ClearoutSandbox->new(credits => 10_000_000, limit => 1_000_000);
my $node = clearout_node('main', $api, request_timeout => '1s', bulk_rows => 1000,
	conf => "log_statement = none\n");

sub sql { return value_of($node, @_) }

# The job has come to this state, or is it?
sub job_state
{
	my ($job, $state, $seconds) = @_;
	my $ok = wait_until($seconds // 120, sub { sql("SELECT state FROM clearout_jobs WHERE job = $job") eq $state });

	diag(sql("SELECT row_to_json(j) FROM clearout_jobs j WHERE job = $job")) unless $ok;
	return $ok;
}

sub verify
{
	my ($query, $more) = @_;
	return sql("SELECT clearout_bulk_verify($query" . ($more // '') . ')');
}

subtest 'a job from its order to its end' => sub {
	sql(q{CREATE TABLE customer (email text);
		INSERT INTO customer SELECT 'first-' || i || '@x.test' FROM generate_series(1, 2500) i;
		INSERT INTO customer VALUES (NULL), (NULL), ('malformed'), ('First-1@X.test'), (' first-2@x.test '),
			('"quoted, with comma"@x.test'), ('"a\"b"@x.test'), ('invalid-9@x.test'), ('catch_all-9@x.test'),
			('unknown-9@x.test'), ('soft_bounce-9@x.test');
		INSERT INTO clearout_results (email, status, verified_at, source)
			VALUES ('first-3@x.test', 'valid', now() - interval '1 day', 'instant'),
				('first-4@x.test', 'valid', now() - interval '1 year', 'instant')});
	my $job = verify(q{'SELECT email FROM customer ORDER BY random()'});

	ok(job_state($job, 'done'), 'done');
	is(sql("SELECT rows_total, rows_null, rows_malformed, rows_duplicate, rows_fresh, rows_spooled FROM clearout_jobs_data WHERE job = $job"),
		'2511|2|1|2|1|2505', 'what was given, left out, and sent');
	is(sql("SELECT parts, parts_finished, rows_total, rows_skipped, rows_sent, rows_answered, rows_unanswered, rows_broken, percent, error IS NULL, finished_at IS NOT NULL FROM clearout_jobs WHERE job = $job"),
		'3|3|2511|6|2505|2505|0|0|100|t|t', 'what the view shows');
	is(sql("SELECT rows FROM clearout_parts WHERE job = $job ORDER BY part"), "1000\n1000\n505", 'in lists of bulk_rows');
	is(sql("SELECT count(*) FROM clearout_spool"), 0, 'the spool is empty');
	is(sql("SELECT count(*) FROM clearout_results"), 2506, 'all are stored');
	my @lists = $api->lists;
	is(scalar @lists, 3, 'three lists were uploaded');
	is($api->stats->{by_endpoint}{verify}, 0, 'and nothing was asked one by one');
	is($api->rows('first-1@x.test'), 1, 'an address that is given twice is sent once');

	# The same words and types as those of instant answers.
	is(sql(q{SELECT status, safe_to_send, bounce_type, disposable, source, verified_at BETWEEN now() - interval '10 minutes' AND now(), asked_at IS NOT NULL, raw IS NULL
		FROM clearout_results WHERE email = 'catch_all-9@x.test'}), 'catch_all|risky||f|bulk|t|t|t', 'Catch All is catch_all');
	is(sql(q{SELECT status, safe_to_send, bounce_type FROM clearout_results WHERE email = 'invalid-9@x.test'}), 'invalid|no|hard', 'Hard is hard');
	is(sql(q{SELECT bounce_type FROM clearout_results WHERE email = 'soft_bounce-9@x.test'}), 'soft', 'Soft is soft');
	is(sql(q{SELECT status, safe_to_send FROM clearout_results WHERE email = 'unknown-9@x.test'}), 'unknown|unknown', 'Unknown is unknown');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email IN ('"quoted, with comma"@x.test', '"a\"b"@x.test') AND source = 'bulk'}), 2, 'quotes and commas survive');
	is(sql(q{SELECT source FROM clearout_results WHERE email = 'first-3@x.test'}), 'instant', 'what is fresh is left alone');
	is(sql(q{SELECT source FROM clearout_results WHERE email = 'first-4@x.test'}), 'bulk', 'what is stale is replaced');
	my $instant = sql(q{SELECT status, safe_to_send, bounce_type, disposable, free, role, gibberish, account, domain, mx_record, smtp_provider FROM clearout_verify('hard_bounce-77@x.test')});
	$job = verify(q{ARRAY['hard_bounce-78@x.test']});
	ok(job_state($job, 'done'), 'an array');
	(my $bulk = sql(q{SELECT status, safe_to_send, bounce_type, disposable, free, role, gibberish, account, domain, mx_record, smtp_provider FROM clearout_results WHERE email = 'hard_bounce-78@x.test'})) =~ s/78/77/g;
	is($bulk, $instant, 'the same as an instant answer');
	is(sql(q{SELECT clearout_bulk_verify(NULL::text) IS NULL, clearout_bulk_verify(NULL::text[]) IS NULL}), 't|t', 'NULL in, NULL out');

	# Nothing to send.
	$job = verify(q{'SELECT email FROM customer'});
	is(sql("SELECT state, rows_skipped, parts FROM clearout_jobs WHERE job = $job"), 'done|2511|0', 'all are fresh: done at once');
	$job = verify(q{'SELECT email FROM customer LIMIT 10'}, q{, max_age => '0'});
	ok(job_state($job, 'done'), 'max_age');
	is(scalar($api->lists), 5, 'one more list');

	# Rolled back, it was never ordered.
	sql(q{BEGIN; SELECT clearout_bulk_verify(ARRAY['rolled-back@x.test']); ROLLBACK});
	is(sql(q{SELECT count(*) FROM clearout_spool}), 0, 'a rolled back job leaves nothing');
};

subtest 'the query is the caller\'s' => sub {
	like(error_of($node, q{SELECT clearout_bulk_verify('DELETE FROM customer')}), qr/must be one that returns rows/, 'no DELETE');
	like(error_of($node, q{SELECT clearout_bulk_verify('SELECT 1; SELECT 2')}), qr/must be one that returns rows/, 'one query');
	is(sqlstate($node, q{SELECT clearout_bulk_verify('SELECT 1, 2')}), '42804', 'one column');
	is(sqlstate($node, q{SELECT clearout_bulk_verify('nonsense')}), '42601', 'its errors');
	is(sqlstate($node, q{SELECT clearout_bulk_verify(ARRAY['x@y.test'], optimize => 'speed')}), '22023', 'optimize');
	is(sqlstate($node, q{BEGIN READ ONLY; SELECT clearout_bulk_verify(ARRAY['x@y.test'])}), '25006', 'not in a read-only transaction');
	sql(q{CREATE ROLE bulk_user; CREATE ROLE other_user; CREATE ROLE nobody_in_particular;
		SELECT clearout_grant('bulk_user', 'enqueue'), clearout_grant('other_user', 'enqueue')});
	is(sqlstate($node, q{SET ROLE bulk_user; SELECT clearout_bulk_verify('SELECT email FROM customer')}), '42501', 'with his own rights');
	is(sqlstate($node, q{SET ROLE bulk_user; SELECT * FROM clearout_spool}), '42501', 'the spool is not his to read');
	is(sqlstate($node, q{SET ROLE nobody_in_particular; SELECT clearout_bulk_verify(ARRAY['x@y.test'])}), '42501', 'nor is all this for everybody');
	is(sqlstate($node, q{SET ROLE bulk_user; CREATE TEMP TABLE clearout_spool (x int); CREATE FUNCTION pg_temp.least(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1/0';
		SET search_path = pg_temp, public, pg_catalog; SELECT public.clearout_bulk_verify(ARRAY['temp-1@x.test'])}), '00000', 'no search_path leads astray');
	my $job = sql(q{SELECT max(job) FROM clearout_jobs});
	ok(job_state($job, 'done'), 'his job is done');
	is(sql(qq{SELECT requested_by FROM clearout_jobs WHERE job = $job}), 'bulk_user', 'and his');
	is(sqlstate($node, qq{SET ROLE other_user; SELECT clearout_bulk_remove($job)}), '42501', 'not another one\'s');
	is(sqlstate($node, qq{SET ROLE bulk_user; SELECT state FROM clearout_jobs; SELECT clearout_bulk_remove($job)}), '00000', 'he removes it');
	ok(wait_until(60, sub { sql("SELECT count(*) FROM clearout_jobs_data WHERE job = $job") eq '0' }), 'gone');
	ok(($api->lists)[-1]{removed}, 'at the service as well');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email = 'temp-1@x.test'}), 1, 'the answer stays');
};

subtest 'result files' => sub {
	my %files = (
		'other order' => { result_order => 'reversed' },
		'capitals' => { result_header => 'upper' },
		'CRLF' => { result_line_end => 'crlf' },
		'blank for T' => { result_time => 'blank' },
		'byte order mark' => { result_bom => JSON::PP::true() },
		'unknown column' => { result_extra => JSON::PP::true() },
		'line breaks' => { result_line_breaks => JSON::PP::true() },
		'invalid byte' => { result_bad_row => 7 },
	);
	my %defaults = %{ $api->config };
	my $n = 0;
	my %all;
	foreach my $name (sort keys %files)
	{
		my $config = $files{$name};
		my $ok = eval { $api->config(%$config); 1 };
		SKIP: {
			skip "$name: $@", 3 unless $ok;
			%all = (%all, %$config);
			$n++;
			my $job = verify(qq{'SELECT ''odd-$n-'' || i || ''\@x.test'' FROM generate_series(1, 300) i'});
			ok(job_state($job, 'done'), "$name: done");
			is(sql("SELECT rows_answered, rows_unanswered, rows_broken FROM clearout_jobs WHERE job = $job"), '300|0|0', "$name: all rows answered");
			is(sql(qq{SELECT count(*), count(safe_to_send), count(account), count(time_taken), bool_and(verified_at BETWEEN now() - interval '10 minutes' AND now()) FROM clearout_results WHERE email LIKE 'odd-$n-%'}),
				'300|300|300|300|t', "$name: all columns read");
		}
		$api->config(map { $_ => $defaults{$_} } keys %$config);
	}
	$api->config(%all);
	my $job = verify(q{'SELECT ''odd-all-'' || i || ''@x.test'' FROM generate_series(1, 300) i'});
	ok(job_state($job, 'done'), 'all at once: done');
	is(sql("SELECT rows_answered, rows_unanswered, rows_broken FROM clearout_jobs WHERE job = $job"), '300|0|0', 'all at once: all rows answered');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'odd-all-%' AND reason LIKE E'%\n%'}), 100, 'with line breaks') ;
	$api->config(map { $_ => $defaults{$_} } keys %all);
};

subtest 'which answer wins' => sub {
	$api->config(bulk_speed => 0);
	my $job = verify(q{ARRAY['valid-old@x.test', 'unknown-9x@x.test', 'unknown-9y@x.test', 'invalid-between@x.test']});
	ok(job_state($job, 'running'), 'running');
	sql(q{INSERT INTO clearout_results (email, status, verified_at, asked_at, source) VALUES
		('valid-old@x.test', 'invalid', now() + interval '1 hour', now(), 'instant'),
		('unknown-9x@x.test', 'valid', now() - interval '1 hour', now(), 'instant')});
	# somebody asks meanwhile: at once, not when the list is done
	is(sql(q{SELECT status FROM clearout_verify('invalid-between@x.test', timeout => '60s')}), 'invalid', 'clearout_verify asks at once');
	my $before = sql(q{SELECT verified_at FROM clearout_results WHERE email = 'invalid-between@x.test'});
	# the queue waits for the list
	is(sql(q{SELECT clearout_enqueue('unknown-9y@x.test')}), 't', 'enqueued meanwhile');
	ok(wait_until(60, sub { sql(q{SELECT last_error FROM clearout_queue WHERE email = 'unknown-9y@x.test'}) =~ /bulk job/ }), 'the queue waits for the list');
	$api->config(bulk_speed => undef);
	ok(job_state($job, 'done'), 'done');
	is(sql(q{SELECT status FROM clearout_results WHERE email = 'valid-old@x.test'}), 'invalid', 'an older answer does not replace a newer one');
	is(sql(q{SELECT status, attempt_status FROM clearout_results WHERE email = 'unknown-9x@x.test'}), 'valid|unknown', 'nor unknown a verdict');
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_queue WHERE email = 'unknown-9y@x.test'}) eq '0' }), 'the row of the queue is answered');
	is($api->stats->{by_endpoint}{verify}, 2, 'by the list');
	is(sql("SELECT rows_answered, rows_unanswered FROM clearout_jobs WHERE job = $job"), '4|0', 'all are answered');
};

subtest 'waiting' => sub {
	is(sqlstate($node, q{CALL clearout_wait(999999)}), '42704', 'no such job');
	is(sqlstate($node, q{BEGIN; CALL clearout_wait(1)}), '2D000', 'not in a transaction block');
	is(sqlstate($node, q{DO $$ DECLARE j bigint; BEGIN j := clearout_bulk_verify(ARRAY['uncommitted@x.test']); CALL clearout_wait(j); END $$}), '55000', 'not before the commit');
	is(sqlstate($node, q{CALL clearout_wait(1, every => '-1s')}), '22023', 'no negative interval');
	# it looks as the owner of the tables: no operator of the caller's
	sql(q{CREATE ROLE waiter; SELECT clearout_grant('waiter', 'enqueue'); CREATE SCHEMA trap AUTHORIZATION waiter; SET ROLE waiter;
		CREATE FUNCTION trap.equal(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'caught %', current_user; END $$;
		CREATE OPERATOR trap.= (FUNCTION = trap.equal, LEFTARG = bigint, RIGHTARG = bigint)});
	like(error_of($node, q{SET ROLE waiter; SET search_path = trap, pg_catalog; CALL public.clearout_wait(1)}), qr/^\S+ NOTICE:.*bulk job 1: done/, 'no search_path leads astray');
	$api->config(bulk_speed => 0);
	my $job = verify(q{ARRAY['waited-1@x.test', 'waited-2@x.test']});
	is(sqlstate($node, qq{CALL clearout_wait($job, timeout => '0.2s')}), 'VC006', 'its timeout');
	my $waiter = start_psql($node, qq{CALL clearout_wait($job, every => '0.2s')});
	my $look = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL clearout_wait%' AND backend_xmin IS NULL AND backend_xid IS NULL AND wait_event IS NOT NULL};
	ok(wait_until(60, sub { sql($look) eq '1' }), 'it waits');
	my $held = 0;
	for (1 .. 20) { $held++ unless sql($look) eq '1'; sleep 0.03 }
	cmp_ok($held, '<=', 3, 'and holds no snapshot meanwhile');
	my $other = start_psql($node, qq{CALL clearout_wait($job)});
	ok(wait_until(60, sub { sql($look) eq '2' }), 'another one');
	my $start = time;
	sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL clearout_wait%' AND query NOT LIKE '%every%'});
	my (undef, $state) = finish_psql($other);
	is($state, '57014', 'it can be cancelled');
	cmp_ok(time - $start, '<', 30, 'at once');
	$api->config(bulk_speed => undef);
	my ($out, $sqlstate, $err) = finish_psql($waiter);
	is($sqlstate, '00000', 'it ends with the job') if $sqlstate =~ /^\w{5}$/;
	like($err, qr/NOTICE:.*bulk job $job: running, \d+ %/, 'a line on the progress');
	like($err, qr/NOTICE:.*bulk job $job: done: 2 rows, of these 0 left out, 2 answered, 0 without an answer; \d credits/, 'and a summary');
};

subtest 'cancelling' => sub {
	is(sql('SELECT clearout_bulk_cancel(1)'), 'f', 'not what is finished');
	is(sqlstate($node, 'SELECT clearout_bulk_cancel(999999)'), '42704', 'nor what is not there');
	$api->config(bulk_speed => 100);
	my $job = verify(q{'SELECT ''cancelled-'' || lpad(i::text, 4, ''0'') || ''@x.test'' FROM generate_series(1, 1500) i'});
	ok(wait_until(60, sub { sql("SELECT count(*) FROM clearout_parts WHERE job = $job AND state = 'running' AND percent > 0") >= 1 }), 'under way');
	is(sqlstate($node, "SET ROLE other_user; SELECT clearout_bulk_cancel($job)"), '42501', 'not by somebody else');
	is(sqlstate($node, "SELECT clearout_bulk_remove($job)"), '55000', 'it cannot be removed now');
	is(sql("SELECT clearout_bulk_cancel($job)"), 't', 'cancelled');
	ok(job_state($job, 'cancelled'), 'ended');
	$api->config(bulk_speed => undef);
	my ($answered, $unanswered) = split /\|/, sql("SELECT rows_answered, rows_unanswered FROM clearout_jobs WHERE job = $job");
	cmp_ok($answered, '>', 0, 'what was answered till then is stored');
	is($answered + $unanswered, 1500, 'the rest is accounted for');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'cancelled-%'}), $answered, 'no row for what was not verified');
	is(sql("SELECT count(*) FROM clearout_spool WHERE job = $job"), $unanswered, 'which stays in the spool');
	sql("SELECT clearout_bulk_remove($job)");
	ok(wait_until(60, sub { sql("SELECT count(*) FROM clearout_spool") eq '0' }), 'until the job is removed');

	# not yet sent
	sql('SELECT clearout_pause()');
	$job = verify(q{ARRAY['unsent@x.test']});
	sleep 0.3;
	is(sql("SELECT state FROM clearout_jobs WHERE job = $job"), 'spooled', 'clearout_pause() holds lists as well');
	sql("SELECT clearout_bulk_cancel($job)");
	ok(job_state($job, 'cancelled'), 'cancelled before it was sent');
	is($api->calls('unsent@x.test'), 0, 'it never was');
	my $two = verify(q{ARRAY['resumed@x.test']});
	sql('SELECT clearout_resume()');
	ok(job_state($two, 'done'), 'resumed, lists go on');
};

subtest 'a backlog becomes a list' => sub {
	$node->append_conf('postgresql.conf', "clearout.bulk_threshold = 500\n");
	$node->reload;
	my $calls = $api->stats->{by_endpoint}{verify};
	my $urgent = q{SELECT clearout_enqueue('urgent@x.test', 5)};
	sql(q{SELECT clearout_pause()});
	sql($urgent);
	is(sql(q{SELECT clearout_enqueue(ARRAY(SELECT 'backlog-' || i || '@x.test' FROM generate_series(1, 2300) i))}), 2300, 'enqueued');
	sql(q{SELECT clearout_resume()});
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' && sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'backlog-%'}) eq '2300' }), 'all are answered');
	is($api->stats->{by_endpoint}{verify} - $calls, 1, 'one by one: only the urgent one');
	is(sql(q{SELECT sum(rows_answered), bool_and(state = 'done') FROM clearout_jobs j WHERE EXISTS (SELECT FROM clearout_jobs_data d WHERE d.job = j.job AND from_queue)}), '2300|t', 'the others by lists');
	# below the threshold, one by one
	is(sql(q{SELECT clearout_enqueue(ARRAY(SELECT 'few-' || i || '@x.test' FROM generate_series(1, 20) i))}), 20, 'few');
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'are answered');
	is($api->stats->{by_endpoint}{verify} - $calls, 21, 'one by one');
};

subtest 'copies spend nothing' => sub {
	sql('SELECT clearout_pause()');
	my $job = verify(q{ARRAY['copied-1@x.test', 'copied-2@x.test']});
	my $lists = $api->lists;
	my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
	sql('CREATE DATABASE restored');
	$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
	is(sql("SELECT state FROM clearout_jobs WHERE job = $job", 'restored'), 'copied', 'the job is there');
	is(sql("SELECT count(*) FROM clearout_spool WHERE job = $job", 'restored'), 2, 'with its rows');
	sleep 0.5;
	is(scalar($api->lists), $lists, 'and sends nothing');
	sql('SELECT clearout_resume()', 'restored');
	ok(wait_until(60, sub { sql("SELECT state FROM clearout_jobs WHERE job = $job", 'restored') eq 'done' }), 'until it is adopted');
	my $new = sql(q{SELECT clearout_bulk_verify(ARRAY['new@x.test'])}, 'restored');
	cmp_ok($new, '>', $job, 'new jobs get new numbers');
	sql("SELECT clearout_bulk_cancel($job); SELECT clearout_resume()");
	$node->safe_psql('template1', 'DROP DATABASE restored');
};

subtest 'retention' => sub {
	my $jobs = sql('SELECT count(*) FROM clearout_jobs');
	cmp_ok($jobs, '>', 5, 'there are finished jobs');
	$node->append_conf('postgresql.conf', "clearout.bulk_retention = 0\n");
	$node->reload;
	my $job = verify(q{ARRAY['last@x.test']});
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_jobs_data') eq '0' }), 'they go after their time')
	  or diag(sql('SELECT * FROM clearout_jobs_data'));
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email = 'last@x.test'}), 1, 'their answers stay');
	is(sql('SELECT count(*) FROM clearout_parts'), 0, 'no part is left');
};

my $log = slurp_file($node->logfile);
my @worker = grep { /clearout: / } split /\n/, $log;
is(scalar(grep { /\@/ } @worker), 0, 'no address in what the worker logs');
unlike($log, qr/signal 11|signal 6|TRAP:/, 'nothing has crashed');
$node->stop;
done_testing();
