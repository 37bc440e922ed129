# A standby reads what is stored and spends nothing; promoted, it works.  And
# pg_upgrade's servers run nothing of ours.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(status worker_pid wait_until verify);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $api = ClearoutSandbox->new(limit => 1000000);

# Processes of ours that belong to this server, by what ps would show.
sub our_processes
{
	my ($node) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	my @found;

	foreach my $file (glob '/proc/[0-9]*/status')
	{
		open(my $status, '<', $file) or next;
		my $text = do { local $/; <$status> };
		next unless defined $text && $text =~ /^PPid:\s+$postmaster$/m;
		(my $pid = $file) =~ s{^/proc/(\d+)/status}{$1};
		open(my $command, '<', "/proc/$pid/cmdline") or next;
		my $line = do { local $/; <$command> };
		push @found, $line =~ tr/\0//dr if defined $line && $line =~ /clearout/;
	}
	return @found;
}

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', "fsync = off\nmax_connections = 50\nmax_worker_processes = 12\n" . $api->conf(wait_timeout => '20s'));
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION clearout; CREATE DATABASE second');
$primary->safe_psql('second', 'CREATE SCHEMA s; CREATE EXTENSION clearout SCHEMA s');
ok(worker_pid($primary), 'the primary has its worker');
is(verify($primary, 'valid-old@x.test')->{out}, 'valid|yes|service|Success', 'and answers');

$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;

is(verify($primary, 'valid-new@x.test')->{out}, 'valid|yes|service|Success', 'one more answer');
$primary->safe_psql('second', q{SELECT s.clearout_verify('valid-second@x.test')});
$primary->wait_for_catchup($standby);
my $calls = $api->total_calls;

subtest 'standby' => sub {
	my $read = q{SELECT status || '|' || source FROM clearout_verify};

	is(scalar our_processes($standby), 0, 'no process of ours');
	is(value_of($standby, qq{$read('valid-old\@x.test')}), 'valid|stored', 'a stored answer');
	is(value_of($standby, qq{$read('Valid-New\@X.test', max_age => '1 hour')}), 'valid|stored', 'a new one, replicated');
	is(value_of($standby, qq{$read(ARRAY['valid-old\@x.test', 'valid-new\@x.test', 'x', NULL]) WHERE status IS NOT NULL}), "valid|stored\nvalid|stored\ninvalid|local", 'several');
	is(value_of($standby, q{SELECT count(*) FROM clearout_results}), 2, 'the table');
	is(value_of($standby, q{SELECT clearout_normalize('Jane@EXAMPLE.com') || clearout_syntax_error('x')}) =~ /^jane\@example\.com./ ? 1 : 0, 1, 'what is local');
	is(value_of($standby, q{SELECT state || '|' || (worker_pid IS NULL) FROM clearout_status}), 'no worker|true', 'the status');

	foreach my $sql (
		q{SELECT clearout_verify('valid-none@x.test')},
		q{SELECT clearout_verify('valid-old@x.test', max_age => '0')},
		q{SELECT clearout_verify('valid-none@x.test', on_error => 'unknown')},
		q{SELECT clearout_verify(ARRAY['valid-old@x.test', 'valid-none@x.test'])},
		q{SELECT clearout_verify(ARRAY['valid-none@x.test'], on_error => 'unknown')},
		q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT clearout_verify('valid-none@x.test')})
	{
		my $start = time;
		is(sqlstate($standby, $sql), '25006', "refused: $sql");
		cmp_ok(time - $start, '<', 20, 'at once');
	}
	like(error_of($standby, q{SELECT clearout_verify('valid-none@x.test')}), qr/HINT:.*primary/, 'with a hint');
	is($api->total_calls, $calls, 'the service has heard nothing of it');
	is(scalar our_processes($standby), 0, 'still no process of ours');
	$standby->restart;
	is(value_of($standby, qq{$read('valid-old\@x.test')}), 'valid|stored', 'after a restart');
	is(scalar our_processes($standby), 0, 'likewise');
};

subtest 'promotion' => sub {
	$primary->stop;
	$standby->promote;
	ok(worker_pid($standby), 'the worker starts');
	ok(wait_until(60, sub { our_processes($standby) == 3 }), 'as does the launcher, and the worker of the other database')
	  or diag our_processes($standby);
	is(verify($standby, 'valid-after@x.test')->{out}, 'valid|yes|service|Success', 'calls work');
	is(value_of($standby, q{SELECT status FROM s.clearout_verify('valid-after-2@x.test')}, 'second'), 'valid', 'in the other database too');
	is($api->calls('valid-after@x.test'), 1, 'by one call');
	is($api->total_calls, $calls + 2, 'no call of the primary is made again');
	is(value_of($standby, q{SELECT count(*) FROM clearout_results}), 3, 'stored');
	is($api->calls('valid-none@x.test'), 0, 'what was refused is not asked afterwards');
};

subtest 'binary upgrade' => sub {
	my $data = $standby->data_dir;
	my $pg_ctl = $standby->config_data('--bindir') . '/pg_ctl';

	ok(our_processes($standby) > 0, 'processes of ours can be seen');
	$standby->stop;

	# As pg_upgrade starts it.
	my $log = $standby->logfile . '.upgrade';
	command_ok([ $pg_ctl, '-w', '-D', $data, '-l', $log, '-o', '-b', 'start' ], 'started as by pg_upgrade');
	is(value_of($standby, q{SELECT status || '|' || source FROM clearout_verify('valid-after@x.test')}), 'valid|stored', 'stored answers can be read');
	sleep 1;
	is(scalar our_processes($standby), 0, 'no process of ours');
	is($api->total_calls, $calls + 2, 'and no call');
	command_ok([ $pg_ctl, '-w', '-D', $data, '-m', 'fast', 'stop' ], 'stopped');
	unlike(slurp_file($log), qr/clearout (launcher|worker)/, 'nor was there one');

	$standby->start;
	ok(worker_pid($standby), 'started as usual, there is one again');
	$standby->stop;
};

done_testing();
