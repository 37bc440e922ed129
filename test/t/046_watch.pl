# Watched tables: the status column says what is known of each address, whatever
# happens to the table, the role and the server.

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
use Time::HiRes qw(sleep time);

my $SOON = 90;
my $ROWS = $ENV{CLEAROUT_WATCH_ROWS} // 50_000;

$ENV{PGOPTIONS} = '-c client_min_messages=warning';

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $node = clearout_node('main', $api,
	handler_timeout => '30s',
	handler_attempts => 3,
	conf => "autovacuum = off\nlog_statement = none\nmax_prepared_transactions = 5\n");

sub sql { return value_of($node, @_) }
sub as { my ($role, $sql) = @_; return "SET SESSION AUTHORIZATION $role; SET client_min_messages = warning; $sql" }

sub eventually
{
	my ($sql, $expected, $what, $seconds) = @_;
	my $seen;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($seconds // $SOON, sub { $seen = sql($sql); $seen eq $expected });
	is($seen, $expected, $what);
}

sub status_of
{
	my ($id, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	eventually("SELECT coalesce(status, 'null') FROM shop.customer WHERE id = $id", $expected, $what);
}

$node->safe_psql('postgres', q{
	CREATE ROLE shop LOGIN;
	CREATE ROLE clerk LOGIN;
	CREATE ROLE other LOGIN;
	CREATE SCHEMA shop AUTHORIZATION shop;
	GRANT USAGE ON SCHEMA shop TO clerk, other;
	SELECT clearout_grant('shop', 'react');
	SET SESSION AUTHORIZATION shop;
	CREATE TABLE shop.customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, email varchar(300), status text);
	GRANT SELECT, INSERT, UPDATE, DELETE ON shop.customer TO clerk;
});

subtest 'setting it up' => sub {
	my $watch = q{SELECT clearout_watch('shop.customer', 'email', 'status')};

	is(sqlstate($node, as('clerk', $watch)), '42501', 'not for everybody');
	is(sqlstate($node, as('shop', $watch)), '42501', 'who may not have addresses verified cannot watch');
	$node->safe_psql('postgres', q{SELECT clearout_grant('shop', 'enqueue'); SELECT clearout_grant('other', 'react'); SELECT clearout_grant('other', 'enqueue')});
	is(sqlstate($node, as('other', $watch)), '42501', "nor another's table");
	is(sqlstate($node, $watch), '42501', 'nor a superuser with the triggers of somebody who is none');
	foreach my $case (
		[ '42703', q{SELECT clearout_watch('shop.customer', 'mail', 'status')} ],
		[ '42703', q{SELECT clearout_watch('shop.customer', 'email', 'verdict')} ],
		[ '42804', q{SELECT clearout_watch('shop.customer', 'id', 'status')} ],
		[ '42804', q{SELECT clearout_watch('shop.customer', 'email', 'id')} ],
		[ '42804', q{SELECT clearout_watch('shop.customer', 'email', 'email')} ],
		[ '42804', q{CREATE TABLE shop.t1 (e text, s varchar(3)); SELECT clearout_watch('shop.t1', 'e', 's')} ],
		[ '42804', q{CREATE TABLE shop.t2 (e text, s text NOT NULL); SELECT clearout_watch('shop.t2', 'e', 's')} ],
		[ '42804', q{CREATE TABLE shop.t3 (e text, s text GENERATED ALWAYS AS (lower(e)) STORED); SELECT clearout_watch('shop.t3', 'e', 's')} ],
		[ '42809', q{CREATE VIEW shop.v AS SELECT * FROM shop.customer; SELECT clearout_watch('shop.v', 'email', 'status')} ],
		[ '0A000', q{CREATE TEMP TABLE t4 (e text, s text); SELECT clearout_watch('t4', 'e', 's')} ],
		[ '0A000', qq{BEGIN ISOLATION LEVEL REPEATABLE READ; $watch} ],
		[ '25006', qq{BEGIN READ ONLY; $watch} ])
	{
		is(sqlstate($node, as('shop', $case->[1])), $case->[0], $case->[1]);
	}
	is(sql('SELECT count(*) FROM clearout_handlers'), 0, 'nothing of it is left');
	is(sql('SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE $$clearout_watch%$$'), 0, 'no trigger either');
};

subtest "all rows" => sub {
	# Some of it is known already, some malformed, some not there at all.
	$node->safe_psql('postgres', as('shop', qq{INSERT INTO shop.customer (name, email)
		SELECT 'n' || i, CASE WHEN i % 1000 = 0 THEN NULL WHEN i % 1000 = 1 THEN 'not an address ' || i
			ELSE (ARRAY['valid', 'Invalid', 'catch_all'])[1 + i % 3] || '-' || i || '\@Watch.test' END
		FROM generate_series(1, $ROWS) i}));
	$node->safe_psql('postgres', q{INSERT INTO clearout_results (email, status, verified_at, source) VALUES
		('invalid-4@watch.test', 'unknown', now(), 'import'), ('catch_all-5@watch.test', 'valid', now() - interval '40 days', 'import')});

	# Others go on with the table meanwhile.
	my $begin = time;
	my $id = sql(as('shop', q{SELECT clearout_watch('shop.customer', 'email', 'status')}));
	like($id, qr/^\d+$/, 'the watch');
	note sprintf 'clearout_watch() took %.1f s', time - $begin;
	is(sql('SELECT count(*) FROM shop.customer WHERE status = $$invalid$$ AND email LIKE $$not an%$$'), $ROWS / 1000, 'malformed ones are known at once');
	is(sql(q{SELECT status FROM shop.customer WHERE id = 4}), 'unknown', 'so is a fresh answer');
	is(sqlstate($node, as('shop', q{SELECT clearout_watch('shop.customer', 'email', 'status')})), '42710', 'not twice');
	is(sql(as('shop', q{SELECT relation || ' ' || email_column || ' ' || status_column || ' ' || role_name || ' ' || state FROM clearout_watches})),
		'shop.customer email status shop working', 'shown to its role');
	is(sql(as('other', 'SELECT count(*) FROM clearout_watches')), 0, 'and to no other');

	my $load = start_psql($node, 'SET SESSION AUTHORIZATION clerk', q{DO $$
		BEGIN
			FOR i IN 1 .. 300 LOOP
				INSERT INTO shop.customer (name, email) VALUES ('new', 'valid-new' || i || '@watch.test');
				UPDATE shop.customer SET email = 'invalid-changed' || i || '@watch.test' WHERE id = i * 7 + 2;
				UPDATE shop.customer SET name = 'renamed' WHERE id BETWEEN i * 100 AND i * 100 + 20;
				DELETE FROM shop.customer WHERE id = 40000 + i;
				COMMIT;
			END LOOP;
		END $$});
	my ($out, $state, $err) = finish_psql($load);
	is($state, '00000', 'somebody who may write to the table and nothing else') or diag $err;
	eventually(q{SELECT count(*) FROM shop.customer WHERE status IS NULL AND email IS NOT NULL}, 0, 'all statuses are there', 240);
	note sprintf 'all was known after %.1f s', time - $begin;
	is(sql(q{SELECT count(*) FROM shop.customer c JOIN clearout_results r ON r.email = clearout_normalize(c.email) WHERE c.status IS DISTINCT FROM r.status}), 0, 'and true');
	is(sql(q{SELECT count(*) FROM shop.customer WHERE email IS NOT NULL AND status IS DISTINCT FROM
		CASE WHEN id = 4 AND email ILIKE 'invalid-4@%' THEN 'unknown' WHEN email LIKE 'not an%' THEN 'invalid' ELSE lower(split_part(email, '-', 1)) END}), 0, 'word by word');
	is(sql(q{SELECT count(*) FROM shop.customer WHERE status IS NOT NULL AND email IS NULL}), 0, 'where there is no address there is no status');
	eventually('SELECT count(*) FROM clearout_outbox', 0, 'nothing is left to do');
	is(scalar @{ $api->address_stats->{repeated} }, 0, 'no address was asked twice');
	is(sql(q{SELECT DISTINCT requested_by FROM clearout_queue}), '', 'the queue is empty');
};

subtest 'rows that come and change' => sub {
	is(sql(q{SELECT status FROM clearout_verify('invalid-known@watch.test')}), 'invalid', 'known');
	my $insert = sub { my ($email) = @_; return sql(as('clerk', "INSERT INTO shop.customer (email) VALUES ($email) RETURNING id || ' ' || coalesce(status, 'null')")) };
	is((split / /, $insert->(q{'Invalid-known@watch.test '}))[1], 'invalid', 'a known address: at once');
	is((split / /, $insert->(q{'nonsense'}))[1], 'invalid', 'a malformed one: at once');
	is((split / /, $insert->('NULL'))[1], 'null', 'none');
	my ($id, $status) = split / /, $insert->(q{'valid-one@watch.test'});
	is($status, 'null', 'an unknown one: not yet');
	status_of($id, 'valid', 'soon');
	is(sql(as('clerk', "UPDATE shop.customer SET email = 'VALID-ONE\@watch.test' WHERE id = $id RETURNING status")), 'valid', 'the same address in other letters keeps it');
	is(sql(as('clerk', "UPDATE shop.customer SET email = 'catch_all-two\@watch.test' WHERE id = $id RETURNING coalesce(status, 'null')")), 'null', 'a changed one resets it');
	status_of($id, 'catch_all', 'and has its own');
	is(sql(as('clerk', "UPDATE shop.customer SET email = 'valid-one\@watch.test' WHERE id = $id RETURNING status")), 'valid', 'back to a known one: at once');
	is(sql(as('clerk', "UPDATE shop.customer SET email = NULL WHERE id = $id RETURNING coalesce(status, 'null')")), 'null', 'to none');
	is($api->calls('valid-one@watch.test'), 1, 'one call');

	# A newer answer changes it, whoever asked.
	sql(as('clerk', "UPDATE shop.customer SET email = 'unknown-three\@watch.test' WHERE id = $id"));
	status_of($id, 'unknown', 'an answer');
	sql(q{UPDATE clearout_results SET status = 'unknown', verified_at = now() - interval '1 day', asked_at = now() - interval '1 day', attempted_at = NULL WHERE email = 'catch_all-two@watch.test'});
	sql(as('clerk', "UPDATE shop.customer SET email = 'catch_all-two\@watch.test' WHERE id = $id"));
	status_of($id, 'catch_all', 'a stale answer is asked again');
	sql("UPDATE shop.customer SET status = 'wrong' WHERE id = $id");
	sql(q{SELECT clearout_verify('catch_all-two@watch.test', max_age => '0')});
	status_of($id, 'catch_all', 'an answer to somebody else puts it right');

	# The answer comes while the row is not committed.
	my $session = $node->background_psql('postgres', timeout => 180);
	$session->query_safe(as('clerk', q{BEGIN; INSERT INTO shop.customer (name, email) VALUES ('race', 'valid-race@watch.test')}));
	sql(q{SELECT clearout_verify('valid-race@watch.test')});
	eventually('SELECT count(*) FROM clearout_outbox', 0, 'the answer is there');
	$session->query_safe('COMMIT');
	eventually(q{SELECT status FROM shop.customer WHERE name = 'race'}, 'valid', 'and reaches a row that is committed later');

	# ... and another one, after the row has taken the one before.
	$session->query_safe(q{BEGIN; INSERT INTO shop.customer (name, email) VALUES ('race2', 'valid-race@watch.test')});
	sql(q{UPDATE clearout_results SET status = 'invalid' WHERE email = 'valid-race@watch.test'});
	$session->query_safe('COMMIT');
	eventually(q{SELECT status FROM shop.customer WHERE name = 'race2'}, 'invalid', 'so does one that changes meanwhile');
	$session->quit;

	my $calls = $api->total_calls;
	sql(as('clerk', q{BEGIN; INSERT INTO shop.customer (email) VALUES ('valid-rolled@watch.test'); ROLLBACK}));
	sql(as('clerk', q{INSERT INTO shop.customer (id, email) OVERRIDING SYSTEM VALUE SELECT id, 'valid-conflict@watch.test' FROM shop.customer LIMIT 1 ON CONFLICT DO NOTHING}));
	sql(as('clerk', q{BEGIN; INSERT INTO shop.customer (name, email) VALUES ('prepared', 'valid-prepared@watch.test'); PREPARE TRANSACTION 'p'}));
	sleep 0.5;
	is($api->total_calls, $calls, 'rolled back, not inserted, prepared: no call');
	sql(as('clerk', q{COMMIT PREPARED 'p'}));
	eventually(q{SELECT status FROM shop.customer WHERE name = 'prepared'}, 'valid', 'committed at last');
};

subtest 'what the table goes through' => sub {
	$node->safe_psql('postgres', as('shop', q{ALTER TABLE shop.customer RENAME TO "Kunde"; ALTER TABLE shop."Kunde" RENAME email TO "E-Mail"; ALTER TABLE shop."Kunde" RENAME status TO "Stand"}));
	sql(as('clerk', q{INSERT INTO shop."Kunde" (name, "E-Mail") VALUES ('renamed', 'valid-renamed@watch.test')}));
	eventually(q{SELECT "Stand" FROM shop."Kunde" WHERE name = 'renamed' AND "E-Mail" LIKE 'valid-ren%'}, 'valid', 'renamed, table and columns: it goes on');
	is(sql(as('shop', q{SELECT relation || ' ' || email_column || ' ' || status_column || ' ' || state FROM clearout_watches})), 'shop."Kunde" E-Mail Stand working', 'under the new names');
	is(sql(q{SELECT table_name FROM clearout_handlers}), 'Kunde', 'which a dump will have');
	$node->safe_psql('postgres', as('shop', q{ALTER TABLE shop."Kunde" RENAME "E-Mail" TO email; ALTER TABLE shop."Kunde" RENAME "Stand" TO status; ALTER TABLE shop."Kunde" RENAME TO customer}));
	my $id = sql(as('clerk', q{INSERT INTO shop.customer (email) VALUES ('valid-back@watch.test') RETURNING id}));
	status_of($id, 'valid', 'and back');

	is(sqlstate($node, as('shop', 'ALTER TABLE shop.customer DROP COLUMN status')), '2BP01', 'a column is not dropped by the way');

	# The table refuses a status, or is locked.
	sql(as('shop', q{ALTER TABLE shop.customer ADD CONSTRAINT c CHECK (status <> 'catch_all' OR email NOT LIKE 'catch_all-check%')}));
	my @ids = split /\n/, sql(as('clerk', q{INSERT INTO shop.customer (email) VALUES ('valid-check1@watch.test'), ('catch_all-check2@watch.test'), ('valid-check3@watch.test') RETURNING id}));
	status_of($ids[0], 'valid', 'a neighbour of one that the table refuses');
	status_of($ids[2], 'valid', 'another');
	eventually(q{SELECT failed FROM clearout_watches}, 1, 'the one fails');
	like(sql(as('shop', 'SELECT last_error FROM clearout_handler_failures')), qr/violates check constraint "c"/, 'with its reason');
	is(sql(q{SELECT status FROM clearout_results WHERE email = 'catch_all-check2@watch.test'}), 'catch_all', 'its answer is there');
	sql(as('shop', q{ALTER TABLE shop.customer DROP CONSTRAINT c; SELECT clearout_retry_handlers()}));
	status_of($ids[1], 'catch_all', 'mended, it is written');

	my $session = $node->background_psql('postgres', timeout => 180);
	$id = sql(as('clerk', q{INSERT INTO shop.customer (email) VALUES ('nonsense2') RETURNING id}));
	$session->query_safe("BEGIN; UPDATE shop.customer SET email = 'valid-held\@watch.test' WHERE id = $id");
	sql(q{SELECT clearout_verify('valid-held@watch.test')});
	$session->query_safe(q{COMMIT; BEGIN; LOCK TABLE shop.customer IN ACCESS EXCLUSIVE MODE});
	sleep 1;
	is(sql('SELECT max(failures) FROM clearout_handlers'), 0, 'a locked table is no failure');
	$session->query_safe('COMMIT');
	$session->quit;
	status_of($id, 'valid', 'it is waited for');

	# Rows that somebody holds do not keep the others waiting.
	$session = $node->background_psql('postgres', timeout => 180);
	@ids = split /\n/, sql(as('clerk', q{INSERT INTO shop.customer (name, email) SELECT 'held', 'valid-many' || i || '@watch.test' FROM generate_series(1, 10) i RETURNING id}));
	status_of($_, 'valid', 'a row') foreach @ids;
	$session->query_safe(q{BEGIN; UPDATE shop.customer SET name = 'held' WHERE name = 'held'});
	sql(q{UPDATE clearout_results SET status = 'other' WHERE email LIKE 'valid-many%'; INSERT INTO clearout_outbox (handler, email) SELECT h.id, r.email FROM clearout_results r, clearout_handlers h WHERE r.email LIKE 'valid-many%'; SELECT clearout_retry_handlers()});
	eventually(q{SELECT count(*) FROM clearout_outbox WHERE next_attempt_at IS NOT NULL}, 10, 'ten rows are held');
	$id = sql(as('clerk', q{INSERT INTO shop.customer (email) VALUES ('valid-free@watch.test') RETURNING id}));
	status_of($id, 'valid', 'another one is not');
	is(sql(q{SELECT count(*) FROM shop.customer WHERE name = 'held' AND status = 'valid'}), 10, 'while they still wait');
	$session->query_safe('COMMIT');
	$session->quit;
	status_of($ids[9], 'other', 'those follow');

	# Triggers of its owner run as he.
	$node->safe_psql('postgres', as('shop', q{CREATE TABLE shop.log (who name);
		CREATE FUNCTION shop.log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.email LIKE 'valid-log%' THEN INSERT INTO shop.log VALUES (current_user); END IF; RETURN NEW; END $$;
		CREATE TRIGGER log AFTER UPDATE OF status ON shop.customer FOR EACH ROW EXECUTE FUNCTION shop.log()}));
	$id = sql(as('shop', q{INSERT INTO shop.customer (email) VALUES ('valid-log@watch.test') RETURNING id}));
	status_of($id, 'valid', 'written');
	is(sql('SELECT DISTINCT who FROM shop.log'), 'shop', 'as the role of the watch');
};

subtest 'rights' => sub {
	my $n = 0;

	foreach my $case (
		[ 'the right to have addresses verified', q{SELECT clearout_revoke('shop', 'enqueue')}, q{SELECT clearout_grant('shop', 'enqueue')}, qr/role "shop" may not have addresses verified/ ],
		[ 'the right to read answers', q{REVOKE SELECT ON clearout_results FROM shop}, q{GRANT SELECT ON clearout_results TO shop}, qr/role "shop" may not read clearout_results/ ],
		[ 'the right to update the table', q{REVOKE UPDATE ON shop.customer FROM shop}, q{GRANT UPDATE ON shop.customer TO shop}, qr/permission denied for table customer/ ],
		[ 'the table', q{ALTER TABLE shop.customer OWNER TO other}, q{ALTER TABLE shop.customer OWNER TO shop}, qr/table shop.customer belongs to another role/ ],
		[ 'its name', q{ALTER ROLE shop RENAME TO gone}, q{ALTER ROLE gone RENAME TO shop}, qr/role "shop" does not exist/ ])
	{
		my ($what, $break, $mend, $error) = @$case;
		my $row;

		$n++;
		sql($break);
		is(sqlstate($node, as('clerk', "INSERT INTO shop.customer (name, email) VALUES ('r$n', 'valid-rights$n\@watch.test')")), '00000', "the role has lost $what: others write on");
		sql(qq{SELECT clearout_verify('valid-rights$n\@watch.test')});
		eventually(q{SELECT state FROM clearout_watches}, 'failing', 'the watch fails');
		like(sql('SELECT reason FROM clearout_watches'), $error, 'and says why');
		sql("$mend; SELECT clearout_retry_handlers()");
		eventually("SELECT status FROM shop.customer WHERE name = 'r$n'", 'valid', 'mended, it catches up');
		eventually('SELECT count(*) FROM clearout_outbox', 0, 'with everything');
	}

	# Somebody else's trigger with the number of this watch.
	my $id = sql('SELECT id FROM clearout_handlers');
	$node->safe_psql('postgres', q{CREATE SCHEMA evil AUTHORIZATION other; GRANT USAGE ON SCHEMA evil TO shop});
	$node->safe_psql('postgres', as('other', qq{
		CREATE TABLE evil.customer (name text, email text, status text);
		GRANT ALL ON evil.customer TO shop;
		CREATE TRIGGER clearout_watch_$id BEFORE INSERT OR UPDATE OF email, status ON evil.customer FOR EACH ROW EXECUTE FUNCTION clearout_watch_note('$id');
		CREATE TRIGGER clearout_watch_${id}_after AFTER INSERT OR UPDATE OF email, status ON evil.customer FOR EACH ROW EXECUTE FUNCTION clearout_watch_note('$id');
		INSERT INTO evil.customer (email) VALUES ('valid-evil\@watch.test'), ('malformed')}));
	is(sql('SELECT count(status) FROM evil.customer'), 0, "a trigger on another's table does nothing");
	sql(as('other', q{SELECT clearout_unwatch('evil.customer')}));
	is(sql('SELECT count(*) FROM clearout_handlers'), 1, 'to drop it ends no watch');
	sleep 0.5;
	is($api->calls('valid-evil@watch.test'), 0, 'and spends nothing');

	# The owner's own one, for columns of other types.
	$node->safe_psql('postgres', as('shop', q{ALTER TABLE shop.customer ADD number bigint, ADD word varchar(3), ADD code bytea}));
	foreach my $columns ('number, status', 'code, status', 'email, number', 'email, code', 'email, word')
	{
		$node->safe_psql('postgres', as('shop', qq{CREATE TRIGGER odd BEFORE INSERT OR UPDATE OF $columns ON shop.customer
			FOR EACH ROW EXECUTE FUNCTION clearout_watch_note('$id')}));
		is(sqlstate($node, as('shop', q{INSERT INTO shop.customer (email, number, code) VALUES ('malformed', 4096, '\\x2070')})),
			'42804', "a trigger for the columns $columns is refused");
		$node->safe_psql('postgres', as('shop', 'DROP TRIGGER odd ON shop.customer'));
	}
	$node->safe_psql('postgres', as('shop', q{ALTER TABLE shop.customer DROP number, DROP word, DROP code}));
};

subtest 'a partitioned table, and two watches' => sub {
	$node->safe_psql('postgres', as('shop', q{
		CREATE TABLE shop.lead (region text, mail text, mail2 text, mail_state text, mail2_state varchar) PARTITION BY LIST (region);
		CREATE TABLE shop.lead_a PARTITION OF shop.lead FOR VALUES IN ('a');
		CREATE TABLE shop.lead_b (mail2_state varchar, mail2 text, region text, mail_state text, mail text);
		ALTER TABLE shop.lead ATTACH PARTITION shop.lead_b FOR VALUES IN ('b');
		INSERT INTO shop.lead VALUES ('a', 'valid-p1@lead.test'), ('b', 'invalid-p2@lead.test')}));
	is(sqlstate($node, as('shop', q{SELECT clearout_watch('shop.lead_a', 'mail', 'mail_state')})), '42809', 'not a partition alone');
	is(sqlstate($node, as('shop', q{SELECT clearout_watch('shop.lead', 'mail', 'mail_state'), clearout_watch('shop.lead', 'mail2', 'mail2_state')})), '00000', 'a partitioned table, two of its columns');
	sql(as('shop', q{INSERT INTO shop.lead VALUES ('b', 'valid-p3@lead.test', 'catch_all-p4@lead.test'), ('a', 'nonsense', 'valid-p1@lead.test')}));
	eventually(q{SELECT string_agg(concat_ws(' ', region, split_part(mail, '@', 1), mail_state, split_part(mail2, '@', 1), mail2_state), ', ' ORDER BY region, mail DESC) FROM shop.lead},
		'a valid-p1 valid, a nonsense invalid valid-p1 valid, b valid-p3 valid catch_all-p4 catch_all, b invalid-p2 invalid', 'in each partition, both columns');

	# Whoever owns a partition can put triggers on it, and they would run as shop.
	sql('ALTER TABLE shop.lead_b OWNER TO other');
	sql(q{SELECT clearout_verify('valid-p5@lead.test')});
	sql(as('shop', q{INSERT INTO shop.lead VALUES ('a', 'valid-p5@lead.test', 'valid-p5@lead.test')}));
	eventually(q{SELECT string_agg(DISTINCT state, ' ') FROM clearout_watches WHERE relation LIKE '%lead'}, 'failing', "a partition is another's: the watch fails");
	like(sql(q{SELECT reason FROM clearout_watches WHERE relation LIKE '%lead' LIMIT 1}), qr/table shop.lead_b is a part of shop.lead, but belongs to another role/, 'and says why');
	is(sqlstate($node, as('shop', q{BEGIN; SELECT clearout_unwatch('shop.lead', 'mail2_state'); SELECT clearout_watch('shop.lead', 'mail2', 'mail2_state')})), '42501', 'nor is one set up');
	sql('ALTER TABLE shop.lead_b OWNER TO shop; SELECT clearout_retry_handlers()');
	eventually(q{SELECT string_agg(DISTINCT state, ' ') FROM clearout_watches WHERE relation LIKE '%lead'}, 'working', 'it is shop\'s again: the watch works');
	is(sqlstate($node, as('shop', q{SELECT clearout_watch('shop.lead', 'mail2', 'mail2_state')})), '42710', 'both watches are there');
	is(sql(as('shop', q{SELECT clearout_unwatch('shop.lead', 'mail2_state')})), 1, 'one ends');
	is(sql(as('shop', q{SELECT clearout_unwatch('shop.lead')})), 1, 'then the other');
	is(sql(as('shop', q{SELECT clearout_unwatch('shop.lead')})), 0, 'there are no more');
	is(sql(q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'clearout_watch%' AND tgrelid IN (SELECT oid FROM pg_class WHERE relname LIKE 'lead%')}), 0, 'no trigger is left');
};

