# Every database of the server: each gets a worker, and keeps it; no command on
# a database is held up by it, and no setting of a database disturbs it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(status worker_pid wait_until start_caller start_verify
  finish_callers call_sql verify wait_gone is_alive);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# A command on a database ends within a second, and fails if somebody is in its
# way.  The rest is for machines that do something else as well.
my $SOON = 20;

# A notice is no fault.
$ENV{PGOPTIONS} = '-c client_min_messages=warning';

my $api = ClearoutSandbox->new(limit => 1000000);
my $node = clearout_node(
	'main', $api,
	conf => "max_prepared_transactions = 4\nautovacuum = off\nlog_statement = none\n",
	wait_timeout => '60s');

sub workers
{
	my ($database) = @_;
	return value_of($node,
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clearout worker'"
		  . (defined $database ? " AND datname = '$database'" : ''));
}

sub worker_comes
{
	my ($database, $count) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) = @{[ $count // 1 ]} FROM pg_stat_activity"
		  . " WHERE backend_type = 'clearout worker' AND datname = '$database'");
}

# No worker comes, although there was time for one.
sub no_worker
{
	my ($database) = @_;

	# The launcher tends to everybody in turn: what it does later is done.
	my $marker = 'marker' . int(rand(1e9));
	$node->safe_psql('postgres', "CREATE DATABASE $marker TEMPLATE template0");
	$node->safe_psql($marker, 'CREATE EXTENSION clearout');
	worker_comes($marker);
	$node->safe_psql('postgres', "DROP DATABASE $marker");
	sleep 0.2;
	return workers($database) == 0;
}

# Makes the extension and waits for the worker; its process.
sub install
{
	my ($database, $schema) = @_;

	$node->safe_psql($database, 'CREATE EXTENSION clearout' . ($schema ? " SCHEMA $schema" : ''));
	worker_comes($database);
	return pid_of($database);
}

