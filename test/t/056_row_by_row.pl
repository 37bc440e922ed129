# A transaction that puts addresses into the queue one by one keeps tables open
# for the next: nobody may notice, whatever the transaction does in between.

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

# So many new addresses, one by one; prints how many were put in.
my $given = 0;
sub put
{
	my $count = shift;

	$given += $count;
	return sprintf 'SELECT count(*) FROM generate_series(%d, %d) i WHERE clearout_enqueue($$a$$ || i || $$@n.test$$);',
		$given - $count + 1, $given;
}

sub begin { sql('TRUNCATE clearout_queue, clearout_results, clearout_spill'); return }
sub queued { return sql('SELECT count(*) FROM clearout_queue') }

# What is open: a memory context tells.
my $open = q{SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'clearout row by row';};

ok(worker_pid($node), 'a worker runs');
sql('CREATE EXTENSION amcheck; CREATE EXTENSION pg_buffercache; SELECT clearout_pause()');

subtest 'how long it is kept open' => sub {
	is(sql('BEGIN; ' . put(10) . $open), 0, 'not for a few');
	is(sql('BEGIN; ' . put(100) . $open), 1, 'for many');
	is(sql(q{DO $$ BEGIN
			BEGIN
				PERFORM clearout_enqueue('s' || i || '@n.test') FROM generate_series(1, 100) i;
				ASSERT (SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'clearout row by row') = 1;
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN
			END;
			ASSERT (SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'clearout row by row') = 0;
		END $$; SELECT 'done'}), 'done', 'until a subtransaction fails');
	is(sql(q{DO $$ BEGIN
			FOR i IN 1..100 LOOP
				BEGIN
					PERFORM clearout_enqueue('e' || i || '@n.test');
				EXCEPTION WHEN division_by_zero THEN
				END;
			END LOOP;
			ASSERT (SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'clearout row by row') = 1;
		END $$; SELECT 'done'}), 'done', 'not until one ends well');
	is(sql('BEGIN; ' . put(100) . 'SAVEPOINT s; ' . put(1) . $open), 0, '... and is not opened again at once');
	is(sql('BEGIN; ' . put(100) . 'LOCK TABLE clearout_results IN SHARE MODE; ' . $open), 0, 'or until a command that is no query');

	# At the end of a transaction there is no command any more: nothing but the
	# callbacks closes what deferred triggers have opened.  (What they forget is
	# a warning in the server's log, see the end.)
	begin();
	sql(q{CREATE TABLE late (i int);
		CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM public.clearout_enqueue('late' || NEW.i || '@n.test');
			ASSERT NEW.i < 100 OR (SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'clearout row by row') = 1, 'is not kept';
			IF NEW.i = 150 THEN RAISE division_by_zero; END IF;
			RETURN NULL;
		END $$;
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()});
	sql('INSERT INTO late SELECT generate_series(1, 120)');
	is(queued(), 120, 'or until the commit');
	sql(q{BEGIN; INSERT INTO late SELECT generate_series(1, 120); COMMIT});
	begin();
	is(sqlstate($node, 'INSERT INTO late SELECT generate_series(1, 200)'), '22012', '... or a rollback');
	is(queued(), 0, '... with all of them');
	sql(q{BEGIN; INSERT INTO late SELECT generate_series(1, 120); PREPARE TRANSACTION 'p'});
	sql(q{COMMIT PREPARED 'p'; DROP TABLE late; DROP FUNCTION late});
	is(queued(), 120, 'or until it is prepared');

	begin();
	is(sql(q{DO $$ DECLARE put boolean; BEGIN FOR i IN 1..100 LOOP put := clearout_enqueue('x' || i || '@n.test'); END LOOP;
		TRUNCATE clearout_queue; FOR i IN 1..100 LOOP put := clearout_enqueue('x' || i || '@n.test'); COMMIT; END LOOP; END $$;} . $open), 0, 'a procedure');
	is(queued(), 100, '... that also commits');
};

