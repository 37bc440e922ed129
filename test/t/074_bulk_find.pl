# Lists of people to be found: the road of the lists of addresses, with the
# finder's calls, columns, table and prices.  What both have in common is
# tested in detail by 070 to 072.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until wait_gone worker_pid kill_postmaster);
use ClearoutTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 10_000_000, bulk_lists => undef);
my $node = clearout_node('main', $api, request_timeout => '1s', bulk_rows => 1000,
	conf => "restart_after_crash = on\nlog_statement = none\n");
my $round = 0;

sub sql { return value_of($node, @_) }

# While a server starts or ends, there may be no answer at all.
sub try_sql
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	my $rc = $node->psql('postgres', $sql, stdout => \$out, stderr => \$err);
	return $rc == 0 ? $out : '';
}

sub job_state
{
	my ($job, $state) = @_;
	my $ok = wait_until(120, sub { try_sql("SELECT state FROM clearout_jobs WHERE job = $job") eq $state });

	diag(try_sql("SELECT row_to_json(j) FROM clearout_jobs j WHERE job = $job")) unless $ok;
	return $ok;
}

# Somebody at so many companies, which are round-N-1.test and so on.
sub people
{
	my ($rows) = @_;
	$round++;
	return "SELECT ''Somebody Doe'', ''round-$round-'' || i || ''.test'' FROM generate_series(1, $rows) i";
}

