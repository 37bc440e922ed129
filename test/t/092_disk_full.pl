# The disk is full: answers that were paid for are kept, no call is made that
# could not be stored, and all goes on when there is room again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(status worker_pid wait_until call_sql verify);
use ClearoutTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new(limit => 1000000);
my $node = clearout_node('main', $api, max_parallel => 20, wait_timeout => '60s',
	conf => "log_statement = none\nlog_min_error_statement = panic\nautovacuum = off\nmax_wal_size = 1GB\n");
my $pid = worker_pid($node);

is(verify($node, 'valid-before@x.test')->{out}, 'valid|yes|service|Success', 'there is room');
$node->stop;

# A limit on the size of files is a disk that is full for what grows beyond,
# and leaves the log and the other databases alone.  What the tables have
# already is more than the 16 MB that a segment of the log has.
my $directory = PostgreSQL::Test::Utils::tempdir();
my $pg_ctl = $node->config_data('--bindir') . '/pg_ctl';
append_to_file("$directory/pg_ctl", "#!/bin/sh\nulimit -Sf \${CLEAROUT_BLOCKS:-unlimited} || exit 1\nexec '$pg_ctl' \"\$@\"\n");
chmod 0755, "$directory/pg_ctl";
$ENV{PATH} = "$directory:$ENV{PATH}";
$node->start;

# Filler, so that the tables are as large as a file may become.
foreach my $table (qw(clearout_results clearout_spill))
{
	$node->safe_psql('postgres', "INSERT INTO $table (email, status, verified_at, source, reason)
		SELECT 'filler-' || i || '\@x.test', 'valid', now() - interval '1 year', 'instant', (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 59) j)
		FROM generate_series(1, 10000) i");
}
my ($large, $small) = split /\|/, value_of($node, q{SELECT greatest(pg_relation_size('clearout_results'), pg_relation_size('clearout_spill')),
	least(pg_relation_size('clearout_results'), pg_relation_size('clearout_spill'))});
cmp_ok($small, '>', 17 << 20, 'the tables are larger than a segment of the log');
note "tables of $small and $large bytes";
$node->safe_psql('postgres', 'CHECKPOINT');

# Blocks of 1024 bytes in dash and bash: 512 there are units of POSIX; take
# what makes the smaller of the two tables full in either.
my $unit = `sh -c 'ulimit -Sf 4; ulimit -Sf; dd if=/dev/zero of=$directory/probe bs=512 count=64 2>/dev/null'`;
my $bytes = -s "$directory/probe";
is($bytes % 4, 0, "four units are $bytes bytes");
$ENV{CLEAROUT_BLOCKS} = int($small / ($bytes / 4));
$node->restart;
$pid = worker_pid($node);
my $calls = $api->total_calls;
my $stored = 'SELECT (SELECT count(*) FROM clearout_results WHERE email NOT LIKE \'filler%\') + (SELECT count(*) FROM clearout_spill WHERE email NOT LIKE \'filler%\')';

# Whatever room is left on the last pages is used up, and then nothing goes.
my $emails = q{(SELECT array_agg('valid-full-' || i || '@x.test') FROM generate_series(1, 300) i)};
my $caller = call_sql($node, "SELECT count(*) FROM clearout_verify($emails, timeout => '8s')");
isnt($caller->{sqlstate}, '', 'not all can be stored') or diag $caller->{out};
ok(wait_until(60, sub { status($node, 'state') eq 'storing failed' }), 'the status says so');
like(status($node, 'reason'), qr/could not (?:extend|write)/, 'with the reason');
# those under way when the first could not be stored come in after it
my $unstored;
ok(wait_until(60, sub {
	$unstored = status($node, 'answers_unstored');
	return value_of($node, $stored) + $unstored - 1 == $api->total_calls - $calls;
}), 'each answer is stored or kept') or diag "$unstored kept";
cmp_ok($unstored, '>', 0, "$unstored answers wait in memory");
cmp_ok($unstored, '<=', 20, 'not more than calls may be under way');
my $so_far = $api->total_calls;
is(verify($node, 'valid-more@x.test', "timeout => '1s'")->{sqlstate}, 'VC006', 'others have to wait');
is($api->total_calls, $so_far, 'and no call is made that could not be stored');
is(verify($node, 'valid-before@x.test')->{out}, 'valid|yes|stored|Success', 'what is stored can be read');
is(worker_pid($node), $pid, 'the worker lives on');

