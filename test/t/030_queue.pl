# The durable queue as its users see it: what gets in, what wakes the worker,
# in which order it is asked, and who may do what.
#
# At the end of most parts the queue is empty again, and the server's counts
# say that each address was asked once, or not at all.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(verify wait_until worker_pid);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# Nothing here waits for a clock; the bound is for a busy machine.
my $SOON = 60;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api,
	max_parallel => 10,
	conf => "autovacuum = off\ndeadlock_timeout = 100ms\nmax_prepared_transactions = 5\n");

sub sql { return value_of($node, @_) }

sub session
{
	my ($begin) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 1, timeout => 120);

	$session->query_safe($begin) if defined $begin;
	return $session;
}

sub waits
{
	my ($where) = @_;
	return sql('SELECT count(*) FROM clearout_queue' . ($where ? " WHERE $where" : ''));
}

# Nothing waits any more.
sub drained
{
	my ($seconds, $where) = @_;
	return wait_until($seconds // 120, sub { waits($where) eq '0' });
}

sub is_stored
{
	my ($email) = @_;
	return sql("SELECT count(*) FROM clearout_results WHERE email = '$email'");
}

sub answered
{
	my ($email, $seconds) = @_;
	return wait_until($seconds // $SOON, sub { is_stored($email) });
}

sub statement_state
{
	my ($sql) = @_;
	return sqlstate($node, $sql);
}

# Calls about each, in one word: "1 1 0".
sub calls
{
	return join ' ', map { $api->calls($_) } @_;
}

ok(worker_pid($node), 'a worker runs');

subtest 'what gets in' => sub {
	is(sql(q{SELECT clearout_enqueue('Valid-In@X.test')}), 't', 'an address');
	ok(answered('valid-in@x.test'), 'is answered, in its normal form');
	ok(drained(), 'and gone from the queue');
	is(sql(q{SELECT clearout_enqueue('valid-in@X.TEST')}), 'f', 'a fresh answer is there');
	is(sql(q{SELECT clearout_enqueue('not an address')}), 'f', 'malformed');
	is(sql(q{SELECT clearout_enqueue('')}), 'f', 'empty');
	is(sql(q{SELECT clearout_enqueue(NULL::text) IS NULL}), 't', 'NULL');
	is(sql(q{SELECT clearout_enqueue(NULL::text[]) IS NULL}), 't', 'NULL for an array');
	is(sql(q{SELECT clearout_enqueue('{}'::text[])}), 0, 'an empty array');
	is(sql(q{SELECT clearout_enqueue(ARRAY[['Valid-M1@x.test', 'valid-m1@x.test'], ['valid-m2@x.test', NULL]])}), 2, 'an array: equal ones once');
	is(sql(q{SELECT clearout_enqueue(ARRAY['valid-in@x.test', NULL, 'not an address'])}), 0, 'an array of what is needless');
	ok(answered('valid-m1@x.test') && answered('valid-m2@x.test'), 'the array is answered');

	# Standing still, so that what waits can be seen.
	sql('SELECT clearout_pause()');
	is(sql(q{SELECT clearout_enqueue('valid-wait@x.test')}), 't', 'put in while it stands still');
	is(sql(q{SELECT clearout_enqueue('Valid-Wait@x.test')}), 'f', 'it waits already');
	is(sql(q{SELECT clearout_enqueue(ARRAY['valid-wait@x.test', 'valid-wait2@x.test', 'valid-wait2@X.test'])}), 1, 'one of them does');
	is(sql(q{SELECT string_agg(email || ' ' || priority || ' ' || requested_by || ' ' || attempts || ' ' || (origin = clearout_origin()), ', ' ORDER BY id) FROM clearout_queue}),
		"valid-wait\@x.test 0 @{[ sql('SELECT current_user') ]} 0 true, valid-wait2\@x.test 0 @{[ sql('SELECT current_user') ]} 0 true",
		'the rows');
	sql('SELECT clearout_resume()');
	ok(drained(), 'answered when it goes on');

	foreach my $priority (-10, 10, -2147483648)
	{
		is(statement_state("SELECT clearout_enqueue('valid-p\@x.test', $priority)"), '22023', "priority $priority");
		is(statement_state("SELECT clearout_enqueue(ARRAY['valid-p\@x.test'], $priority)"), '22023', "priority $priority, array");
		is(statement_state("SELECT clearout_refresh(priority => $priority)"), '22023', "priority $priority, refresh");
		isnt(statement_state("INSERT INTO clearout_queue (email, priority) VALUES ('valid-p\@x.test', $priority)"), '00000', "priority $priority, INSERT");
	}
	is(sql("SELECT clearout_enqueue('valid-p$_\@x.test', $_)"), 't', "priority $_") foreach -9, 9;
	is(sql(q{SELECT clearout_enqueue('valid-p@x.test', NULL)}), 't', 'priority NULL');
	ok(drained(), 'all answered');
	is(calls(map { "valid-$_\@x.test" } qw(in m1 m2 wait wait2 p-9 p9 p)), '1 1 1 1 1 1 1 1', 'each by one call');
	is($api->address_stats->{distinct}, 8, 'and nothing else was asked');
};

subtest 'transactions' => sub {
	sql(q{BEGIN; SELECT clearout_enqueue('valid-back1@x.test');
		INSERT INTO clearout_queue (email) VALUES ('valid-back2@x.test'); ROLLBACK});
	sql(q{BEGIN;
		SELECT clearout_enqueue('valid-stay1@x.test');
		SAVEPOINT a;
		SELECT clearout_enqueue('valid-back3@x.test');
		ROLLBACK TO a;
		SAVEPOINT b;
		SELECT clearout_enqueue('valid-stay2@x.test');
		RELEASE b;
		COMMIT});
	ok(answered('valid-stay1@x.test') && answered('valid-stay2@x.test'), 'what was committed, in a released savepoint too');

	# Only what is rolled back comes first; the note must not be lost by it.
	sql(q{BEGIN; SAVEPOINT a; SELECT clearout_enqueue('valid-back4@x.test'); ROLLBACK TO a;
		SELECT clearout_enqueue('valid-stay3@x.test'); COMMIT});
	ok(answered('valid-stay3@x.test'), 'what comes after a rolled back savepoint');
	is(statement_state(q{BEGIN; SELECT clearout_enqueue('valid-back5@x.test'); SELECT 1/0}), '22012', 'an error');
	is(sql(q{DO $$ BEGIN
			PERFORM clearout_enqueue('valid-stay4@x.test');
			BEGIN PERFORM clearout_enqueue('valid-back6@x.test'); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
		END $$}), '', 'an exception block');
	ok(answered('valid-stay4@x.test'), 'around it');

	# While the transaction is open, nothing is sent.
	my $open = session(q{BEGIN; SELECT clearout_enqueue('valid-open@x.test')});
	sql(q{SELECT clearout_enqueue('valid-beside@x.test')});
	ok(answered('valid-beside@x.test'), 'others are answered');
	is(calls('valid-open@x.test'), 0, 'what is not committed is not');
	is($open->query(q{SELECT clearout_enqueue('valid-open@x.test')}), 'f', 'the transaction sees its own row');
	$open->query_safe('COMMIT');
	ok(answered('valid-open@x.test'), 'answered after its commit');

	# Nor while it is prepared; whoever commits that wakes the worker.
	sql(q{BEGIN; SELECT clearout_enqueue('valid-prepared1@x.test'); INSERT INTO clearout_queue (email) VALUES ('valid-prepared2@x.test'); PREPARE TRANSACTION 'kept'});
	sql(q{BEGIN; SELECT clearout_enqueue('valid-back7@x.test'); PREPARE TRANSACTION 'dropped'});
	sql(q{SELECT clearout_enqueue('valid-beside2@x.test')});
	ok(answered('valid-beside2@x.test'), 'others are answered beside prepared ones');
	is(calls(map { "valid-prepared$_\@x.test" } 1, 2), '0 0', 'what is prepared is not sent');
	sql(q{COMMIT PREPARED 'kept'});
	ok(answered("valid-prepared$_\@x.test"), "COMMIT PREPARED: answered ($_)") foreach 1, 2;
	sql(q{ROLLBACK PREPARED 'dropped'});
	$open->quit;
	ok(drained(), 'the queue is empty');
	is(calls(map { "valid-back$_\@x.test" } 1 .. 7), '0 0 0 0 0 0 0', 'what was rolled back was never sent');
	is(calls(map { "valid-stay$_\@x.test" } 1 .. 4), '1 1 1 1', 'the rest once');
};

subtest 'plain INSERT and COPY' => sub {
	sql(q{INSERT INTO clearout_queue (email) VALUES ('Valid-Insert@X.test')});
	ok(answered('valid-insert@x.test'), 'INSERT');
	sql(q{INSERT INTO clearout_queue (email) SELECT 'valid-many' || i || '@x.test' FROM generate_series(1, 300) i});
	ok(wait_until($SOON, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-many%'}) == 300 }), 'INSERT ... SELECT');
	sql("COPY clearout_queue (email, priority) FROM STDIN;\nvalid-copy1\@x.test\t3\nvalid-copy2\@x.test\t-3\n\\.\n");
	ok(answered('valid-copy1@x.test') && answered('valid-copy2@x.test'), 'COPY');
	sql(q{PREPARE p AS INSERT INTO clearout_queue (email) VALUES ($1); EXECUTE p('valid-again1@x.test'); EXECUTE p('valid-again2@x.test')});
	ok(answered('valid-again1@x.test') && answered('valid-again2@x.test'), 'one transaction after another in one session');

	# One that enqueue() would not have let in stays, and says why.
	sql(q{INSERT INTO clearout_queue (email) VALUES ('not an address'), ('valid-beside-bad@x.test'), ('two@at@signs')});
	ok(answered('valid-beside-bad@x.test'), 'a good one beside malformed ones');
	ok(wait_until($SOON, sub { waits('failed_at IS NOT NULL') == 2 }), 'these have failed');
	is(waits(q{last_error = clearout_syntax_error(email)}), 2, 'with their reason');
	is(waits(), 2, 'and are all that is left');
	is(sql(q{SELECT clearout_enqueue('valid-after-bad@x.test')}), 't', 'they are in nobody\'s way');
	ok(answered('valid-after-bad@x.test'), 'of what comes later');
	is(sql('SELECT clearout_retry()'), 2, 'another chance');
	ok(wait_until($SOON, sub { waits('failed_at IS NOT NULL') == 2 }), 'does not help them');
	sql('DELETE FROM clearout_queue');
	is($api->address_stats->{max}, 1, 'no address was asked twice so far');
};

# Ids do not commit in the order in which they are given out.
subtest 'a lower id that commits later' => sub {
	foreach my $how ('SELECT clearout_enqueue(%s)', 'INSERT INTO clearout_queue (email) VALUES (%s)')
	{
		my ($word) = lc($how) =~ /^(\w+)/;
		my $first = session('BEGIN');

		$first->query_safe(sprintf $how, "'valid-low-$word\@x.test'");
		sql(sprintf $how, "'valid-high-$word\@x.test'");
		ok(answered("valid-high-$word\@x.test"), "$word: the higher id is answered");
		is(calls("valid-low-$word\@x.test"), 0, "$word: the lower one waits for its commit");
		$first->query_safe('COMMIT');
		ok(answered("valid-low-$word\@x.test"), "$word: and is answered soon after");
		$first->quit;
	}
	ok(drained(), 'the queue is empty');
};

# What pgbench says of its transactions, and its errors.
sub run_pgbench
{
	my ($clients, $transactions, $script) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir_short() . '/script.sql';
	my ($out, $err) = ('', '');

	append_to_file($file, $script);
	run_log([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $transactions, '-f', $file, $node->connstr('postgres') ],
		'>', \$out, '2>', \$err);
	my ($done, $wanted) = $out =~ m{actually processed: (\d+)/(\d+)};
	is($done, $clients * $transactions, 'all transactions were done') or diag $err;
	unlike($err, qr/ERROR|deadlock/i, 'without an error');
	return;
}

subtest 'many at once' => sub {
	$api->config(latency => 5);
	run_pgbench(8, 250, <<'SQL');
\set a random(1, 700)
\set b random(1, 700)
SELECT clearout_enqueue('valid-bench' || :a || '@bench.test');
INSERT INTO clearout_queue (email, accepts_since) VALUES ('valid-bench' || :b || '@bench.test', now() - interval '1 hour');
SQL
	ok(drained(180), 'the queue is empty in the end');
	my $stored = sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE '%@bench.test'});
	my $stats = $api->address_stats;
	cmp_ok($stored, '>', 650, 'nearly every address was drawn');
	is(scalar(grep { $_->{email} =~ /bench/ } @{ $stats->{repeated} }), 0, 'no address was asked twice');
	is(sql('SELECT count(*) FROM clearout_results'), $stats->{distinct}, 'what was asked is stored');

	# In one transaction, in opposite orders: nobody waits for anybody.
	run_pgbench(8, 20, <<'SQL');
BEGIN;
SELECT clearout_enqueue('valid-order' || (:client_id % 2 * 40 + i * (1 - :client_id % 2 * 2)) || '@order.test') FROM generate_series(1, 39) i;
SELECT clearout_enqueue(ARRAY(SELECT 'valid-order' || i || '@order.test' FROM generate_series(1, 50) i));
COMMIT;
SQL
	ok(drained(180), 'the queue is empty in the end');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE '%@order.test'}), 50, 'all answered');
	is($api->address_stats->{max}, 1, 'no address was asked twice');
	$api->config(latency => 0);
};

