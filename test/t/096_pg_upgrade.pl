# pg_upgrade carries all that the extension has, and spends nothing: neither
# while it runs, nor afterwards before somebody has said clearout_resume().
#
# From the release under test to itself; from an older one with
# CLEAROUT_OLD_PG_CONFIG, see test/check.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until worker_pid);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PGOPTIONS} = "-c client_min_messages=warning";

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 100_000);
my $conf = "max_connections = 50\nmax_worker_processes = 16\nfsync = off\nlog_statement = none\nautovacuum = off\n"
  . $api->conf(bulk_rows => 1000);
my ($old, $new);
my $copies = 0;

# A server of one release or the other, with the library where it is found.
sub server
{
	my ($name, $bindir, $stage) = @_;
	my ($install) = $bindir =~ m{^(.*)/bin$};
	my $node = PostgreSQL::Test::Cluster->new($name, install_path => $install);
	my ($version) = `$bindir/postgres --version` =~ /(\d+)/;

	local $ENV{TEMP_CONFIG} = $stage;
	delete $ENV{TEMP_CONFIG} unless $stage;
	# from 18 on there are checksums unless one says otherwise
	$node->init(extra => [ '--encoding=UTF8', '--locale=C', $version >= 18 ? '--no-data-checksums' : () ]);
	$node->append_conf('postgresql.conf', $conf);
	return $node;
}

# pg_upgrade looks for libraries in the server's own directory alone, even where
# (from 18 on) the server itself finds extensions elsewhere.  So then we have a
# copy of the server, with ours in it.
sub with_library
{
	my ($pg_config, $stage) = @_;
	my ($bin, $lib, $share) = map { my $value = `$pg_config --$_`; chomp $value; $value } qw(bindir pkglibdir sharedir);
	my ($installed) = slurp_file($stage) =~ /^extension_control_path = '(.*?)\Q$share\E:/m;
	my $copy = "${PostgreSQL::Test::Utils::tmp_check}/server" . ++$copies;

	return ($bin, $stage) unless defined $installed;
	foreach ($bin, $lib, $share)
	{
		system_or_bail('mkdir', '-p', "$copy$_");
		system_or_bail('cp', '-RL', "$_/.", "$copy$_");
	}
	system_or_bail('cp', '-R', "$installed/.", $copy);
	return ("$copy$bin", undef);
}

my ($bindir, $stage) = with_library($ENV{PG_CONFIG}, $ENV{TEMP_CONFIG});
my ($old_bindir, $old_stage) = $ENV{CLEAROUT_OLD_PG_CONFIG} ? with_library($ENV{CLEAROUT_OLD_PG_CONFIG}, $ENV{CLEAROUT_OLD_CONF}) : ($bindir, $stage);
foreach ($old_bindir, $bindir)
{
	my $version = `$_/postgres --version`;
	ok(-x "$_/pg_upgrade", "there is a pg_upgrade of $version") or BAIL_OUT("$_ is not complete");
	note($version);
}

$old = server('old', $old_bindir, $old_stage);
$old->start;
$old->safe_psql('postgres', 'CREATE DATABASE shop; CREATE ROLE app LOGIN; CREATE ROLE reader; CREATE ROLE spender');
$old->safe_psql('shop', 'CREATE SCHEMA mail; CREATE EXTENSION clearout SCHEMA mail');
$old->safe_psql('postgres', 'ALTER DATABASE shop SET search_path = public, mail');
ok(worker_pid($old, 'shop'), 'the old server has its worker');

sub before { return value_of($old, $_[0], 'shop') }
sub after { return value_of($new, $_[0], 'shop') }

sub old_gets
{
	my ($sql, $value, $what) = @_;
	ok($old->poll_query_until('shop', $sql, $value), "before: $what");
}

# ---------- something of everything ----------