sub pid_of
{
	my ($database) = @_;
	return wait_until(60, sub {
		value_of($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'clearout worker' AND datname = '$database'");
	});
}

sub make_database
{
	my ($database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	return install($database);
}

# The service's answers about this database's addresses do not come, and
# whoever has asked is gone.
sub hang_calls
{
	my ($database, $count) = @_;
	my @emails = map { "hang-$_-" . int(rand(1e9)) . "\@$database.test" } 1 .. $count;
	my $held = $api->stats->{held};

	$api->hold(pattern => "hang-*\@$database.test");
	my @callers = map { start_verify($node, $_, "timeout => '120s'", $database) } @emails;
	ok($api->wait_for(held => $held + $count), "$database: $count calls are on the wire");
	value_of($node, "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE datname = '$database' AND query ~ '$_'") foreach @emails;
	finish_callers(60, @callers);
	is(join(' ', map { $_->{sqlstate} } @callers), join(' ', ('57014') x $count), "$database: the callers have gone");
	cmp_ok(status($node, 'calls_in_flight', $database), '==', $count, "$database: the calls still hang");
	return @emails;
}

# Runs a command in the database postgres and says how long it took.
sub timed
{
	my ($sql, $what) = @_;
	my $caller = call_sql($node, $sql);

	is($caller->{err}, '', "$what: no error");
	cmp_ok($caller->{seconds}, '<', $SOON, "$what: at once");
	note sprintf '%s: %.2f s', $what, $caller->{seconds};
	return $caller;
}

sub answers
{
	my ($database, $email) = @_;
	my $caller = verify($node, $email, undef, $database);

	is($caller->{out}, 'valid|yes|service|Success', "$database: answers") or diag $caller->{err};
	is($api->calls($email), 1, "$database: asked once");
	return;
}

subtest 'birth' => sub {
	my $pid = worker_pid($node);
	ok($pid, 'postgres has a worker');

	# At commit, and not before.
	$node->safe_psql('postgres', 'CREATE DATABASE birth');
	my $session = $node->background_psql('birth', on_error_stop => 0);
	$session->query_safe('BEGIN; CREATE SCHEMA "We ird"; CREATE EXTENSION clearout SCHEMA "We ird";');
	ok(no_worker('birth'), 'none before the commit');

	my $start = time;
	is($session->query_safe(q{SELECT source FROM "We ird".clearout_verify('valid-early@birth.test', timeout => '30s', on_error => 'unknown')}),
		'none', 'the same session is told so');
	cmp_ok(time - $start, '<', $SOON, 'at once');
	is($api->calls('valid-early@birth.test'), 0, 'no call is made for an extension that is not committed');
	$session->query_safe('ROLLBACK');
	ok(no_worker('birth'), 'none after a rollback');

	$session->query_safe('BEGIN; CREATE SCHEMA "We ird"; CREATE EXTENSION clearout SCHEMA "We ird"; SAVEPOINT s; DROP EXTENSION clearout; ROLLBACK TO s; COMMIT');
	ok(worker_comes('birth'), 'one after the commit');
	is($session->query_safe(q{SELECT status FROM "We ird".clearout_verify('valid-1@birth.test')}), 'valid', 'which answers, in whatever schema');
	is($session->query_safe(q{SELECT count(*) FROM "We ird".clearout_results WHERE email = 'valid-1@birth.test'}), 1, 'and stores there');
	is($api->calls('valid-1@birth.test'), 1, 'asked once');
	$session->quit;

	# Another extension is none of our business.
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE SCHEMA x; CREATE TABLE x.clearout_results (email text)');
	ok(no_worker('other'), 'a database without the extension has none');

	# Two-phase.
	is(sqlstate($node, q{BEGIN; CREATE EXTENSION clearout; PREPARE TRANSACTION 'birth'}, 'other'), '00000', 'prepared');
	ok(no_worker('other'), 'none after PREPARE');
	$node->safe_psql('other', q{COMMIT PREPARED 'birth'});
	ok(worker_comes('other'), 'one after COMMIT PREPARED');
	answers('other', 'valid-2pc@other.test');
	is(sqlstate($node, q{BEGIN; DROP EXTENSION clearout; PREPARE TRANSACTION 'end'}, 'other'), '00000', 'its end prepared');
	is(workers('other'), 1, 'it stays');
	$node->safe_psql('other', q{COMMIT PREPARED 'end'});
	ok(worker_comes('other', 0), 'it leaves after COMMIT PREPARED');
	install('other');

	# Found at the start.
	my $expected = 'birth,other,postgres';
	$node->restart;
	ok($node->poll_query_until('postgres',
			q{SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_stat_activity WHERE backend_type = 'clearout worker'},
			$expected), 'after a restart each has its worker');
	ok(no_worker('template1'), 'and no other');
	answers('other', 'valid-restart@other.test');
	is($api->calls('valid-1@birth.test'), 1, 'nothing is asked again');
	isnt(worker_pid($node), $pid, 'another process, of course');

	$node->safe_psql('postgres', 'DROP DATABASE other');
};

subtest 'end' => sub {
	my %ends = (
		extension => 'DROP EXTENSION clearout',
		schema => 'DROP SCHEMA s CASCADE',
		owned => 'DROP OWNED BY leaver CASCADE');

	$node->safe_psql('postgres', 'CREATE ROLE leaver SUPERUSER');
	foreach my $end (sort keys %ends)
	{
		my $database = "end$end";
		my $role = $end eq 'owned' ? 'SET ROLE leaver;' : '';

		$node->safe_psql('postgres', "CREATE DATABASE $database");
		$node->safe_psql($database, "$role CREATE SCHEMA s; CREATE EXTENSION clearout SCHEMA s");
		ok(worker_comes($database), "$end: a worker");
		my $pid = pid_of($database);

		# A call in flight ends with it, and its caller is told.
		my $email = "valid-end\@$database.test";
		$api->hold(email => $email);
		my $caller = start_caller($node, "SELECT s.clearout_verify('$email')", $database);
		ok($api->wait_for(held => 1), "$end: a call is on the wire");

		my $session = $node->background_psql($database);
		$session->query_safe("BEGIN; $ends{$end};");
		ok(is_alive($pid), "$end: the worker stays before the commit");
		$session->query_safe('ROLLBACK');
		ok(is_alive($pid), "$end: and after a rollback");
		$session->query_safe($ends{$end});
		$session->quit;
		my $gone = wait_gone($pid, 30);
		ok(defined $gone && $gone < $SOON, "$end: it leaves after the commit");
		is(finish_callers(60, $caller), 0, "$end: the caller has not been forgotten");
		is($caller->{sqlstate}, 'VC008', "$end: it is told");
		$api->release;
		ok(no_worker($database), "$end: no other comes");
		is($api->calls($email), 1, "$end: one call");

		$node->safe_psql($database, 'CREATE EXTENSION clearout');
		answers($database, "valid-again\@$database.test");
		$node->safe_psql('postgres', "DROP DATABASE $database");
	}
	$node->safe_psql('postgres', 'DROP ROLE leaver');
};

subtest 'making way' => sub {
	my $other = pid_of('postgres');
	my $old = make_database('one');
	$node->safe_psql('one', q{SELECT clearout_verify('valid-known@one.test')});

	# RENAME
	my @emails = hang_calls('one', 3);
	timed('ALTER DATABASE one RENAME TO uno', 'RENAME');
	# its last steps come after it has let go of the database
	ok(defined wait_gone($old, 60), 'RENAME: the worker has left');
	ok(worker_comes('uno'), 'RENAME: one is back, under the new name');
	answers('uno', 'valid-1@uno.test');
	is(status($node, 'calls_in_flight', 'uno'), 0, 'RENAME: nothing is counted in flight');
	is(join(' ', map { $api->calls($_) } @emails), '1 1 1', 'RENAME: what hung is not asked again');
	$api->release;

	# An answer that comes within the moment is kept.  A machine that stands
	# still makes the moment too short, or keeps the calls from being made.
	foreach my $try (1 .. 10)
	{
		my @late = map { "late-valid-$try-$_\@uno.test" } 1 .. 3;
		my $answered = 0;

		$api->config(latency => 400);
		my @callers = map { start_verify($node, $_, "timeout => '0.3s'", 'uno') } @late;
		finish_callers(60, @callers);
		timed('ALTER DATABASE uno RENAME TO one', 'RENAME back');
		$api->config(latency => 0);
		ok(worker_comes('one'), 'RENAME back: the worker too');
		$answered += $api->answered($_) foreach @late;
		is(value_of($node, "SELECT count(*) FROM clearout_results WHERE email LIKE 'late-valid-$try-%'", 'one'),
			$answered, 'what was answered is stored');
		last if $answered == 3;
		if ($try == 10)
		{
			is($answered, 3, 'and calls on the wire had time to land');
			last;
		}
		timed('ALTER DATABASE one RENAME TO uno', 'RENAME once more');
		ok(worker_comes('uno'), 'RENAME once more: the worker too');
	}

	# SET TABLESPACE
	@emails = hang_calls('one', 3);
	my $directory = PostgreSQL::Test::Utils::tempdir();
	$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$directory'");
	timed('ALTER DATABASE one SET TABLESPACE elsewhere', 'SET TABLESPACE');
	ok(worker_comes('one'), 'SET TABLESPACE: the worker is back');
	answers('one', 'valid-2@one.test');
	timed('ALTER DATABASE one SET TABLESPACE pg_default', 'SET TABLESPACE back');
	ok(worker_comes('one'), 'SET TABLESPACE: and again');
	$node->safe_psql('postgres', 'DROP TABLESPACE elsewhere');
	$api->release;

	# CREATE DATABASE ... TEMPLATE
	@emails = hang_calls('one', 3);
	my $before = $api->total_calls;
	timed('CREATE DATABASE copy TEMPLATE one', 'TEMPLATE');
	ok(worker_comes('one'), 'TEMPLATE: the worker of the original is back');
	ok(worker_comes('copy'), 'TEMPLATE: the copy has one of its own');
	isnt(pid_of('copy'), pid_of('one'), 'TEMPLATE: another one');
	$api->release;
	$node->restart;
	ok(worker_comes($_), "TEMPLATE: $_ after a restart") foreach qw(one copy);
	is($api->total_calls, $before, 'TEMPLATE: the copy has made no call of the work of the original');
	is(join(' ', map { $api->calls($_) } @emails), '1 1 1', 'TEMPLATE: nor has the original made one again');
	is(value_of($node, q{SELECT source FROM clearout_verify('valid-known@one.test')}, 'copy'), 'stored', 'TEMPLATE: stored answers are copied');
	answers('copy', 'valid-1@copy.test');
	is(value_of($node, q{SELECT count(*) FROM clearout_results WHERE email = 'valid-1@copy.test'}, 'one'), 0,
		'TEMPLATE: each stores for itself');

	# the other strategy, and a copy while calls of the original go on
	timed('CREATE DATABASE copy2 TEMPLATE one STRATEGY file_copy', 'TEMPLATE by file_copy');
	ok(worker_comes('copy2'), 'TEMPLATE by file_copy: a worker');
	timed('DROP DATABASE copy2', 'DROP of a copy');

	# without a template the default is meant
	$node->safe_psql('template1', 'CREATE EXTENSION clearout');
	timed('CREATE DATABASE child', 'CREATE DATABASE with the extension in template1');
	ok(worker_comes('child'), 'template1: its copy has a worker');
	is(workers('template1'), 0, 'template1: it has none itself');
	$node->safe_psql('template1', 'DROP EXTENSION clearout');
	timed('DROP DATABASE child', 'DROP of a child');

	# DROP
	hang_calls('one', 5);
	my $mine = start_verify($node, 'valid-meanwhile@postgres.test');
	timed('DROP DATABASE one', 'DROP');
	is(workers('one'), 0, 'DROP: no worker');
	finish_callers(60, $mine);
	is($mine->{out}, 'valid|yes|service|Success', 'DROP: other databases do not notice');
	$api->release;

	hang_calls('copy', 1);
	timed('DROP DATABASE copy WITH (FORCE)', 'DROP WITH (FORCE)');
	$api->release;

	is(pid_of('postgres'), worker_pid($node), 'the worker of postgres is at work');
	isnt($other, '', 'it had one');
	is(value_of($node, q{SELECT count(*) FROM clearout_verify('valid-known@one.test')}), 1, 'and works');
};

subtest 'rights' => sub {
	my $pid = make_database('fort');
	$node->safe_psql('postgres', 'CREATE ROLE maker LOGIN CREATEDB; CREATE ROLE keeper LOGIN; CREATE ROLE nobody LOGIN');
	my $since = status($node, 'since', 'fort');
	my @commands = (
		[ maker => 'DROP DATABASE fort' ],
		[ maker => 'ALTER DATABASE fort RENAME TO tower' ],
		[ maker => 'ALTER DATABASE fort SET TABLESPACE pg_default' ],
		[ maker => 'CREATE DATABASE tower TEMPLATE fort' ],
		[ nobody => 'DROP DATABASE fort' ],
		[ nobody => 'DROP DATABASE IF EXISTS fort WITH (FORCE)' ],
		[ nobody => 'CREATE DATABASE tower TEMPLATE fort' ],
		[ nobody => 'ALTER DATABASE fort RENAME TO tower' ],
		[ keeper => 'ALTER DATABASE fort RENAME TO tower' ],
		[ keeper => 'CREATE DATABASE tower TEMPLATE fort' ]);

	$node->safe_psql('postgres', 'ALTER DATABASE fort OWNER TO keeper');
	foreach my $command (@commands)
	{
		my ($role, $sql) = @$command;
		my $err = '';

		$node->psql('postgres', $sql, stderr => \$err, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
		like($err, qr/ERROR:  42501:/, "$role: $sql is refused");
	}
	is(pid_of('fort'), $pid, 'the worker has stayed');
	is(status($node, 'since', 'fort'), $since, 'all the time');
	is(status($node, 'restarts', 'fort'), 0, 'without a restart');

	# nor does a command that is not for a transaction block, or makes no sense
	like(error_of($node, 'DROP DATABASE nowhere'), qr/3D000/, 'no such database');
	like(error_of($node, 'CREATE DATABASE nowhere TEMPLATE nothing'), qr/3D000/, 'no such template');
	like(error_of($node, 'ALTER DATABASE fort RENAME TO postgres'), qr/42P04/, 'a name that is taken');
	like(error_of($node, "BEGIN; DROP DATABASE fort;"), qr/25001/, 'DROP in a transaction');
	ok(worker_comes('fort'), 'a worker is there');
	answers('fort', 'valid-rights@fort.test');
	$node->safe_psql('postgres', 'DROP DATABASE fort; DROP ROLE maker; DROP ROLE keeper; DROP ROLE nobody');
};

subtest 'commands that come to nothing' => sub {
	make_database('stay');

	# Somebody else is connected, so the server will refuse.  The worker does
	# not leave for that: its calls may be waited for.
	my $guest = $node->background_psql('stay');
	my $stayed = pid_of('stay');
	my $refused = call_sql($node, 'ALTER DATABASE stay RENAME TO gone');
	is($refused->{sqlstate}, '55006', 'RENAME: refused, since somebody is connected');
	is(pid_of('stay'), $stayed, 'RENAME: the worker has stayed');
	is($guest->query_safe(q{SELECT status FROM clearout_verify('valid-1@stay.test')}), 'valid', 'and answers');

	# The command waits for the guest to go; it is cancelled, and its session
	# ended, in turn.
	foreach my $function (qw(pg_cancel_backend pg_terminate_backend))
	{
		my $command = start_caller($node, 'DROP DATABASE stay');
		ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'DROP DATABASE stay' AND state = 'active'}),
			"$function: the command is under way");
		is($guest->query_safe("SELECT status FROM clearout_verify('valid-$function\@stay.test')"), 'valid', "$function: a caller meanwhile is answered");
		$node->safe_psql('postgres', "SELECT $function(pid) FROM pg_stat_activity WHERE query = 'DROP DATABASE stay' AND pid <> pg_backend_pid()");
		finish_callers(60, $command);
		like($command->{sqlstate}, qr/^(57014|57P01|lost)$/, "$function: the command has ended");
		is(pid_of('stay'), $stayed, "$function: the worker has stayed");
	}
	is($guest->query_safe(q{SELECT status FROM clearout_verify('valid-3@stay.test')}), 'valid', 'and answers');
	$guest->quit;

	# In a transaction.
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN; ALTER DATABASE stay RENAME TO gone;');
	is(workers(), workers() - workers('stay'), 'RENAME in a transaction: no worker before it ends');
	$session->query_safe('ROLLBACK');
	ok(worker_comes('stay'), 'rolled back: it is back');
	answers('stay', 'valid-4@stay.test');

	# one database after the other
	make_database('stay2');
	$session->query_safe('BEGIN; ALTER DATABASE stay RENAME TO a; ALTER DATABASE stay2 RENAME TO b; ALTER DATABASE a RENAME TO c; COMMIT');
	ok(worker_comes($_), "several in one transaction: $_") foreach qw(b c);
	$session->query_safe('ALTER DATABASE c RENAME TO stay');

	# The session ends while it holds.
	$session->query_safe('BEGIN; ALTER DATABASE stay RENAME TO gone;');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok(worker_comes('stay'), 'the session is terminated: the worker is back');
	eval { $session->quit };
	answers('stay', 'valid-5@stay.test');
	answers('b', 'valid-5@b.test');

	# A command that is prepared keeps the database locked.  Nothing of ours
	# may wait there and be in the way of others, or of a shutdown.
	$node->safe_psql('postgres', q{BEGIN; ALTER DATABASE stay RENAME TO gone; PREPARE TRANSACTION 'rename'});
	$node->safe_psql('postgres', q{BEGIN; ALTER DATABASE b RENAME TO gone2; PREPARE TRANSACTION 'rename2'});
	make_database('meanwhile');
	answers('meanwhile', 'valid@meanwhile.test');
	my $start_stop = time;
	$node->stop('fast');
	cmp_ok(time - $start_stop, '<', 20, 'a fast shutdown is not held up');
	$node->start;
	$node->safe_psql('postgres', q{COMMIT PREPARED 'rename'});
	$node->safe_psql('postgres', q{ROLLBACK PREPARED 'rename2'});
	ok(worker_comes($_), "two-phase: $_ has its worker") foreach qw(gone b);
	$node->safe_psql('postgres', "DROP DATABASE $_") foreach qw(gone b meanwhile);
};

