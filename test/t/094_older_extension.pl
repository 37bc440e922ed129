# A new library finds the extension as an older one has left it: what is stored
# is read as ever, nothing is spent, and everybody is told what to run.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(comes_to_rest worker_pid);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $HINT = qr/HINT:\s+Run ALTER EXTENSION clearout UPDATE\./;

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $node = clearout_node('main', $api, conf => "autovacuum = off\nmax_prepared_transactions = 5\n");

sub sql { return value_of($node, @_) }

my $OLDER = 'BEGIN; ALTER EXTENSION clearout DROP SEQUENCE clearout_forgotten_id_seq; ALTER EXTENSION clearout DROP TABLE clearout_forgotten; DROP TABLE clearout_forgotten; COMMIT;';
my $UPDATE = q{
	CREATE TABLE clearout_forgotten (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		email text COLLATE "C" NOT NULL,
		forgotten_at timestamptz NOT NULL DEFAULT now());
	ALTER EXTENSION clearout ADD TABLE clearout_forgotten;
	ALTER EXTENSION clearout ADD SEQUENCE clearout_forgotten_id_seq;};

sub runs
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok(poll_status($node, q{state = 'running' AND reason IS NULL}), $what);
}

sub is_older
{
	my ($table) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok(poll_status($node, qq{state = 'update needed' AND reason = 'The table "$table" is missing: run ALTER EXTENSION clearout UPDATE.'}),
		'the status says what to run');
}

# What is stored is read, and what is not is not asked for.
sub only_reads
{
	my ($table, $new) = @_;
	my $calls = $api->total_calls;
	my $error;

	is(sql(q{SELECT status || ' ' || source FROM clearout_verify('valid-old@x.test')}), 'valid stored', 'clearout_verify of what is stored');
	is(sql(q{SELECT string_agg(status, ' ') FROM clearout_verify(ARRAY['valid-old@x.test', 'valid-older@x.test'])}), 'valid valid', 'and of several');
	is(sql(q{SELECT status FROM clearout_cached('valid-old@x.test')}), 'valid', 'clearout_cached');
	is(sql(q{SELECT clearout_normalize(' valid@X.Test')}), 'valid@x.test', 'clearout_normalize');
	is(sql(q{SELECT clearout_enqueue('valid-old@x.test')}), 'f', 'what is stored is not enqueued');
	$error = error_of($node, qq{SELECT clearout_verify('$new\@x.test', timeout => '20 s')});
	like($error, qr/ERROR:\s+VC001: the extension "clearout" in this database is older than its library/, 'what is not stored is refused');
	like($error, qr/DETAIL:\s+The table "$table" is missing\./, 'why');
	like($error, $HINT, 'and what to do');
	is(sql(qq{SELECT status FROM clearout_verify('$new\@x.test', on_error => 'unknown')}), 'unknown', 'or it is unknown, if the caller likes that better');
	is($api->total_calls, $calls, 'no call is made');
}

is(sql("SELECT status FROM clearout_verify('$_\@x.test')"), 'valid', "stored: $_") foreach qw(valid-old valid-older);

subtest 'the server starts with a newer library' => sub {
	$node->safe_psql('postgres', $OLDER);
	$node->restart;
	is_older('clearout_forgotten');
	only_reads('clearout_forgotten', 'valid-new');

	# The queue takes what is to be done later; what needs the table says so.
	is(sql(q{SELECT clearout_enqueue('valid-later@x.test')}), 't', 'it is enqueued');
	my $error = error_of($node, q{SELECT clearout_forget('valid-old@x.test')});
	like($error, qr/ERROR:\s+42P01: table "clearout_forgotten" of the extension "clearout" is missing/, 'a function that needs the table');
	like($error, $HINT, 'and what to do');
	is(sql(q{SELECT status FROM clearout_cached('valid-old@x.test')}), 'valid', 'has removed nothing');

	# It sleeps, and stands in nobody's way.
	ok(comes_to_rest(worker_pid($node), 2), 'the worker sleeps');
	is(sqlstate($node, 'CREATE DATABASE copy TEMPLATE postgres', 'template1'), '00000', 'and makes way');
	$node->safe_psql('postgres', 'DROP DATABASE copy');
	is_older('clearout_forgotten');

	$node->safe_psql('postgres', $UPDATE);
	runs('updated, it runs');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM clearout_results WHERE email = 'valid-later@x.test'}), 'and does what was enqueued');
	is(sql(q{SELECT status FROM clearout_verify('valid-new@x.test')}), 'valid', 'and what it is asked');
};

subtest 'while the worker runs' => sub {
	$node->safe_psql('postgres', $OLDER);
	is_older('clearout_forgotten');
	$node->safe_psql('postgres', "BEGIN; $UPDATE PREPARE TRANSACTION 'update'");
	is_older('clearout_forgotten');
	$node->safe_psql('postgres', q{COMMIT PREPARED 'update'});
	runs('updated in a prepared transaction, it runs');
	is(sql(q{SELECT status FROM clearout_verify('valid-new2@x.test')}), 'valid', 'and calls');

	# Whoever is told must see what he is told of, which a few times in a hundred
	# he did not.
	foreach (1 .. 20)
	{
		$node->safe_psql('postgres', $OLDER);
		is_older('clearout_forgotten');
		$node->safe_psql('postgres', $UPDATE);
		runs('updated, it runs');
	}
};

# With all other tables away, and nothing that tells us of that.
subtest 'nothing but the answers' => sub {
	my @tables = split /\n/, sql(q{SELECT relname FROM pg_class JOIN pg_depend ON objid = pg_class.oid AND classid = 'pg_class'::regclass
		WHERE deptype = 'e' AND relkind = 'r' AND relname <> 'clearout_results' ORDER BY relname});

	cmp_ok(@tables, '>', 10, 'tables');
	$node->safe_psql('postgres', join '; ', map { "ALTER TABLE $_ RENAME TO away_$_" } @tables);
	$node->psql('postgres', q{SELECT clearout_verify('valid-new3@x.test')});	# the worker sees it when it looks
	is_older('clearout_spill');
	only_reads('clearout_spill', 'valid-new3');
	my $error = error_of($node, q{SELECT clearout_enqueue('valid-later2@x.test')});
	like($error, qr/ERROR:\s+42P01: table "clearout_queue" of the extension "clearout" is missing/, 'nothing is enqueued');
	like($error, $HINT, 'and what to do');
	like(error_of($node, q{SELECT * FROM clearout_mx('x.test')}), qr/ERROR:\s+42P01: table "clearout_lookups" of/, 'nor looked up');

	$node->safe_psql('postgres', join '; ', map { "ALTER TABLE away_$_ RENAME TO $_" } @tables);
	is(sql(q{SELECT status FROM clearout_verify('valid-new3@x.test')}), 'valid', 'all is there again, as the next caller finds');
	runs('and it runs');
};

like(slurp_file($node->logfile), qr/clearout: the extension in this database is older than its library: table "clearout_forgotten" is missing/, 'the log says so');
unlike(slurp_file($node->logfile), qr/terminated by signal|TRAP/, 'and of no crash');

$node->stop;
done_testing();