is(before(q{SELECT status FROM clearout_verify('valid-1@x.test')}), 'valid', 'before: an answer');
is(before(q{SELECT status FROM clearout_verify('invalid-1@x.test')}), 'invalid', 'before: another one');
is(before(q{SELECT status FROM clearout_find('Jane Doe', 'somebody.test')}), 'found', 'before: somebody is found');
ok(before(q{SELECT count(*) FROM clearout_mx('x.test')}) > 0, 'before: a look-up');
before(q{SELECT clearout_set_budget('spender', 500); SELECT clearout_grant('reader', 'read'); SELECT clearout_grant('app', 'react');
	SELECT clearout_grant('app', 'enqueue');
	CREATE SCHEMA app AUTHORIZATION app; SET SESSION AUTHORIZATION app;
	CREATE TABLE app.customer (id int PRIMARY KEY, email text, status text);
	CREATE TABLE app.log (email text, status text);
	CREATE FUNCTION app.note(r mail.clearout_result) RETURNS void LANGUAGE sql AS
		'INSERT INTO app.log VALUES (r.email, r.status)';
	SELECT clearout_watch('app.customer', 'email', 'status');
	SELECT clearout_add_handler('app.note(mail.clearout_result)');
	INSERT INTO app.customer VALUES (1, 'valid-watched@x.test')});
old_gets('SELECT status FROM app.customer', 'valid', 'a watched row');
old_gets('SELECT count(*) > 0 FROM app.log', 't', 'a handler is called');
my $done = before(q{SELECT clearout_bulk_verify(ARRAY(SELECT 'done-' || i || '@x.test' FROM generate_series(1, 50) i))});
old_gets("SELECT state FROM clearout_jobs WHERE job = $done", 'done', 'a job that is done');
old_gets(q{SELECT count(*) FROM clearout_handler_status WHERE waiting > 0}, 0, 'nothing waits for handlers');
$api->fault(status => 400, pattern => 'bad@x.test');
before(q{SELECT clearout_enqueue('bad@x.test')});
old_gets('SELECT failed_at IS NOT NULL FROM clearout_queue', 't', 'a row that failed for good');
$api->config(bulk_speed => 0);
my $running = before(q{SELECT clearout_bulk_verify(ARRAY(SELECT 'running-' || i || '@x.test' FROM generate_series(1, 50) i))});
old_gets("SELECT state FROM clearout_jobs WHERE job = $running", 'running', 'a job whose list is at the service');

# From here on nobody works, and what comes waits.
$old->safe_psql('postgres', q{ALTER SYSTEM SET clearout.databases = 'none'});
$old->reload;
old_gets('SELECT worker_pid IS NULL FROM clearout_status', 't', 'no worker');
my $spooled = before(q{SELECT clearout_bulk_verify(ARRAY['valid-spooled@x.test'])});
before(q{SELECT clearout_enqueue(ARRAY(SELECT 'waiting-' || i || '@x.test' FROM generate_series(1, 20) i));
	SELECT clearout_enqueue_find('Joe Bloggs', 'somebody.test');
	INSERT INTO clearout_spill (email, status, verified_at, source) VALUES ('valid-spilled@x.test', 'valid', now(), 'instant');
	INSERT INTO app.customer VALUES (2, 'valid-later@x.test')});

# ---------- pg_upgrade ----------

