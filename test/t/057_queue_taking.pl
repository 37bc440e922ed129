# Rows are taken from the queue around the executor: those that the owner's own
# SELECT would return, each once and in order, whatever has been made of the table.

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

# Of each of two priorities: more in all than are taken at a time, and no more
# than the sandbox remembers one by one.
my $ROWS = 55;

# With one place, the order of the calls is that of the queue.
my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api, max_parallel => 1, conf => "autovacuum = off\n");

sub sql { return value_of($node, @_) }

# The last addresses that were asked about.
sub asked
{
	my $requests = $api->requests;
	return map { $_->{email} // () } @{ ref $requests eq 'HASH' ? $requests->{requests} : $requests };
}

# Rows that are to be asked about, the lower priority first, and rows that are not.
sub put
{
	my ($round) = @_;

	sql(qq{INSERT INTO clearout_queue (email, priority, failed_at, next_attempt_at, origin)
		SELECT prefix || '-$round-' || i || '\@x.test', priority, failed_at, next_attempt_at, coalesce(origin, clearout_origin())
		FROM (VALUES ('valid-then', $ROWS, -2, NULL::timestamptz, NULL::timestamptz, NULL::bigint),
				('failed', 3, 5, now(), NULL, NULL),
				('later', 3, 5, NULL, now() + interval '1 day', NULL),
				('elsewhere', 3, 5, NULL, NULL, 1),
				('valid-first', $ROWS, 5, NULL, NULL, NULL)) AS v (prefix, count, priority, failed_at, next_attempt_at, origin),
			generate_series(1, count) AS i
		ORDER BY priority, prefix, i});
	return;
}

sub is_served
{
	my ($round, $name) = @_;
	my @wanted = map { my $prefix = $_; map { "valid-$prefix-$round-$_\@x.test" } 1 .. $ROWS } qw(first then);
	my $left = q{SELECT count(*) FROM clearout_queue WHERE email LIKE 'valid-%'};
	my %wanted = map { $_ => 1 } @wanted;

	put($round);
	ok(wait_until(120, sub { sql($left) eq '0' }), "$name: all are answered") or diag sql($left);
	my @asked = grep { /-\Q$round\E-/ } asked();
	is(join(' ', grep { !$wanted{$_} } @asked), '', "$name: nothing else is asked about");
	is("@asked", "@wanted", "$name: each once, in order");
	is(sql('SELECT count(*) FROM clearout_queue'), 9, "$name: what is not to be asked about is still there");
	sql('DELETE FROM clearout_queue');
	return;
}

ok(worker_pid($node), 'a worker runs');
is_served('plain', 'as it is made');

foreach my $change (
	[ 'index', 'an index more', 'CREATE INDEX extra ON clearout_queue (id, priority)', 'DROP INDEX extra' ],
	[ 'column', 'a column more', 'ALTER TABLE clearout_queue ADD extra text DEFAULT random()::text', '' ],
	[ 'dropped', 'and one less', 'ALTER TABLE clearout_queue DROP extra', '' ],
	[ 'child', 'a table that inherits from it', 'CREATE TABLE child () INHERITS (clearout_queue)', 'DROP TABLE child' ],
	[ 'policy', 'row security, which is not for the owner', 'ALTER TABLE clearout_queue ENABLE ROW LEVEL SECURITY', 'ALTER TABLE clearout_queue DISABLE ROW LEVEL SECURITY' ],
	[ 'rule', 'a rule', 'CREATE RULE extra AS ON DELETE TO clearout_queue WHERE OLD.id < 0 DO INSTEAD NOTHING', 'DROP RULE extra ON clearout_queue' ])
{
	my ($round, $name, $make, $undo) = @$change;

	sql($make);
	is_served($round, $name);
	sql($undo) if $undo;
}

# A new table, as the extension makes it, for what the last has kept of all this.
sql('DROP EXTENSION clearout; CREATE EXTENSION clearout');
ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_status WHERE worker_pid IS NOT NULL}) eq '1' }), 'a worker runs again');
is_served('anew', 'made anew');

foreach my $change (
	[ 'down', 'numbers from behind', 'CREATE UNIQUE INDEX key ON clearout_queue (priority, id DESC)' ],
	[ 'part', 'a key of part of the rows', 'CREATE UNIQUE INDEX key ON clearout_queue (priority, id) WHERE priority > 4' ],
	[ 'ambiguous', 'an index that is not unique', 'CREATE INDEX key ON clearout_queue (priority, id)' ])
{
	my ($round, $name, $make) = @$change;

	sql("ALTER TABLE clearout_queue DROP CONSTRAINT clearout_queue_pkey; $make");
	is_served($round, $name);
	sql('DROP INDEX key; ALTER TABLE clearout_queue ADD CONSTRAINT clearout_queue_pkey PRIMARY KEY (priority, id)');
}

is_served('again', 'all undone');

# The table is written anew while the worker waits for its lock, with rows that
# were not there before: to a snapshot of that time it is empty.
foreach my $mode (qw(UNLOGGED LOGGED))
{
	my $left = q{SELECT count(*) FROM clearout_queue};
	my $inserting = start_psql($node, 'BEGIN',
		"INSERT INTO clearout_queue (email) SELECT 'valid-$mode-' || i || '\@x.test' FROM generate_series(1, 5) i", 'SELECT pg_sleep(1)', 'COMMIT');

	# ALTER waits for that transaction, and the worker is told at its end
	ok( wait_until(60, sub { sql(q{SELECT count(*) FROM pg_locks WHERE relation = 'clearout_queue'::regclass AND mode = 'RowExclusiveLock' AND granted}) ne '0' }),
		"$mode: rows are on their way");
	my $altering = start_psql($node, 'BEGIN', "ALTER TABLE clearout_queue SET $mode", 'SELECT pg_sleep(0.1)', 'COMMIT');
	finish_psql($inserting);
	finish_psql($altering);
	ok(wait_until(60, sub { sql($left) eq '0' }), "$mode: none of them is passed over");
}

done_testing();