# Two sessions that do not see each other's row: two rows, one call.
subtest 'one address in two sessions' => sub {
	my @session = map { session('BEGIN') } 1 .. 2;

	is($session[$_]->query(q{SELECT clearout_enqueue('valid-both@x.test')}), 't', "session $_ puts it in") foreach 0, 1;
	$api->hold(email => 'valid-both@x.test');
	$session[0]->query_safe('COMMIT');
	ok($api->wait_for(held => 1), 'the first row is asked');
	$session[1]->query_safe('COMMIT');
	is(waits(), 2, 'two rows wait');
	$api->release;
	ok(drained(), 'both are gone with one answer');
	is(calls('valid-both@x.test'), 1, 'and one call');
	$_->quit foreach @session;

	# Likewise when the answer is there before the second comes.
	my $late = session('BEGIN');
	$late->query_safe(q{SELECT clearout_enqueue('valid-late@x.test')});
	sql(q{SELECT clearout_enqueue('valid-late@x.test')});
	ok(answered('valid-late@x.test'), 'answered for the first');
	$late->query_safe('COMMIT');
	ok(drained(), 'the second is gone too');
	is(calls('valid-late@x.test'), 1, 'with one call');
	$late->quit;
};

subtest 'a stored answer' => sub {
	my $email = 'valid-known@x.test';

	is(verify($node, $email)->{out}, 'valid|yes|service|Success', 'asked');
	sql("INSERT INTO clearout_queue (email, accepts_since) VALUES ('$email', now() - interval '1 hour')");
	ok(drained(), 'a row that accepts it goes');
	is(calls($email), 1, 'without a call');
	sql("INSERT INTO clearout_queue (email, accepts_since) VALUES ('$email', now())");
	ok(drained(), 'a row that wants a newer one goes');
	is(calls($email), 2, 'after a call');
	is(sql("SET clearout.max_age = 0; SELECT clearout_enqueue('$email')"), 't', 'likewise by max_age');
	ok(drained(), 'answered');
	is(calls($email), 3, 'by a call');
};