subtest 'commands on the tables in between' => sub {
	foreach my $command (
		'TRUNCATE clearout_queue RESTART IDENTITY',
		'TRUNCATE clearout_results, clearout_spill',
		'ALTER TABLE clearout_queue SET (fillfactor = 80)',
		'ALTER TABLE clearout_queue ALTER last_error SET STORAGE main',
		'CREATE INDEX extra ON clearout_queue (enqueued_at, email)',
		'DROP INDEX extra; CREATE INDEX extra ON clearout_queue (lower(email))',
		'DROP INDEX extra',
		'REINDEX INDEX clearout_queue_email_idx',
		'REINDEX TABLE clearout_results',
		'CLUSTER clearout_queue USING clearout_queue_pkey',
		'ALTER TABLE clearout_queue DISABLE TRIGGER clearout_queue_note',
		'ALTER TABLE clearout_queue ENABLE TRIGGER clearout_queue_note')
	{
		begin();
		is(sql('BEGIN; ' . put(100) . "$command; " . put(100) . 'COMMIT; SELECT 100'), 100, $command);
		is(queued(), $command =~ /TRUNCATE clearout_queue/ ? 100 : 200, '... and all are there');
		is(queue_faults($node), '', '... and in all indexes');
	}
};

# Triggers run within a command, that is, after what was open was closed for it.
subtest 'within commands' => sub {
	begin();
	sql(q{CREATE TABLE customer (email text);
		CREATE FUNCTION many() RETURNS bigint LANGUAGE sql AS
			$$ SELECT count(*) FROM generate_series(1, 40) i WHERE public.clearout_enqueue(gen_random_uuid() || '@n.test') $$;
		CREATE FUNCTION on_truncate() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN DO 'BEGIN PERFORM public.many(); END'; PERFORM public.many(); RETURN NULL; END $$;
		CREATE FUNCTION on_command() RETURNS event_trigger LANGUAGE plpgsql AS
			$$ BEGIN IF current_setting('test.commands', true) = 'on' THEN PERFORM public.many(); END IF; END $$;
		INSERT INTO clearout_results (email, status, verified_at, source) VALUES ('known@n.test', 'valid', now(), 'instant');
		CREATE TRIGGER many BEFORE TRUNCATE ON customer FOR EACH STATEMENT EXECUTE FUNCTION on_truncate();
		CREATE EVENT TRIGGER many ON ddl_command_start EXECUTE FUNCTION on_command()});
	foreach my $command ('TRUNCATE customer, clearout_queue', 'ALTER TABLE clearout_queue SET (fillfactor = 80)',
		'CREATE INDEX extra ON clearout_queue (enqueued_at)', 'REINDEX TABLE clearout_results', 'TRUNCATE customer, clearout_results')
	{
		is(sqlstate($node, 'SET test.commands = on; BEGIN; ' . put(100) . "$command; " . put(100) . 'ROLLBACK'), '00000', $command);
	}
	is(sqlstate($node, 'BEGIN; SAVEPOINT s; TRUNCATE customer, missing'), '42P01', 'a command that fails');
	is(sql('BEGIN; DO $$ BEGIN TRUNCATE customer, missing; EXCEPTION WHEN undefined_table THEN END $$; ' . put(100) . $open), 1, '... does not keep others from it');
	sql('DROP EVENT TRIGGER many; DROP TABLE customer; DROP FUNCTION on_truncate; DROP FUNCTION on_command; DROP FUNCTION many');
};

