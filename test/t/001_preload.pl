# How the extension comes to life: preloading, the token and its file, the
# service's URL, the databases that get a worker, and how a worker leaves.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutTest;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $verify = q{SELECT status FROM clearout_verify('valid@example.com', max_age => '0')};

# How many processes of this kind there are.
sub processes
{
	my ($node, $type) = @_;

	return value_of($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'clearout $type'");
}

sub worker_pid
{
	my ($node, $database) = @_;

	return value_of($node, 'SELECT worker_pid FROM clearout_status', $database);
}

# Waits until verify gives this SQLSTATE; returns the last error.
sub await_state
{
	my ($node, $state, $database) = @_;
	my $end = time + 120;
	my $err;

	while (time < $end)
	{
		$err = error_of($node, $verify, $database);
		return $err if ($err eq '' ? '00000' : $err =~ /ERROR:\s+(\w{5})/ ? $1 : '') eq $state;
		select(undef, undef, undef, 0.1);
	}
	return "no $state in time: $err";
}

subtest 'not preloaded' => sub {
	my $node = PostgreSQL::Test::Cluster->new('plain');

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf',
		"clearout.base_url = '@{[ $api->url ]}'\nclearout.api_token_file = '@{[ $api->token_file ]}'\n");
	$node->start;
	my $said = error_of($node, 'CREATE EXTENSION clearout');
	like($said, qr/WARNING:.*not preloaded.*HINT:.*shared_preload_libraries/s, 'whoever creates it is told what is missing');
	unlike($said, qr/ERROR/, 'but the extension can be created');
	is(value_of($node, q{SELECT clearout_normalize(' Jane.Doe@EXAMPLE.com ')}),
		'jane.doe@example.com', 'what needs no service works');
	is(value_of($node, q{SELECT clearout_syntax_error('jane.example.com') IS NOT NULL}), 't', 'likewise');
	is(value_of($node, q{SELECT status || ' ' || source FROM clearout_verify('jane..doe@example.com')}),
		'invalid local', 'malformed addresses are answered');

	my $err = error_of($node, $verify);
	like($err, qr/ERROR:\s+VC001:/, 'a question is refused');
	like($err, qr/DETAIL:.*shared_preload_libraries/, 'with the reason');
	like($err, qr/HINT:.*shared_preload_libraries/, 'and what to do');
	is(value_of($node, q{SELECT state, reason FROM clearout_status}),
		'not preloaded|The library is not in shared_preload_libraries.', 'the status says so');
	is(value_of($node, q{SELECT status || ' ' || source FROM clearout_verify('valid@example.com', on_error => 'unknown')}),
		'unknown none', 'or a row, if so wished');
	is(value_of($node, q{INSERT INTO clearout_results (email, status, verified_at, source)
			VALUES ('old@example.com', 'valid', now(), 'import');
			SELECT status || ' ' || source FROM clearout_verify('old@example.com')}),
		'valid stored', 'stored answers are given');
	is(value_of($node, q{SHOW clearout.base_url}), $api->url, 'the settings are known');
	is(processes($node, 'launcher'), 0, 'no process of ours runs');
	is($api->total_calls, 0, 'nobody was asked');
	$node->stop;
};

my $node = clearout_node('main', $api, extension => 0);

subtest 'when a worker starts' => sub {
	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'clearout launcher'}),
		'the launcher runs');
	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'clearout worker'}),
		'no database has the extension, so there is no worker');

	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('BEGIN; CREATE EXTENSION clearout;');
	is($session->query(q{SELECT worker_pid IS NULL, state FROM clearout_status}), 't|no worker',
		'none before the commit');
	is($session->query(q{SELECT clearout_normalize('A@example.com')}), 'a@example.com', 'though functions work');
	$session->query_safe('ROLLBACK');
	is(processes($node, 'worker'), 0, 'nor after a rollback');
	$session->query_safe('BEGIN; CREATE EXTENSION clearout;');
	is(processes($node, 'worker'), 0, 'still none before the commit');
	$session->query_safe('COMMIT');
	$session->quit;
	ok(poll_status($node, q{state = 'running' AND worker_pid IS NOT NULL}), 'one after it, of itself');
	is(value_of($node, q{SELECT a.backend_type, a.datname FROM pg_stat_activity a JOIN clearout_status s ON a.pid = s.worker_pid}),
		'clearout worker|postgres', 'and it is the process that the status names');
	is(value_of($node, $verify), 'valid', 'it answers');
	is($api->calls('valid@example.com'), 1, 'by one call');
};