subtest 'an interactive call joins' => sub {
	my $email = 'valid-join@x.test';

	$api->hold(email => $email);
	sql("SELECT clearout_enqueue('$email')");
	ok($api->wait_for(held => 1), 'the queue has asked');
	my $caller = start_psql($node, "SELECT status || ' ' || source FROM clearout_verify('$email')");
	ok(poll_status($node, 'requests_waiting = 1'), 'somebody waits for the same');
	ok(wait_until($SOON, sub { sql('SELECT joined FROM clearout_status') > 0 }), 'he has joined');
	$api->release;
	is((finish_psql($caller))[0], 'valid service', 'he gets the answer');
	ok(drained(), 'the row is gone');
	is(calls($email), 1, 'one call for both');

	# One that is queued, while the queue stands still: he asks for both.
	sql("SELECT clearout_pause(); SELECT clearout_enqueue('valid-first\@x.test')");
	is(verify($node, 'valid-first@x.test')->{out}, 'valid|yes|service|Success', 'verify works while the queue stands still');
	is(waits(), 1, 'the row waits');
	sql('SELECT clearout_resume()');
	ok(drained(), 'and goes');
	is(calls('valid-first@x.test'), 1, 'without another call');
};

subtest 'somebody has locked a row' => sub {
	my $email = 'valid-held@x.test';

	sql("SELECT clearout_pause(); SELECT clearout_enqueue('$email'); SELECT clearout_enqueue('valid-beside-held\@x.test')");
	my $holder = session("BEGIN; SELECT id FROM clearout_queue WHERE email = '$email' FOR UPDATE");
	sql('SELECT clearout_resume()');
	ok(answered($email), 'it is answered');
	ok(answered('valid-beside-held@x.test'), 'and so is its neighbour');
	sql(q{SELECT clearout_enqueue('valid-after-held@x.test')});
	ok(answered('valid-after-held@x.test'), 'as are others');
	is(verify($node, 'valid-verify-held@x.test')->{out}, 'valid|yes|service|Success', 'verify works');
	is(waits(), 1, 'the row is still there');
	$holder->query_safe('COMMIT');
	$holder->quit;
	ok(drained($SOON), 'and goes when it is let go');
	is(calls($email), 1, 'with one call');

	# The same with the whole table, which keeps rows from being deleted.
	sql(q{SELECT clearout_pause(); SELECT clearout_enqueue('valid-table@x.test')});
	$holder = session('BEGIN; LOCK TABLE clearout_queue IN SHARE MODE');
	is(verify($node, 'valid-table@x.test')->{out}, 'valid|yes|service|Success', 'table locked: verify works');
	is(verify($node, 'valid-table2@x.test')->{out}, 'valid|yes|service|Success', 'table locked: again');
	$holder->query_safe('COMMIT');
	$holder->quit;
	sql('SELECT clearout_resume()');
	ok(drained(), 'table locked: the row goes afterwards');
	is(calls('valid-table@x.test'), 1, 'table locked: one call');

	# In the middle of a drain.
	$api->hold(pattern => 'valid-lock*');
	sql(q{SELECT clearout_enqueue('valid-lock' || i || '@x.test') FROM generate_series(1, 30) i});
	ok($api->wait_for(held => 10), 'calls in flight');
	$holder = session('BEGIN; LOCK TABLE clearout_queue IN SHARE MODE');
	$api->release;
	ok(wait_until($SOON, sub { is_stored('valid-lock1@x.test') + sql(q{SELECT count(*) FROM clearout_spill WHERE email = 'valid-lock1@x.test'}) }), 'the answers are stored meanwhile');
	is(verify($node, 'valid-lock-verify@x.test')->{out}, 'valid|yes|service|Success', 'and verify works');
	$holder->query_safe('COMMIT');
	$holder->quit;
	ok(drained(), 'all is answered afterwards');
	is(calls(map { "valid-lock$_\@x.test" } 1 .. 30), join(' ', (1) x 30), 'each by one call');
};