subtest 'dump and restore' => sub {
	my $file = "$PostgreSQL::Test::Utils::tmp_check/watch.dump";

	$api->config(latency => 60_000);
	sql(as('clerk', q{INSERT INTO shop.customer (name, email) VALUES ('dumped', 'valid-dumped@watch.test')}));
	eventually(q{SELECT count(*) FROM clearout_queue WHERE email = 'valid-dumped@watch.test'}, 1, 'one is in the queue');
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, '-d', $node->connstr('postgres') ], 'dumped');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $file ], 'restored');
	$api->config(latency => 0);
	my $in = sub { return value_of($node, $_[0], 'restored') };

	is($in->(q{SELECT relation || ' ' || state FROM clearout_watches}), 'shop.customer copied', 'the copy says that it waits');
	my $calls = $api->calls('valid-copy@watch.test');
	is($in->(as('clerk', q{INSERT INTO shop.customer (name, email) VALUES ('copy', 'valid-copy@watch.test'), ('known', 'valid-one@watch.test') RETURNING coalesce(status, 'null')})),
		"null\nvalid", 'what is known is filled in');
	sleep 0.5;
	is($api->calls('valid-copy@watch.test'), $calls, 'and nothing is asked');
	$in->('SELECT clearout_resume()');
	ok(wait_until($SOON, sub { $in->(q{SELECT string_agg(status, ' ') FROM shop.customer WHERE name IN ('copy', 'dumped')}) eq 'valid valid' }), 'adopted, it goes on');
	is($in->(q{SELECT relation || ' ' || state FROM clearout_watches}), 'shop.customer working', 'and says so');
	is($in->(q{SELECT table_oid = 'shop.customer'::regclass FROM clearout_handlers WHERE table_name IS NOT NULL}), 't', 'its table is known by number');
	$node->safe_psql('postgres', 'DROP DATABASE restored');
};