subtest 'token file' => sub {
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $file = "$dir/token";
	my $token = $api->token;
	my $calls;

	$node->append_conf('postgresql.conf', "clearout.api_token_file = '$file'");
	# A worker that knows a token keeps it; a new one has none.
	$node->restart;
	$calls = $api->total_calls;

	my $write = sub {
		my ($text, $mode) = @_;
		unlink $file;
		append_to_file($file, $text);
		chmod $mode // 0600, $file or die;
	};
	my @bad = (
		[ 'missing', sub { }, qr/cannot be opened: No such file/ ],
		[ 'empty', sub { $write->('') }, qr/is empty/ ],
		[ 'blank', sub { $write->(" \n\n") }, qr/is empty/ ],
		[ 'readable by all', sub { $write->("$token\n", 0644) }, qr/is open to others/ ],
		[ 'readable by the group', sub { $write->("$token\n", 0640) }, qr/is open to others/ ],
		[ 'a FIFO', sub { unlink $file; mkfifo($file, 0600) or die }, qr/not a regular file/ ],
		[ 'a directory', sub { unlink $file; mkdir($file, 0700) or die }, qr/not a regular file/ ],
		[ 'too long', sub { rmdir $file; $write->('x' x 100_000) }, qr/too long/ ],
		[ 'of two lines', sub { $write->("$token\n$token\n") }, qr/one token on one line/ ],
		[ 'with a header of its own', sub { $write->("$token\r\nX-Injected: 1\n") }, qr/one token on one line/ ],
		[ 'not ASCII', sub { $write->("t\xc3\xb6ken\n") }, qr/one token on one line/ ]);

	foreach my $case (@bad)
	{
		my ($name, $make, $reason) = @$case;
		my $err = '';

		$make->();
		# It is looked at again at most once a second.
		my $end = time + 120;
		while (time < $end)
		{
			$err = error_of($node, $verify);
			last if $err =~ $reason;
			select(undef, undef, undef, 0.1);
		}
		like($err, qr/ERROR:\s+VC001:/, "token file $name: not configured");
		like($err, qr/DETAIL:.*\Q$file\E.*$reason/, "token file $name: the reason names the file");
		is(value_of($node, 'SELECT state, worker_pid IS NOT NULL FROM clearout_status'),
			'not configured|t', "token file $name: the worker waits for better");
		is( value_of($node, 'SELECT reason FROM clearout_status') =~ /\Q$file\E.*$reason/ ? 1 : 0, 1,
			"token file $name: the status says why");
	}
	is($api->total_calls, $calls, 'nothing was sent all the while');

	my $pid = worker_pid($node);
	$write->("$token\n");
	is(await_state($node, '00000'), '', 'put right, it works without a reload');
	is(worker_pid($node), $pid, 'in the same worker');
	ok(poll_status($node, q{state = 'running' AND reason IS NULL}), 'and the status is content');
	is($api->total_calls, $calls + 1, 'by one call');

	# A token that works is kept while its file is away.
	unlink $file;
	$node->reload;
	is(sqlstate($node, $verify), '00000', 'the file is gone: what is known is used');

	# Another valid token.
	my $other = 'other' . ('0' x 27) . ':' . ('f' x 64);
	my $charged = sub {
		my ($which) = @_;
		foreach my $entry (@{ $api->stats->{tokens} })
		{
			return $entry->{charged} if $entry->{token} eq $which;
		}
		return 0;
	};
	$api->config(token => $other, valid => \1);
	$write->("$other\n");
	$node->reload;
	my $asked = 0;
	ok( do
		{
			my $seen = 0;
			my $end = time + 120;
			while (time < $end)
			{
				$asked++;
				value_of($node, "SELECT clearout_verify('other$asked\@clearout.test')");
				last if $seen = $charged->($other);
				select(undef, undef, undef, 0.1);
			}
			$seen;
		},
		'after a reload, another token is used');

	# The old one, with bytes that are no part of it.
	$write->("  $token\n");
	$node->reload;
	is(sqlstate($node, $verify), '00000', 'a file that cannot be used does not take the token away');

	# A wrong token.
	$write->('wrong' x 10 . "\n");
	$node->reload;
	my $err = await_state($node, 'VC002');
	like($err, qr/ERROR:\s+VC002:/, 'a wrong token is told from none');
	like($err, qr/DETAIL:.*HTTP 401.*1000/, 'with what the service said');
	like($err, qr/HINT:.*api_token_file/, 'and what to do');
	ok(poll_status($node, q{state = 'paused' AND reason ~ '401'}), 'the status says that calls are refused');
	$calls = $api->stats->{by_endpoint}{verify};
	is(sqlstate($node, $verify), 'VC002', 'the next is told at once');
	is($api->stats->{by_endpoint}{verify}, $calls, 'without a call');
	$write->("$token\n");
	is(await_state($node, '00000'), '', 'put right, it works without a reload');
	ok(poll_status($node, q{state = 'running' AND reason IS NULL}), 'and the status is content');

	# The same, put right and reloaded.
	$api->config(token => $token, valid => \0);
	is(sqlstate($node, $verify), 'VC002', 'a token that the service has withdrawn');
	$api->config(token => $token, valid => \1);
	is(sqlstate($node, $verify), 'VC002', 'is not tried again at once');
	$node->reload;
	is(await_state($node, '00000'), '', 'but after a reload');

	# A name relative to the data directory.
	$write = sub { };
	append_to_file($node->data_dir . '/clearout.token', "$token\n");
	chmod 0600, $node->data_dir . '/clearout.token';
	$node->append_conf('postgresql.conf', q{clearout.api_token_file = 'clearout.token'});
	$node->restart;
	is(await_state($node, '00000'), '', 'a relative name is relative to the data directory');

	$node->append_conf('postgresql.conf', q{clearout.api_token_file = ''});
	$node->restart;
	like(await_state($node, 'VC001'), qr/DETAIL:.*clearout\.api_token_file is empty/, 'no name at all');

	# The reload that names one reaches a worker that has none.
	$node->append_conf('postgresql.conf', "clearout.api_token_file = '@{[ $api->token_file ]}'");
	$node->reload;
	is(await_state($node, '00000'), '', 'a reload that names one');
};

