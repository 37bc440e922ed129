# kill -9 of the worker and of the postmaster in each state of a bulk job, held
# exactly there: it goes on by itself, nothing is uploaded a second time, and
# every row is stored once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(is_up worker_pid wait_until wait_gone kill_postmaster);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $ROWS = 3000;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 10_000_000, bulk_lists => undef);
my $node = clearout_node('main', $api, request_timeout => '1s',
	conf => "restart_after_crash = on\nlog_statement = none\n");
my $round = 0;

sub sql { return value_of($node, @_) }

# While a server starts or ends, there may be no answer at all.
sub try_sql
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	my $rc = $node->psql('postgres', $sql, stdout => \$out, stderr => \$err);
	return $rc == 0 ? $out : '';
}

sub kill_worker
{
	my $pid = worker_pid($node);

	kill 'KILL', $pid;
	wait_gone($pid, 30);
	wait_until(60, sub { is_up($node) });
	return;
}

my %blows = (worker => \&kill_worker, postmaster => sub { kill_postmaster($node); $node->start });

sub uploads { return $api->stats->{by_endpoint}{upload} }

# One job: stopped at its place, killed there, let go.
sub killed_at
{
	my ($state, %how) = @_;

	foreach my $who (qw(worker postmaster))
	{
		subtest "$who killed: $how{name}" => sub {
			my $lists = () = $api->lists;
			my $uploads = uploads();

			$round++;
			$how{before}->() if $how{before};
			my $rows = $how{rows} // $ROWS;
			my $domain = join '.', $how{tail} // (), 'x.test';
			my $job = sql("SELECT clearout_bulk_verify('SELECT ''round-$round-'' || i || ''\@$domain'' FROM generate_series(1, $rows) i'"
				. ($how{arguments} // '') . ')');
			ok(wait_until(60, sub { $how{there}->($job) }), 'it is there');
			is(sql("SELECT state FROM clearout_parts WHERE job = $job"), $state, "it is $state") if $state;
			$blows{$who}->();
			$how{after}->($job) if $how{after};
			ok(wait_until(90, sub { try_sql("SELECT state FROM clearout_jobs WHERE job = $job") eq 'done' }), 'it is done in the end')
			  or diag(try_sql("SELECT row_to_json(j) FROM clearout_jobs j WHERE job = $job"));
			is(sql("SELECT count(*), count(DISTINCT email) FROM clearout_results WHERE email LIKE 'round-$round-%' AND source = 'bulk'"), "$rows|$rows", 'every row is stored once');
			is(sql("SELECT rows_answered, rows_unanswered, rows_broken FROM clearout_jobs WHERE job = $job"), "$rows|0|0", 'and counted once');
			is(sql("SELECT count(*) FROM clearout_spool WHERE job = $job"), 0, 'the spool is empty');
			my @new = ($api->lists)[$lists .. $#{[ $api->lists ]}];
			is(scalar @new, 1, 'the service has one list');
			is(uploads() - $uploads, $how{uploads} // 1, 'from one upload');
			is($api->rows("round-$round-7\@$domain"), 1, 'each address was verified once');
			$how{end}->($job) if $how{end};
			$api->clear;
		};
	}
	return;
}

sub in_state
{
	my ($state) = @_;
	return sub { my ($job) = @_; return try_sql("SELECT count(*) FROM clearout_parts WHERE job = $job AND state = '$state'") eq '1' };
}

killed_at('spooled', name => 'before the upload',
	before => sub { sql('SELECT clearout_pause()') },
	there => in_state('spooled'),
	after => sub { sql('SELECT clearout_resume()') });

killed_at('uploading', name => 'the upload is accepted, its answer on the way',
	before => sub { $api->hold(endpoint => 'upload') },
	there => sub { $api->stats->{held} == 1 },
	after => sub { $api->release });

# Amid the file, which is longer than what a connection holds (4 MB, as systems
# have it): half of one is no list.
my $first;
killed_at('uploading', name => 'the upload is under way',
	rows => 30_000, tail => join('.', (map { $_ x 60 } qw(a b c)), 'd' x 40),
	before => sub { $api->hold(endpoint => 'upload', bytes => 100_000, times => 1) },
	there => sub { $api->stats->{held} == 1 },
	after => sub {
		my ($job) = @_;
		$first = sql("SELECT file_name FROM clearout_parts WHERE job = $job");
		is(scalar(() = $api->lists($first)), 0, 'the service has no list');
		$api->release;
	},
	end => sub {
		my ($job) = @_;
		isnt(sql("SELECT file_name FROM clearout_parts WHERE job = $job"), $first, 'the list is that of another upload');
		is(scalar(() = $api->lists($first)), 0, 'the first has brought none');
	});

# The request is read, and then nothing: the service has no list.
killed_at('uploading', name => 'the upload came to nothing', uploads => 2,
	before => sub { $api->fault(endpoint => 'upload', kind => 'hang', times => 1) },
	there => sub { $api->stats->{hung} >= 1 });

killed_at('running', name => 'the list is worked on',
	before => sub { $api->config(bulk_speed => 0) },
	there => in_state('running'),
	after => sub { $api->config(bulk_speed => undef) });

killed_at('downloading', name => 'asking for the result',
	before => sub { $api->hold(endpoint => 'result') },
	there => sub { $api->stats->{held} == 1 },
	after => sub { $api->release });

killed_at('downloading', name => 'the result is on the way',
	before => sub { $api->hold(endpoint => 'download') },
	there => sub { $api->stats->{held} == 1 },
	after => sub { $api->release });

# Some of its rows are stored, and it stands still.
killed_at('downloading', name => 'half of the result is stored',
	before => sub { $api->fault(endpoint => 'download', kind => 'cut', end => 'hang', bytes => 300_000, times => 1) },
	there => sub { my ($job) = @_; return try_sql("SELECT rows_answered FROM clearout_parts WHERE job = $job") > 0 },
	after => sub {
		my ($job) = @_;
		my $stored = sql("SELECT rows_answered FROM clearout_parts WHERE job = $job");
		cmp_ok($stored, '>', 0, 'some rows are stored');
		cmp_ok($stored, '<=', $ROWS, 'not more than there are');
	});

killed_at('stored', name => 'the list is being removed', arguments => ', remove_list => true',
	before => sub { $api->hold(endpoint => 'remove') },
	there => sub { $api->stats->{held} == 1 },
	after => sub { $api->release });

# What a list has cost is written down with its end, not a little later.
subtest 'killed right after the end' => sub {
	my $before = sql('SELECT coalesce(sum(credits), 0) FROM clearout_usage');

	$round++;
	my $job = sql("SELECT clearout_bulk_verify('SELECT ''valid-$round-'' || i || ''\@x.test'' FROM generate_series(1, $ROWS) i')");
	my $pid = worker_pid($node);
	# in the server, where nothing comes between the look and the blow
	sql("DO \$\$BEGIN FOR i IN 1..6000 LOOP EXIT WHEN (SELECT finished_at IS NOT NULL FROM clearout_jobs_data WHERE job = $job);"
		. 'PERFORM pg_sleep(0.01); END LOOP; END$$');
	kill 'KILL', $pid;
	wait_gone($pid, 30);
	ok(wait_until(60, sub { try_sql("SELECT state FROM clearout_jobs WHERE job = $job") eq 'done' }), 'it is done');
	is(sql("SELECT credits FROM clearout_jobs WHERE job = $job"), $ROWS, 'its credits are known');
	is(sql('SELECT sum(credits) FROM clearout_usage') - $before, $ROWS, 'and counted');
};

my $log = slurp_file($node->logfile);
unlike($log, qr/signal 11|signal 6|TRAP:/, 'nothing has crashed of itself');
$node->stop;
done_testing();