sub find
{
	my ($query, $more) = @_;
	return sql("SELECT clearout_bulk_find('$query'" . ($more // '') . ')');
}

sub stored { return sql("SELECT count(*) FROM clearout_people WHERE asked_domain LIKE 'round-$round-%' AND source = 'bulk'") }
sub counts { return sql("SELECT rows_answered, rows_unanswered, rows_broken FROM clearout_jobs WHERE job = $_[0]") }
sub error_text { return sql("SELECT coalesce(error, '') FROM clearout_jobs WHERE job = $_[0]") }
sub calls { return $api->stats->{by_endpoint}{ $_[0] } }
sub find_lists { return grep { $_->{kind} eq 'find' } $api->lists }
sub rows_of { return $api->subject_stats('find', $_[0])->{rows} // 0 }

my $person = 'status, email, business, emails, first_name, last_name, full_name, domain, company, confidence_score';

subtest 'a job from its order to its end' => sub {
	sql(q{CREATE TABLE lead (who text, company text);
		INSERT INTO lead SELECT 'Person ' || chr(97 + i % 26) || chr(97 + i / 26 % 26), 'c' || i || '.test' FROM generate_series(1, 1500) i;
		INSERT INTO lead VALUES (NULL, 'x.test'), ('Jane Doe', NULL), (NULL, NULL), ('', 'x.test'), ('   ', 'x.test'), ('Jane Doe', ' '),
			(repeat('long ', 600), 'x.test'), ('Somebody Doe', 'one.test'), (' somebody   DOE', 'https://www.One.test/about?x'),
			('Nobody Doe', 'one.test'), ('Dr. Somebody van Doe', 'two.test'), ('Somebody', 'three.test'), ('Somebody O''Neil', 'four.test'),
			('Doe, Somebody', 'five.test'), ('Somebody Müller', 'six.test'), ('Somebody Doe', 'Acme, Inc'), ('Many Doe', 'seven.test'),
			('Role Doe', 'eight.test'), ('Somebody Fresh', 'fresh.test'), ('Somebody Spilled', 'spilled.test'), ('Somebody Stale', 'stale.test'),
			('Somebody Doe', 'bücher.test');
		INSERT INTO clearout_people (asked_name, asked_domain, status, found_at, source)
			VALUES ('somebody fresh', 'fresh.test', 'not_found', now() - interval '1 day', 'instant'),
				('somebody stale', 'stale.test', 'not_found', now() - interval '1 year', 'instant');
		INSERT INTO clearout_lookup_spill (kind, key, found, answered_at, error)
			VALUES ('find', E'somebody spilled\x1Fspilled.test', false, now(), 'for a test')});
	my $job = find('SELECT who, company FROM lead ORDER BY random()');

	ok(job_state($job, 'done'), 'done');
	is(sql("SELECT kind, rows_total, rows_null, rows_malformed, rows_duplicate, rows_fresh, rows_waiting, rows_spooled FROM clearout_jobs_data WHERE job = $job"),
		'find|1522|3|4|1|2|0|1512', 'what was given, left out, and sent');
	is(sql("SELECT kind, parts, parts_finished, rows_total, rows_skipped, rows_sent, rows_answered, rows_unanswered, rows_broken, percent, error IS NULL FROM clearout_jobs WHERE job = $job"),
		'find|2|2|1522|10|1512|1512|0|0|100|t', 'what the view shows');
	is(sql('SELECT count(*) FROM clearout_spool'), 0, 'the spool is empty');
	my @lists = find_lists();
	is(scalar @lists, 2, 'two lists were uploaded');
	is(calls('find') + calls('upload'), 0, 'nobody was sought one by one, nothing went to the verifier');
	is(rows_of('somebody doe|one.test'), 1, 'who is given twice is sent once');
	is(rows_of('somebody fresh|fresh.test') + rows_of('somebody spilled|spilled.test'), 0, 'what is fresh is not sent');
	is(sql(q{SELECT count(*) FROM clearout_people WHERE source = 'bulk'}), 1512, 'all are stored');

	# The same words and types as those of instant answers.
	is(sql(q{SELECT status, email, role, business, emails, source, raw, credits_charged, found_at BETWEEN now() - interval '5 minutes' AND now(),
			asked_at BETWEEN now() - interval '5 minutes' AND now() FROM clearout_people WHERE asked_name = 'somebody doe' AND asked_domain = 'one.test'}),
		'found|somebody.doe@one.test||t|{somebody.doe@one.test}|bulk|||t|t', 'found');
	is(sql(qq{SELECT $person, source, found_at IS NOT NULL FROM clearout_people WHERE asked_name = 'nobody doe'}),
		'not_found||||||||||bulk|t', 'not found');
	foreach my $asked (
		[ 'dr. somebody van doe', 'two.test' ], [ 'somebody', 'three.test' ], [ 'somebody o\'\'neil', 'four.test' ], [ 'doe, somebody', 'five.test' ],
		[ 'somebody müller', 'six.test' ], [ 'somebody doe', 'acme, inc' ], [ 'somebody stale', 'stale.test' ], [ 'somebody doe', 'xn--bcher-kva.test' ],
		[ 'role doe', 'eight.test' ])
	{
		my ($who, $where) = @$asked;
		my $bulk = sql("SELECT $person FROM clearout_people WHERE asked_name = '$who' AND asked_domain = '$where' AND source = 'bulk'");
		isnt($bulk, '', "$who: stored under what was asked");
		sql("SELECT clearout_find('$who', '$where', max_age => '0')");
		is($bulk, sql("SELECT $person FROM clearout_people WHERE asked_name = '$who' AND asked_domain = '$where' AND source = 'instant'"),
			"$who: the same as an instant answer");
	}
	is(sql(q{SELECT email, emails FROM clearout_people WHERE asked_name = 'many doe'}), 'many.doe@seven.test|{many.doe@seven.test}', 'the file has one address');

	# What was found, at 4 credits each.
	my ($found, $credits) = split /\|/, sql("SELECT (SELECT count(*) FROM clearout_people WHERE status = 'found') - 1 + 1, credits FROM clearout_jobs WHERE job = $job");
	is($credits, 4 * $found, 'what it has cost at most');
	my $charged = 0;
	$charged += $_->{charged} foreach @lists;
	cmp_ok($charged, '<=', $credits, 'and not more');
	ok(wait_until(60, sub { sql(q{SELECT credits >= 1 FROM clearout_usage WHERE service = 'find'}) eq 't' }), 'it is in clearout_usage');
	ok(wait_until(60, sub { sql(q{SELECT coalesce(sum(credits), 0) FROM clearout_usage WHERE service = 'find'}) >= $credits }), 'all of it');

	# All are fresh.
	$job = find('SELECT who, company FROM lead');
	is(sql("SELECT state, rows_skipped, parts FROM clearout_jobs WHERE job = $job"), 'done|1522|0', 'all are fresh: done at once');
	$job = find(q{SELECT ''Somebody Doe'', ''one.test''}, q{, max_age => '0', remove_list => true});
	ok(job_state($job, 'done'), 'max_age');
	is((find_lists())[-1]{removed}, JSON::PP::true(), 'remove_list');
	is(sql(q{SELECT clearout_bulk_find(NULL) IS NULL}), 't', 'NULL in, NULL out');
	sql(q{BEGIN; SELECT clearout_bulk_find('SELECT ''Somebody Doe'', ''rolled-back.test'''); ROLLBACK});
	is(sql('SELECT count(*) FROM clearout_spool'), 0, 'a rolled back job leaves nothing');
};

subtest 'the query, and who may' => sub {
	is(sqlstate($node, q{SELECT clearout_bulk_find('SELECT ''x''')}), '42804', 'one column');
	like(error_of($node, q{SELECT clearout_bulk_find('SELECT 1, 2, 3')}), qr/must return two columns, name and domain, not 3.*clearout_bulk_find\(/s, 'three columns');
	is(sqlstate($node, q{SELECT clearout_bulk_find('DELETE FROM lead')}), '42P11', 'no DELETE');
	is(sqlstate($node, q{BEGIN READ ONLY; SELECT clearout_bulk_find('SELECT ''x'', ''y.test''')}), '25006', 'not in a read-only transaction');
	my $job = find(q{SELECT ''somebody typed''::name, ''typed.test''::varchar(20)});
	ok(job_state($job, 'done'), 'columns of other types');
	is(sql(q{SELECT count(*) FROM clearout_people WHERE asked_domain = 'typed.test'}), 1, 'are read as text');

	sql(q{CREATE ROLE finder; CREATE ROLE other_finder; CREATE ROLE verifier;
		SELECT clearout_grant('finder', 'find'), clearout_grant('other_finder', 'find'), clearout_grant('verifier', 'enqueue')});
	is(sqlstate($node, q{SET ROLE verifier; SELECT clearout_bulk_find('SELECT ''x'', ''y.test''')}), '42501', 'who may verify may not find');
	is(sqlstate($node, q{SET ROLE finder; SELECT clearout_bulk_verify(ARRAY['x@y.test'])}), '42501', 'nor the other way round');
	is(sqlstate($node, q{SET ROLE finder; SELECT clearout_bulk_find('SELECT who, company FROM lead')}), '42501', 'with his own rights');
	is(sqlstate($node, q{SET ROLE finder; SELECT clearout_bulk_find('SELECT asked_name, asked_domain FROM clearout_people')}), '42501', 'which do not reach the answers');
	is(sqlstate($node, q{SET ROLE finder; CREATE TEMP TABLE clearout_spool (x int);
		CREATE FUNCTION pg_temp.split_part(text, text, int) RETURNS text LANGUAGE sql AS 'SELECT (1/0)::text';
		SET search_path = pg_temp, public, pg_catalog; SELECT public.clearout_bulk_find('SELECT ''somebody his'', ''his.test''')}), '00000', 'no search_path leads astray');
	$job = sql('SELECT max(job) FROM clearout_jobs');
	ok(job_state($job, 'done'), 'his job is done');
	is(sql("SELECT requested_by FROM clearout_jobs WHERE job = $job"), 'finder', 'and his');
	is(sqlstate($node, "SET ROLE other_finder; SELECT clearout_bulk_remove($job)"), '42501', 'not another one\'s');
	like(error_of($node, "SET ROLE finder; CALL clearout_wait($job)"), qr/done: 1 rows/, 'he can wait for it');
	sql("SET ROLE finder; SELECT clearout_bulk_remove($job)");
	ok(wait_until(60, sub { sql("SELECT count(*) FROM clearout_jobs_data WHERE job = $job") eq '0' }), 'and remove it');
	ok((find_lists())[-1]{removed}, 'at the service as well');
};

subtest 'result files' => sub {
	my %odd = (result_order => 'mixed', result_header => 'mixed', result_line_end => 'crlf', result_time => 'blank', result_bom => JSON::PP::true(),
		result_line_breaks => JSON::PP::true(), result_bad_row => 7);
	my %defaults = %{ $api->config };

	$api->config(%odd);
	my $job = find(people(300));
	ok(job_state($job, 'done'), 'every oddity at once: done');
	is(counts($job), '300|0|0', 'all rows answered');
	is(sql("SELECT count(*), count(email), count(business), count(full_name), count(confidence_score), bool_and(found_at BETWEEN now() - interval '5 minutes' AND now()) FROM clearout_people WHERE asked_domain LIKE 'round-$round-%'"),
		'300|300|300|300|300|t', 'all columns read');
	$api->config(map { $_ => $defaults{$_} } keys %odd);

	# Broken rows fail alone.
	my $header = 'Mine,LAST NAME,First Name,clearout_finder_status,Clearout Finder Email Address,Company,Domain,Clearout Finder Confidence Score,Clearout Finder Reason,Clearout Finder Processed At (UTC)';
	my $time = '2025-09-01T04:31:20.042Z';
	my @lines = ($header,
		qq{x,doe,row,Found,row.doe\@one.test,,row-1.test,83,Success,$time},
		qq{open "quote,doe,row,Found,x\@row-2.test,,row-2.test,83,Success,$time},
		qq{few},
		qq{x,,,Found,x\@row-3.test,,row-3.test,83,Success,$time},
		qq{x,doe,row,Found,x\@y.test,,,83,Success,$time},
		qq{x,doe,row,,x\@y.test,,row-3.test,83,Success,$time},
		qq{x,doe,row,Brand New,x\@y.test,,row-3.test,83,Success,$time},
		qq{x,doe,row,Found,,,row-3.test,83,Success,$time},
		'x,doe,' . 'row' x 5000 . qq{,Found,x\@y.test,,row-3.test,83,Success,$time},
		qq{"two\nlines ""here""",DOE,  Row,Not Found,,,Row-4.test,,Email Address Not Found,2025-09-01 04:31:20},
		qq{x,doe,row,Not Found,,,row-5.test,,Request cancelled,$time},
		qq{x,doe,row,found,jane\@acme.test,acme inc,,83 %,Success,not a time},
		qq{x,doe,row,Not Found,,,row-6.test,,Email Address Not Found,2024-01-01T00:00:00Z},
		qq{x,doe,row,Found,new\@row-6.test,,row-6.test,99,Success,$time});
	$api->fault(endpoint => 'download', body => join("\n", @lines) . "\n");
	$job = find(q{SELECT ''Row Doe'', ''row-'' || i || ''.test'' FROM generate_series(1, 6) i UNION ALL SELECT ''Row Doe'', ''Acme Inc''});
	ok(job_state($job, 'done'), 'broken rows: done');
	is(sql("SELECT rows_read, rows_answered, rows_undone, rows_broken, broken, credits FROM clearout_parts WHERE job = $job"),
		'14|4|1|8|quotes are left open, or the row is too long|12', 'each row is accounted for');
	is(sql("SELECT string_agg(replace(asked, chr(31), '|'), ' ' ORDER BY asked) FROM clearout_spool WHERE job = $job"),
		'row doe|row-2.test row doe|row-3.test row doe|row-5.test', 'what has no answer is named');
	is(sql(q{SELECT string_agg(concat_ws(',', asked_domain, status, email, confidence_score, date(found_at)), ' ' ORDER BY asked_domain) FROM clearout_people WHERE asked_name = 'row doe' AND asked_domain <> 'acme inc'}),
		'row-1.test,found,row.doe@one.test,83,2025-09-01 row-4.test,not_found,2025-09-01 row-6.test,found,new@row-6.test,99,2025-09-01',
		'the others are read, the newest of two');
	is(sql(q{SELECT email, confidence_score, found_at = asked_at FROM clearout_people WHERE asked_domain = 'acme inc'}), 'jane@acme.test||t', 'without a time, that of the upload');
	$api->clear;

	foreach my $body ('', "Email,Clearout Verification Status\nx\@y.test,Valid\n", "First Name,Domain,Clearout Finder Email Address\nx,y.test,z\n", "Clearout Finder Status,Clearout Finder Email Address\nFound,z\n")
	{
		$api->fault(endpoint => 'download', body => $body);
		$job = find(people(2));
		ok(job_state($job, 'failed'), 'not a result file: failed');
		like(error_text($job), qr/cannot be read: it (has no column|is|lacks) /, 'and says why: ' . error_text($job));
		is(counts($job), '0|2|0', 'nothing is stored');
		$api->clear;
	}
	$api->fault(endpoint => 'download', kind => 'cut', end => 'reset', times => 1);
	$job = find(people(900));
	ok(job_state($job, 'done'), 'cut short: done in the end');
	is(counts($job) . ' ' . stored(), '900|0|0 900', 'with all rows');
	$api->clear;
};

subtest 'which answer wins' => sub {
	$api->config(bulk_speed => 0);
	my $job = find(people(4));
	ok(job_state($job, 'running'), 'running');
	sql(qq{INSERT INTO clearout_people (asked_name, asked_domain, status, found_at, asked_at, source) VALUES
		('somebody doe', 'round-$round-1.test', 'not_found', now() + interval '1 hour', now() - interval '1 day', 'instant'),
		('somebody doe', 'round-$round-2.test', 'not_found', now() - interval '1 hour', now() - interval '1 day', 'instant')});
	# a row of the queue waits for the list, a call of its own does not
	is(sql(qq{SELECT status FROM clearout_find('Somebody Doe', 'round-$round-3.test', timeout => '60s')}), 'found', 'clearout_find asks at once');
	my $calls = calls('find');
	is(sql(qq{SELECT clearout_enqueue_find('Somebody Doe', 'round-$round-4.test')}), 't', 'enqueued meanwhile');
	ok(wait_until(60, sub { sql(qq{SELECT last_error FROM clearout_queue WHERE domain = 'round-$round-4.test'}) =~ /bulk job/ }), 'the queue waits for the list');
	$api->config(bulk_speed => undef);
	ok(job_state($job, 'done'), 'done');
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'the row of the queue is answered');
	is(calls('find'), $calls, 'by the list');
	is(sql(qq{SELECT status, asked_at > now() - interval '1 hour' FROM clearout_people WHERE asked_domain = 'round-$round-1.test'}), 'not_found|t',
		'an older answer does not replace a newer one, but confirms it');
	is(sql(qq{SELECT status, source FROM clearout_people WHERE asked_domain = 'round-$round-2.test'}), 'found|bulk', 'a newer one replaces');
	is(counts($job), '4|0|0', 'all are answered');

	# What waits in another job is left out, what waits in a job of addresses is another matter.
	$api->config(bulk_speed => 0);
	$job = find(people(3));
	my $query = "SELECT ''Somebody Doe'', ''round-$round-'' || i || ''.test'' FROM generate_series(1, 5) i";
	my $second = find($query);
	is(sql("SELECT rows_waiting, rows_spooled FROM clearout_jobs_data WHERE job = $second"), '3|2', 'what another job has is left out');
	$api->config(bulk_speed => undef);
	ok(job_state($job, 'done') && job_state($second, 'done'), 'both are done');
	is(rows_of("somebody doe|round-$round-1.test"), 1, 'each was sought once');

	# Whom the service seeks already is left out as well.
	$api->config(find_later => 1000);
	$api->hold(endpoint => 'queue');
	$api->fault(endpoint => 'find', status => 524, times => 1);
	sql(q{SELECT clearout_enqueue_find('Somebody Sought', 'sought.test')});
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_queue WHERE queue_id IS NOT NULL}) eq '1' }), 'a single search goes on');
	$second = find(q{SELECT ''Somebody Sought'', ''sought.test''});
	is(sql("SELECT rows_waiting, rows_spooled FROM clearout_jobs_data WHERE job = $second"), '1|0', 'who is sought already is left out');
	$api->release;
	ok(wait_until(60, sub { sql(q{SELECT status FROM clearout_people WHERE asked_domain = 'sought.test'}) eq 'found' }), 'and found by that search');
	is(rows_of('somebody sought|sought.test'), 0, 'alone');
	$api->clear;
};

