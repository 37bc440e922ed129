# Rows are put into the queue around the executor: what is in table and indexes
# then is what INSERT would have put there, whatever the owner has made of them.

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

$ENV{PGOPTIONS} = '-c client_min_messages=warning';

my $api = ClearoutSandbox->new;
my $node = clearout_node('main', $api, conf => "autovacuum = off\nmax_prepared_transactions = 5\n");

# The last line of what it prints.
sub sql { return (split /\n/, value_of($node, @_))[-1] // '' }

ok(worker_pid($node), 'a worker runs');
sql('CREATE EXTENSION amcheck; SELECT clearout_pause()');

# Addresses of all lengths that begin alike, with everything that makes one
# needless: a fresh answer, a row that waits; and what does not: a stale
# answer, a row that failed, one of another origin.
sql(q{CREATE TABLE given AS
		SELECT CASE i % 3 WHEN 0 THEN 'Customer' WHEN 1 THEN 'customer.' ELSE '' END || substr(md5((i % 3000)::text), 1, 1 + i % 30)
			|| '@' || CASE WHEN i % 7 = 0 THEN repeat(substr(md5((i % 40)::text), 1, 20) || '.', 1 + i % 8) ELSE '' END
			|| CASE WHEN i % 11 = 0 THEN E'm\u00fcnchen' ELSE 'mail' END || '.example' AS email
		FROM generate_series(1, 12000) i;
	INSERT INTO given SELECT 'malformed' FROM generate_series(1, 10);
	INSERT INTO given VALUES (NULL), (''), (' spaces@mail.example ');
	CREATE TABLE address AS
		SELECT DISTINCT clearout_normalize(email) AS email, abs(hashtext(clearout_normalize(email))) % 10 AS fate
		FROM given WHERE clearout_normalize(email) IS NOT NULL;
	INSERT INTO clearout_results (email, status, verified_at, source)
		SELECT email, 'valid', now() - CASE fate WHEN 0 THEN interval '1 day' ELSE interval '90 days' END, 'instant'
		FROM address WHERE fate IN (0, 1);
	INSERT INTO clearout_spill (email, status, verified_at, source)
		SELECT email, 'valid', now(), 'instant' FROM address WHERE fate = 2;
	CREATE TABLE before AS SELECT email, fate, CASE fate WHEN 4 THEN now() END AS failed_at,
			CASE fate WHEN 5 THEN 1 ELSE clearout_origin() END AS origin
		FROM address WHERE fate IN (3, 4, 5);
	CREATE VIEW wanted AS SELECT email FROM address WHERE fate NOT IN (0, 2, 3);
	ANALYZE});
cmp_ok(sql(q{SELECT count(*) FROM address WHERE octet_length(email) > 126}), '>', 100, 'there are long ones');

# Begin with the rows that are there before.
sub begin
{
	sql('TRUNCATE clearout_queue; INSERT INTO clearout_queue (email, failed_at, origin) SELECT email, failed_at, origin FROM before');
	return;
}

# What is new in the queue, against what is to be new.
sub difference
{
	return sql(q{WITH new AS (SELECT email FROM clearout_queue
			WHERE attempts = 0 AND NOT maybe_paid AND enqueued_at = accepts_since + interval '30 days' AND origin = clearout_origin()
				AND requested_by = current_user AND priority = 3 AND num_nulls(next_attempt_at, failed_at, last_error, name, domain, queue_id, sought_since) = 7)
		SELECT count(*) FROM ((SELECT email FROM new EXCEPT ALL SELECT email FROM wanted)
			UNION ALL (SELECT email FROM wanted EXCEPT ALL SELECT email FROM new)) AS d});
}

sub put_array { return sql('SELECT clearout_enqueue(ARRAY(SELECT email FROM given ORDER BY random()), 3)') }
sub put_each { return sql('SELECT count(*) FROM given WHERE clearout_enqueue(email, 3)') }

sub put_load
{
	sql(q{DROP TABLE IF EXISTS t; CREATE TABLE t (email text);
		CREATE TRIGGER v AFTER INSERT ON t REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION clearout_verify_trigger('email', 'priority=3');
		INSERT INTO t SELECT email FROM given});
	return sql('SELECT count(*) FROM clearout_queue') - sql('SELECT count(*) FROM before');
}

sub put_rows
{
	sql(q{DROP TABLE IF EXISTS t; CREATE TABLE t (email text);
		CREATE TRIGGER v BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger('email', 'priority=3');
		INSERT INTO t SELECT email FROM given});
	return sql('SELECT count(*) FROM clearout_queue') - sql('SELECT count(*) FROM before');
}

my @ways = ([ 'an array', \&put_array ], [ 'one by one', \&put_each ], [ 'a load', \&put_load ], [ 'a trigger for rows', \&put_rows ]);
my $wanted = sql('SELECT count(*) FROM wanted');

subtest 'what gets in' => sub {
	foreach my $way (@ways)
	{
		my ($name, $put) = @$way;
		begin();
		is($put->(), $wanted, "$name: as many as are wanted");
		is(difference(), 0, "$name: these, each once, with all columns");
		is(queue_faults($node), '', "$name: table and indexes are whole");
		is($put == \&put_array || $put == \&put_each ? $put->() : 0, 0, "$name: none a second time");
	}
};

subtest 'what the owner has made of it' => sub {
	foreach my $change (
		[ 'CREATE INDEX extra ON clearout_queue (requested_by, email, failed_at)', 'a further index' ],
		[ 'CREATE INDEX extra ON clearout_queue (enqueued_at) WHERE failed_at IS NULL AND (email IS NOT NULL OR attempts IS NULL)', 'one on part of the rows, ours among them' ],
		[ 'CREATE INDEX extra ON clearout_queue (email) WHERE NOT (email IS NOT NULL)', 'one without ours' ],
		[ 'CREATE INDEX extra ON clearout_queue (enqueued_at) INCLUDE (email)', 'one with a column that is only stored' ],
		[ 'CREATE INDEX extra ON clearout_queue USING hash (email)', 'one of another kind' ],
		[ 'CREATE INDEX extra ON clearout_queue (lower(email))', 'one on an expression' ],
		[ 'CREATE INDEX extra ON clearout_queue (email) WHERE priority > 2', 'one on part of the rows that is not known' ],
		[ 'ALTER SEQUENCE clearout_queue_id_seq INCREMENT BY 1', 'a sequence that counts by one', 'ALTER SEQUENCE clearout_queue_id_seq INCREMENT BY 100' ],
		[ 'ALTER TABLE clearout_queue ALTER email SET STORAGE plain', 'texts as they are', 'ALTER TABLE clearout_queue ALTER email SET STORAGE extended' ],
		[ 'DROP INDEX clearout_queue_email_idx; CREATE INDEX clearout_queue_email_idx ON clearout_queue (email DESC)', 'an index from behind', '' ])
	{
		my ($sql, $name, $undo) = @$change;
		begin();
		sql($sql);
		is(put_array(), $wanted, "$name: all that is wanted");
		is(difference(), 0, "$name: each once");
		is(queue_faults($node), '', "$name: table and indexes are whole");
		is(sql(q{SET enable_seqscan = off; SELECT count(*) FROM clearout_queue WHERE priority > 2 AND lower(email) = (SELECT lower(min(email)) FROM wanted)}),
			1, "$name: found") if $sql =~ /extra/;
		sql(defined $undo ? $undo || 'SELECT 1' : 'DROP INDEX extra');
	}
	begin();
	sql('CREATE UNIQUE INDEX extra ON clearout_queue (email)');
	is(sqlstate($node, q{SELECT clearout_enqueue(ARRAY(SELECT email FROM before WHERE failed_at IS NOT NULL), 3)}), '23505', 'a unique index of his is heeded');
	sql('DROP INDEX extra');
};

subtest 'numbers' => sub {
	my $ids = q{SELECT string_agg((id - (SELECT min(id) FROM clearout_queue))::text, ' ' ORDER BY id) FROM clearout_queue};
	sql('TRUNCATE clearout_queue');
	sql(q{BEGIN; SELECT clearout_enqueue('a@n.test'); SELECT clearout_enqueue('b@n.test');
		SAVEPOINT s; SELECT clearout_enqueue('undone@n.test'); ROLLBACK TO s; SELECT clearout_enqueue('c@n.test'); COMMIT});
	is(sql($ids), '0 1 3', 'a transaction counts on');
	sql(q{SELECT clearout_enqueue('d@n.test')});
	is(sql($ids), '0 1 3 100', 'the next one begins a hundred');
	sql(q{INSERT INTO clearout_queue (email) VALUES ('e@n.test')});
	sql(q{BEGIN; SELECT clearout_enqueue('f@n.test'); INSERT INTO clearout_queue (email) VALUES ('g@n.test'); SELECT clearout_enqueue('h@n.test'); COMMIT});
	is(sql($ids), '0 1 3 100 200 300 301 400', 'and so does INSERT');
	sql(q{BEGIN; SELECT clearout_enqueue('i@n.test'); PREPARE TRANSACTION 'p'});
	sql(q{SELECT clearout_enqueue('j@n.test'); COMMIT PREPARED 'p'});
	is(sql($ids), '0 1 3 100 200 300 301 400 500 600', 'a prepared one too');

	sql(q{BEGIN; SELECT clearout_enqueue('k@n.test'); TRUNCATE clearout_queue RESTART IDENTITY; SELECT clearout_enqueue('l@n.test');
		SELECT clearout_enqueue('m@n.test'); COMMIT});
	is(sql('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM clearout_queue'), '1 2', 'numbers that begin anew do so at once');
	sql(q{SELECT clearout_enqueue(ARRAY(SELECT 'n' || i || '@n.test' FROM generate_series(1, 1000) i))});
	is(sql('SELECT max(id) FROM clearout_queue'), 1100, 'many use up their hundreds');
	is(queue_faults($node), '', 'table and indexes are whole');
};

subtest 'malformed ones that are to be asked' => sub {
	sql('TRUNCATE clearout_queue');
	is(sql(q{SET clearout.precheck = off; SELECT clearout_enqueue(ARRAY[repeat('x', 2000), ' No Address ', 'no address', '', 'y@n.test'])}), 3, 'three are');
	is(sql(q{SELECT string_agg(length(email)::text, ' ' ORDER BY email) FROM clearout_queue}), '10 2000 8', 'as they are, however long');
	is(queue_faults($node), '', 'table and indexes are whole');
};

subtest 'locks that one look-up after the other takes' => sub {
	my $held = q{SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('clearout_results'::regclass, 'clearout_spill'::regclass) AND mode = 'AccessShareLock'};
	my $enqueue = q{SELECT clearout_enqueue('held' || i || '@n.test') FROM generate_series(1, %d) i};
	is(sql('BEGIN; ' . sprintf($enqueue, 10) . "; $held"), 0, 'a few leave none behind');
	is(sql('BEGIN; ' . sprintf($enqueue, 500) . "; $held"), 2, 'many keep those for reading');
	is(sql("BEGIN; SAVEPOINT s; " . sprintf($enqueue, 500) . "; ROLLBACK TO s; " . sprintf($enqueue, 500) . "; COMMIT; SELECT count(*) FROM clearout_queue WHERE email LIKE 'held%'"),
		500, 'a rollback in between does no harm');
};

$node->stop;
done_testing();