subtest 'another schema, under load' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE moving');
	$node->safe_psql('moving', 'CREATE SCHEMA a; CREATE SCHEMA "B b"');
	my $pid = install('moving', 'a');
	$node->safe_psql('postgres', 'ALTER DATABASE moving SET search_path = a, "B b"');
	ok(wait_until(60, sub { pid_of('moving') ne $pid }), 'the setting of the database replaces the worker');
	$pid = pid_of('moving');

	my $before = $api->address_stats;
	my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
	append_to_file($script, <<'SQL');
\set n random(1, 1000000000000000)
SELECT status FROM clearout_verify('valid-' || :n || '@moving.test', timeout => '60s');
SQL
	my ($out, $err) = ('', '');
	my $load = IPC::Run::start(
		[ 'pgbench', '-n', '-c', 8, '-j', 2, '-T', 6, '-f', $script, $node->connstr('moving') ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(180));
	my $moves = 0;
	my $end = time + 5;
	my $to = 1;
	while (time < $end || ($moves < 5 && time < $end + 60))
	{
		my $result = call_sql($node, 'ALTER EXTENSION clearout SET SCHEMA ' . ($to ? '"B b"' : 'a'), 'moving');
		is($result->{err}, '', 'moved') if $result->{err} ne '';
		$to = !$to;
		$moves++;
		sleep 0.1;
	}
	$load->finish;
	is($load->result(0), 0, 'every client has come to its end');
	unlike($err, qr/ERROR|FATAL|aborted/, 'no error');
	cmp_ok($moves, '>', 3, "moved $moves times");
	my ($done) = $out =~ /number of transactions actually processed: (\d+)/;
	cmp_ok($done, '>', 100, "$done questions were answered");

	my $after = $api->address_stats;
	my $answered = $after->{answered} - $before->{answered};
	cmp_ok($answered, '>=', $done, 'all by the service');
	ok($node->poll_query_until('moving', 'SELECT count(*) = 0 FROM clearout_spill'), 'nothing is left aside')
	  or diag value_of($node, 'SELECT string_agg(s::text, chr(10)) FROM clearout_spill s', 'moving');
	is(value_of($node, 'SELECT count(*) FROM clearout_results', 'moving'),
		$after->{distinct} - $before->{distinct}, 'nothing is lost');
	note "asked more than once: " . ($after->{asked} - $before->{asked} - $after->{distinct} + $before->{distinct});
	is(pid_of('moving'), $pid, 'by one and the same worker');
	is(status($node, 'restarts', 'moving') - 0, status($node, 'restarts', 'moving'), 'without a crash');
	$node->safe_psql('postgres', 'DROP DATABASE moving');
};

