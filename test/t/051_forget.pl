# clearout_forget() and clearout_expire(): what is removed, and that no answer
# under way brings it back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until worker_pid call_sql start_verify finish_callers);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api, conf => "autovacuum = off\n");

sub sql { return value_of($node, @_) }

# All that the extension's tables know of it: "results 1, queue 2".
sub known
{
	my ($email) = @_;
	return sql(qq{SELECT coalesce(string_agg(what || ' ' || n, ', ' ORDER BY what), 'nothing') FROM (
		SELECT 'results' AS what, count(*) AS n FROM clearout_results WHERE email = '$email'
		UNION ALL SELECT 'spill', count(*) FROM clearout_spill WHERE email = '$email'
		UNION ALL SELECT 'queue', count(*) FROM clearout_queue WHERE clearout_normalize(email) = '$email'
		UNION ALL SELECT 'outbox', count(*) FROM clearout_outbox WHERE email = '$email'
		UNION ALL SELECT 'forgotten', count(*) FROM clearout_forgotten WHERE email = '$email') AS c WHERE n > 0});
}

sub becomes
{
	my ($email, $expected, $what) = @_;
	wait_until(60, sub { known($email) eq $expected });
	return is(known($email), $expected, $what);
}

ok(worker_pid($node), 'a worker runs');

subtest 'what is stored' => sub {
	sql('SELECT clearout_pause()');
	sql(q{INSERT INTO clearout_results (email, status, verified_at, source) VALUES
			('jane@x.test', 'valid', now(), 'instant'), ('joe@x.test', 'valid', now(), 'instant');
		INSERT INTO clearout_queue (email) VALUES ('jane@x.test'), (' Jane@X.test'), ('joe@x.test'), ('malformed');
		INSERT INTO clearout_spill (email, status, verified_at, source, error)
			VALUES ('jane@x.test', 'valid', now(), 'instant', 'refused')});
	sql(q{INSERT INTO clearout_people (asked_name, asked_domain, status, email, found_at, source)
			VALUES ('jane', 'x.test', 'found', 'Jane@x.test', now(), 'instant');
		INSERT INTO clearout_people (asked_name, asked_domain, status, email, emails, found_at, source)
			VALUES ('sales', 'x.test', 'found', 'sales@x.test', ARRAY['sales@x.test', 'Jane@X.test'], now(), 'instant');
		INSERT INTO clearout_lookups (kind, key, found, answered_at) VALUES ('free', 'jane@x.test', true, now()),
			('reverse_email', 'jane@x.test', true, now()), ('mx', 'x.test', true, now())});
	is(sql(q{SELECT clearout_forget('JANE@x.test')}), 8, 'rows are counted');
	is(sql('SELECT (SELECT count(*) FROM clearout_people), (SELECT count(*) FROM clearout_lookups)'), '0|1',
		'what was looked up about it as well');
	becomes('jane@x.test', 'nothing', 'nothing is left, in whatever form');
	becomes('joe@x.test', 'queue 1, results 1', 'of somebody else all is there');
	is(sql(q{SELECT clearout_forget('malformed')}), 1, 'what is no address');
	is(sql(q{SELECT clearout_forget('nobody@x.test')}), 0, 'what nobody knows');
	sql(q{BEGIN; SELECT clearout_forget('joe@x.test'); ROLLBACK});
	becomes('joe@x.test', 'queue 1, results 1', 'rolled back is not forgotten');
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM clearout_forgotten'), 'no trace of what was to be forgotten');
	sql('TRUNCATE clearout_queue; SELECT clearout_resume()');
};