subtest 'base URL' => sub {
	my $url = $api->url;
	my $pid;

	$pid = worker_pid($node);
	$node->append_conf('postgresql.conf', q{clearout.base_url = 'http://192.0.2.1/v2'});
	$node->reload;
	my $err = await_state($node, 'VC001');
	like($err, qr/ERROR:\s+VC001:/, 'plain http to another host is refused');
	like($err, qr/DETAIL:.*clearout\.base_url.*(?:http|allow_http)/, 'with the reason');
	isnt(worker_pid($node), $pid, 'a worker with the new URL has taken over');
	ok(poll_status($node, q{state = 'not configured' AND reason ~ 'clearout.base_url'}), 'the status says so too');
	my $calls_seen = value_of($node, q{SELECT calls, 0, faults, last_error IS NULL FROM clearout_status});
	# A call to that host would be counted, and then fail.
	is(sqlstate($node, $verify), 'VC001', 'refused again');
	is(value_of($node, q{SELECT calls, calls_in_flight, faults, last_error IS NULL FROM clearout_status}),
		$calls_seen, 'no call was made');

	# With allow_http the call is made, which shows what refused it before.  The
	# host is this one by a name that is no loopback one to us.
	$node->append_conf('postgresql.conf', q{clearout.base_url = 'http://0.0.0.0:} . $api->port . q{/v2'});
	$node->reload;
	like(await_state($node, 'VC001'), qr/DETAIL:.*clearout\.base_url/, 'an address that is not loopback in name');
	my $calls = $api->total_calls;
	$node->append_conf('postgresql.conf', q{clearout.allow_http = on});
	$node->reload;
	is(await_state($node, '00000'), '', 'allowed by clearout.allow_http');
	cmp_ok($api->total_calls, '>', $calls, 'the call is made then');
	ok(poll_status($node, q{state = 'running' AND reason IS NULL}), 'and the status is content');

	$node->append_conf('postgresql.conf', "clearout.allow_http = off\nclearout.base_url = '$url'");
	$node->reload;
	ok(poll_status($node, q{state = 'running'}), 'back to loopback');
	is(await_state($node, '00000'), '', 'which needs no permission');

	is(sqlstate($node, q{SET clearout.base_url = 'ftp://example.com/'}), '22023', 'what is no URL for us is no value');
	is(sqlstate($node, q{SET clearout.base_url = 'https://user:secret@example.com/'}), '22023', 'nor one with a password');
	like(error_of($node, q{SET clearout.base_url = 'example.com'}), qr/DETAIL:  This URL cannot be used: it \w+ .*\.\nHINT:/, 'with a reason in a sentence');

	# A trailing slash is of no matter.
	$node->append_conf('postgresql.conf', "clearout.base_url = '$url/'");
	$node->reload;
	is(await_state($node, '00000'), '', 'a trailing slash');
	$node->append_conf('postgresql.conf', "clearout.base_url = '$url'");
	$node->reload;
};

