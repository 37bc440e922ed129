# Logical replication of results to a reader: what doc/operations.md promises.
# The reader has the extension and asks nobody, or a table of its own, which
# may be partitioned.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $node = clearout_node('main', $api, conf => "wal_level = logical\nmax_wal_senders = 10\nlog_statement = none\nautovacuum = off\n");

# The reader knows the token as well, which makes it harder.
my $reader = clearout_node('reader', $api, conf => "log_statement = none\nautovacuum = off\n");
$reader->safe_psql('postgres', 'CREATE DATABASE plain');

sub sql { return value_of($node, $_[0]) }
sub at_reader { return value_of($reader, @_) }
sub ask { my ($email, @more) = @_; return sql("SELECT status FROM clearout_verify('$email'" . join('', map { ", $_" } @more) . ')') }

sub reader_gets
{
	my ($sql, $value, $what, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($reader->poll_query_until($database // 'postgres', $sql, $value), $what);
}

# Rows that there are before anybody reads.
is(ask($_), 'valid', "stored: $_") foreach 'valid-1@x.test', 'valid-2@x.test';
is(ask('unknown-1@x.test'), 'unknown', 'stored: one that is unknown');

my $connstr = 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres';
sql(q{CREATE PUBLICATION all_of_them FOR TABLE clearout_results, clearout_queue;
	CREATE PUBLICATION verdicts FOR TABLE clearout_results (email, status, safe_to_send, verified_at)});
at_reader(qq{CREATE SUBSCRIPTION one CONNECTION '$connstr' PUBLICATION all_of_them WITH (streaming = on)});
at_reader(q{CREATE TABLE clearout_results (email text COLLATE "C" PRIMARY KEY, status text, safe_to_send text, verified_at timestamptz)
		PARTITION BY HASH (email);
	CREATE TABLE p0 PARTITION OF clearout_results FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE p1 PARTITION OF clearout_results FOR VALUES WITH (MODULUS 2, REMAINDER 1)}, 'plain');
at_reader(qq{CREATE SUBSCRIPTION two CONNECTION '$connstr' PUBLICATION verdicts}, 'plain');

subtest 'a reader with the extension' => sub {
	reader_gets('SELECT count(*) FROM clearout_results', 3, 'what was there is copied');
	is(ask('invalid-1@x.test'), 'invalid', 'one more');
	reader_gets(q{SELECT status FROM clearout_results WHERE email = 'invalid-1@x.test'}, 'invalid', 'comes too');
	ok(worker_pid($reader), 'the reader has a worker, which could call');

	my $calls = $api->total_calls;
	is(at_reader(q{SELECT status || ' ' || source FROM clearout_verify('Valid-1@X.test')}), 'valid stored', 'stored answers are taken');
	is(at_reader(q{SELECT count(*) FROM clearout_verify(ARRAY['valid-1@x.test', 'invalid-1@x.test']) WHERE source = 'stored'}), 2, 'several, too');
	is(at_reader(q{SELECT status FROM clearout_cached('valid-2@x.test')}), 'valid', 'and joined with');
	is(at_reader('SELECT sum(addresses) FROM clearout_summary'), 4, 'and counted');
	ok(at_reader(q{SELECT raw->'data'->>'email_address' IS NOT NULL FROM clearout_results WHERE email = 'valid-1@x.test'}), 'with the whole answer');
	is($api->total_calls, $calls, 'without a call');
};

subtest 'changes' => sub {
	is(ask('unknown-1@x.test', q{max_age => '0'}), 'unknown', 'an attempt');
	is(ask('valid-1@x.test', q{max_age => '0'}), 'valid', 'another verdict');
	my $verified = sql(q{SELECT verified_at FROM clearout_results WHERE email = 'valid-1@x.test'});
	reader_gets(qq{SELECT verified_at = '$verified' FROM clearout_results WHERE email = 'valid-1\@x.test'}, 't', 'an update comes');
	sql(q{SELECT clearout_forget('valid-2@x.test')});
	reader_gets(q{SELECT count(*) FROM clearout_results WHERE email = 'valid-2@x.test'}, 0, 'who is forgotten is forgotten there');
	reader_gets(q{SELECT count(*) FROM clearout_results WHERE email = 'valid-2@x.test'}, 0, 'everywhere', 'plain');
	reader_gets(q{SELECT string_agg(email || ' ' || status, ', ' ORDER BY email) FROM clearout_results},
		'invalid-1@x.test invalid, unknown-1@x.test unknown, valid-1@x.test valid', 'a partitioned table gets the same rows', 'plain');
	is(at_reader('SELECT (SELECT count(*) FROM p0) + (SELECT count(*) FROM p1)', 'plain'), 3, 'in its partitions');
};

# Replicated rows of the queue carry the origin of the database that they were
# put into, and whoever reads leaves them alone.
subtest 'the queue' => sub {
	sql('SELECT clearout_pause()');
	sql(q{SELECT clearout_enqueue(ARRAY(SELECT 'valid-queued-' || i || '@x.test' FROM generate_series(1, 10) i))});
	reader_gets('SELECT count(*) FROM clearout_queue WHERE origin <> clearout_origin()', 10, 'its rows come');
	is(at_reader(q{SELECT status FROM clearout_verify('valid-reader@x.test')}), 'valid', 'the worker there is at work');
	is($api->calls("valid-queued-$_\@x.test"), 0, "and has not asked row $_") foreach 1, 10;
	sql('SELECT clearout_resume()');
	reader_gets('SELECT count(*) FROM clearout_queue', 0, 'when they are answered, they go');
	reader_gets(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-queued-%'}, 10, 'and the answers come');
	is($api->calls("valid-queued-$_\@x.test"), 1, "of one call: $_") foreach 1, 10;
};

# The reader is away, or does not take what comes: nobody waits for it.
# Whoever is subscribed to inserts alone would keep a row that is written and
# taken out again.
subtest 'no row is written that is not to stay' => sub {
	is(sql(q{BEGIN;
		SELECT count(*) FROM generate_series(1, 100) i WHERE clearout_enqueue('brief-' || i || '@x.test');
		SELECT clearout_enqueue('brief-1@x.test');
		SELECT pg_stat_get_xact_tuples_inserted('clearout_queue'::regclass), pg_stat_get_xact_tuples_deleted('clearout_queue'::regclass);
		ROLLBACK}), "100\nf\n100|0", 'a hundred are new, and one waits');
};

subtest 'a reader that stands still' => sub {
	$reader->stop;
	is(ask('valid-away@x.test'), 'valid', 'answers are stored while it is away');
	$reader->start;
	reader_gets(q{SELECT count(*) FROM clearout_results WHERE email = 'valid-away@x.test'}, 1, 'and come when it is back');

	# Whoever writes there himself has the conflicts of logical replication.
	is(at_reader(q{SELECT status FROM clearout_verify('valid-both@x.test')}), 'valid', 'the reader has asked for itself');
	is(ask('valid-both@x.test'), 'valid', 'so has the publisher');
	ok($reader->poll_query_until('postgres', q{SELECT apply_error_count > 0 FROM pg_stat_subscription_stats WHERE subname = 'one'}), 'that is a conflict');
	is(ask('valid-on@x.test'), 'valid', 'of which the publisher knows nothing');
	at_reader(q{DELETE FROM clearout_results WHERE email = 'valid-both@x.test'});
	reader_gets(q{SELECT count(*) FROM clearout_results WHERE email IN ('valid-both@x.test', 'valid-on@x.test')}, 2, 'and that ends when its row is gone');
};

# A table that enqueues what comes, and a truncation that comes without a command.
subtest 'what is replicated fires a trigger' => sub {
	sql('CREATE TABLE customer (email text PRIMARY KEY); ALTER PUBLICATION all_of_them ADD TABLE customer');
	at_reader(q{SELECT clearout_pause();
		CREATE TABLE customer (email text PRIMARY KEY);
		CREATE TRIGGER validate AFTER INSERT ON customer FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger('email');
		ALTER TABLE customer ENABLE ALWAYS TRIGGER validate;
		ALTER SUBSCRIPTION one REFRESH PUBLICATION});
	reader_gets(q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'}, 't', 'one more table');
	sql(q{BEGIN; INSERT INTO customer SELECT 'valid-c' || i || '@x.test' FROM generate_series(1, 100) i;
		TRUNCATE clearout_queue;
		INSERT INTO customer SELECT 'valid-d' || i || '@x.test' FROM generate_series(1, 50) i; COMMIT});
	reader_gets('SELECT count(*) FROM customer', 150, 'rows, and the queue truncated between them');
	is(at_reader('SELECT count(*) FROM clearout_queue'), 50, '... of which the later ones are enqueued');
	at_reader('DELETE FROM clearout_queue; DROP TABLE customer; SELECT clearout_resume()');
	sql('DROP TABLE customer');
};

subtest 'dump' => sub {
	my $file = "${PostgreSQL::Test::Utils::tmp_check}/dump.sql";
	$node->command_ok([ 'pg_dump', '--no-sync', '--file', $file, 'postgres' ], 'dumped');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $file ], 'and restored');
	is(value_of($node, 'SELECT count(*) FROM clearout_results', 'restored'), sql('SELECT count(*) FROM clearout_results'), 'with the results');
	is(value_of($node, q{SELECT string_agg(p.pubname || ' ' || (SELECT count(*) FROM pg_publication_rel r WHERE r.prpubid = p.oid), ', ' ORDER BY p.pubname) FROM pg_publication p}, 'restored'),
		$node->pg_version >= 18 ? 'all_of_them 2, verdicts 1' : 'all_of_them 0, verdicts 0', 'and publications, to which up to 17 the tables have to be added again');
};

at_reader('DROP SUBSCRIPTION one');
at_reader('DROP SUBSCRIPTION two', 'plain');
unlike(slurp_file($_->logfile), qr/signal 11|signal 6|TRAP:|PANIC/, $_->name . ': nothing has crashed') foreach $node, $reader;
$reader->stop;
$node->stop;
done_testing();