subtest 'the answer to the upload is lost' => sub {
	foreach my $fault ([ kind => 'reset' ], [ status => 502 ], [ body => 'nonsense' ])
	{
		my ($uploads, $lists) = (calls('find_upload'), scalar(my @a = find_lists()));

		$api->fault(endpoint => 'find_upload', processed => JSON::PP::true(), times => 1, @$fault);
		my $job = find(people(50));
		ok(job_state($job, 'done'), "@$fault: done");
		is(calls('find_upload') - $uploads, 1, "@$fault: uploaded once");
		is(scalar(my @b = find_lists()) - $lists, 1, "@$fault: one list");
		$api->clear;
	}
	cmp_ok(calls('find_lists'), '>=', 3, 'it was looked for among the finder\'s lists');
	is(calls('lists'), 0, 'and not among the verifier\'s');
	my $uploads = calls('find_upload');
	$api->fault(endpoint => 'find_upload', kind => 'close', processed => JSON::PP::false(), times => 1);
	my $job = find(people(50));
	ok(job_state($job, 'done'), 'not accepted: done');
	is(calls('find_upload') - $uploads, 2, 'not accepted: sent again');
	$api->clear;

	# Where the account cannot be asked, a user decides.
	$api->config(optional_endpoints => JSON::PP::false());
	$api->fault(endpoint => 'find_upload', kind => 'close', processed => JSON::PP::true(), times => 1);
	$job = find(people(50));
	ok(job_state($job, 'held'), 'cannot be looked for: held');
	$uploads = calls('find_upload');
	sql("SELECT clearout_bulk_resolve($job, 1, '" . (find_lists())[-1]{list_id} . "')");
	ok(job_state($job, 'done'), 'told the list: done');
	is(calls('find_upload'), $uploads, 'without another upload');
	$api->config(optional_endpoints => JSON::PP::true());
	$api->clear;
};