subtest 'who fails in between' => sub {
	begin();
	is(sql('BEGIN; ' . put(50) . 'SAVEPOINT s; ' . put(50) . 'ROLLBACK TO s; ' . put(50) . 'SAVEPOINT t; ' . put(50) . 'RELEASE t; ' . put(50) . 'COMMIT; SELECT count(*) FROM clearout_queue'),
		200, 'savepoints');

	# It fails amidst a row: a unique index of the owner's, and a row that failed.
	begin();
	sql('CREATE UNIQUE INDEX extra ON clearout_queue (email)');
	sql(q{INSERT INTO clearout_queue (email, failed_at) VALUES ('failed@n.test', now())});
	is(sql(q{DO $$ DECLARE errors int := 0; BEGIN
			FOR i IN 1..300 LOOP
				BEGIN
					PERFORM clearout_enqueue(CASE WHEN i % 3 = 0 THEN 'failed' ELSE 'y' || i END || '@n.test');
				EXCEPTION WHEN unique_violation THEN errors := errors + 1;
				END;
			END LOOP;
			ASSERT errors = 100, errors;
		END $$; SELECT count(*) FROM clearout_queue}), 201, 'rows that break a rule of the owner');
	is(sqlstate($node, 'BEGIN; ' . put(100) . q{SELECT clearout_enqueue('failed@n.test')}), '23505', '... and end the transaction');
	is(queued(), 201, '... with all of it');
	sql('DROP INDEX extra');

	# It fails with a page in hand, where the owner's operator class does.
	begin();
	sql(q{CREATE FUNCTION touchy(int, int) RETURNS int LANGUAGE plpgsql AS $$
		BEGIN
			CASE current_setting('test.touchy', true)
				WHEN 'fails' THEN RAISE 'no order today';
				WHEN 'truncates' THEN TRUNCATE public.clearout_queue;
				ELSE
			END CASE;
			RETURN $1 - $2;
		END $$;
		CREATE OPERATOR CLASS touchy FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 touchy(int, int);
		CREATE INDEX extra ON clearout_queue (attempts touchy)});
	is(sql(q{DO $$ DECLARE
			moods text[] := '{calm,fails,calm,truncates,calm}';
			states text[] := '{}';
		BEGIN
			FOR round IN 1..5 LOOP
				BEGIN
					PERFORM clearout_enqueue(round || '-' || i || '@n.test') FROM generate_series(1, 50) i;
					PERFORM set_config('test.touchy', moods[round], true);
					PERFORM clearout_enqueue(round || '-' || i || '@n.test') FROM generate_series(51, 100) i;
				EXCEPTION WHEN OTHERS THEN states := states || sqlstate;
				END;
			END LOOP;
			ASSERT states = '{P0001,55006}', states;
		END $$; SELECT count(*) FROM clearout_queue}), 300, 'an operator class that fails');
	sql('DROP INDEX extra');

	begin();
	is(sql(q{SELECT count(*) FILTER (WHERE clearout_enqueue('z' || i % 100 || '@n.test')) FROM generate_series(1, 1000) i}), 100, 'each but once');
	is(sqlstate($node, 'SET statement_timeout = 300; ' . put(5_000_000)), '57014', 'a statement that is cancelled');
	is(queued(), 100, '... leaves nothing');

	begin();
	$node->psql('postgres', q{SELECT count(*) FROM generate_series(1, 100) i WHERE clearout_enqueue('v' || i || '@n.test') AND 1 / (50 - i) = 0;} . put(100), on_error_stop => 0);
	is(queued(), 100, 'and the next one of the session is as good as any');
};