subtest 'several databases' => sub {
	my $seen;

	$node->safe_psql('postgres', 'CREATE DATABASE one');
	$node->safe_psql('postgres', 'CREATE DATABASE two');
	$node->safe_psql($_, 'CREATE EXTENSION clearout') foreach qw(one two);
	ok(poll_status($node, q{state = 'running'}, $_), "$_ has a worker") foreach qw(one two);
	# that of the first may be about to be replaced, for the URL
	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 3 AND count(DISTINCT datname) = 3 FROM pg_stat_activity WHERE backend_type = 'clearout worker'}),
		'each has its own');
	is(value_of($node, q{SELECT status FROM clearout_verify('invalid@example.com')}, 'one'), 'invalid', 'which answers');
	is(value_of($node, q{SELECT count(*) FROM clearout_results}, 'two'), 0, 'for its own database');

	$node->append_conf('postgresql.conf', q{clearout.databases = 'postgres, one'});
	$node->reload;
	my $err = await_state($node, 'VC008', 'two');
	like($err, qr/ERROR:\s+VC008:.*\n?.*DETAIL:.*clearout\.databases/s, 'a database that is not listed is refused, with the reason');
	is(sqlstate($node, $verify, 'one'), '00000', 'a listed one is not');
	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'clearout worker' AND datname = 'two'}),
		'its worker has left');
	$node->restart;
	is(await_state($node, '00000', 'one'), '', 'after a restart too: listed');
	like(await_state($node, 'VC008', 'two'), qr/VC008/, 'not listed');

	$node->append_conf('postgresql.conf', q{clearout.databases = ''});
	$node->reload;
	is(await_state($node, '00000', 'two'), '', 'an empty list means all of them');

	# A token of its own for one database.
	my $own = 'own' . ('0' x 29) . ':' . ('e' x 64);
	my $file = PostgreSQL::Test::Utils::tempdir_short() . '/own';
	$api->config(token => $own, valid => \1);
	append_to_file($file, "$own\n");
	chmod 0600, $file;

	ok(poll_status($node, q{state = 'running'}, $_), "$_ has its worker") foreach qw(postgres one two);
	my $one = worker_pid($node, 'one');
	my $two = worker_pid($node, 'two');
	my $main = worker_pid($node);
	ok($node->safe_psql('postgres', "BEGIN; ALTER DATABASE one SET clearout.api_token_file = '$file'; ROLLBACK; SELECT 1"),
		'a setting that is rolled back');
	$node->safe_psql('postgres', "ALTER DATABASE one SET clearout.api_token_file = '$file'");
	ok(poll_status($node, "state = 'running' AND worker_pid <> $one", 'one'), 'a setting of the database replaces its worker');
	is(worker_pid($node, 'two'), $two, 'and no other');
	is(worker_pid($node), $main, 'nor that of the session');
	is(value_of($node, q{SELECT status FROM clearout_verify('valid@clearout.test')}, 'one'), 'valid', 'the new one answers');
	($seen) = map { $_->{charged} } grep { $_->{token} eq $own } @{ $api->stats->{tokens} };
	is($seen, 1, 'and pays with the token of that database');
	$node->safe_psql('postgres', 'ALTER DATABASE one RESET clearout.api_token_file');
	is(await_state($node, '00000', 'one'), '', 'taken back');
	is( value_of($node, q{SELECT count(*) FROM clearout_status WHERE restarts > 0 AND state = 'backoff'}, 'one'), 0,
		'a replacement is no failure');

	# A setting that changes while a worker starts, after it has read the old
	# one: post_auth_delay makes it pause before that and after it.
	my $session = $node->background_psql('one', on_error_stop => 0);
	$node->append_conf('postgresql.conf', 'post_auth_delay = 2');
	$node->reload;
	is(value_of($node, 'SHOW post_auth_delay'), '2s', 'workers start slowly now');
	ok( do
		{
			my $state = '';
			my $end = time + 180;

			# It may have started while we did not look: then once more.
			while ($state ne 'starting' && time < $end)
			{
				$session->query_safe(q{SELECT pg_terminate_backend(worker_pid) FROM clearout_status WHERE state = 'running'})
				  if $state eq '' || $state eq 'running';
				$state = $session->query('SELECT state FROM clearout_status');
				select(undef, undef, undef, 0.01);
			}
			$state eq 'starting';
		},
		'one is starting');
	$session->query_safe("SELECT pg_sleep(3); ALTER DATABASE one SET clearout.api_token_file = '$file';");
	is($session->query(q{SELECT status FROM clearout_verify('role@clearout.test')}), 'valid', 'a setting that changes meanwhile: answered');
	($seen) = map { $_->{charged} } grep { $_->{token} eq $own } @{ $api->stats->{tokens} };
	is($seen, 2, 'and paid for with the token that is set');
	my $mended = worker_pid($node, 'one');
	$node->append_conf('postgresql.conf', 'post_auth_delay = 0');
	$node->reload;
	$session->query_safe('ALTER DATABASE one RESET clearout.api_token_file');
	$session->quit;
	ok(poll_status($node, "state = 'running' AND worker_pid <> $mended", 'one'), 'another worker');
	is(await_state($node, '00000', 'one'), '', 'taken back');
};