# Stopped at its place, killed there, let go.
my %blows = (
	worker => sub {
		my $pid = worker_pid($node);
		kill 'KILL', $pid;
		wait_gone($pid, 60);
		wait_until(120, sub { try_sql('SELECT 1') eq '1' });
	},
	postmaster => sub { kill_postmaster($node); $node->start });

sub killed_at
{
	my ($state, %how) = @_;

	foreach my $who (qw(worker postmaster))
	{
		subtest "the $who is killed: $how{name}" => sub {
			my ($lists, $uploads) = (scalar(my @before = find_lists()), calls('find_upload'));
			my $rows = $how{rows} // 900;

			$how{before}->();
			my $job = sql("SET clearout.bulk_rows = $rows; SELECT clearout_bulk_find('" . people($rows) . "'" . ($how{arguments} // '') . ')');
			ok(wait_until(120, sub { $how{there}->($job) }), 'it is there');
			is(sql("SELECT state FROM clearout_parts WHERE job = $job"), $state, "it is $state");
			$blows{$who}->();
			$how{after}->() if $how{after};
			ok(job_state($job, 'done'), 'it is done in the end');
			is(stored(), $rows, 'every row is stored');
			is(counts($job), "$rows|0|0", 'and counted once');
			is(sql("SELECT credits FROM clearout_jobs WHERE job = $job"), 4 * $rows, 'and so is what it costs');
			is(sql("SELECT count(*) FROM clearout_spool WHERE job = $job"), 0, 'the spool is empty');
			is(scalar(my @after = find_lists()) - $lists, 1, 'the service has one list');
			is(calls('find_upload') - $uploads, 1, 'from one upload');
			is(rows_of("somebody doe|round-$round-7.test"), 1, 'each was sought once');
			$api->clear;
		};
	}
	return;
}

sub in_state
{
	my ($state) = @_;
	return sub { my ($job) = @_; return try_sql("SELECT count(*) FROM clearout_parts WHERE job = $job AND state = '$state'") eq '1' };
}

killed_at('uploading', name => 'the upload is accepted, its answer on the way',
	before => sub { $api->hold(endpoint => 'find_upload') },
	there => sub { $api->stats->{held} == 1 },
	after => sub { $api->release });

killed_at('running', name => 'the list is worked on',
	before => sub { $api->config(bulk_speed => 0) },
	there => in_state('running'),
	after => sub { $api->config(bulk_speed => undef) });

killed_at('downloading', name => 'asking for the result',
	before => sub { $api->hold(endpoint => 'find_result') },
	there => sub { $api->stats->{held} == 1 },
	after => sub { $api->release });

# Some of its rows are stored, and it stands still.
killed_at('downloading', name => 'a part of the result is stored', rows => 4000,
	before => sub { $api->fault(endpoint => 'download', kind => 'cut', end => 'hang', bytes => 400_000, times => 1) },
	there => sub { my ($job) = @_; return try_sql("SELECT rows_answered FROM clearout_parts WHERE job = $job") > 0 });

killed_at('stored', name => 'the list is being removed', arguments => ', remove_list => true',
	before => sub { $api->hold(endpoint => 'find_remove') },
	there => sub { $api->stats->{held} == 1 },
	after => sub { $api->release });

subtest 'cancelling and removing' => sub {
	$api->config(bulk_speed => 100);
	my $job = find(people(900));
	ok(wait_until(60, sub { sql("SELECT count(*) FROM clearout_parts WHERE job = $job AND state = 'running' AND percent > 0") eq '1' }), 'under way');
	is(sqlstate($node, "SET ROLE finder; SELECT clearout_bulk_cancel($job)"), '42501', 'not by somebody else');
	is(sqlstate($node, "SELECT clearout_bulk_remove($job)"), '55000', 'it cannot be removed now');
	is(sql("SELECT clearout_bulk_cancel($job)"), 't', 'cancelled');
	ok(job_state($job, 'cancelled'), 'ended');
	$api->config(bulk_speed => undef);
	my ($answered, $unanswered) = split /\|/, counts($job);
	cmp_ok($answered, '>', 0, 'what was found till then is stored');
	is($answered + $unanswered, 900, 'the rest is accounted for');
	is(stored(), $answered, 'and not taken for not found');
	is(sql("SELECT count(*) FROM clearout_spool WHERE job = $job"), $unanswered, 'it stays in the spool');
	is(calls('find_cancel'), 1, 'one call has done it');
	sql("SELECT clearout_bulk_remove($job)");
	ok(wait_until(60, sub { sql("SELECT count(*) FROM clearout_spool WHERE job = $job") eq '0' }), 'until the job is removed');
	ok(wait_until(60, sub { (find_lists())[-1]{removed} }), 'at the service as well');
};

subtest 'limits of the account' => sub {
	# 1083: the finder counts its own lists
	$api->config(bulk_lists => 1, bulk_speed => 300);
	$round++;
	my $job = sql(qq{SET clearout.bulk_rows = 100; SELECT clearout_bulk_find('SELECT ''Somebody Doe'', ''round-$round-'' || i || ''.test'' FROM generate_series(1, 300) i')});
	ok(wait_until(60, sub { error_text($job) =~ /waits for its turn/ }), '1083: a part waits for its turn');
	is(sql(q{SELECT status FROM clearout_find('Somebody Alone', 'alone.test', timeout => '60s')}), 'found', '1083: single calls go on');
	ok(job_state($job, 'done'), '1083: done one after the other');
	is(counts($job), '300|0|0', '1083: all are answered');
	$api->config(bulk_lists => undef, bulk_speed => undef);

	# 1100: it will not take the file, however often it is sent
	$api->fault(endpoint => 'find_upload', code => 1100);
	my $uploads = calls('find_upload');
	$job = find(people(5));
	ok(job_state($job, 'failed'), '1100: failed');
	like(error_text($job), qr/code 1100/, '1100: and says so');
	is(counts($job), '0|5|0', '1100: nobody is sought');
	is(calls('find_upload') - $uploads, 1, '1100: sent once');
	$api->clear;

	# 1028: four credits a row have to be there
	$api->config(token => $api->token, credits => 150);
	$job = find(people(50));
	ok(wait_until(60, sub { error_text($job) ne '' }), '1028: it waits');
	like(error_text($job), qr/50 more credits are needed for this list/, '1028: and names how many are missing');
	is(sql(q{SELECT status FROM clearout_find('Somebody Else', 'alone.test', timeout => '60s')}), 'found', '1028: single calls go on');
	$api->config(token => $api->token, credits => 10_000_000);
	ok(job_state($job, 'done'), '1028: done when there are enough');

	# budgets, at four credits a row
	sql(q{CREATE ROLE poor; SELECT clearout_grant('poor', 'find'), clearout_set_budget('poor', 199)});
	my $lists = find_lists();
	$round++;
	my $order = "SET ROLE poor; SELECT clearout_bulk_find('SELECT ''Somebody Doe'', ''round-$round-'' || i || ''.test'' FROM generate_series(1, 50) i')";
	$job = sql($order);
	ok(wait_until(60, sub { error_text($job) =~ /Role "poor" has spent 0 of 199 credits/ }), 'a budget holds a list back');
	is(scalar(find_lists()), $lists, 'it is not sent');
	sql(q{SELECT clearout_set_budget('poor', 200)});
	ok(job_state($job, 'done'), 'done when the budget allows');
	$job = sql(q{SET ROLE poor; SELECT clearout_bulk_find('SELECT ''Somebody Poorer'', ''poor.test''')});
	ok(wait_until(60, sub { error_text($job) =~ /Role "poor" has spent 200 of 200 credits/ }), 'what lists have cost counts');
	# ... and holds up nobody else, however many lists there are
	my $many = sql(q{SET ROLE poor; SET clearout.bulk_rows = 1; SELECT clearout_bulk_find('SELECT ''Somebody Poorer'', ''poor-'' || i || ''.test'' FROM generate_series(1, 40) i')});
	ok(wait_until(60, sub { sql("SELECT count(*) FROM clearout_parts WHERE job = $many AND error IS NOT NULL") >= 10 }), 'many wait for a budget');
	my $other = find(people(5));
	ok(job_state($other, 'done'), 'others go on');
	sql("SELECT clearout_bulk_cancel($job), clearout_bulk_cancel($many)");
	ok(job_state($job, 'cancelled') && job_state($many, 'cancelled'), 'cancelled before they were sent');
	is(rows_of('somebody poorer|poor.test') + rows_of('somebody poorer|poor-1.test'), 0, 'nobody was sought');

	# clearout.credit_floor, at four credits a row as well
	my $floor = sub { $node->append_conf('postgresql.conf', "clearout.credit_floor = $_[0]\n"); $node->reload; return };
	$floor->(2147483647);
	$lists = find_lists();
	$job = find(people(50));
	ok(wait_until(120, sub { error_text($job) =~ /clearout\.credit_floor/ }), 'the floor holds a list back');
	ok(wait_until(120, sub { sql('SELECT credits IS NOT NULL FROM clearout_status') eq 't' }), 'the credits are asked for');
	my $credits = sql('SELECT credits FROM clearout_status');
	$floor->($credits - 100);
	ok(wait_until(120, sub { my $left = $credits - 100; error_text($job) =~ /clearout\.credit_floor is $left/ }), 'also where it is near');
	is(sql(q{SELECT status FROM clearout_find('Somebody Near', 'alone.test', timeout => '60s')}), 'found', 'a single call goes on');
	is(scalar(find_lists()), $lists, 'it is not sent');
	$floor->(0);
	ok(job_state($job, 'done'), 'done without the floor');
};

subtest 'rows that are locked or refused here' => sub {
	sql(q{INSERT INTO clearout_people (asked_name, asked_domain, status, found_at, source) VALUES
		('somebody locked', 'locked-7.test', 'not_found', now() - interval '1 year', 'instant'), ('nobody locked', 'locked-8.test', 'found', now() - interval '1 year', 'instant')});
	my $blocker = $node->background_psql('postgres', on_error_stop => 0);
	$blocker->query_safe(q{BEGIN; SELECT 1 FROM clearout_people WHERE asked_domain IN ('locked-7.test', 'locked-8.test') FOR UPDATE});
	my $job = find(q{SELECT CASE WHEN i = 8 THEN ''nobody'' ELSE ''somebody'' END || '' locked'', ''locked-'' || i || ''.test'' FROM generate_series(1, 50) i});
	ok(job_state($job, 'done'), 'a locked row does not hold up the job');
	is(counts($job), '50|0|0', 'all are answered');
	ok(sql(q{SELECT count(*) FROM clearout_lookup_spill WHERE kind = 'find' AND key IN (E'somebody locked\x1Flocked-7.test', E'nobody locked\x1Flocked-8.test')}) eq '2', 'it is put aside');
	is(sql(q{SELECT status, email, first_name, raw IS NULL FROM clearout_find('Somebody Locked', 'locked-7.test')}), 'found|somebody.locked@locked-7.test|somebody|t', 'and read from there');
	$blocker->query_safe('COMMIT');
	$blocker->quit;
	ok(wait_until(120, sub { sql(q{SELECT count(*) FROM clearout_lookup_spill WHERE error IS NULL}) eq '0' }), 'and merged later');
	is(sql(qq{SELECT $person, source, raw IS NULL FROM clearout_people WHERE asked_domain = 'locked-7.test'}),
		sql(qq{SELECT replace(concat_ws('|', status, email, 't', emails, first_name, last_name, full_name, domain, company), '-6.', '-7.')
			FROM clearout_people WHERE asked_domain = 'locked-6.test'}) =~ s/locked-6$/locked-7/r . '|' . sql(q{SELECT confidence_score FROM clearout_people WHERE asked_domain = 'locked-7.test'}) . '|bulk|t',
		'as if it had never been there');
	is(sql(q{SELECT status, email, source, raw IS NULL FROM clearout_people WHERE asked_domain = 'locked-8.test'}), 'not_found||bulk|t', 'nobody as well');

	sql(q{ALTER TABLE clearout_people ADD CONSTRAINT unwanted CHECK (asked_domain <> 'refused-5.test')});
	$job = find(q{SELECT ''Somebody Refused'', ''refused-'' || i || ''.test'' FROM generate_series(1, 30) i});
	ok(job_state($job, 'done'), 'a row that is refused does not hold up the job');
	is(sql(q{SELECT count(*) FROM clearout_people WHERE asked_name = 'somebody refused'}), 29, 'the others are stored');
	is(sql(q{SELECT error ~ 'unwanted' FROM clearout_lookup_spill WHERE key = E'somebody refused\x1Frefused-5.test'}), 't', 'it is kept, with the reason');
	is(counts($job), '30|0|0', 'and counts as answered');
	sql(q{ALTER TABLE clearout_people DROP CONSTRAINT unwanted});
};

subtest 'copies, waiting, forgetting' => sub {
	sql('SELECT clearout_pause()');
	my $job = find(people(2));
	my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
	sql('CREATE DATABASE restored');
	$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
	is(sql("SELECT kind, state FROM clearout_jobs WHERE job = $job", 'restored'), 'find|copied', 'the job is there');
	is(sql("SELECT count(*) FROM clearout_spool WHERE job = $job", 'restored'), 2, 'with its rows');
	sql('SELECT clearout_resume()', 'restored');
	ok(wait_until(120, sub { sql("SELECT state FROM clearout_jobs WHERE job = $job", 'restored') eq 'done' }), 'and is done when it is adopted');
	is(sql("SELECT count(*) FROM clearout_people WHERE asked_domain LIKE 'round-$round-%'", 'restored'), 2, 'its answers are there');
	sql("SELECT clearout_bulk_cancel($job); SELECT clearout_resume()");
	ok(job_state($job, 'cancelled'), 'the other one is given up');
	$node->safe_psql('template1', 'DROP DATABASE restored');

	$job = find(people(3));
	my (undef, $state, $err) = finish_psql(start_psql($node, "CALL clearout_wait($job, timeout => '120s')"));
	like($err, qr/bulk job $job: done: 3 rows, of these 0 left out, 3 answered, 0 without an answer; 12 credits/, 'clearout_wait() sees it through');
	is(sql("SELECT clearout_forget('somebody.doe\@round-$round-1.test')"), 1, 'an address that was found is forgotten');
	is(stored(), 2, 'with its person');
};

my $log = slurp_file($node->logfile);
unlike($log, qr/signal 11|signal 6|TRAP:/, 'nothing has crashed');
is(scalar(grep { /\@|somebody doe|\x1f/i } grep { /clearout: / } split /\n/, $log), 0, 'nobody is named in what the worker logs');
$node->stop;
done_testing();