my @tables = split /\n/, before(q{SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
	WHERE d.deptype = 'e' AND c.relkind = 'r' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout') ORDER BY 1});
cmp_ok(@tables, '>=', 16, 'tables of the extension');
my %rows = map { ($_ => contents($old, $_)) } @tables;
my @empty = grep { $rows{$_} eq '' } @tables;
is("@empty", 'clearout_pauses clearout_lookup_spill clearout_forgotten', 'all of them have rows, but these') or diag("@empty");
my $objects = objects($old);
my $usage = q{SELECT string_agg(concat_ws(' ', day, service, role, calls, valid, invalid, unknown, other, faults, credits), ', ' ORDER BY day, service, role) FROM clearout_usage};
my $used = before($usage);

sub contents
{
	my ($node, $table) = @_;
	return $node->safe_psql('shop', "SET timezone = 'UTC'; SELECT t::text FROM $table t ORDER BY 1");
}

# What belongs to the extension, with who may what.  That nothing is said of it
# is as good as the owner's rights said; MAINTAIN is there from 17 on.
# Without the types of tables' rows and arrays of types: whether they count as
# members of their own is up to the release.
sub objects
{
	my ($node) = @_;
	return $node->safe_psql('shop', q{
		SELECT pg_describe_object(classid, objid, objsubid) || ' ' ||
			coalesce((SELECT string_agg(format('%s:%s', grantee::regrole, privilege_type), ' ' ORDER BY grantee::regrole::text, privilege_type)
				FROM (SELECT coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) AS acl
						FROM pg_class WHERE oid = objid AND classid = 'pg_class'::regclass
					UNION ALL SELECT coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE oid = objid AND classid = 'pg_proc'::regclass) a,
					aclexplode(a.acl)
				WHERE privilege_type <> 'MAINTAIN'), '')
		FROM pg_depend WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout') AND deptype = 'e'
			AND NOT (classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
				WHERE t.oid = objid AND (t.typcategory = 'A' OR c.relkind <> 'c')))
		ORDER BY 1}) . "\n"
	  . $node->safe_psql('shop', q{SELECT extversion, (SELECT string_agg(u::oid::regclass || ':' || c, ',') FROM unnest(extconfig, extcondition) AS x (u, c))
		FROM pg_extension WHERE extname = 'clearout'});
}

$old->stop;
my $calls = $api->total_calls;

$new = server('new', $bindir, $stage);
my $output = $new->data_dir . '/pg_upgrade_output.d';
my @command = ("$bindir/pg_upgrade", '--no-sync', '--retain', '--old-datadir', $old->data_dir, '--new-datadir', $new->data_dir,
	'--old-bindir', $old_bindir, '--new-bindir', $bindir, '--socketdir', $new->host,
	'--old-port', $old->port, '--new-port', $new->port);
{
	# it leaves a script where it stands
	my $where = "${PostgreSQL::Test::Utils::tmp_check}/upgrade";
	mkdir $where or die "$where: $!";
	chdir $where or die "$where: $!";
	local %ENV = %ENV;
	delete $ENV{$_} foreach grep { /^PG(?!_)/ } keys %ENV;
	command_ok([ @command, '--check' ], 'pg_upgrade --check');
	command_ok(\@command, 'pg_upgrade');
	chdir '/';
}
my @logs = glob("$output/*/log/*");
cmp_ok(scalar @logs, '>', 3, 'it has left logs');
my $logs = join '', map { slurp_file($_) } @logs;
like($logs, qr/database system is ready to accept connections/, 'of the servers that it ran');
unlike($logs, qr/clearout (launcher|worker|reactor)|clearout: /, 'in which nothing of ours ran');
is($api->total_calls, $calls, 'and no call was made');

# ---------- what is there ----------

$new->start;
ok(worker_pid($new, 'shop'), 'the new server has its worker');
ok(poll_status($new, q{state = 'running'}, 'shop'), 'which works');

# It has been at work once, and had every reason to take what waits.
is(after(q{SELECT status || ' ' || source FROM clearout_verify('valid-new@x.test')}), 'valid service', 'a call');
is($api->total_calls, $calls + 1, 'is the only one');

