# clearout_verify_trigger() in tables of all kinds: what gets into the queue,
# what is rejected, who pays, and what whoever writes to the table may do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until worker_pid call_sql);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

$ENV{PGOPTIONS} = '-c client_min_messages=warning';

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api,
	conf => "autovacuum = off\nwal_level = logical\nmax_prepared_transactions = 5\n");

sub sql { return value_of($node, @_) }

# The same as another role.
sub as
{
	my ($role, $sql) = @_;
	return call_sql($node, "SET ROLE $role; $sql");
}

# What waits, in order: "a@x.test b@x.test".
sub queue
{
	return sql(q{SELECT coalesce(string_agg(email, ' ' ORDER BY email), '') FROM clearout_queue});
}

# The addresses that a statement puts into the queue.
sub enqueues
{
	my ($sql) = @_;
	sql('TRUNCATE clearout_queue');
	sql($sql);
	return queue();
}

# A table of its own, with triggers.
sub make_table
{
	my ($columns, @triggers) = @_;
	sql("DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t ($columns)");
	sql($_) foreach @triggers;
	return;
}

sub row_trigger
{
	my ($when, $arguments) = @_;
	return "CREATE TRIGGER v $when ON t FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger($arguments)";
}

# The error of a statement: SQLSTATE, message, detail and hint in one line.
sub error
{
	my ($sql) = @_;
	my $caller = call_sql($node, $sql);
	return join ' | ', map { defined $_ ? $_ : '' } @$caller{qw(sqlstate message detail hint)};
}

ok(worker_pid($node), 'a worker runs');
sql('SELECT clearout_pause()');
sql(q{
	CREATE ROLE shop LOGIN; CREATE ROLE clerk LOGIN;
	GRANT CREATE ON SCHEMA public TO shop;
	INSERT INTO clearout_results (email, status, disposable, role, verified_at, source) VALUES
		('good@x.test', 'valid', false, false, now(), 'instant'),
		('bad@x.test', 'invalid', false, false, now(), 'instant'),
		('gone@x.test', 'valid', true, false, now(), 'instant'),
		('info@x.test', 'valid', false, true, now(), 'instant'),
		('any@x.test', 'catch_all', false, false, now(), 'instant'),
		('once@x.test', 'invalid', false, false, now() - interval '90 days', 'instant')});