# What was known of table and results when a row was taken may be otherwise by
# the time that its answer comes.
subtest 'what others do while calls are under way' => sub {
	my @taken = map { "valid-way$_\@x.test" } 1 .. 10;
	my $begin = sub {
		sql(q{TRUNCATE clearout_queue; SELECT clearout_pause();
			INSERT INTO clearout_queue (email, failed_at) SELECT 'failed' || i || '@x.test', now() FROM generate_series(1, 300) i;
			INSERT INTO clearout_queue (email, failed_at) SELECT CASE WHEN i % 3 = 0 THEN 'valid-way' || i / 3 ELSE 'failed-too' || i END || '@x.test',
				CASE WHEN i % 3 > 0 THEN now() END FROM generate_series(1, 30) i;
			DELETE FROM clearout_results WHERE email LIKE 'valid-way%'});
		$api->hold(pattern => 'valid-way*');
		sql('SELECT clearout_resume()');
		ok($api->wait_for(held => 10), 'calls in flight');
	};
	my $end = sub {
		my ($left, $what, $new) = (@_, 10);

		$api->release;
		ok(wait_until($SOON, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-way%' AND source = 'instant'}) == $new }),
			"$what: the answers are stored");
		ok(drained($SOON, "email LIKE 'valid-way%'"), "$what: what is answered goes");
		is(waits('failed_at IS NOT NULL'), $left, "$what: all others stay");
	};

	# Rows move, so that others are where they were.
	$begin->();
	sql(q{DELETE FROM clearout_queue WHERE email LIKE 'failed7%' OR email LIKE 'failed-too1%'});
	sql('VACUUM FULL clearout_queue');
	sql(q{UPDATE clearout_queue SET last_error = 'none' WHERE email IN ('valid-way2@x.test', 'valid-way9@x.test')});
	$end->(300 - 11 + 20 - 8, 'moved');

	# They go, and where they were is nothing.
	$begin->();
	sql('TRUNCATE clearout_queue');
	$end->(0, 'gone');

	# Others have their places.
	$begin->();
	sql(q{TRUNCATE clearout_queue; INSERT INTO clearout_queue (email, failed_at) SELECT 'failed' || i || '@x.test', now() FROM generate_series(1, 400) i});
	$end->(400, 'others instead');
	is(calls(@taken), join(' ', (3) x 10), 'each was asked once a time');

	# Answers that were not there come by another way, newer and older ones.
	sql('ALTER SYSTEM SET log_min_messages = debug1; SELECT pg_reload_conf()');
	my $position = -s $node->logfile;
	$begin->();
	sql(q{INSERT INTO clearout_results (email, status, verified_at, asked_at, source)
		VALUES ('valid-way1@x.test', 'invalid', now() + '1 hour', now(), 'bulk'),
			('valid-way2@x.test', 'invalid', now() - '1 hour'::interval, now() - '1 hour'::interval, 'bulk'),
			('valid-way3@x.test', 'unknown', now() + '1 hour', now(), 'bulk')});
	$end->(320, 'answered otherwise', 9);
	is(sql(q{SELECT string_agg(status, ' ' ORDER BY email) FROM clearout_results WHERE email ~ '^valid-way[123]@'}),
		'invalid valid valid', '... and the newer verdict is kept');
	unlike(slurp_file($node->logfile, $position), qr/not stored at once/, '... together with its neighbours');
	sql('ALTER SYSTEM RESET log_min_messages; SELECT pg_reload_conf(); TRUNCATE clearout_queue');
};

# With one place, the order of the calls is that of the queue.
subtest 'priorities' => sub {
	my %before = map { $_->{email} => 1 } grep { defined $_->{email} } @{ order() };

	$node->append_conf('postgresql.conf', 'clearout.max_parallel = 1');
	$node->reload;
	ok(wait_until($SOON, sub { sql('SHOW clearout.max_parallel') eq '1' }), 'one place');
	sql('SELECT clearout_pause()');
	sql("SELECT clearout_enqueue('valid-prio-$_->[0]\@x.test', $_->[1])")
	  foreach [ 'e1', -9 ], [ 'c1', 0 ], [ 'd1', -1 ], [ 'b1', 1 ], [ 'a1', 9 ], [ 'e2', -9 ], [ 'c2', 0 ], [ 'd2', -1 ], [ 'b2', 1 ], [ 'a2', 9 ];
	sql('SELECT clearout_resume()');
	ok(drained(), 'answered');
	is(join(' ', map { $_->{email} =~ /^valid-prio-(..)@/ ? $1 : () } @{ order() }), 'a1 a2 b1 b2 c1 c2 d1 d2 e1 e2',
		'the higher priority first, and by age within it');
	$node->append_conf('postgresql.conf', 'clearout.max_parallel = 10');
	$node->reload;
};

sub order
{
	my $requests = $api->requests;
	return ref $requests eq 'HASH' ? $requests->{requests} : $requests;
}

subtest 'refresh' => sub {
	sql('SELECT clearout_pause(); DELETE FROM clearout_results');
	sql(q{INSERT INTO clearout_results (email, status, verified_at, source)
		SELECT 'valid-age' || d || '@x.test', 'valid', now() - d * interval '1 day', 'import' FROM unnest(ARRAY[1, 29, 31, 40, 50, 60]) d
		UNION ALL VALUES
			('unknown-new@x.test', 'unknown', now() - interval '10 minutes', 'import'),
			('unknown-old@x.test', 'unknown', now() - interval '2 hours', 'import'),
			('catch_all-old@x.test', 'catch_all', now() - interval '3 days', 'import'),
			('valid-asked@x.test', 'valid', now() - interval '3 years', 'import');
		UPDATE clearout_results SET asked_at = now() WHERE email = 'valid-asked@x.test'});
	my $list = q{SELECT string_agg(split_part(email, '@', 1), ' ' ORDER BY id) FROM clearout_queue};

	is(sql('SELECT clearout_refresh(max_rows => 0)'), 0, 'no rows');
	is(statement_state('SELECT clearout_refresh(max_rows => -1)'), '22023', 'fewer than none');
	is(statement_state(q{SELECT clearout_refresh('-1 day')}), '22023', 'a negative age');
	is(sql(q{SELECT clearout_refresh(max_rows => 2)}), 2, 'two rows');
	is(sql($list), 'valid-age60 valid-age50', 'the oldest');
	is(sql(q{SELECT clearout_refresh(max_rows => 1)}), 1, 'one more');
	is(sql($list), 'valid-age60 valid-age50 valid-age40', 'the next one');
	is(sql(q{SELECT clearout_refresh()}), 2, 'all that are stale');
	is(sql($list), 'valid-age60 valid-age50 valid-age40 valid-age31 unknown-old', 'by the age of their status');
	is(sql('SELECT clearout_refresh()'), 0, 'they wait already');
	is(sql(q{SELECT clearout_refresh('20 days', priority => 4)}), 1, 'a shorter age');
	is(sql($list), 'valid-age60 valid-age50 valid-age40 valid-age31 unknown-old valid-age29', 'takes in more');
	is(sql(q{SELECT string_agg(DISTINCT priority::text, ' ' ORDER BY priority::text) FROM clearout_queue}), '-1 4', 'priorities');
	$node->append_conf('postgresql.conf', q{clearout.max_age_catch_all = '1d'});
	$node->reload;
	ok(wait_until($SOON, sub { sql('SHOW clearout.max_age_catch_all') eq '1d' }), 'an age for catch_all');
	is(sql('SELECT clearout_refresh()'), 1, 'takes in one more');

	my $calls = $api->total_calls;
	sql('SELECT clearout_resume()');
	ok(drained(), 'all are asked');
	is($api->total_calls - $calls, 7, 'by one call each');
	is(calls(qw(valid-age1@x.test unknown-new@x.test valid-asked@x.test)), '0 0 0', 'and the fresh ones are not');
	is(sql('SELECT clearout_refresh()'), 0, 'now nothing is stale');

	# Ages that hold in the session alone are the row's business too.
	sql(q{UPDATE clearout_results SET (verified_at, asked_at, attempted_at) = (now() - interval '10 hours', NULL, NULL) WHERE email = 'catch_all-old@x.test'});
	is(sql(q{SET clearout.max_age_catch_all = '1h'; SELECT clearout_refresh()}), 1, 'stale for this session');
	ok(drained(), 'taken');
	is(calls('catch_all-old@x.test'), 2, 'and asked again');
	$node->append_conf('postgresql.conf', q{clearout.max_age_catch_all = '-1'});
	$node->reload;
};

subtest 'privileges' => sub {
	$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN") foreach qw(plain putter definer inserter);
	sql(q{SELECT clearout_grant('putter', 'enqueue'); SELECT clearout_grant('definer', 'enqueue');
		GRANT INSERT ON clearout_queue TO inserter});
	my $as = sub { my ($role, $sql) = @_; return "SET SESSION AUTHORIZATION $role; $sql" };

	foreach my $sql (
		q{SELECT clearout_enqueue('valid-plain@x.test')},
		q{SELECT clearout_enqueue(ARRAY['valid-plain@x.test'])},
		q{INSERT INTO clearout_queue (email) VALUES ('valid-plain@x.test')})
	{
		is(statement_state($as->('plain', $sql)), '42501', "nobody: $sql");
	}
	foreach my $sql (
		q{SELECT clearout_refresh()}, q{SELECT clearout_retry()}, q{SELECT clearout_pause()},
		q{SELECT clearout_resume()}, q{SELECT clearout_verify('valid-plain@x.test')},
		q{SELECT count(*) FROM clearout_queue}, q{SELECT count(*) FROM clearout_results},
		q{SELECT * FROM clearout_control}, q{UPDATE clearout_control SET paused = true},
		q{INSERT INTO clearout_queue (email) VALUES ('valid-plain@x.test')},
		q{DELETE FROM clearout_queue}, q{SELECT nextval('clearout_queue_id_seq')},
		q{CREATE TABLE mine (i int); CREATE TRIGGER t BEFORE INSERT ON mine EXECUTE FUNCTION clearout_queue_note()})
	{
		is(statement_state($as->('putter', $sql)), '42501', "putter: $sql");
	}

	sql('SELECT clearout_pause()');
	is(sql($as->('putter', q{SELECT clearout_enqueue('valid-putter@x.test')})), 't', 'putter: one address');
	is(sql($as->('putter', q{SELECT clearout_enqueue(ARRAY['valid-putter2@x.test', 'valid-putter@x.test'])})), 1, 'putter: several');
	sql($as->('inserter', q{INSERT INTO clearout_queue (email) VALUES ('valid-inserter@x.test')}));
	is(statement_state($as->('inserter', q{SELECT email FROM clearout_queue})), '42501', 'inserter: cannot read');
	sql(q{CREATE FUNCTION by_definer(email text) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT public.clearout_enqueue($1)';
		ALTER FUNCTION by_definer OWNER TO definer});
	is(sql($as->('plain', q{SELECT by_definer('valid-definer@x.test')})), 't', 'plain, by a function of definer');
	is(sql(q{SELECT string_agg(email || ' ' || requested_by, ', ' ORDER BY id) FROM clearout_queue}),
		'valid-putter@x.test putter, valid-putter2@x.test putter, valid-inserter@x.test inserter, valid-definer@x.test definer',
		'who has asked: the role whose right it was');
	sql('SELECT clearout_resume()');
	ok(drained(), 'all answered');
	is(calls('valid-plain@x.test'), 0, 'what was refused was not sent');
	is(sql(q{SELECT current_user = session_user AND NOT pg_has_role('putter', 'definer', 'MEMBER')}), 't', 'roles are as they were');
};

# Whatever the caller's search_path has in front of ours: no effect, and none of
# it runs with another's rights.
subtest 'hostile search_path' => sub {
	$node->safe_psql('postgres', q{
		CREATE SCHEMA evil AUTHORIZATION putter;
		CREATE TABLE evil.clearout_queue (LIKE public.clearout_queue);
		CREATE TABLE evil.clearout_results (LIKE public.clearout_results);
		CREATE TABLE evil.clearout_control (paused boolean);
		SET ROLE putter;
		CREATE TABLE evil.log (who name, what text);
		GRANT ALL ON evil.log TO PUBLIC;
		GRANT USAGE ON SCHEMA evil TO PUBLIC;
		CREATE FUNCTION evil.note(what text) RETURNS boolean LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO evil.log VALUES (current_user, what); RETURN true; END $$;
		CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT evil.note('text') $$;
		CREATE FUNCTION evil.equal(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT evil.note('bigint') $$;
		CREATE FUNCTION evil.equal(boolean, boolean) RETURNS boolean LANGUAGE sql AS $$ SELECT evil.note('boolean') $$;
		CREATE FUNCTION evil.later(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS $$ SELECT evil.note('timestamptz') $$;
		CREATE OPERATOR evil.= (FUNCTION = evil.equal, LEFTARG = text, RIGHTARG = text);
		CREATE OPERATOR evil.= (FUNCTION = evil.equal, LEFTARG = bigint, RIGHTARG = bigint);
		CREATE OPERATOR evil.<> (FUNCTION = evil.equal, LEFTARG = bigint, RIGHTARG = bigint);
		CREATE OPERATOR evil.>= (FUNCTION = evil.later, LEFTARG = timestamptz, RIGHTARG = timestamptz);
		CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '1970-01-01' WHERE evil.note('now') $$;
		CREATE FUNCTION evil.clearout_origin() RETURNS bigint LANGUAGE sql AS $$ SELECT 1::bigint WHERE evil.note('origin') $$;
		CREATE FUNCTION evil.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS $$ SELECT 'valid-evil@x.test' WHERE evil.note('unnest') $$;
	});
	is(sql(q{SET search_path = evil, pg_catalog; SELECT 'a'::text = 'b'::text}), 't', 'the operator works');
	sql('TRUNCATE evil.log');

	my $path = 'SET search_path = evil, pg_catalog, public;';
	foreach my $user ('putter', sql('SELECT current_user'))
	{
		is(sql(qq{SET SESSION AUTHORIZATION $user; $path SELECT public.clearout_enqueue('valid-path1-$user\@x.test')}), 't', "$user: one address");
		is(sql(qq{SET SESSION AUTHORIZATION $user; $path SELECT public.clearout_enqueue(ARRAY['valid-path2-$user\@x.test'])}), 1, "$user: an array");
		is(sql(qq{SET SESSION AUTHORIZATION $user; $path SELECT current_setting('search_path')}), 'evil, pg_catalog, public', "$user: the path is as it was");
		ok(answered("valid-path$_-$user\@x.test"), "$user: answered") foreach 1, 2;
	}
	my $restored = sql(qq{SET SESSION AUTHORIZATION putter; $path SELECT public.clearout_enqueue('valid-path3\@x.test'); SELECT current_setting('search_path') || ' ' || current_user});
	is($restored, "t\nevil, pg_catalog, public putter", 'path and role afterwards');
	sql(qq{$path SELECT public.clearout_refresh('0'), public.clearout_retry(), public.clearout_pause(), public.clearout_resume()});
	ok(drained(), 'the rest');
	is(sql('SELECT count(*) FROM evil.log'), 0, 'nothing of the evil schema was called');
	is(sql('SELECT (SELECT count(*) FROM evil.clearout_queue) + (SELECT count(*) FROM evil.clearout_results) + (SELECT count(*) FROM evil.clearout_control)'),
		0, 'nor written');
	is(calls('valid-evil@x.test'), 0, 'nor asked');

	# A trigger of somebody's own would run with the rights of the tables'
	# owner; only the owner may create one.
	is(statement_state(q{SET SESSION AUTHORIZATION putter;
		CREATE FUNCTION evil.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
		CREATE TRIGGER t BEFORE INSERT ON public.clearout_queue FOR EACH ROW EXECUTE FUNCTION evil.t()}), '42501', 'no trigger on the queue');
};

# Whether an answer is stored already, they are looked up together.
subtest 'looked for together' => sub {
	my $put = sub {
		my ($from, $to, $accepts) = @_;
		sql("INSERT INTO clearout_queue (email, accepts_since) SELECT 'valid-lot' || i || '\@x.test', $accepts
			FROM generate_series($from, $to) AS i ORDER BY md5(i::text)");
	};
	my $asked = sub {
		my ($from, $to) = @_;
		return join ' ', sort { $a <=> $b } keys %{ { map { $_ => 1 } map { $api->calls("valid-lot$_\@x.test") } $from .. $to } };
	};

	$put->(1, 60, "'-infinity'");
	ok(drained($SOON), 'the first are answered');
	sql('SELECT clearout_pause()');
	$put->(31, 60, 'clock_timestamp()');
	$put->(1, 30, "'-infinity'");
	$put->(61, 90, 'clock_timestamp()');
	$put->(91, 120, "'-infinity'");
	$put->(91, 95, "'-infinity'");
	sql('SELECT clearout_resume()');
	ok(drained($SOON), 'and what comes then');
	is($asked->(1, 30), 1, 'what was answered is not asked again');
	is($asked->(31, 60), 2, 'unless a fresher answer is wanted');
	is($asked->(61, 120), 1, 'what is new is asked once');
	is(sql("SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-lot%'"), 120, 'all are stored');
};

# Rows are written without a statement, but as one would write them.
subtest 'columns of the owner' => sub {
	sql(q{ALTER TABLE clearout_results ADD note text DEFAULT 'first'});
	is(sql(q{SELECT status FROM clearout_verify('valid-note1@x.test')}), 'valid', 'an answer');
	sql(q{ALTER TABLE clearout_results ALTER note SET DEFAULT 'sec' || 'ond', ADD number integer GENERATED BY DEFAULT AS IDENTITY (START 1000)});
	is(sql(q{SELECT status FROM clearout_verify('valid-note2@x.test')}), 'valid', 'and one with another default');
	sql(q{ALTER TABLE clearout_results ALTER note DROP DEFAULT});
	is(sql(q{SELECT status FROM clearout_verify('valid-note3@x.test')}), 'valid', 'and with none');
	sql(q{ALTER TABLE clearout_results ADD remark text DEFAULT repeat('b', 20) || 'c' CHECK (remark = repeat('b', 20) || 'c' AND email <> 'invalid-remark@x.test')});
	is(sql(q{SELECT status FROM clearout_verify('valid-remark@x.test')}), 'valid', 'one whose default a constraint looks at');
	is(is_stored('valid-remark@x.test'), 1, '... is where it belongs');
	is(sql(q{SELECT status FROM clearout_verify('invalid-remark@x.test')}), 'invalid', 'and what that constraint refuses');
	is(is_stored('invalid-remark@x.test'), 0, '... is not');
	is(sql(q{SELECT error LIKE '%violates check constraint%' FROM clearout_spill WHERE email = 'invalid-remark@x.test'}), 't', '... but aside');
	sql(q{ALTER TABLE clearout_results DROP remark; DELETE FROM clearout_spill});
	sql(q{ALTER TABLE clearout_results ADD tags text[] DEFAULT array_append(ARRAY[(random() < 2)::text], 'a') CHECK (array_append(tags, 'b') IS NOT NULL)});
	is(sql(q{SELECT status FROM clearout_verify('valid-tags@x.test')}), 'valid', 'and one whose default a constraint could add to');
	is(sql(q{SELECT tags FROM clearout_results WHERE email = 'valid-tags@x.test'}), '{true,a}', '... is stored without that');
	sql(q{ALTER TABLE clearout_results DROP tags});
	is(sql(q{SELECT string_agg(coalesce(note, 'null') || (CASE WHEN number >= 1000 THEN ' with a number' ELSE '' END), ', ' ORDER BY email)
			FROM clearout_results WHERE email LIKE 'valid-note%'}),
		'first with a number, second with a number, null with a number', 'each has its own');
	sql(q{ALTER TABLE clearout_results DROP note, DROP number});
	is(sql(q{SELECT status FROM clearout_verify('valid-note4@x.test')}), 'valid', 'and when they are gone');
};

subtest 'read only' => sub {
	foreach my $sql (
		q{SELECT clearout_enqueue('valid-ro@x.test')}, q{SELECT clearout_enqueue(ARRAY['valid-ro@x.test'])},
		'SELECT clearout_refresh()', 'SELECT clearout_retry()', 'SELECT clearout_pause()', 'SELECT clearout_resume()')
	{
		is(statement_state("BEGIN READ ONLY; $sql"), '25006', $sql);
	}
	is(calls('valid-ro@x.test'), 0, 'nothing was sent');
	is(sql('SELECT queue_paused FROM clearout_status'), 'f', 'nothing was changed');
};

subtest 'standby' => sub {
	$node->append_conf('postgresql.conf', "wal_level = replica\nmax_wal_senders = 3\n");
	append_to_file($node->data_dir . '/pg_hba.conf', "local replication all trust\n");
	$node->restart;
	ok(worker_pid($node), 'a worker after the restart');
	$node->backup('copy');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'copy', has_streaming => 1);
	$standby->start;
	foreach my $sql (
		q{SELECT clearout_enqueue('valid-standby@x.test')}, q{SELECT clearout_enqueue(ARRAY['valid-standby@x.test'])},
		'SELECT clearout_refresh()', 'SELECT clearout_retry()', 'SELECT clearout_pause()', 'SELECT clearout_resume()')
	{
		is(sqlstate($standby, $sql), '25006', $sql);
	}

	# Promoted in the middle of a drain: it goes on, and nothing is lost.
	$api->config(latency => 20);
	sql(q{SELECT clearout_enqueue('valid-promote' || i || '@x.test') FROM generate_series(1, 1000) i});
	ok(wait_until($SOON, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-promote%'}) > 100 }), 'a drain is on its way');
	$node->wait_for_catchup($standby, 'write');
	$node->stop('immediate');
	$standby->promote;
	ok(worker_pid($standby), 'promoted, it has a worker');
	ok(wait_until(60, sub { value_of($standby, 'SELECT count(*) FROM clearout_queue') eq '0' }), 'the queue is emptied');
	is(value_of($standby, q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-promote%'}), 1000, 'all is answered');
	my $repeated = grep { $_->{email} =~ /promote/ } @{ $api->address_stats->{repeated} };
	note "$repeated calls repeated";
	is(value_of($standby, q{SELECT count(*) FROM clearout_queue WHERE origin <> clearout_origin()}), 0, 'with its origin');
	$standby->stop;
	$node->start;
};

$node->stop;
done_testing();