subtest 'what is under way' => sub {
	$api->hold;
	my $held = $api->stats->{held};
	sql(q{SELECT clearout_enqueue(ARRAY['air@x.test', 'stays@x.test'])});
	ok($api->wait_for(held => $held + 2), 'two calls are on the wire');
	my $caller = start_verify($node, 'asked@x.test', "timeout => '60s'");
	ok($api->wait_for(held => $held + 3), 'a session waits for a third');
	is(sql(q{SELECT clearout_forget('air@x.test')}), 1, 'a row of the queue is removed');
	sql(q{SELECT clearout_forget('asked@x.test')});
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM clearout_forgotten'), 'the worker knows');
	$api->release;
	becomes('stays@x.test', 'results 1', 'the other is answered');
	is(finish_callers(60, $caller), 0, 'the session is told');
	is($caller->{sqlstate}, 'VC007', 'with an error');
	like($caller->{detail}, qr/forgotten meanwhile/, 'that says why');
	is(known('air@x.test'), 'nothing', 'the answer from the queue was dropped');
	is(known('asked@x.test'), 'nothing', 'so was that for the session');
	is($api->calls('air@x.test'), 1, 'it was asked once');

	sql(q{SELECT clearout_enqueue('air@x.test')});
	becomes('air@x.test', 'results 1', 'it can be asked again');

	# Who asks after that gets an answer, although the old one is dropped.
	$api->hold;
	$held = $api->stats->{held};
	sql(q{SELECT clearout_enqueue('valid-since@x.test')});
	ok($api->wait_for(held => $held + 1), 'a call is on the wire');
	sql(q{SELECT clearout_forget('valid-since@x.test')});
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM clearout_forgotten'), 'and forgotten');
	my $joined = sql('SELECT joined FROM clearout_status');
	$caller = start_verify($node, 'valid-since@x.test', "timeout => '60s'");
	ok($node->poll_query_until('postgres', "SELECT joined > $joined FROM clearout_status"), 'a session asks, and meets that call');
	$api->release;
	is(finish_callers(90, $caller), 0, 'the session is told');
	like($caller->{out}, qr/^valid\|yes\|service/, 'what a new call has brought') or diag $caller->{err};
	is($api->calls('valid-since@x.test'), 2, 'that is the second');
	is(known('valid-since@x.test'), 'results 1', 'which is stored');

	# Who enqueues as well.
	$api->hold;
	$held = $api->stats->{held};
	sql(q{SELECT clearout_enqueue('back@x.test')});
	ok($api->wait_for(held => $held + 1), 'another call is on the wire');
	sql(q{SELECT clearout_forget('back@x.test')});
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM clearout_forgotten'), 'and forgotten');
	sql(q{SELECT clearout_enqueue('back@x.test')});
	$api->release;
	becomes('back@x.test', 'results 1', 'an address that comes back is asked anew');
	is($api->calls('back@x.test'), 2, 'by a second call');
};

subtest 'what a list has still to send' => sub {
	my $state = sub { return sql("SELECT state FROM clearout_jobs WHERE job = $_[0]") };

	sql('SELECT clearout_pause()');
	my $job = sql(q{SELECT clearout_bulk_verify(ARRAY['list-1@x.test', 'list-2@x.test'])});
	is(sql(q{SELECT clearout_forget('list-1@x.test')}), 1, 'a row of the spool is removed');
	is(sql(q{SELECT string_agg(asked, ' ') FROM clearout_spool}), 'list-2@x.test', 'and no other');
	sql('SELECT clearout_resume()');
	ok(wait_until(60, sub { $state->($job) eq 'done' }), 'the list is verified') or diag $state->($job);
	is(known('list-1@x.test'), 'nothing', 'without it');
	is(known('list-2@x.test'), 'results 1', 'with the other');

	# Its length is known already, when a row goes: one list is sent at a time.
	sql($_) foreach q{ALTER SYSTEM SET clearout.request_timeout = '2s'}, 'SELECT pg_reload_conf()';
	$api->hold;
	my $first = sql(q{SELECT clearout_bulk_verify(ARRAY['list-3@x.test'])});
	ok(wait_until(60, sub { sql("SELECT state FROM clearout_parts WHERE job = $first") eq 'uploading' }), 'a list is being sent');
	$job = sql(q{SELECT clearout_bulk_verify(ARRAY['list-4@x.test', 'list-5@x.test'])});
	sleep 2;
	sql(q{SELECT clearout_forget('list-4@x.test')});
	is($state->($job), 'spooled', 'another one waits for its turn');
	$api->release;
	ok(wait_until(60, sub { $state->($job) eq 'done' }), 'it is sent all the same') or diag $state->($job);
	is(known('list-4@x.test'), 'nothing', 'without the address');
	is(known('list-5@x.test'), 'results 1', 'with the other');
	sql($_) foreach 'ALTER SYSTEM RESET clearout.request_timeout', 'SELECT pg_reload_conf()';

	# The service has it already, and its result will speak of it.
	$api->config(bulk_speed => 0);
	$job = sql(q{SELECT clearout_bulk_verify(ARRAY(SELECT 'sent-' || i || '@x.test' FROM generate_series(1, 20) i))});
	ok(wait_until(120, sub { $state->($job) eq 'running' }), 'a list is being verified');
	is(sql(q{SELECT clearout_forget('sent-7@x.test')}), 1, 'one of its addresses is forgotten');
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM clearout_forgotten'), 'the worker knows');
	$api->config(bulk_speed => undef);
	ok(wait_until(60, sub { $state->($job) eq 'done' }), 'the list is done') or diag $state->($job);
	is($api->rows('sent-7@x.test'), 1, 'it was verified');
	is(known('sent-7@x.test'), 'nothing', 'and is not stored');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'sent-%'}), 19, 'as the others are');
};

subtest 'a crash in between' => sub {
	$node->stop('immediate');
	$node->start;
	sql(q{INSERT INTO clearout_results (email, status, verified_at, asked_at, source)
			VALUES ('late@x.test', 'valid', now(), now(), 'instant')});
	sql(q{INSERT INTO clearout_forgotten (email) VALUES ('late@x.test')});
	$node->restart;
	becomes('late@x.test', 'nothing', 'the next worker finishes it');
};