subtest 'ends' => sub {
	eventually(q{SELECT count(*) FROM clearout_queue}, 0, 'the queue is empty', 180);
	is(sql(as('shop', q{ALTER TABLE shop.customer DROP COLUMN status CASCADE; SELECT state || ': ' || reason FROM clearout_watches})),
		'ended: Its table is gone, or a column or trigger of it.', 'a dropped column: the watch has ended');
	is(sqlstate($node, as('clerk', q{INSERT INTO shop.customer (email) VALUES ('valid-end1@watch.test')})), '00000', 'others write on');
	is(sql(q{SELECT status FROM clearout_verify('valid-end1@watch.test')}), 'valid', 'answers come');
	eventually(q{SELECT count(*) FROM clearout_watches WHERE ended_at IS NOT NULL}, 1, 'the end is noticed');
	eventually('SELECT count(*) FROM clearout_outbox', 0, 'and nothing more is written for it');
	sql(q{SELECT clearout_verify('valid-end2@watch.test')});
	is(sql('SELECT count(*) FROM clearout_outbox'), 0, 'at all');

	$node->safe_psql('postgres', as('shop', q{ALTER TABLE shop.customer ADD status text; SELECT clearout_watch('shop.customer', 'email', 'status')}));
	eventually(q{SELECT count(*) FROM shop.customer WHERE email IS NOT NULL AND status IS NULL}, 0, 'watched anew, it is filled', 240);
	is($api->calls('valid-17@watch.test'), sql(q{SELECT (SELECT count(*) FROM clearout_results WHERE email = 'valid-17@watch.test')}), 'without another call');
	$node->safe_psql('postgres', as('shop', q{INSERT INTO shop.customer (email) VALUES ('valid-end3@watch.test'); DROP TABLE shop.customer CASCADE}));
	is(sql(q{SELECT status FROM clearout_verify('valid-end4@watch.test')}), 'valid', 'a dropped table: answers come');
	eventually(q{SELECT string_agg(relation || ' ' || state, ', ') FROM clearout_watches}, 'shop.customer ended, shop.customer ended', 'that has ended too');
	eventually('SELECT count(*) FROM clearout_outbox', 0, 'nothing is left');
	sql(as('shop', q{SELECT clearout_drop_handler_by_id(watch) FROM clearout_watches}));
	is(sql('SELECT count(*) FROM clearout_handlers'), 0, 'ended watches are put away');
	eventually(q{SELECT count(*) FROM clearout_results WHERE email IN ('valid-end1@watch.test', 'valid-end2@watch.test', 'valid-end4@watch.test')}, 3, 'no answer is lost');
};

$node->stop;
done_testing();