subtest 'the default: what is new is queued, nothing is rejected' => sub {
	make_table('id serial, email text, note text', row_trigger('AFTER INSERT OR UPDATE', "'email'"));

	is(enqueues(q{INSERT INTO t (email) VALUES ('New@X.test'), (NULL), ('malformed'), ('bad@x.test'),
			('good@x.test'), ('once@x.test'), ('new@x.test')}),
		'new@x.test once@x.test', 'each once, without the malformed and what is fresh');
	is(sql('SELECT count(*) FROM t'), 7, 'all rows are in');
	is(sql(q{SELECT DISTINCT requested_by || ' ' || priority || ' ' || (accepts_since < now() - interval '29 days')
			FROM clearout_queue}), 'postgres 0 true', 'with owner, priority and age');

	is(enqueues(q{UPDATE t SET note = 'x'}), '', 'another column');
	is(enqueues(q{UPDATE t SET email = upper(email) WHERE email LIKE 'New%'}), '', 'the same in normal form');
	is(enqueues(q{UPDATE t SET email = NULL WHERE email = 'good@x.test'}), '', 'no address any more');
	is(enqueues(q{UPDATE t SET email = 'other@x.test' WHERE email = 'malformed'}), 'other@x.test', 'another address');
	is(enqueues(q{UPDATE t SET email = 'late@x.test' WHERE email IS NULL AND id = 2}), 'late@x.test', 'one that was null');

	sql('TRUNCATE clearout_queue');
	sql(q{BEGIN; INSERT INTO t (email) VALUES ('rolled@x.test'); ROLLBACK;
		BEGIN; INSERT INTO t (email) VALUES ('kept@x.test'); SAVEPOINT s;
		INSERT INTO t (email) VALUES ('undone@x.test'); ROLLBACK TO s; COMMIT;
		BEGIN; INSERT INTO t (email) VALUES ('prepared@x.test'); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'});
	is(queue(), 'kept@x.test prepared@x.test', 'what is rolled back was never queued');

	my $isolation = 'BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM t';
	is(enqueues("$isolation; INSERT INTO t (email) VALUES ('serial\@x.test'), ('SERIAL\@x.test'); COMMIT"),
		'serial@x.test', 'once in a serializable transaction too');
};

subtest 'options of the queue' => sub {
	make_table('email text', row_trigger('AFTER INSERT', "'email', 'priority = 7', 'max_age=1 day', 'malformed=reject', 'null=reject', 'message=no: {status}'"));
	sql('TRUNCATE clearout_queue');
	sql(q{UPDATE clearout_results SET verified_at = now() - interval '2 days' WHERE email = 'good@x.test'});
	sql(q{INSERT INTO t VALUES ('good@x.test'), ('bad@x.test')});
	is(sql(q{SELECT email || ' ' || priority || ' ' || (accepts_since > now() - interval '25 hours') FROM clearout_queue}),
		'good@x.test 7 true', 'priority and age');
	sql(q{UPDATE clearout_results SET verified_at = now() WHERE email = 'good@x.test'});
	is(error(q{INSERT INTO t VALUES ('malformed')}), '23514 | no: invalid |  | ', 'malformed');
	is(error(q{INSERT INTO t VALUES (NULL)}), '23514 | no: null |  | ', 'null');
};

subtest 'mode=cached' => sub {
	make_table('email text', row_trigger('BEFORE INSERT OR UPDATE', "'email', 'mode=cached'"));
	is(enqueues(q{INSERT INTO t VALUES ('good@x.test'), ('any@x.test'), ('new@x.test'), ('once@x.test'), (NULL)}),
		'new@x.test once@x.test', 'what is unknown or stale is queued');
	is(error(q{INSERT INTO t VALUES ('Bad@x.test')}),
		'23514 | e-mail address is not accepted | Its status is "invalid". | ', 'what is known to be invalid is rejected');
	like(error(q{INSERT INTO t VALUES ('malformed')}),
		qr/^23514 \| e-mail address is not accepted \| It is malformed: /, 'so is what is malformed');
	like(error(q{UPDATE t SET email = 'bad@x.test' WHERE email = 'any@x.test'}), qr/^23514/, 'by an update');
	is(enqueues(q{INSERT INTO clearout_results (email, status, verified_at, source)
			VALUES ('new@x.test', 'invalid', now(), 'instant'); UPDATE t SET email = email}),
		'', 'what is in the table already is not looked at again');
	sql(q{DELETE FROM clearout_results WHERE email = 'new@x.test'});

	make_table('email text', row_trigger('AFTER INSERT',
			"'email', 'mode=cached', 'reject= catch_all , disposable,role', 'malformed=accept'"));
	is(error(q{INSERT INTO t VALUES ('any@x.test')}),
		'23514 | e-mail address is not accepted | Its status is "catch_all". | ', 'a status of the list');
	is(error(q{INSERT INTO t VALUES ('gone@x.test')}),
		'23514 | e-mail address is not accepted | It is of a disposable address service. | ', 'a flag');
	is(error(q{INSERT INTO t VALUES ('info@x.test')}),
		'23514 | e-mail address is not accepted | It belongs to a role or group. | ', 'another');
	is(error(q{INSERT INTO t VALUES ('bad@x.test'), ('malformed'), ('good@x.test')}), ' |  |  | ', 'nothing else');
	is($node->safe_psql('postgres', q{
			DO $$ DECLARE c text; t text; BEGIN INSERT INTO t VALUES ('any@x.test');
			EXCEPTION WHEN check_violation THEN
				GET STACKED DIAGNOSTICS c = COLUMN_NAME, t = TABLE_NAME;
				INSERT INTO t VALUES (t || '.' || c); END $$;
			SELECT email FROM t WHERE email LIKE 't.%'}), 't.email', 'the error names table and column');
};

subtest 'mode=wait' => sub {
	make_table('email text, status text', row_trigger('BEFORE INSERT OR UPDATE',
			"'email', 'mode=wait', 'status_column=status', 'timeout=30s', 'reject=invalid,disposable'"));
	is(sql(q{INSERT INTO t VALUES ('valid@example.com') RETURNING status}), 'valid', 'verified now');
	is(error(q{INSERT INTO t VALUES ('invalid@example.com')}),
		'23514 | e-mail address is not accepted | Its status is "invalid". | ', 'rejected');
	like(error(q{INSERT INTO t VALUES ('disposable@example.com')}), qr/^23514/, 'rejected for a flag');
	is(sql(q{SELECT count(*) FROM clearout_results WHERE email IN ('invalid@example.com', 'disposable@example.com')}),
		2, 'what was rejected is stored');
	is($api->calls('valid@example.com'), 1, 'one call each');

	$api->fault(kind => 'hang');
	make_table('email text, status text', row_trigger('BEFORE INSERT', "'email', 'mode=wait', 'timeout=200ms', 'status_column=status'"));
	my $start = time;
	is(enqueues(q{INSERT INTO t VALUES ('slow@x.test', 'none') RETURNING status}), 'slow@x.test',
		'open: without an answer in time the row passes, and the address is queued');
	is(sql('SELECT status IS NULL FROM t'), 't', 'its status is not known');
	cmp_ok(time - $start, '<', 30, 'after its timeout');
	make_table('email text', row_trigger('AFTER INSERT', "'email', 'mode=wait', 'timeout=200ms', 'fail=closed'"));
	like(error(q{INSERT INTO t VALUES ('slow@x.test')}), qr/^VC006 \|/, 'closed: an error');
	is(error(q{INSERT INTO t VALUES ('good@x.test')}), ' |  |  | ', 'what is stored needs nobody');

	make_table('email text', row_trigger('BEFORE INSERT', "'email', 'mode=wait', 'timeout=1min'"));
	$start = time;
	like(error(q{SET statement_timeout = '300ms'; INSERT INTO t VALUES ('slower@x.test')}), qr/^57014 \|/, 'the wait can be cancelled');
	cmp_ok(time - $start, '<', 30, 'at once');
};

subtest 'nobody waits for a service that hangs' => sub {
	# All of these while every call hangs, from the part above.
	sql('SELECT clearout_resume()');
	sql(q{INSERT INTO clearout_queue (email) SELECT 'hang' || i || '@x.test' FROM generate_series(1, 50) i});
	ok($node->poll_query_until('postgres', 'SELECT calls_in_flight >= 50 FROM clearout_status'), 'calls hang');
	make_table('email text, status text', row_trigger('BEFORE INSERT', "'email', 'status_column=status'"),
		row_trigger('AFTER INSERT', "'email', 'mode=cached'") =~ s/TRIGGER v/TRIGGER w/r);
	my $start = time;
	sql(q{INSERT INTO t SELECT 'hang' || i || '@y.test' FROM generate_series(1, 1000) i});
	cmp_ok(time - $start, '<', 30, 'a thousand rows go in');
	is(sql(q{SELECT count(*) FROM clearout_queue WHERE email LIKE 'hang%@y.test'}), 1000, 'and wait');
	sql('SELECT clearout_pause()');
	$api->clear;
	$node->restart;
	ok(worker_pid($node), 'the worker is back');
	sql('TRUNCATE clearout_queue');
};

subtest 'the status column' => sub {
	foreach my $type ('text', 'varchar(10)', 'status_word', 'status_enum', '"char"')
	{
		sql(q{DROP TABLE IF EXISTS t; DROP DOMAIN IF EXISTS status_word; DROP TYPE IF EXISTS status_enum;
			CREATE DOMAIN status_word AS text CHECK (value <> 'never');
			CREATE TYPE status_enum AS ENUM ('valid', 'invalid', 'catch_all', 'unknown')});
		make_table("email text, note text, status $type", row_trigger('BEFORE INSERT OR UPDATE', "'email', 'status_column=status'"));
		my $first = $type eq '"char"' ? 'v' : 'valid';
		is(sql(q{INSERT INTO t VALUES ('good@x.test', '', NULL) RETURNING status}), $first, "$type: known");
		is(sql(q{INSERT INTO t VALUES ('new@x.test', '', 'valid') RETURNING status IS NULL}), 't', "$type: not known");
		is(sql(q{INSERT INTO t VALUES ('malformed', '', NULL) RETURNING status::text LIKE 'i%'}), 't', "$type: malformed");
		is(sql(q{INSERT INTO t VALUES (NULL, '', 'valid') RETURNING status IS NULL}), 't', "$type: no address");
	}
	make_table('email text, status text', row_trigger('BEFORE INSERT OR UPDATE', "'email', 'status_column=status'"));
	sql(q{INSERT INTO t VALUES ('new@x.test')});
	is(sql(q{UPDATE t SET status = 'mine' RETURNING status}), 'mine', 'yours while the address stays');
	is(sql(q{UPDATE t SET email = 'NEW@x.test' RETURNING status}), 'mine', 'in whatever form');
	is(sql(q{UPDATE t SET email = 'good@x.test' RETURNING status}), 'valid', 'another address');
	is(sql(q{UPDATE t SET email = NULL RETURNING status IS NULL}), 't', 'none');

	sql(q{CREATE DOMAIN some_word AS text NOT NULL});
	make_table('email text, status some_word', row_trigger('BEFORE INSERT', "'email', 'status_column=status'"));
	like(error(q{INSERT INTO t VALUES ('new@x.test', 'x')}), qr/^23502/, 'a domain without nulls is respected');
};

subtest 'statement triggers' => sub {
	my $insert = q{CREATE TRIGGER i AFTER INSERT ON t REFERENCING NEW TABLE AS n
		FOR EACH STATEMENT EXECUTE FUNCTION clearout_verify_trigger('email', 'priority=-3')};
	my $update = q{CREATE TRIGGER u AFTER UPDATE ON t REFERENCING OLD TABLE AS o NEW TABLE AS n
		FOR EACH STATEMENT EXECUTE FUNCTION clearout_verify_trigger('email')};

	make_table('id int PRIMARY KEY, email text, note text', $insert, $update);
	is(enqueues(q{INSERT INTO t SELECT i, CASE WHEN i % 3 = 0 THEN 'good@x.test' WHEN i = 100 THEN NULL
			WHEN i = 101 THEN 'malformed' ELSE 'N' || i % 50 || '@x.test' END FROM generate_series(1, 1000) i})
		=~ tr/@//, 50, 'an INSERT: each once');
	is(sql('SELECT DISTINCT priority FROM clearout_queue'), -3, 'with the options');
	is(enqueues(q{COPY t (id, email) FROM PROGRAM 'printf "2001\tcopy@x.test\n2002\tCopy@x.test\n2003\t\\\\N\n"'}),
		'copy@x.test', 'COPY');
	is(enqueues(q{UPDATE t SET note = 'x'}), '', 'an UPDATE that changes no address');
	is(enqueues(q{UPDATE t SET email = CASE WHEN id % 2 = 0 THEN upper(email) ELSE 'moved' || id || '@x.test' END WHERE id < 5}),
		'moved1@x.test moved3@x.test', 'one that changes some');
	is(enqueues(q{INSERT INTO t SELECT i, 'on@x.test' FROM generate_series(999, 1001) i
			ON CONFLICT (id) DO UPDATE SET email = 'conflict' || excluded.id || '@x.test'}),
		'conflict1000@x.test conflict999@x.test on@x.test', 'ON CONFLICT');
	is(enqueues(q{INSERT INTO t SELECT 1, 'x@x.test' WHERE false}), '', 'no rows');

	# more than what is put in at once
	is(enqueues(q{INSERT INTO t SELECT 10000 + i, 'big' || i % 120000 || '@x.test' FROM generate_series(1, 220000) i}) =~ tr/@//,
		120000, 'a load of 220,000 rows, each address once');

	make_table('email text', q{CREATE TRIGGER i AFTER INSERT ON t REFERENCING NEW TABLE AS n
		FOR EACH STATEMENT EXECUTE FUNCTION clearout_verify_trigger('email', 'malformed=reject')});
	like(error(q{INSERT INTO t VALUES ('new@x.test'), ('malformed')}), qr/^23514 \|/, 'malformed=reject');
	sql('TRUNCATE clearout_queue');
};

subtest 'tables of all kinds' => sub {
	sql(q{DROP TABLE IF EXISTS t; CREATE TABLE t (id int, email text) PARTITION BY RANGE (id);
		CREATE TABLE t1 (gone int, email text, id int); ALTER TABLE t1 DROP gone;
		ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (10);
		CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20)});
	sql(row_trigger('AFTER INSERT OR UPDATE', "'email'"));
	is(enqueues(q{INSERT INTO t VALUES (1, 'p1@x.test'), (11, 'p2@x.test')}), 'p1@x.test p2@x.test', 'partitions');
	is(enqueues(q{UPDATE t SET email = 'p3@x.test' WHERE id = 1}), 'p3@x.test', 'an update within one');
	is(enqueues(q{UPDATE t SET id = id + 10 WHERE id = 1; SELECT clearout_enqueue('other@x.test')}),
		'other@x.test p3@x.test', 'a row that moves is new to its partition');
	is(enqueues(q{INSERT INTO t1 (id, email) VALUES (2, 'direct@x.test')}), 'direct@x.test', 'a partition directly');
	sql(q{DROP TRIGGER v ON t; CREATE TRIGGER i AFTER INSERT ON t REFERENCING NEW TABLE AS n
		FOR EACH STATEMENT EXECUTE FUNCTION clearout_verify_trigger('email')});
	is(enqueues(q{INSERT INTO t VALUES (3, 'p4@x.test'), (13, 'p5@x.test')}), 'p4@x.test p5@x.test', 'a statement over partitions');

	sql(q{DROP TABLE t CASCADE; CREATE TABLE t (id int, email text); CREATE TABLE child (extra int) INHERITS (t);
		CREATE TRIGGER u AFTER UPDATE ON t REFERENCING OLD TABLE AS o NEW TABLE AS n
		FOR EACH STATEMENT EXECUTE FUNCTION clearout_verify_trigger('email');
		INSERT INTO t VALUES (1, 'a@x.test'); INSERT INTO child VALUES (2, 'b@x.test', 0)});
	is(enqueues(q{UPDATE t SET email = 'c' || email}), 'ca@x.test cb@x.test', 'a statement over children');
	sql('DROP TABLE t CASCADE');

	sql(q{CREATE DOMAIN email_word AS varchar(100) CHECK (value <> '')});
	foreach my $type ('varchar(50)', 'char(30)', 'name', 'email_word')
	{
		make_table("email $type", row_trigger('BEFORE INSERT OR UPDATE', "'email'"));
		is(enqueues(q{INSERT INTO t VALUES ('Some@X.test'); UPDATE t SET email = 'some@x.test'}), 'some@x.test', $type);
	}
	SKIP:
	{
		skip 'no citext here', 1
		  unless sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'});
		sql('CREATE EXTENSION citext');
		make_table('email citext', row_trigger('AFTER INSERT', "'email'"));
		is(enqueues(q{INSERT INTO t VALUES ('Some@X.test')}), 'some@x.test', 'citext');
	}
	make_table(q{account text, domain text, email text GENERATED ALWAYS AS (account || '@' || domain) STORED},
		row_trigger('AFTER INSERT OR UPDATE', "'email'"));
	is(enqueues(q{INSERT INTO t VALUES ('gen', 'x.test'); UPDATE t SET account = 'gen2'}), 'gen2@x.test gen@x.test', 'a generated column');

	sql(q{DROP TABLE t; CREATE TABLE t (i int, "E-Mail" text)});
	sql(q{CREATE TRIGGER "My ""Trigger" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger('E-Mail')});
	is(enqueues(q{INSERT INTO t VALUES (1, 'quoted@x.test')}), 'quoted@x.test', 'quoted names');

	make_table('id int PRIMARY KEY, email text', q{CREATE CONSTRAINT TRIGGER v AFTER INSERT OR UPDATE ON t
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger('email', 'mode=cached')});
	is(enqueues(q{BEGIN; INSERT INTO t VALUES (1, 'late@x.test'); COMMIT}), 'late@x.test', 'a deferred constraint trigger');
	like(error(q{BEGIN; INSERT INTO t VALUES (2, 'bad@x.test'); COMMIT}), qr/^23514 \|/, 'it rejects at commit');
	is(enqueues(q{SET session_replication_role = replica; INSERT INTO t VALUES (3, 'replica@x.test')}), '',
		'not in the role of a replica');
};

subtest 'a table that changes under a session' => sub {
	make_table('a int, email text, mail text', row_trigger('AFTER INSERT', "'email'"));
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	sql('TRUNCATE clearout_queue');
	$session->query_safe(q{INSERT INTO t VALUES (1, 'one@x.test', 'no@x.test')});
	sql('ALTER TABLE t DROP a');
	$session->query_safe(q{INSERT INTO t VALUES ('two@x.test', 'no@x.test')});
	sql(row_trigger('AFTER INSERT', "'mail'") =~ s/CREATE/CREATE OR REPLACE/r);
	$session->query_safe(q{INSERT INTO t VALUES ('no@x.test', 'three@x.test')});
	is(queue(), 'one@x.test three@x.test two@x.test', 'a column dropped, the trigger replaced');
	sql('ALTER TABLE t RENAME mail TO post');
	$session->query(q{INSERT INTO t VALUES ('no@x.test', 'no@x.test')});
	$session->{stderr} = '';
	is(queue(), 'one@x.test three@x.test two@x.test', 'a column renamed: the row is refused');
	is(sql('SELECT count(*) FROM t'), 3, 'with an error');
	sql('ALTER TABLE t RENAME email TO mail');
	$session->query_safe(q{INSERT INTO t VALUES ('four@x.test', 'no@x.test')});
	like(queue(), qr/four/, 'and found again by its name');
	sql('ALTER EXTENSION clearout SET SCHEMA information_schema');
	$session->query_safe(q{INSERT INTO t VALUES ('five@x.test', 'no@x.test')});
	sql('ALTER EXTENSION clearout SET SCHEMA public');
	like(queue(), qr/five/, 'the extension moves');
	$session->quit;
};

subtest 'combinations that make no sense' => sub {
	my $row = 'BEFORE INSERT ON t FOR EACH ROW';
	my $statement = 'AFTER INSERT ON t REFERENCING NEW TABLE AS n FOR EACH STATEMENT';
	my @wrong = (
		[ $row, q{}, '22023', 'with its name' ],
		[ $row, q{'nothing'}, '42703', 'Write the name' ],
		[ $row, q{'EMAIL'}, '42703', 'Write the name' ],
		[ $row, q{'n'}, '22023', 'of type text' ],
		[ $row, q{'email', 'cached'}, '22023', 'name=value' ],
		[ $row, q{'email', 'colour=red'}, '22023', 'fail, malformed, max_age' ],
		[ $row, q{'email', 'mode=cached', 'mode=wait'}, '22023', 'once' ],
		[ $row, q{'email', 'mode=later'}, '22023', '"enqueue", "cached" or "wait"' ],
		[ $row, q{'email', 'reject=invalid'}, '22023', 'mode=cached' ],
		[ $row, q{'email', 'message=no'}, '22023', 'Nothing is rejected' ],
		[ $row, q{'email', 'mode=cached', 'timeout=1s'}, '22023', 'Only mode=wait' ],
		[ $row, q{'email', 'fail=closed'}, '22023', 'Only mode=wait' ],
		[ $row, q{'email', 'mode=wait', 'timeout=soon'}, '22007', '' ],
		[ $row, q{'email', 'mode=wait', 'timeout=-1s'}, '22023', '' ],
		[ $row, q{'email', 'priority=10'}, '22023', 'from -9 to 9' ],
		[ $row, q{'email', 'priority=high'}, '22P02', '' ],
		[ $row, q{'email', 'null=maybe'}, '22023', '"accept" or "reject"' ],
		[ $row, q{'email', 'status_column=email'}, '22023', 'two columns' ],
		[ $row, q{'email', 'status_column=g'}, '22023', 'written to' ],
		[ $row, q{'g'}, '22023', 'AFTER' ],
		[ 'AFTER INSERT ON t FOR EACH ROW', q{'email', 'status_column=status'}, '22023', 'BEFORE' ],
		[ 'BEFORE INSERT ON t FOR EACH STATEMENT', q{'email'}, '22023', 'NEW TABLE' ],
		[ 'AFTER INSERT ON t FOR EACH STATEMENT', q{'email'}, '22023', 'NEW TABLE' ],
		[ $statement, q{'email', 'mode=cached'}, '22023', 'FOR EACH ROW' ],
		[ $statement, q{'email', 'mode=wait'}, '22023', 'FOR EACH ROW' ],
		[ $statement, q{'email', 'status_column=status'}, '22023', 'FOR EACH ROW' ],
		[ 'BEFORE INSERT OR DELETE ON t FOR EACH ROW', q{'email'}, '22023', 'INSERT, UPDATE' ],
	);
	foreach my $case (@wrong)
	{
		my ($trigger, $arguments, $state, $hint) = @$case;
		make_table(q{n int, email text, status text, g text GENERATED ALWAYS AS (email || '') STORED},
			"CREATE TRIGGER v $trigger EXECUTE FUNCTION clearout_verify_trigger($arguments)");
		like(error(q{INSERT INTO t (email) VALUES ('some@x.test')}), qr/^$state \|.*\| [^|]*\Q$hint\E[^|]*$/, "$trigger ($arguments)");
	}
	make_table('email text', q{CREATE TRIGGER v AFTER UPDATE ON t REFERENCING NEW TABLE AS n
		FOR EACH STATEMENT EXECUTE FUNCTION clearout_verify_trigger('email')});
	like(error('UPDATE t SET email = email'), qr/^22023 .*OLD TABLE/, 'an UPDATE without its old rows');
	make_table('email text', 'CREATE OR REPLACE VIEW w AS SELECT email FROM t', q{CREATE TRIGGER v INSTEAD OF INSERT ON w
		FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger('email')});
	like(error(q{INSERT INTO w VALUES ('some@x.test')}), qr/^22023 .*on the table/, 'a view');
	like(error('SELECT clearout_verify_trigger()'), qr/^0A000|^39P01/, 'no trigger at all');
};

subtest 'who may do what' => sub {
	sql('TRUNCATE clearout_queue; DROP TABLE t CASCADE');
	is(as('shop', q{BEGIN; CREATE TABLE t (email text, status text); } . row_trigger('BEFORE INSERT', "'email'"))->{sqlstate},
		'42501', 'without a grant there is no trigger');
	sql(q{SELECT clearout_grant('shop', 'enqueue')});
	is(as('shop', q{CREATE TABLE t (email text, status text); GRANT INSERT ON t TO clerk; } . row_trigger('BEFORE INSERT', "'email'"))->{err},
		'', 'with it there is');

	is(as('clerk', q{INSERT INTO t VALUES ('clerk@x.test'), ('bad@x.test')})->{err}, '', 'another role inserts');
	is(sql('SELECT email, requested_by FROM clearout_queue'), 'clerk@x.test|shop', 'at the expense of the owner');
	foreach my $sql ('SELECT * FROM t', 'UPDATE t SET email = NULL', 'SELECT * FROM clearout_queue',
		'SELECT * FROM clearout_results', 'SELECT * FROM clearout_summary',
		q{SELECT clearout_enqueue('x@x.test')}, q{SELECT clearout_verify('good@x.test')},
		q{SELECT * FROM clearout_cached('good@x.test')}, q{SELECT * FROM clearout_unverified('t', 'email')},
		q{CREATE TEMP TABLE mine (email text); CREATE TRIGGER v BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION clearout_verify_trigger('email')})
	{
		is(as('clerk', $sql)->{sqlstate}, '42501', "he may not: $sql");
	}

	# What tells of answers takes the right to ask for them.
	foreach my $options (q{'mode=cached'}, q{'status_column=status'}, q{'mode=wait'})
	{
		is(as('shop', 'DROP TRIGGER v ON t; ' . row_trigger('BEFORE INSERT', "'email', $options"))->{err}, '', "$options can be made");
		my $failed = as('clerk', q{INSERT INTO t VALUES ('good@x.test')});
		is("$failed->{sqlstate} $failed->{hint}", "42501 A superuser can let him: SELECT clearout_grant('shop', 'verify').",
			'and fails for the lack of a right');
	}
	sql(q{SELECT clearout_grant('shop', 'verify')});
	is(as('clerk', q{INSERT INTO t VALUES ('valid@example.com')})->{err}, '', 'then it works');

	sql(q{SELECT clearout_revoke('shop', 'verify'); SELECT clearout_revoke('shop', 'enqueue')});
	as('shop', 'DROP TRIGGER v ON t');
	sql(row_trigger('BEFORE INSERT', "'email'"));
	my $failed = as('clerk', q{INSERT INTO t VALUES ('more@x.test')});
	is($failed->{sqlstate}, '42501', 'an owner who has lost the right');
	is($failed->{detail}, 'The owner of the table, "shop", may not have addresses verified.', 'it says who');
	is(as('clerk', q{INSERT INTO t VALUES ('malformed'), (NULL)})->{err}, '', 'what needs no right goes in');
	sql('ALTER TABLE t OWNER TO postgres');
	is(as('clerk', q{INSERT INTO t VALUES ('more@x.test')})->{err}, '', 'another owner who has it');
	is(sql(q{SELECT requested_by FROM clearout_queue WHERE email = 'more@x.test'}), 'postgres', 'it counts against him');
	is(sql(q{SELECT current_user}), 'postgres', 'and nobody stays somebody else');
};

subtest 'what the owner of the queue has changed' => sub {
	make_table('email text', row_trigger('AFTER INSERT', "'email'"));
	foreach my $change (
		'CREATE INDEX extra ON clearout_queue (lower(email))',
		'ALTER TABLE clearout_queue ADD extra int DEFAULT 5',
		'DROP INDEX clearout_queue_email_idx')
	{
		my $got = enqueues("BEGIN; $change; INSERT INTO t VALUES ('Changed\@x.test'), ('changed\@x.test'); "
			  . q{SELECT clearout_enqueue(ARRAY['changed@x.test', 'more@x.test']); COMMIT});
		is($got, 'changed@x.test more@x.test', $change);
	}
	sql('DROP INDEX extra; ALTER TABLE clearout_queue DROP extra; CREATE INDEX clearout_queue_email_idx ON clearout_queue (email)');
	sql(q{CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.priority = 9; RETURN NEW; END $$;
		CREATE TRIGGER mark BEFORE INSERT ON clearout_queue FOR EACH ROW EXECUTE FUNCTION mark()});
	enqueues(q{INSERT INTO t VALUES ('marked@x.test')});
	is(sql('SELECT priority FROM clearout_queue'), 9, 'a trigger of his fires');
	sql('DROP TRIGGER mark ON clearout_queue; TRUNCATE clearout_queue');
};

subtest 'an answer is stored while the row is not committed yet' => sub {
	make_table('email text, status text', row_trigger('BEFORE INSERT', "'email', 'status_column=status'"));
	sql('SELECT clearout_resume()');
	my $session = $node->background_psql('postgres');
	$session->query_safe(q{BEGIN; INSERT INTO t VALUES ('open@x.test')});
	sql(q{SELECT clearout_enqueue('open@x.test')});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM clearout_results WHERE email = 'open@x.test'}),
		'the worker is not held up');
	$session->query_safe('COMMIT');
	$session->quit;
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM clearout_queue'), 'the row of the trigger is done as well');
	is($api->calls('open@x.test'), 1, 'with the one call');
};

