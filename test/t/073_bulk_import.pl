# clearout_import(): result files that a user has, with his own columns around
# those of the service, become stored answers with their true time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new;
my $node = clearout_node('main', $api);

sub sql { return value_of($node, @_) }

my $csv = join("\n",
	'Name;Clearout Verification Status;Clearout Safe to Send;Clearout Bounce Type;E-mail;Clearout Reason;Clearout Verified At (UTC);Clearout Time Taken (ms);Shoe size',
	'"Doe; Jane";Valid;Yes;;Jane@Example.com;Success;2024-05-02T18:12:53.5Z;380;38',
	'Joe;Catch All;Risky;;joe@example.com;"two',
	'lines";2024-05-02 18:12:53;12;44',
	'Old;Invalid;No;Hard;old@example.com;x;2020-01-01T00:00:00Z;;',
	'Few;Valid',
	'Bad;Valid;Yes;;malformed;;2024-05-02T18:12:53Z;;',
	'Timeless;Valid;Yes;;timeless@example.com;;;;',
	'Later;Unknown;Unknown;;known@example.com;timeout;2024-05-02T18:12:53Z;;',
	'Undone;Unknown;Unknown;;undone@example.com;Request cancelled;2024-05-02T18:12:53Z;;') . "\n";
my $dir = PostgreSQL::Test::Utils::tempdir();
my $file = "$dir/report.csv";
append_to_file($file, "\xEF\xBB\xBF$csv");
chmod 0755, $dir;
chmod 0644, $file;

sql(q{SET timezone = 'UTC'; INSERT INTO clearout_results (email, status, verified_at, source) VALUES
	('old@example.com', 'valid', '2023-01-01', 'instant'), ('known@example.com', 'valid', '2023-01-01', 'instant')});
is(sql("SELECT * FROM clearout_import(\$csv\$$csv\$csv\$)"), '8|4|4|no address', 'rows read, stored, left out, and why');
is(sql(q{SET timezone = 'UTC'; SELECT email, status, safe_to_send, reason, verified_at, asked_at, time_taken, source FROM clearout_results WHERE email = 'jane@example.com'}),
	'jane@example.com|valid|yes|Success|2024-05-02 18:12:53.5+00||00:00:00.38|import', 'a row, as of its time');
is(sql(q{SELECT status, reason = E'two\nlines' FROM clearout_results WHERE email = 'joe@example.com'}), 'catch_all|t', 'words and line breaks');
is(sql(q{SELECT status, source FROM clearout_results WHERE email = 'old@example.com'}), 'valid|instant', 'older never over newer');
is(sql(q{SELECT status, attempt_status FROM clearout_results WHERE email = 'known@example.com'}), 'valid|unknown', 'unknown never over a verdict');
is(sql(q{SELECT count(*) FROM clearout_results WHERE email IN ('timeless@example.com', 'undone@example.com', 'malformed')}), 0, 'what has no time, or no answer, is left out');
is(sql("SELECT * FROM clearout_import(\$csv\$$csv\$csv\$, verified_at => '2024-06-01')"), '8|5|3|no address', 'a time for those that tell none');
is(sql(q{SET timezone = 'UTC'; SELECT verified_at FROM clearout_results WHERE email = 'timeless@example.com'}), '2024-06-01 00:00:00+00', 'is theirs');

# Paid for once: it is not asked again.
is(sql(q{SELECT status, source FROM clearout_verify('Jane@example.com', max_age => '50 years')}), 'valid|stored', 'an imported answer is a stored answer');
is($api->total_calls, 0, 'and no call is made');

sql('DELETE FROM clearout_results');
is(sql("SELECT stored FROM clearout_import_file('$file')"), 4 + 1 - 1, 'a file of the server');
sql('DELETE FROM clearout_results');
is(sql(q{SELECT stored, left_out FROM clearout_import(convert_to(} . "\$csv\$$csv\$csv\$" . q{, 'UTF8') || '\x62fffe3b56616c69640a'::bytea)}), '4|5', 'bytes, some of them no text');

# Many, in pieces.
sql(q{DELETE FROM clearout_results});
is(sql(q{SELECT stored FROM clearout_import((SELECT string_agg(line, E'\r\n') FROM (
	SELECT 'email,clearout status,clearout verified at' AS line UNION ALL
	SELECT 'many-' || i || '@example.com,Valid,2024-05-02' FROM generate_series(1, 30000) i) AS l))}), 30000, 'many rows');
is(sql(q{SELECT count(*) FROM clearout_results}), 30000, 'are stored');