subtest 'hostile settings' => sub {
	$node->safe_psql('postgres', 'CREATE ROLE weak; CREATE DATABASE hostile');
	install('hostile');
	$node->safe_psql(
		'hostile', q{
		CREATE SCHEMA evil;
		CREATE TABLE evil.touched (what text);
		CREATE TABLE evil.clearout_results (LIKE public.clearout_results INCLUDING ALL);
		CREATE TABLE evil.clearout_spill (LIKE public.clearout_results);
		CREATE TABLE evil.pg_extension (oid oid, extname name, extnamespace oid);
		CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$INSERT INTO evil.touched VALUES ('now'); SELECT NULL::timestamptz$$;
		CREATE FUNCTION evil.no(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO evil.touched VALUES ('='); RETURN false; END$$;
		CREATE FUNCTION evil.no(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO evil.touched VALUES ('<='); RETURN false; END$$;
		CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = evil.no);
		CREATE OPERATOR evil.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, PROCEDURE = evil.no);
		CREATE FUNCTION evil.clearout_verify(text, interval, interval, text) RETURNS text LANGUAGE sql AS $$INSERT INTO evil.touched VALUES ('verify'); SELECT 'evil'$$;
		CREATE FUNCTION evil.swallow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO evil.touched VALUES ('trigger'); RETURN NULL; END$$;
		CREATE TRIGGER swallow BEFORE INSERT OR UPDATE ON public.clearout_results FOR EACH ROW EXECUTE FUNCTION evil.swallow();
		ALTER TABLE public.clearout_results ENABLE ROW LEVEL SECURITY;
		GRANT ALL ON SCHEMA evil TO PUBLIC;
		GRANT ALL ON ALL TABLES IN SCHEMA evil TO PUBLIC});

	my %settings = (
		default_transaction_read_only => 'on',
		default_transaction_isolation => 'serializable',
		default_transaction_deferrable => 'on',
		lock_timeout => 1,
		statement_timeout => 1,
		idle_in_transaction_session_timeout => 1,
		idle_session_timeout => 1,
		search_path => 'evil, pg_catalog, public',
		role => 'weak',
		row_security => 'on',
		session_replication_role => 'origin',
		synchronous_commit => 'off',
		default_tablespace => '',
		exit_on_error => 'on',
		standard_conforming_strings => 'off',
		transform_null_equals => 'on',
		datestyle => 'SQL, DMY',
		intervalstyle => 'iso_8601',
		timezone => 'Asia/Kathmandu',
		client_encoding => 'LATIN1',
		client_min_messages => 'debug5',
		log_statement => 'all',
		check_function_bodies => 'on',
		jit => 'on',
		jit_above_cost => 0,
		plan_cache_mode => 'force_custom_plan',
		enable_indexscan => 'off',
		enable_indexonlyscan => 'off',
		enable_bitmapscan => 'off',
		enable_seqscan => 'on',
		max_parallel_workers_per_gather => 8,
		parallel_setup_cost => 0,
		parallel_tuple_cost => 0,
		min_parallel_table_scan_size => 0,
		work_mem => '64kB',
		application_name => 'disguise',
		bytea_output => 'escape',
		xmloption => 'document',
		escape_string_warning => 'on');
	$settings{transaction_timeout} = 1 if $node->pg_version >= 17;

	# What the clients of this test need for themselves.
	local $ENV{PGOPTIONS} = join ' ', map { "-c $_" } (
		'default_transaction_read_only=off', 'default_transaction_isolation=read\\ committed',
		'default_transaction_deferrable=off', 'lock_timeout=0', 'statement_timeout=0',
		'idle_in_transaction_session_timeout=0', 'idle_session_timeout=0', 'role=none',
		'exit_on_error=off', 'search_path=public', 'session_replication_role=replica',
		'standard_conforming_strings=on', 'client_min_messages=warning', 'client_encoding=UTF8');
	# a parallel worker starts with the settings of the database
	$ENV{PGOPTIONS} .= ' -c transaction_timeout=0 -c max_parallel_workers_per_gather=0' if $node->pg_version >= 17;
	local $ENV{PGCLIENTENCODING} = 'UTF8';

	foreach my $way ('DATABASE hostile', 'ROLE ALL', 'ROLE ALL IN DATABASE hostile')
	{
		my $pid = pid_of('hostile');
		my $sql = 'BEGIN;';

		$sql .= "ALTER $way SET $_ = " . ($_ eq 'search_path' ? $settings{$_} : "'$settings{$_}'") . ';' foreach sort keys %settings;
		$node->safe_psql('postgres', "$sql COMMIT");
		ok(wait_until(60, sub { my $new = pid_of('hostile'); $new && $new ne $pid }), "$way: the worker is replaced");
		$pid = pid_of('hostile');

		(my $tag = lc $way) =~ tr/ /-/;
		my @emails = map { "valid-$tag-$_\@hostile.test" } 1 .. 20;
		my $result = call_sql($node,
			"SELECT count(*) FROM clearout_verify('{@{[ join ',', @emails ]}}'::text[], timeout => '20s') WHERE status = 'valid' AND source = 'service'",
			'hostile');
		is($result->{out}, 20, "$way: answered") or diag $result->{err};
		is(value_of($node, "SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-$tag-%'", 'hostile'), 20, "$way: stored");

		# again, over what is there
		$result = call_sql($node,
			qq{SELECT count(*) FROM clearout_verify((SELECT array_agg(email) FROM clearout_results WHERE email LIKE 'valid-$tag-%'), max_age => '0') WHERE source = 'service'},
			'hostile');
		is($result->{out}, 20, "$way: answered again") or diag $result->{err};
		is(value_of($node, "SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-$tag-%' AND asked_at = attempted_at AND attempted_at > now() - interval '1 minute'", 'hostile'),
			20, "$way: replaced");
		is($api->calls($emails[7]), 2, "$way: by one call each time");

		# a row that somebody has locked
		my $locker = $node->background_psql('hostile');
		$locker->query_safe("BEGIN; SELECT 1 FROM clearout_results WHERE email = '$emails[0]' FOR UPDATE;");
		$result = verify($node, $emails[0], "max_age => '0'", 'hostile');
		is($result->{out}, 'valid|yes|service|Success', "$way: answered while the row is locked") or diag $result->{err};
		$locker->quit;
		ok($node->poll_query_until('hostile', 'SELECT count(*) = 0 FROM clearout_spill'), "$way: stored when it is free");

		is(pid_of('hostile'), $pid, "$way: by the same worker");
		is(value_of($node, q{SELECT (SELECT count(*) FROM evil.touched) + (SELECT count(*) FROM evil.clearout_results) + (SELECT count(*) FROM evil.clearout_spill)}, 'hostile'),
			0, "$way: nothing evil was touched");
		is(value_of($node, "SELECT application_name FROM pg_stat_activity WHERE pid = $pid"), 'clearout worker', "$way: under its own name");
		$node->safe_psql('postgres', "ALTER $way RESET ALL");
		ok(wait_until(60, sub { my $new = pid_of('hostile'); $new && $new ne $pid }), "$way: and again when the settings go");
	}

	# A committed answer survives a crash, whatever the database thinks.
	my $pid = pid_of('hostile');
	$node->safe_psql('postgres', 'ALTER DATABASE hostile SET synchronous_commit = off; ALTER DATABASE hostile SET default_transaction_read_only = on');
	ok(wait_until(60, sub { my $new = pid_of('hostile'); $new && $new ne $pid }), 'another worker');
	answers('hostile', 'valid-crash@hostile.test');
	$node->stop('immediate');
	$node->start;
	is(value_of($node, q{SELECT count(*) FROM clearout_results WHERE email = 'valid-crash@hostile.test'}, 'hostile'), 1, 'synchronous_commit = off: what was told is stored');
	$node->safe_psql('postgres', 'DROP DATABASE hostile; DROP ROLE weak');
};