subtest 'schema and departure' => sub {
	# the extension in a schema of its own, moved while a call is on its way
	$node->safe_psql('one', 'CREATE SCHEMA elsewhere');
	my $pid = worker_pid($node, 'one');
	is(value_of($node, q{ALTER EXTENSION clearout SET SCHEMA elsewhere;
			SELECT status FROM elsewhere.clearout_verify('role@example.com')}, 'one'),
		'valid', 'SET SCHEMA: the next question is answered');
	is(value_of($node, q{SELECT status FROM elsewhere.clearout_results WHERE email = 'role@example.com'}, 'one'),
		'valid', 'and stored there');
	is(value_of($node, q{SELECT worker_pid FROM elsewhere.clearout_status}, 'one'), $pid, 'by the same worker');

	$api->hold(email => 'free@example.com');
	my $waiter = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('one'), '-c', q{SELECT status FROM elsewhere.clearout_verify('free@example.com')} ],
		'<', \undef, '>', \my $out, '2>', \my $err, IPC::Run::timeout(60));
	ok($api->wait_for(held => 1), 'a call is on its way');
	$node->safe_psql('one', q{CREATE SCHEMA "Odd ""name"; ALTER EXTENSION clearout SET SCHEMA "Odd ""name"});
	$api->release;
	$waiter->finish;
	is($out, "valid\n", 'moved meanwhile: answered');
	is($err, '', 'without an error');
	is(value_of($node, q{SELECT count(*) FROM "Odd ""name".clearout_results WHERE email = 'free@example.com'}, 'one'),
		1, 'stored where the table is now');
	is($api->calls('free@example.com'), 1, 'asked once');

	# DROP EXTENSION ends the worker, at commit and not before.
	$pid = worker_pid($node, 'two');
	my $session = $node->background_psql('two', on_error_stop => 0);
	$session->query_safe('BEGIN; DROP EXTENSION clearout;');
	is(value_of($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid"), 1, 'DROP: the worker stays before the commit');
	$session->query_safe('ROLLBACK');
	is(value_of($node, $verify, 'two'), 'valid', 'and after a rollback');
	$session->query_safe('DROP EXTENSION clearout;');
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'after the commit it leaves');
	$session->query_safe('CREATE EXTENSION clearout;');
	ok(poll_status($node, q{state = 'running'}, 'two'), 'created again, there is another one');
	is(value_of($node, $verify, 'two'), 'valid', 'which answers');

	# at once, in one transaction, and by another command
	$session->query_safe('BEGIN; DROP EXTENSION clearout; CREATE EXTENSION clearout; COMMIT;');
	is(await_state($node, '00000', 'two'), '', 'dropped and created in one transaction');
	$session->query_safe('CREATE SCHEMA gone; ALTER EXTENSION clearout SET SCHEMA gone;');
	$session->query('DROP SCHEMA gone CASCADE');
	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'clearout worker' AND datname = 'two'}),
		'DROP SCHEMA CASCADE ends it as well');
	$session->quit;

	is(processes($node, 'worker'), 2, 'the others are still there');
	is(processes($node, 'launcher'), 1, 'as is the launcher');
};

$node->stop;
done_testing();