# New rows are written around the executor, those that are there by statements;
# what others do at the same time, or have done to the table, is as with INSERT.
sub import_of
{
	return q{clearout_import(E'email,clearout status,clearout account,clearout domain,clearout verified at\n}
	  . join('\n', map { "$_->[0]\@example.com,$_->[1],$_->[2],example.com,$_->[3]" } @_) . q{')};
}

sub statuses
{
	return sql(q{SELECT string_agg(split_part(email, '@', 1) || ' ' || status || ' ' || date(verified_at AT TIME ZONE 'UTC'), ', ' ORDER BY email) FROM clearout_results});
}

sql('TRUNCATE clearout_results');
my $other = $node->background_psql('postgres');
$other->query_safe(q{BEGIN; INSERT INTO clearout_results (email, status, verified_at, source) VALUES
	('b@example.com', 'valid', '2025-01-01 00:00Z', 'instant'), ('c@example.com', 'valid', '2023-01-01 00:00Z', 'instant')});
my $importer = start_psql($node, 'SELECT stored FROM ' . import_of(map { [ $_, 'Invalid', $_, '2024-05-02' ] } qw(d c b a)));
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 'it waits for who inserts the same');
$other->query_safe('COMMIT');
is((finish_psql($importer))[0], 4, 'and goes on');
is(statuses(), 'a invalid 2024-05-02, b valid 2025-01-01, c invalid 2024-05-02, d invalid 2024-05-02', 'the newer answers are there');

$importer = $node->background_psql('postgres', on_error_stop => 0);
$importer->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$other->query_safe(q{INSERT INTO clearout_results (email, status, verified_at, source) VALUES ('e@example.com', 'valid', '2023-01-01', 'instant')});
my $ignored = $importer->query('SELECT stored FROM ' . import_of([ 'e', 'Invalid', 'e', '2024-05-02' ]));
like($importer->{stderr}, qr/could not serialize access/, 'what a snapshot does not show');
$importer->quit;
is(sql(q{SELECT status FROM clearout_results WHERE email = 'e@example.com'}), 'valid', 'is left alone');
$other->quit;

sql('TRUNCATE clearout_results; CREATE UNIQUE INDEX one_of_each ON clearout_results (account, domain)');
is(sqlstate($node, 'SELECT ' . import_of([ 'a', 'Valid', 'a', '2024-05-02' ], [ 'b', 'Valid', 'a', '2024-05-02' ])), '23505', 'another unique index');
is(sql('SELECT count(*) FROM clearout_results'), 0, 'nothing is stored then');
is(sql('SELECT stored FROM ' . import_of([ 'a', 'Valid', 'a', '2024-05-02' ], [ 'b', 'Valid', 'b', '2024-05-02' ])), 2, 'which they satisfy');
sql(q{DROP INDEX one_of_each; ALTER TABLE clearout_results ADD CONSTRAINT no_c CHECK (account <> 'c'), ADD note text DEFAULT 'by default'});
is(sqlstate($node, 'SELECT ' . import_of([ 'c', 'Valid', 'c', '2024-05-02' ])), '23514', 'a constraint');
is(sql('SELECT stored FROM ' . import_of([ 'd', 'Valid', 'd', '2024-05-02' ])), 1, 'a column with a default');
is(sql(q{SELECT note FROM clearout_results WHERE email = 'd@example.com'}), 'by default', 'which is there');
sql(q{ALTER TABLE clearout_results DROP CONSTRAINT no_c, DROP note;
	CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.reason := upper(NEW.account); RETURN NEW; END';
	CREATE TRIGGER shout BEFORE INSERT ON clearout_results FOR EACH ROW EXECUTE FUNCTION shout()});
is(sql('SELECT stored FROM ' . import_of([ 'f', 'Valid', 'f', '2024-05-02' ])), 1, 'a trigger');
is(sql(q{SELECT reason FROM clearout_results WHERE email = 'f@example.com'}), 'F', 'fires');
sql('DROP TRIGGER shout ON clearout_results');

# What is no result file.
is(sqlstate($node, q{SELECT clearout_import('')}), '22P04', 'nothing');
is(sqlstate($node, q{SELECT clearout_import('email,status')}), '22P04', 'no status');
is(sqlstate($node, q{SELECT clearout_import('\x504b0304'::bytea)}), '22P04', 'a spreadsheet');
is(sqlstate($node, q{SELECT clearout_import('email,clearout status', verified_at => now() + interval '1 day')}), '22023', 'the future');
is(sqlstate($node, q{SELECT clearout_import_file('/does/not/exist')}), '58P01', 'no such file');
is(sqlstate($node, q{BEGIN READ ONLY; SELECT clearout_import('x')}), '25006', 'not in a read-only transaction');
is(sql(q{SELECT clearout_import(NULL::text) IS NULL}), 't', 'NULL in, NULL out');

# Who may.
sql(q{CREATE ROLE tender; CREATE ROLE asker; SELECT clearout_grant('tender', 'admin'), clearout_grant('asker', 'enqueue')});
is(sqlstate($node, q{SET ROLE asker; SELECT clearout_import('email,clearout status')}), '42501', 'not everybody writes verdicts');
is(sqlstate($node, q{SET ROLE tender; SELECT clearout_import('email,clearout status')}), '00000', 'an admin does');
is(sqlstate($node, qq{SET ROLE tender; SELECT clearout_import_file('$file')}), '42501', 'but reads no files of the server');
sql(q{GRANT pg_read_server_files TO tender});
is(sqlstate($node, qq{SET ROLE tender; SELECT clearout_import_file('$file')}), '00000', 'unless he may');

# Rolled back, nothing was imported.
sql(q{BEGIN; SELECT clearout_import(E'email,clearout status,clearout verified at\nback@example.com,Valid,2024-05-02'); ROLLBACK});
is(sql(q{SELECT count(*) FROM clearout_results WHERE email = 'back@example.com'}), 0, 'rolled back');
$node->stop;
done_testing();