subtest 'a worker that ends again and again' => sub {
	my $pid = make_database('mortal');
	my $kill = sub { $node->safe_psql('postgres', "SELECT pg_terminate_backend($_[0])") };

	# Once: nobody notices.
	$api->hold(email => 'valid-waits@mortal.test');
	my $waiter = start_verify($node, 'valid-waits@mortal.test', "timeout => '120s'", 'mortal');
	ok($api->wait_for(held => 1), 'a call is on the wire');
	$kill->($pid);
	my $gone = wait_gone($pid, 30);
	ok(defined $gone && $gone < $SOON, 'SIGTERM: it leaves at once');
	ok(worker_comes('mortal'), 'and another one comes');
	ok(wait_until(60, sub { $api->calls('valid-waits@mortal.test') == 2 }), 'which makes the call again');
	$api->release;
	finish_callers(60, $waiter);
	is($waiter->{out}, 'valid|yes|service|Success', 'the caller has its answer');
	is($api->calls('valid-waits@mortal.test'), 2, 'by two calls');
	is(status($node, 'calls_in_flight', 'mortal'), 0, 'nothing is counted in flight');

	# Again and again: more and more seldom, and callers are told.
	$api->hold(email => 'valid-told@mortal.test');
	$waiter = start_verify($node, 'valid-told@mortal.test', "timeout => '120s'", 'mortal');
	my @died;
	foreach (1 .. 7)
	{
		my $next = pid_of('mortal');
		last unless $next;
		$kill->($next);
		wait_gone($next, 30);
		push @died, time;
	}
	# The next one comes in a dozen seconds: what is to be seen before that is
	# asked for at once, and looked at afterwards.
	my $told = verify($node, 'valid-next@mortal.test', "timeout => '60s'", 'mortal');
	my ($state, $reason, $restarts) = split /\|/, status($node, 'state, reason, restarts', 'mortal');
	is($told->{sqlstate}, 'VC008', 'a caller is refused');
	like($told->{detail}, qr/again and again/, 'with the reason');
	cmp_ok($told->{seconds}, '<', $SOON, 'at once');
	is($api->calls('valid-next@mortal.test'), 0, 'without a call');
	is($state, 'backoff', 'the status says so');
	like($reason, qr/again and again/, 'and why');
	cmp_ok($restarts, '>=', 8, 'and how often');
	is(finish_callers(60, $waiter), 0, 'who has waited longer');
	is($waiter->{sqlstate}, 'VC008', 'is told too');
	cmp_ok($died[-1] - $died[-2], '>', $died[1] - $died[0], 'the time between grows');
	$api->release;
	ok(worker_comes('mortal'), 'it comes back nevertheless');
	answers('mortal', 'valid-back@mortal.test');
	is(status($node, 'reason IS NULL', 'mortal'), 't', 'and is content');
	is(status($node, 'worker_pid'), worker_pid($node), 'other workers are as they were');

	# The launcher as well.
	my $main = worker_pid($node);
	my $launcher = value_of($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'clearout launcher'});
	$kill->($launcher);
	ok(wait_until(60, sub { value_of($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clearout launcher' AND pid <> $launcher") }),
		'another launcher comes');
	is(worker_pid($node), $main, 'the workers stay');
	$kill->(pid_of('mortal'));
	ok(wait_until(60, sub { verify($node, "valid-after\@mortal.test", undef, 'mortal')->{out} =~ /^valid/ }), 'it replaces them');
	is(workers('mortal'), 1, 'by one each');
	$node->safe_psql('postgres', 'DROP DATABASE mortal');
};

subtest 'what a DBA sees' => sub {
	my $pid = pid_of('postgres');
	my $row = "SELECT %s FROM pg_stat_activity WHERE pid = $pid";
	my $seen = sub { value_of($node, sprintf $row, $_[0]) };

	my $becomes = sub {
		my ($expressions, $expected, $name) = @_;
		my $last = '';

		wait_until(60, sub { ($last = $seen->($expressions)) eq $expected });
		is($last, $expected, $name);
	};
	$becomes->(q{concat_ws('|', backend_type, application_name, datname, state)}, 'clearout worker|clearout worker|postgres|idle', 'an idle worker');
	my $waits = sub { 'Extension|' . ($node->pg_version >= 17 ? $_[0] : 'Extension') };
	$becomes->(q{concat_ws('|', wait_event_type, wait_event)}, $waits->('ClearoutWorkerMain'), 'it waits, by the name that the release allows');
	ok($node->poll_query_until('postgres', q{SELECT concat_ws('|', application_name, datname, wait_event_type, wait_event) FROM pg_stat_activity WHERE backend_type = 'clearout launcher'},
		'clearout launcher|' . $waits->('ClearoutLauncherMain')), 'the launcher, in no database') or diag $node->safe_psql('postgres', q{SELECT * FROM pg_stat_activity WHERE backend_type LIKE 'clearout%'});

	$api->hold(email => 'valid-seen@x.test');
	my $caller = start_verify($node, 'valid-seen@x.test', "timeout => '120s'");
	ok($api->wait_for(held => 1), 'a call is on the wire');
	ok(wait_until(60, sub { $seen->('state') eq 'active' }), 'the worker is active');
	is($seen->('query'), 'calling the Clearout service', 'with what it does');
	$becomes->('xact_start IS NULL AND backend_xmin IS NULL AND backend_xid IS NULL', 't', 'and in no transaction');
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_locks WHERE pid = $pid AND locktype = 'relation'"), 'without a lock');
	ok($node->poll_query_until('postgres', q{SELECT concat_ws('|', state, wait_event_type, wait_event) FROM pg_stat_activity WHERE query LIKE '%valid-seen%' AND pid <> pg_backend_pid()},
		'active|' . $waits->('ClearoutAnswer')), 'the caller waits');
	is(value_of($node, q{SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.query LIKE '%valid-seen%' AND a.pid <> pg_backend_pid() AND l.relation = 'clearout_results'::regclass}),
		0, 'without a lock on the results');
	$api->release;
	finish_callers(60, $caller);
	is($caller->{out}, 'valid|yes|service|Success', 'answered');
	ok(wait_until(60, sub { $seen->('state') eq 'idle' }), 'idle again');

	# autovacuum goes by these
	my $counters = q{SELECT n_tup_ins || '|' || n_tup_upd FROM pg_stat_user_tables WHERE relname = 'clearout_results'};
	$node->safe_psql('postgres', 'SELECT pg_stat_reset()');
	$node->safe_psql('postgres', q{SELECT count(*) FROM clearout_verify((SELECT array_agg('valid-count-' || i || '@x.test') FROM generate_series(1, 50) i))});
	ok($node->poll_query_until('postgres', $counters, '50|0'), 'counters: inserted');
	$node->safe_psql('postgres', q{SELECT count(*) FROM clearout_verify((SELECT array_agg('valid-count-' || i || '@x.test') FROM generate_series(1, 30) i), max_age => '0')});
	ok($node->poll_query_until('postgres', $counters, '50|30'), 'counters: updated') or diag value_of($node, $counters);

	# and it comes
	$node->safe_psql('postgres', 'ALTER TABLE clearout_results SET (autovacuum_vacuum_threshold = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_enabled = on)');
	$node->append_conf('postgresql.conf', "autovacuum = on\nautovacuum_naptime = 1\n");
	$node->reload;
	ok($node->poll_query_until('postgres', q{SELECT autovacuum_count > 0 FROM pg_stat_user_tables WHERE relname = 'clearout_results'}), 'autovacuum sees the table');
	$node->append_conf('postgresql.conf', "autovacuum = off\n");
	$node->reload;
};

subtest 'clearout.databases' => sub {
	make_database($_) foreach qw(listed unlisted);
	$api->hold(pattern => '*valid-list*');
	my $caller = start_verify($node, 'valid-list@unlisted.test', undef, 'unlisted');
	ok($api->wait_for(held => 1), 'a call is on the wire');
	my $listed = pid_of('listed');

	$node->safe_psql('postgres', q{ALTER SYSTEM SET clearout.databases = 'postgres, listed'});
	$node->reload;
	$api->release;
	finish_callers(60, $caller);
	like($caller->{out} . $caller->{sqlstate}, qr/^valid|^VC008$/, 'the call comes to an end');
	is($api->calls('valid-list@unlisted.test'), 1, 'one call');
	ok(worker_comes('unlisted', 0), 'the worker of a database that is not listed leaves');
	my $told = verify($node, 'valid-refused@unlisted.test', undef, 'unlisted');
	is($told->{sqlstate}, 'VC008', 'its callers are told');
	like($told->{detail}, qr/clearout\.databases/, 'why');
	cmp_ok($told->{seconds}, '<', $SOON, 'at once');
	is(pid_of('listed'), $listed, 'a listed one keeps its worker');
	answers('listed', 'valid-1@listed.test');

	$node->safe_psql('postgres', 'ALTER SYSTEM RESET clearout.databases');
	$node->reload;
	ok(worker_comes('unlisted'), 'listed again, it has one');
	answers('unlisted', 'valid-1@unlisted.test');
	$node->safe_psql('postgres', "DROP DATABASE $_") foreach qw(listed unlisted);
};

is(value_of($node, 'SELECT slots_used FROM clearout_status'), 0, 'no slot is left over');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal 11/, 'no crash');
$node->stop;

subtest 'no background worker is free' => sub {
	# one for the launcher, one of the server's own, two of ours
	my $small = clearout_node('small', $api, conf => "max_worker_processes = 4\nmax_logical_replication_workers = 2\n");
	ok(worker_pid($small), 'postgres has its worker');
	foreach my $database (qw(first second))
	{
		$small->safe_psql('postgres', "CREATE DATABASE $database");
		$small->safe_psql($database, 'CREATE EXTENSION clearout');
	}
	ok(worker_pid($small, 'first'), 'so has the next');

	my $told = verify($small, 'valid-none@x.test', "timeout => '60s'", 'second');
	is($told->{sqlstate}, 'VC008', 'the third is told');
	like($told->{detail}, qr/max_worker_processes/, 'why');
	cmp_ok($told->{seconds}, '<', $SOON, 'at once');
	$told = verify($small, 'valid-none@x.test', "timeout => '60s'", 'second');
	is($told->{sqlstate}, 'VC008', 'and again');
	cmp_ok($told->{seconds}, '<', $SOON, 'at once');
	is($api->calls('valid-none@x.test'), 0, 'nobody was asked');
	like(status($small, 'reason', 'second'), qr/max_worker_processes/, 'the status says so');
	is(verify($small, 'valid-first@x.test', undef, 'first')->{out}, 'valid|yes|service|Success', 'the others work');

	$small->safe_psql('postgres', 'DROP DATABASE first');
	ok(wait_until(60, sub { worker_pid($small, 'second') }), 'a place comes free, and is taken');
	is(verify($small, 'valid-none@x.test', undef, 'second')->{out}, 'valid|yes|service|Success', 'now it answers');
	is($api->calls('valid-none@x.test'), 1, 'by one call');
	$small->stop;
};

done_testing();
