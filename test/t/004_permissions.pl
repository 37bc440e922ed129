# Who may do and see what, and that two things are seen by nobody: the token,
# anywhere, and addresses, in the log.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @halves = map { join '', map { ('a' .. 'z', 0 .. 9)[ rand 36 ] } 1 .. $_ } 32, 64;
my $token = join ':', @halves;
my $wrong = 'wrong' . reverse $token;
my $api = ClearoutSandbox->new(token => $token, limit => 1_000_000);
my $node = clearout_node('main', $api,
	max_attempts => 1,
	conf => "log_min_messages = debug5\nlog_statement = all\nlog_min_duration_statement = 0\n"
	  . "log_lock_waits = on\nlog_connections = on\nlog_error_verbosity = verbose\n"
	  . "log_line_prefix = '%m [%p] <%b> %q%a '\n");

# All that clients are told, to be searched in the end.
my $told = '';
my $count = 0;

sub fresh
{
	my ($word) = @_;
	$count++;
	return ($word // 'valid') . "-$count\@clearout.test";
}

# What a process is called: its arguments, or what it has set in their place.
sub command_line
{
	my ($file) = @_;

	open(my $handle, '<', $file) or return '';		# it has ended meanwhile
	local $/;
	return (readline($handle) // '') =~ tr/\0\n/  /r;
}

sub state_of
{
	my ($sql) = @_;
	my $err = error_of($node, $sql);

	$told .= $err;
	return $err eq '' ? '00000' : $err =~ /ERROR:\s+(\w{5}):/ ? $1 : $err;
}

sub state_as
{
	my ($role, $sql) = @_;
	return state_of("SET SESSION AUTHORIZATION $role; $sql");
}

sub as
{
	my ($role, $sql) = @_;
	return value_of($node, "SET SESSION AUTHORIZATION $role; $sql");
}

sub await_state
{
	my ($state, $sql) = @_;
	my $end = time + 120;
	my $got;

	while (time < $end)
	{
		$got = state_of($sql);
		last if $got eq $state;
		select(undef, undef, undef, 0.1);
	}
	return $got;
}

ok(poll_status($node, q{state = 'running'}), 'a worker runs');
$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN") foreach qw(plain verifier reader admin monitor);
$node->safe_psql('postgres', q{
	SELECT clearout_grant('verifier', 'verify');
	SELECT clearout_grant('reader', 'read');
	SELECT clearout_grant('admin', 'admin');
	GRANT pg_monitor TO monitor;
	CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO PUBLIC});

subtest 'a plain role' => sub {
	my $calls = $api->total_calls;

	is(state_as('plain', q{SELECT clearout_verify('valid@example.com')}), '42501', 'may not verify');
	is(state_as('plain', q{SELECT * FROM clearout_verify(ARRAY['valid@example.com'])}), '42501', 'nor many');
	is(state_as('plain', "SELECT * FROM $_"), '42501', "may not read $_") foreach qw(clearout_results clearout_spill clearout_status);
	is(state_as('plain', 'SELECT * FROM clearout_status_info()'), '42501', 'nor what is behind the status');
	is(state_as('plain', q{SELECT clearout_grant('plain', 'verify')}), '42501', 'may not help itself');
	is(state_as('plain', q{SELECT clearout_revoke('verifier', 'verify')}), '42501', 'nor take from others');
	is(as('plain', q{SELECT clearout_normalize('A@Example.com'), clearout_syntax_error('x') IS NOT NULL}), 'a@example.com|t',
		'may use what neither spends nor reads');

	# So that nothing is forgotten that comes later:
	is( value_of($node, q{SELECT string_agg(DISTINCT p.proname, ' ' ORDER BY p.proname) FROM pg_depend d JOIN pg_proc p ON d.objid = p.oid
			WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
			AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout')
			AND has_function_privilege('plain', p.oid, 'EXECUTE')}),
		'clearout_fresh_since clearout_normalize clearout_origin clearout_syntax_error', 'and no other function');
	is( value_of($node, q{SELECT count(*) FROM pg_depend d JOIN pg_class c ON d.objid = c.oid, aclexplode(c.relacl) a
			WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
			AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout') AND a.grantee = 0}),
		0, 'PUBLIC has no right to any relation');

	is(state_as('plain', "SET clearout.$_"), '42501', "may not set $_") foreach
	  q{base_url = 'http://127.0.0.1:1/'}, q{api_token_file = '/etc/passwd'}, q{auth_scheme = token}, q{allow_http = on},
	  q{proxy = 'http://127.0.0.1:1'}, q{ca_file = '/tmp/x'}, q{statement_limit = 0};
	is(state_as('plain', "SET clearout.$_"), '00000', "may set $_") foreach
	  q{wait_timeout = '5s'}, q{max_age = '1d'}, q{max_age_unknown = '1h'}, q{max_age_catch_all = '1d'}, q{on_error = unknown}, q{precheck = off};
	is(state_as('plain', 'SHOW clearout.proxy'), '42501', 'may not see the proxy, which may carry a password');
	is($api->total_calls, $calls, 'all that without a call');
};

subtest 'a role that may verify' => sub {
	my $email = fresh();

	is(as('verifier', "SELECT status || ' ' || source FROM clearout_verify('$email')"), 'valid service', 'gets the answer');
	is(as('verifier', "SELECT status || ' ' || source FROM clearout_verify('$email')"), 'valid stored', 'stored ones too');
	is(as('verifier', "SELECT raw ->> 'email_address' FROM clearout_verify('$email')"), $email, 'all of it');
	is($api->calls($email), 1, 'by one call');
	is(state_as('verifier', "SELECT * FROM $_"), '42501', "may not read $_") foreach qw(clearout_results clearout_spill clearout_status);
	is(state_as('verifier', "DELETE FROM clearout_results"), '42501', 'nor change it');
	is(state_as('verifier', q{CREATE TRIGGER t BEFORE INSERT ON clearout_results FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()}),
		'42501', 'nor put a trigger there');
	is(state_as('verifier', q{SELECT clearout_grant('verifier', 'read')}), '42501', 'nor give itself more');

	# The row is in the spill: it is told all the same.
	my $held = fresh();
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("BEGIN; INSERT INTO clearout_results (email, status, verified_at, source)
		VALUES ('$held', 'invalid', now() - interval '1 day', 'import');");
	is(as('verifier', "SELECT status || ' ' || source FROM clearout_verify('$held')"), 'valid service', 'an answer that lies aside');
	is(as('verifier', "SELECT status || ' ' || source FROM clearout_verify('$held')"), 'valid stored', 'again');
	$session->query_safe('COMMIT');
	$session->quit;

	# Tables of others with the same names change nothing.
	as('verifier', q{CREATE TABLE evil.clearout_results (email text PRIMARY KEY, status text);
		CREATE TABLE evil.clearout_spill (email text PRIMARY KEY, status text);
		INSERT INTO evil.clearout_results VALUES ('x@clearout.test', 'valid')});
	is(as('verifier', q{SET search_path = evil, public; SELECT status || ' ' || source FROM clearout_verify('invalid@clearout.test')}),
		'invalid service', 'search_path is of no matter');
	is(as('verifier', q{SELECT count(*) FROM evil.clearout_results}), 1, 'nothing is written there');
	is(value_of($node, q{SELECT status FROM clearout_results WHERE email = 'invalid@clearout.test'}), 'invalid', 'but where it belongs');

	$node->safe_psql('postgres', q{SELECT clearout_revoke('verifier', 'verify')});
	is(state_as('verifier', "SELECT clearout_verify('$email')"), '42501', 'taken back');
	$node->safe_psql('postgres', q{SELECT clearout_grant('verifier', 'verify')});
};

subtest 'other roles' => sub {
	my $email = fresh();
	my $calls = $api->total_calls;

	is(as('reader', 'SELECT count(*) > 0 FROM clearout_results'), 't', 'a reader reads');
	is(as('reader', 'SELECT count(*) >= 0 FROM clearout_spill'), 't', 'what lies aside too');
	is(as('reader', 'SELECT state FROM clearout_status'), 'running', 'and the status');
	is(state_as('reader', "SELECT clearout_verify('$email')"), '42501', 'but does not spend');
	is(state_as('reader', 'DELETE FROM clearout_results'), '42501', 'nor change');
	is($api->total_calls, $calls, 'no call');

	is(as('admin', "SELECT status FROM clearout_verify('$email')"), 'valid', 'an admin verifies');
	is(as('admin', "SELECT status FROM clearout_results WHERE email = '$email'"), 'valid', 'reads');
	is(state_as('admin', "DELETE FROM clearout_results WHERE email = '$email'"), '00000', 'and removes');
	is(state_as('admin', q{SELECT clearout_grant('plain', 'verify')}), '42501', 'but lets in nobody else');

	is(as('monitor', 'SELECT state FROM clearout_status'), 'running', 'pg_monitor sees the status');
	is(state_as('monitor', 'SELECT * FROM clearout_results'), '42501', 'and no addresses');
	is(as('monitor', q{SELECT count(*) FROM clearout_status WHERE clearout_status::text ~ '@'}), 0, 'there either');
	is(as('monitor', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'clearout' AND query ~ '@'}), 0, 'nor in what our processes do');

	is(state_of(q{SELECT clearout_grant('plain', 'everything')}), '22023', 'an unknown word');
};

subtest 'the token' => sub {
	my $url = $api->url;
	my $ask = sub { return q{SELECT clearout_verify('} . fresh() . q{', timeout => '60s')} };
	my $file = $api->token_file;
	my $reload = sub {
		my ($conf) = @_;
		$node->append_conf('postgresql.conf', $conf);
		$node->reload;
	};

	is(state_of($ask->()), '00000', 'an answer');
	foreach my $scheme (qw(token bearer_colon bearer))
	{
		$reload->("clearout.auth_scheme = $scheme");
		is(await_state('00000', $ask->()), '00000', "spelt as $scheme");
	}

	# failures of all kinds
	my @faults = (
		[ { kind => 'reset' }, 'VC007' ],
		[ { kind => 'close' }, 'VC007' ],
		[ { status => 500 }, 'VC007' ],
		[ { status => 302, location => 'http://127.0.0.1:1/elsewhere' }, 'VC007' ],
		[ { status => 400, message => "no such thing" }, 'VC009' ],
		[ { status => 200, body => 'no JSON' }, 'VC007' ]);
	foreach my $case (@faults)
	{
		my ($fault, $state) = @$case;
		my $id = $api->fault(%$fault);
		is(state_of($ask->()), $state, join ' ', map { "$_ $fault->{$_}" } sort keys %$fault);
		$api->clear($id);
	}

	# wrong in several ways
	$api->write_token_file($wrong);
	$node->reload;
	is(await_state('VC002', $ask->()), 'VC002', 'a wrong token');
	$api->write_token_file("$token\nsecond line");
	is(state_of($ask->()), 'VC002', 'a file of two lines is not taken');
	$node->restart;
	is(await_state('VC001', $ask->()), 'VC001', 'nor by a new worker');
	chmod 0644, $file;
	is(await_state('VC001', $ask->()), 'VC001', 'nor one that all can read');
	$api->write_token_file($token);
	is(await_state('00000', $ask->()), '00000', 'put right');

	(my $tls = $url) =~ s/^http:/https:/;
	$reload->("clearout.base_url = '$tls'");
	is(await_state('VC007', $ask->()), 'VC007', 'TLS fails');
	$reload->(q{clearout.base_url = 'https://127.0.0.1:1/v2'});
	is(await_state('VC007', $ask->()), 'VC007', 'nobody listens');
	$reload->(q{clearout.base_url = 'http://192.0.2.1/v2'});
	is(await_state('VC001', $ask->()), 'VC001', 'a URL that is refused');
	is(state_of(q{SET clearout.base_url = 'nonsense'}), '22023', 'one that is none');
	# Nothing leaves this host: the way to that one is through the proxy.
	$reload->(qq{clearout.base_url = 'https://192.0.2.1/v2'\nclearout.proxy = 'http://127.0.0.1:1'});
	is(await_state('VC007', $ask->()), 'VC007', 'a proxy that is not there');
	$reload->("clearout.base_url = '$url'\nclearout.proxy = ''");
	is(await_state('00000', $ask->()), '00000', 'put right');

	$node->safe_psql('postgres', "ALTER SYSTEM SET clearout.api_token_file = '$file'");
	$node->safe_psql('postgres', "ALTER DATABASE postgres SET clearout.api_token_file = '$file'");
	$node->safe_psql('postgres', "ALTER ROLE admin SET clearout.max_age = '1d'");
	$node->reload;
	is(await_state('00000', $ask->()), '00000', 'the file is named in other ways');

	# While a call is on its way.
	my $held = fresh();
	$api->hold(email => $held);
	my $waiter = start_psql($node, "SELECT clearout_verify('$held')");
	ok($api->wait_for(held => 1), 'a call is on its way');
	my $seen = value_of($node, q{
		SELECT s::text FROM pg_settings s UNION ALL
		SELECT a::text FROM pg_stat_activity a UNION ALL
		SELECT c::text FROM clearout_status c UNION ALL
		SELECT f::text FROM pg_file_settings f UNION ALL
		SELECT r::text FROM pg_db_role_setting r UNION ALL
		SELECT m::text FROM pg_prepared_statements m UNION ALL
		SELECT b::text FROM pg_get_backend_memory_contexts() b UNION ALL
		SELECT h::text FROM pg_shmem_allocations h});
	like($seen, qr/\Q$file\E/, 'the views name the file');
	my $processes = join "\n", map { command_line($_) } glob '/proc/[0-9]*/cmdline';
	like($processes, qr/clearout worker/, 'the worker is among the processes');
	$api->release;
	is((finish_psql($waiter))[1], '00000', 'answered');

	# A dump, and every file below the data directory, the log included.
	my ($dump, $problem);
	IPC::Run::run([ 'pg_dumpall', '-h', $node->host, '-p', $node->port ], '>', \$dump, '2>', \$problem)
	  or die "pg_dumpall: $problem";
	like($dump, qr/clearout\.max_age/, 'the dump has settings');
	like($dump, qr/\Q$held\E/, 'and the stored answers');
	like($dump, qr/CREATE EXTENSION.*clearout/, 'and the extension');
	$node->stop;
	my $log = slurp_file($node->logfile);
	like($log, qr/DEBUG:/, 'the log has it all');
	like($log, qr/<clearout worker>/, 'of our worker too');

	my @secrets = ($token, @halves, (map { substr $_, 8, 16 } @halves), $wrong, substr($wrong, 5, 32));
	foreach my $place ([ views => $seen ], [ dump => $dump ], [ log => $log ], [ errors => $told ], [ answers => $api->log ])
	{
		my ($name, $text) = @$place;
		is(scalar(grep { index($text, $_) >= 0 } @secrets), 0, "no part of a token in: $name");
	}
	# The sandbox has the token among its arguments.
	is(scalar(grep { /postgres/ && !/clearout-sandbox/ && /\Q$halves[1]\E/ } split /\n/, $processes), 0, 'nor in a process title');
	foreach my $secret (@secrets)
	{
		my ($files) = run_command([ 'grep', '-raFl', '-e', $secret, $node->data_dir ]);
		is($files, '', 'nor in a file below the data directory: ' . length($secret) . ' characters');
	}
	# What the search finds if there is something to find:
	my ($files) = run_command([ 'grep', '-raFl', '-e', 'api_token_file', $node->data_dir ]);
	like($files, qr/postgresql\.conf/, 'though the search does find things');
	$node->start;
};

subtest 'addresses in the log' => sub {
	my $at = '[\w.+-]+@private-[\w.-]+';
	my $ask = sub { $count++; return q{SELECT clearout_verify('} . ($_[0] // 'valid') . "-$count\@private-domain.test', timeout => '60s')" };
	my $held = "held\@private-domain.test";

	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->append_conf('postgresql.conf',
		"log_statement = none\nlog_min_duration_statement = -1\nlog_min_error_statement = panic\nlog_min_messages = debug1\ndeadlock_timeout = 10ms");
	$node->restart;
	my $offset = -s $node->logfile;

	is(await_state('00000', $ask->()), '00000', 'an answer');
	is(await_state('00000', $ask->($_)), '00000', "$_") foreach qw(invalid unknown catch_all);

	# everything that makes the worker complain
	foreach my $fault ({ kind => 'reset' }, { status => 500 }, { status => 200, body => 'no JSON' },
		{ status => 400, message => "no such address as private\@private-domain.test" },
		{ status => 200, body => '{"status":"success","data":{"email_address":"another@private-domain.test","status":"valid"}}' })
	{
		my $id = $api->fault(%$fault);
		isnt(state_of($ask->()), '00000', join ' ', map { "$_ $fault->{$_}" } sort keys %$fault);
		$api->clear($id);
	}
	$node->safe_psql('postgres', "INSERT INTO clearout_results (email, status, verified_at, source) VALUES ('$held', 'valid', now(), 'x')");
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("BEGIN; DELETE FROM clearout_results WHERE email = '$held';");
	is(state_of("SELECT clearout_verify('$held', max_age => '0')"), '00000', 'a row that is held');
	$session->query_safe('COMMIT');
	$session->query_safe('BEGIN; LOCK TABLE clearout_results, clearout_spill;');
	my $waiter = start_psql($node, $ask->());
	ok(poll_status($node, 'answers_unstored = 1'), 'an answer that cannot be stored');
	$session->query_safe('ROLLBACK');
	is((finish_psql($waiter))[1], '00000', 'but is in the end');
	$session->query_safe(q{ALTER TABLE clearout_results ADD CONSTRAINT strange CHECK (email !~ 'strange') NOT VALID;});
	is(state_of($ask->('strange')), '00000', 'one that the table refuses');
	$session->query_safe('ALTER TABLE clearout_results DROP CONSTRAINT strange;');
	$session->quit;
	$api->write_token_file($wrong);
	$node->reload;
	is(await_state('VC002', $ask->()), 'VC002', 'a wrong token');
	$api->write_token_file($token);
	$node->reload;
	is(await_state('00000', $ask->()), '00000', 'put right');
	is(value_of($node, q{SELECT count(*) FROM clearout_status WHERE clearout_status::text ~ '@'}), 0, 'none in the status');
	is(value_of($node, q{SELECT count(*) FROM clearout_spill WHERE error ~ '@'}), 0, 'none in the reasons of clearout_spill');

	$node->stop;
	my $log = slurp_file($node->logfile, $offset);
	my (@ours, @bad);
	my $ours = 0;
	foreach my $line (split /\n/, $log)
	{
		# a line that continues another belongs to it
		$ours = $line =~ /<clearout (?:worker|launcher)>/ && $line !~ / DEBUG:/ if $line =~ /^\d{4}-\d\d-\d\d /;
		next unless $ours;
		push @ours, $line;
		push @bad, $line if $line =~ /$at/;
	}
	cmp_ok(scalar @ours, '>', 3, 'our processes have said something');
	is_deeply(\@bad, [], 'and named no address');
	$node->start;
};

$node->stop;
done_testing();