# After a number of new ones a row is written before it is looked whether it
# waits already, and taken out again if it does.
subtest 'written first' => sub {
	my $deleted = q{SELECT pg_stat_get_xact_tuples_deleted('clearout_queue'::regclass);};
	my $psql = $node->background_psql('postgres', timeout => 120);

	begin();
	sql(q{SELECT clearout_enqueue('waits@n.test');
		INSERT INTO clearout_queue (email, failed_at, origin) VALUES ('failed@n.test', now(), clearout_origin()), ('elsewhere@n.test', NULL, 1)});
	$psql->query_safe(q{BEGIN; SELECT clearout_enqueue('uncommitted@n.test')});
	is(value_of($node, q{BEGIN; } . put(100) . q{DECLARE before CURSOR FOR SELECT count(*) FROM clearout_queue;
		SELECT clearout_enqueue('waits@n.test');} . $deleted . q{FETCH before;
		SELECT clearout_enqueue('waits@n.test'), clearout_enqueue('waits@n.test');} . $deleted . put(100) . q{
		SELECT clearout_enqueue('own@n.test'), clearout_enqueue('own@n.test');} . put(100) . q{
		SELECT clearout_enqueue('failed@n.test'), clearout_enqueue('elsewhere@n.test'), clearout_enqueue('uncommitted@n.test');} . $deleted . q{
		SELECT clearout_enqueue('failed@n.test');} . $deleted . put(100) . q{
		SAVEPOINT s; SELECT clearout_enqueue('waits@n.test'), clearout_enqueue('undone@n.test'); ROLLBACK TO s;} . $deleted . q{
		SELECT clearout_enqueue('undone@n.test'); COMMIT}),
		join("\n", 100, 'f', 1, 103, 'f|f', 1, 100, 't|f', 100, 't|t|t', 2, 'f', 3, 100, 'f|t', 4, 't'), 'goes again if it waits, and only the first of them is written');
	$psql->query_safe('COMMIT');
	is(sql(q{SELECT string_agg(email || ' ' || count, ', ' ORDER BY email) FROM
			(SELECT email, count(*) FROM clearout_queue WHERE email !~ '^a' GROUP BY email) AS e}),
		'elsewhere@n.test 2, failed@n.test 2, own@n.test 1, uncommitted@n.test 2, undone@n.test 1, waits@n.test 1', '... and stays if none waits that we may see');
	is(queued(), 409, '... of all of them');
	is(queue_faults($node), '', 'table and indexes are whole');
	sql('VACUUM clearout_queue');
	is(queue_faults($node), '', '... and are so without what is dead');
	$psql->quit;

	# A snapshot of the moment between the two, which only a function that is
	# not volatile can have.
	begin();
	sql(q{SELECT clearout_enqueue('waits@n.test');
		CREATE TABLE late (email text);
		CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql STABLE AS $$
		BEGIN
			ASSERT (SELECT count(*) FROM public.clearout_queue WHERE email = 'waits@n.test') = 1, 'is there twice';
			RETURN NULL;
		END $$;
		CREATE TRIGGER enqueue AFTER INSERT ON late FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger('email');
		CREATE CONSTRAINT TRIGGER seen AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seen()});
	is(sqlstate($node, q{INSERT INTO late SELECT CASE i WHEN 51 THEN 'waits' ELSE 'late' || i END || '@n.test' FROM generate_series(1, 51) i}),
		'00000', 'nobody ever sees it');
	is(queued(), 51, '... as it goes again');
	sql('DROP TABLE late; DROP FUNCTION seen');

	# To others it is as if nothing was written.
	begin();
	sql(q{SELECT clearout_enqueue('waits@n.test')});
	is(value_of($node, 'BEGIN ISOLATION LEVEL SERIALIZABLE; ' . put(100) . q{SELECT clearout_enqueue('waits@n.test');} . $deleted),
		"100\nf\n0", 'not where transactions are serializable');

	begin();
	sql('DROP INDEX clearout_queue_email_idx; CREATE UNIQUE INDEX clearout_queue_email_idx ON clearout_queue (email)');
	is(sql('BEGIN; ' . put(100) . q{SELECT clearout_enqueue('own@n.test'), clearout_enqueue('own@n.test')}), 't|f', 'an index that is unique is looked into first');
	sql(q{INSERT INTO clearout_queue (email, failed_at) VALUES ('failed@n.test', now())});
	is(sqlstate($node, 'BEGIN; ' . put(100) . q{SELECT clearout_enqueue('failed@n.test')}), '23505', '... and stays so');
	sql('DROP INDEX clearout_queue_email_idx; CREATE INDEX clearout_queue_email_idx ON clearout_queue (email)');
};

subtest 'what others do meanwhile' => sub {
	my $psql = $node->background_psql('postgres', timeout => 120);

	# Its results were empty when it began to look.
	begin();
	$psql->query_safe('BEGIN; ' . put(100));
	sql(q{INSERT INTO clearout_results (email, status, verified_at, source) VALUES ('known@n.test', 'valid', now(), 'instant')});
	$psql->query_safe(put(100));
	is($psql->query_safe(q{SELECT clearout_enqueue('known@n.test')}), 'f', 'an answer is found that came since');
	sql(q{UPDATE clearout_results SET verified_at = now() - interval '1 year' WHERE email = 'known@n.test'});
	is($psql->query_safe(q{SELECT clearout_enqueue('known@n.test')}), 't', 'and one that is old by now is not');
	sql(q{SELECT clearout_enqueue('theirs@n.test')});
	is($psql->query_safe(q{SELECT clearout_enqueue('theirs@n.test')}), 'f', 'nor is put in what another has put in');
	is($psql->query_safe(q{SELECT clearout_enqueue('own@n.test')}), 't', 'what is new is');
	is($psql->query_safe(q{SELECT clearout_enqueue('own@n.test')}), 'f', 'and waits then');
	$psql->query_safe('COMMIT');

	# A page that stays pinned would keep VACUUM from it.
	begin();
	sql(put(100) . q{INSERT INTO clearout_results (email, status, verified_at, source) SELECT email, 'valid', now(), 'instant' FROM clearout_queue});
	$psql->query_safe('BEGIN; ' . put(50) . sprintf 'SELECT count(*) FROM generate_series(%d, %d) i WHERE clearout_enqueue($$a$$ || i || $$@n.test$$)', $given - 149, $given);
	is(sql(q{SELECT count(*) FROM pg_buffercache WHERE pinning_backends > 0
		AND relfilenode IN (SELECT relfilenode FROM pg_class WHERE relname ~ '^clearout_(queue|results)' AND relkind IN ('r', 'i'))}), 0, 'no page is held between two rows');
	$psql->query_safe('COMMIT');
	$psql->quit;
};