subtest 'logical replication' => sub {
	my $publisher = PostgreSQL::Test::Cluster->new('publisher');
	$publisher->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--locale=C' ]);
	$publisher->start;
	$publisher->safe_psql('postgres', 'CREATE TABLE t (id int PRIMARY KEY, email text); CREATE PUBLICATION p FOR TABLE t');
	make_table('id int PRIMARY KEY, email text', row_trigger('AFTER INSERT OR UPDATE', "'email'"));
	sql('SELECT clearout_pause()');
	my $connection = $publisher->connstr('postgres') =~ s/'/''/gr;
	$node->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p");
	$node->wait_for_subscription_sync($publisher, 's');

	$publisher->safe_psql('postgres', q{INSERT INTO t VALUES (1, 'silent@x.test')});
	$publisher->wait_for_catchup('s');
	is(queue(), '', 'an ordinary trigger does not fire for what is replicated');
	sql('ALTER TABLE t ENABLE ALWAYS TRIGGER v');
	$publisher->safe_psql('postgres', q{INSERT INTO t VALUES (2, 'always@x.test'); UPDATE t SET email = 'ALWAYS@x.test' WHERE id = 2;
		UPDATE t SET email = 'changed@x.test' WHERE id = 1});
	$publisher->wait_for_catchup('s');
	is(queue(), 'always@x.test changed@x.test', 'one that is to fire always does');
	sql('SELECT clearout_resume()');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM clearout_results WHERE email IN ('always@x.test', 'changed@x.test')}),
		'and the worker hears of it');
	$node->safe_psql('postgres', 'DROP SUBSCRIPTION s');
	$publisher->stop;
};

$node->stop;
done_testing();