# Room again.
$node->safe_psql('postgres', q{DELETE FROM clearout_results WHERE email LIKE 'filler-%'});
$node->safe_psql('postgres', 'VACUUM clearout_results');
ok(wait_until(60, sub { status($node, 'state') eq 'running' }), 'with room again, it runs');
is(status($node, 'answers_unstored'), 0, 'nothing is kept in memory');
is(call_sql($node, "SELECT count(*) FROM clearout_verify($emails) WHERE status = 'valid'")->{out}, 300, 'all are answered');
is($api->address_stats->{max}, 1, 'by one call each');
is(worker_pid($node), $pid, 'by the same worker');

# The same while the queue is drained: what cannot be stored is not asked, its
# rows stay, and the drain goes on when there is room.
$node->safe_psql('postgres', q{SELECT clearout_pause()});
$node->safe_psql('postgres', q{INSERT INTO clearout_queue (email) SELECT 'valid-drain-' || i || '@x.test' FROM generate_series(1, 1000) i});
foreach my $table (qw(clearout_results clearout_spill))
{
	foreach my $lines (59, 20, 5, 1)
	{
		# each row for itself, so that all of them stay but the last
		$node->safe_psql('postgres', "DO \$\$ BEGIN
			FOR i IN 1 .. 100000 LOOP
				BEGIN
					INSERT INTO $table (email, status, verified_at, source, reason)
					SELECT 'filler-$lines-' || i || '\@x.test', 'valid', now() - interval '1 year', 'instant',
						(SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, $lines) j);
				EXCEPTION WHEN OTHERS THEN
					RETURN;
				END;
			END LOOP;
			RAISE 'there is room for all';
		END \$\$");
	}
}
$calls = $api->total_calls;
my $before = value_of($node, $stored);
$node->safe_psql('postgres', q{SELECT clearout_resume()});
ok(wait_until(60, sub { status($node, 'state') eq 'storing failed' }), 'queue: it comes to that');
# those under way when the first could not be stored come in after it
ok(wait_until(60, sub {
	$unstored = status($node, 'answers_unstored');
	$so_far = $api->total_calls;
	return value_of($node, $stored) - $before + $unstored == $so_far - $calls;
}), 'queue: each answer is stored or kept') or diag "$unstored kept";
cmp_ok($unstored, '<=', 20, 'queue: not more is kept than calls may be under way');
cmp_ok($so_far - $calls, '<', 1000, 'queue: and most are not asked');
is(value_of($node, 'SELECT count(*) FROM clearout_queue'), 1000 - ($so_far - $calls - $unstored), 'queue: the rows of the others are there');
is(verify($node, 'valid-more2@x.test', "timeout => '2s'")->{sqlstate}, 'VC006', 'queue: meanwhile');
is($api->total_calls, $so_far, 'queue: no call is made that could not be stored');
$node->safe_psql('postgres', q{DELETE FROM clearout_results WHERE email LIKE 'filler-%'});
$node->safe_psql('postgres', 'VACUUM clearout_results');
ok(wait_until(60, sub { value_of($node, 'SELECT count(*) FROM clearout_queue') eq '0' }), 'queue: with room again, it is drained');
is($api->address_stats->{max}, 1, 'queue: by one call for each address');
is(worker_pid($node), $pid, 'queue: by the same worker');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11|signal 25/, 'and nothing has crashed');

$node->stop;
done_testing();