subtest 'a row that somebody holds' => sub {
	sql(q{INSERT INTO clearout_results (email, status, verified_at, asked_at, source)
			VALUES ('held@x.test', 'valid', now(), now(), 'instant')});
	my $session = $node->background_psql('postgres');
	$session->query_safe(q{BEGIN; SELECT FROM clearout_results WHERE email = 'held@x.test' FOR UPDATE});
	sql(q{INSERT INTO clearout_forgotten (email) VALUES ('held@x.test'); SELECT clearout_resume()});
	sql(q{SELECT clearout_enqueue('during@x.test')});
	becomes('during@x.test', 'results 1', 'the worker goes on');
	is(known('held@x.test'), 'forgotten 1, results 1', 'and keeps in mind what it could not do');
	$session->query_safe('COMMIT');
	$session->quit;
	becomes('held@x.test', 'nothing', 'later it can');
};

subtest 'thousands' => sub {
	sql(q{INSERT INTO clearout_results (email, status, verified_at, asked_at, source)
			SELECT 'many-' || i || '@x.test', 'valid', now(), now(), 'instant' FROM generate_series(1, 3000) i});
	my $locker = $node->background_psql('postgres');
	# what the sessions have not seen: as if stored in the moment before their commit
	sql(q{BEGIN; SELECT count(clearout_forget('many-' || i || '@x.test')) FROM generate_series(1, 3000) i;
		INSERT INTO clearout_results (email, status, verified_at, asked_at, source)
			SELECT 'many-' || i || '@x.test', 'valid', now(), now(), 'instant' FROM generate_series(1, 3000) i; COMMIT});
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_forgotten') eq '0' }), 'all are swept');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'many-%'}), 0, 'nothing is left of them');

	# One of the first is locked: it holds up none of those behind it.
	sql(q{INSERT INTO clearout_results (email, status, verified_at, asked_at, source) VALUES ('held@x.test', 'valid', now(), now(), 'instant')});
	$locker->query_safe(q{BEGIN; SELECT FROM clearout_results WHERE email = 'held@x.test' FOR UPDATE});
	sql(q{INSERT INTO clearout_forgotten (email) VALUES ('held@x.test');
		INSERT INTO clearout_forgotten (email) SELECT 'many-' || i || '@x.test' FROM generate_series(1, 3000) i;
		SELECT clearout_forget('nobody@x.test')});
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_forgotten') <= 100 }), 'all but those that go with it are done');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email = 'held@x.test'}), 1, 'it is still there');
	$locker->query_safe('COMMIT');
	$locker->quit;
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_forgotten') eq '0' }), 'then that as well');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email = 'held@x.test'}), 0, 'and it is gone');
};

subtest 'by age' => sub {
	sql(q{TRUNCATE clearout_results, clearout_queue;
		INSERT INTO clearout_results (email, status, verified_at, asked_at, source)
			SELECT 'old' || i || '@x.test', 'valid', now() - interval '400 days', CASE WHEN i = 1 THEN now() END, 'instant'
			FROM generate_series(1, 10) i;
		INSERT INTO clearout_results (email, status, verified_at, source) VALUES ('new@x.test', 'valid', now(), 'instant');
		INSERT INTO clearout_queue (email, failed_at) VALUES ('f@x.test', now() - interval '2 years'), ('g@x.test', now())});
	is(sql(q{SELECT clearout_expire('1 year', 4)}), 4, 'some at a time');
	is(sql(q{SELECT clearout_expire('1 year')}), 6, 'the rest, and what failed long ago');
	is(sql(q{SELECT string_agg(email, ' ' ORDER BY email) FROM clearout_results}), 'new@x.test old1@x.test',
		'what was asked for lately stays');
	is(sql('SELECT email FROM clearout_queue'), 'g@x.test', 'what failed lately as well');
	is(sqlstate($node, q{SELECT clearout_expire('-1 day')}), '22023', 'a negative age');
};

subtest 'rights' => sub {
	sql(q{CREATE ROLE reader; SELECT clearout_grant('reader', 'read'); SELECT clearout_grant('reader', 'enqueue');
		SELECT clearout_grant('reader', 'verify'); CREATE ROLE ops; SELECT clearout_grant('ops', 'admin')});
	is(sqlstate($node, "SET ROLE reader; SELECT clearout_$_"), '42501', $_)
	  foreach q{forget('new@x.test')}, q{expire('1 day')};
	is(sqlstate($node, q{SET ROLE reader; SELECT * FROM clearout_forgotten}), '42501', 'what is being forgotten');
	is(sqlstate($node, q{SET ROLE ops; SELECT clearout_forget('new@x.test')}), '00000', 'an admin may');
};

$node->stop;
done_testing();