subtest 'contents' => sub {
	foreach my $table (@tables)
	{
		my $old_rows = $rows{$table};
		my $now = contents($new, $table);
		my %was = map { ($_ => 1) } split /\n/, $old_rows;
		my @lost;

		if ($table eq 'clearout_results') { $now = join "\n", grep { !/^\(valid-(new|spilled)\@/ } split /\n/, $now }
		if ($table eq 'clearout_outbox') { $now = join "\n", grep { !/,valid-(new|spilled)\@/ } split /\n/, $now }
		next if $table eq 'clearout_spill' || $table eq 'clearout_usage_parts';	# merged, and added up: see below
		my %is = map { ($_ => 1) } split /\n/, $now;
		@lost = grep { !$is{$_} } sort keys %was;
		is(join("\n", @lost), '', "$table is as it was");
		my @more = grep { !$was{$_} } sort keys %is;
		is(join("\n", @more), '', "$table has no more");
	}
	is(objects($new), $objects, 'objects, rights and what is dumped');
	is(after(q{SELECT status || ' ' || source FROM clearout_verify('valid-1@x.test')}), 'valid stored', 'a stored answer is used');
	is(after(q{SELECT status FROM clearout_find('jane doe', 'somebody.test')}), 'found', 'and a person');
	ok(after(q{SELECT count(*) FROM clearout_mx('x.test')}) > 0, 'and a look-up');
	ok($new->poll_query_until('shop', q{SELECT EXISTS (SELECT FROM clearout_results WHERE email = 'valid-spilled@x.test') AND NOT EXISTS (SELECT FROM clearout_spill)}),
		'what was spilled is merged');
	is(after(q{SET ROLE reader; SELECT count(*) > 50 FROM clearout_results}), 't', 'who might read may');
	is(sqlstate($new, 'SET ROLE reader; SELECT clearout_pause()', 'shop'), '42501', 'and no more');
	is(after("$usage WHERE NOT own"), $used, 'usage is kept, as that of another');
	is(after('SELECT credits_per_day FROM clearout_budgets'), 500, 'the budget is kept');
};

subtest 'before the word' => sub {
	is(after(q{SELECT string_agg(state, ' ' ORDER BY job) FROM clearout_jobs}), 'done copied copied', 'jobs wait');
	is(after(q{SELECT string_agg(DISTINCT state, ' ') FROM clearout_watches}), 'copied', 'watches too');
	is(after(q{SELECT count(*) FROM clearout_queue WHERE origin <> clearout_origin()}), 22, 'and the queue');
	is($api->calls('waiting-1@x.test'), 0, 'nothing of it was asked');
	is($api->total_calls, $calls + 1, 'and nothing else');
};

subtest 'after the word' => sub {
	$api->config(bulk_speed => undef);
	ok(after('SELECT clearout_resume()') >= 22, 'adopted');
	ok($new->poll_query_until('shop', q{SELECT count(*) = 0 FROM clearout_queue WHERE failed_at IS NULL}), 'the queue is worked on');
	is($api->calls("waiting-$_\@x.test"), 1, "by one call: $_") foreach 1, 20;
	ok($new->poll_query_until('shop', qq{SELECT bool_and(state = 'done') FROM clearout_jobs}), 'the jobs are done');
	is($api->rows('running-7@x.test'), 1, 'the list that ran was not sent again');
	is(scalar(grep { $_->{rows} == 50 } $api->lists), 2, 'as the service tells');
	is(after("SELECT rows_answered FROM clearout_jobs WHERE job = $running"), 50, 'with all of its answers');
	is(after("SELECT rows_answered FROM clearout_jobs WHERE job = $spooled"), 1, 'and so is the one that had not begun');
	ok($new->poll_query_until('shop', q{SELECT status FROM app.customer WHERE id = 2}, 'valid'), 'the watch writes');
	ok($new->poll_query_until('shop', q{SELECT count(*) > 0 FROM app.log WHERE email = 'waiting-1@x.test'}), 'the handler is called');
	after(q{INSERT INTO app.customer VALUES (3, 'invalid-last@x.test')});
	ok($new->poll_query_until('shop', q{SELECT status FROM app.customer WHERE id = 3}, 'invalid'), 'with what comes now, too');
	is(after('SELECT count(*) FROM clearout_queue WHERE failed_at IS NOT NULL'), 1, 'what had failed has failed');
	is(after(q{SELECT credits_per_day FROM clearout_budgets; ALTER EXTENSION clearout UPDATE; ALTER EXTENSION clearout SET SCHEMA public; SELECT status FROM clearout_cached('valid-1@x.test')}),
		"500\nvalid", 'the extension can be updated and moved');
	is(sqlstate($new, 'DROP EXTENSION clearout CASCADE', 'shop'), '00000', 'and dropped');
};

unlike(slurp_file($_->logfile), qr/signal 11|signal 6|TRAP:|PANIC/, $_->name . ': nothing has crashed') foreach $old, $new;
$new->stop;
done_testing();