subtest 'locks of others' => sub {
	my $other = $node->background_psql('postgres', timeout => 120);
	my $psql = $node->background_psql('postgres', timeout => 120);

	# The locks of the first rows go with their subtransaction, and then another
	# one locks an index: it is waited for while part of it is open.
	begin();
	$psql->query_safe(q{BEGIN;
		DO $$ BEGIN
			PERFORM clearout_enqueue('l' || i || '@n.test') FROM generate_series(1, 16) i;
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
		END $$});
	$other->query_safe('BEGIN; ALTER INDEX clearout_queue_email_idx SET TABLESPACE pg_default');
	$psql->query_safe(q{SET LOCAL lock_timeout = '100ms';
		DO $$ BEGIN
			BEGIN
				PERFORM clearout_enqueue('m@n.test');
				ASSERT false, 'nobody holds the lock';
			EXCEPTION WHEN lock_not_available THEN
			END;
		END $$});
	$other->query_safe('COMMIT');
	is($psql->query_safe(put(100) . 'COMMIT; SELECT count(*) FROM clearout_queue'), "100\n100", 'a lock that is not to be had in time');

	# It is ready for new rows only when those who do not know of it have ended.
	begin();
	$psql->query_safe('BEGIN; ' . put(100));
	$other->query_until(qr/begun/, "\\echo begun\nCREATE INDEX CONCURRENTLY extra ON clearout_queue (enqueued_at, email);\n");
	ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'}),
		'another session waits with a new index');
	$psql->query_safe(put(100) . 'COMMIT; BEGIN; ' . put(100) . 'COMMIT');
	$other->query_safe('SELECT 1');
	is(sql(q{SELECT bt_index_parent_check('extra', true); SELECT count(*) FROM clearout_queue}), 300, '... and finds all rows in it');
	sql('DROP INDEX extra');
	$_->quit foreach $other, $psql;
};

subtest 'rows that are not alike' => sub {
	begin();
	sql(q{CREATE FUNCTION as_owner(email text, priority int) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT public.clearout_enqueue($1, $2)';
		CREATE ROLE other; ALTER FUNCTION as_owner OWNER TO other; GRANT EXECUTE ON FUNCTION clearout_enqueue(text, int) TO other;
		SELECT count(*) FROM generate_series(1, 300) i
			WHERE CASE WHEN i % 2 = 0 THEN as_owner(i || '@n.test', i % 3) ELSE clearout_enqueue(i || '@n.test', i % 3) END});
	is(sql(q{SELECT count(*) FROM clearout_queue WHERE priority = substring(email, '^\d+')::int % 3
		AND requested_by = CASE WHEN substring(email, '^\d+')::int % 2 = 0 THEN 'other' ELSE current_user END}), 300, 'have their own priority and requester');
	begin();
	sql(q{SELECT count(*) FROM generate_series(1, 300) i WHERE clearout_enqueue(i || '@n.test', i % 3 - 1)});
	is(sql(q{SELECT count(*) FROM clearout_queue WHERE priority = substring(email, '^\d+')::int % 3 - 1 AND requested_by = current_user}), 300, 'or their own priority alone');
	sql('DROP FUNCTION as_owner; REVOKE ALL ON FUNCTION clearout_enqueue(text, int) FROM other; DROP ROLE other');
};

subtest 'memory' => sub {
	begin();
	sql(q{CREATE ROLE other; GRANT EXECUTE ON FUNCTION clearout_enqueue(text, int) TO other;
		CREATE FUNCTION as_owner(email text, priority int) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'SELECT public.clearout_enqueue($1, $2)';
		ALTER FUNCTION as_owner OWNER TO other});
	my $bytes = sql(q{BEGIN;
		SELECT count(*) FROM generate_series(1, 30000) i
			WHERE CASE WHEN i % 3 = 0 THEN as_owner(i || '@n.test', i % 5) ELSE clearout_enqueue(i || '@n.test', i % 5) END;
		SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name = 'clearout row by row'});
	ok($bytes > 0 && $bytes <= 65536, 'does not grow with the rows') or diag($bytes);
	sql('DROP FUNCTION as_owner; REVOKE ALL ON FUNCTION clearout_enqueue(text, int) FROM other; DROP ROLE other');
};

$node->stop;
unlike(slurp_file($node->logfile), qr/leak|not closed|still referenced|WARNING/, 'and the server has found nothing that was left open');
done_testing();
