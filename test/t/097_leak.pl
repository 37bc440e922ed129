# Many verifications, by sessions and through the queue: worker and session get
# no larger, no file stays open, no slot stays taken.  A hundred thousand with
# CLEAROUT_LONG_TESTS.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(status worker_pid start_node wait_until);
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Utils;
use Test::More;

my $LONG = $ENV{CLEAROUT_LONG_TESTS};
my $WARM_UP = $LONG ? 8 : 3;	# thousands, of each way to ask
my $COUNT = $LONG ? 25 : 3;
my $GROWTH_MAX = $LONG ? 4096 : 1536;	# kB

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000, remember => 'off');
my $node = start_node('main', $api,
	settings => { max_parallel => 50, statement_limit => 0 },
	conf => "shared_buffers = 16MB\nmax_wal_size = 2GB\nautovacuum = off\nlog_min_messages = log\n");
my $worker = worker_pid($node);
my $session = $node->background_psql('postgres');
my $backend = $session->query_safe('SELECT pg_backend_pid()');
my $next = 0;

# A thousand at a time, in each of the ways.
my %ask = (
	'arrays' => sub {
		my ($from, $to) = @_;
		return $session->query_safe("SELECT count(*) FROM clearout_verify((SELECT array_agg('valid-' || i || '\@x.test') FROM generate_series($from, $to) i)) WHERE status = 'valid'");
	},
	'one by one' => sub {
		my ($from, $to) = @_;
		return $session->query_safe("SELECT count(*) FROM generate_series($from, $to) i, LATERAL clearout_verify('valid-' || i || '\@x.test') v WHERE v.status = 'valid'");
	},
	'the queue' => sub {
		my ($from, $to) = @_;
		my $count = $session->query_safe("SELECT clearout_enqueue(ARRAY(SELECT 'valid-' || i || '\@x.test' FROM generate_series($from, $to) i))");
		return wait_until(120, sub { $session->query_safe('SELECT count(*) FROM clearout_queue') eq '0' }) ? $count : 0;
	},
	'errors' => sub {
		my ($from, $to) = @_;
		my $answers = $session->query_safe("SELECT count(*) FROM clearout_verify((SELECT array_agg(CASE i % 4 WHEN 0 THEN 'malformed ' || i ELSE 'invalid-' || i || '\@x.test' END)"
			. " FROM generate_series($from, $to) i), on_error => 'unknown') WHERE status = 'invalid'");
		return $answers;
	});

sub ask
{
	my ($thousands) = @_;
	my $answered = 0;

	foreach my $round (1 .. $thousands)
	{
		foreach my $way (sort keys %ask)
		{
			$answered += $ask{$way}->($next + 1, $next + 1000);
			$next += 1000;
		}
	}
	return $answered;
}

# What the system knows of a process, and what it says of its own memory.
sub look
{
	my ($pid) = @_;
	my $offset = -s $node->logfile;
	my ($contexts) = (0);

	$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($pid)");
	# a session that waits for its client answers with its next statement
	$session->query_safe('SELECT 1');
	wait_until(90, sub {
		($contexts) = substr(slurp_file($node->logfile), $offset) =~ /\[$pid\].*Grand total: \d+ bytes in \d+ blocks; \d+ free \(\d+ chunks\); (\d+) used/;
		return defined $contexts;
	});
	opendir(my $files, "/proc/$pid/fd") or die "fd: $!";
	my %open;
	# files of tables are kept open by the server itself, segments and all
	$open{ (readlink("/proc/$pid/fd/$_") // '') =~ /^(\w+:)/ ? $1 : readlink("/proc/$pid/fd/$_") =~ m{/pgdata/} ? 'table' : 'file' }++
	  foreach grep { /^\d+$/ && defined readlink("/proc/$pid/fd/$_") } readdir $files;
	my $status = slurp_file("/proc/$pid/status");
	my ($private) = $status =~ /^RssAnon:\s+(\d+)/m;
	my ($threads) = $status =~ /^Threads:\s+(\d+)/m;
	return { contexts => int(($contexts // 0) / 1024), private => $private, threads => $threads, %open };
}

sub shared
{
	return $node->safe_psql('postgres', q{SELECT string_agg(name || ' ' || allocated_size, ', ' ORDER BY name) FROM pg_shmem_allocations WHERE name ILIKE '%clearout%'});
}

is(ask($WARM_UP), $WARM_UP * 4000, 'warmed up');
my %before = map { $_ => look($_) } $worker, $backend;
my $shared = shared();
is(ask($COUNT), $COUNT * 4000, "$COUNT,000 more of each kind");

foreach ([ $worker, 'worker' ], [ $backend, 'session' ])
{
	my ($pid, $who) = @$_;
	my ($before, $after) = ($before{$pid}, look($pid));

	note "$who: ", join ', ', map { "$_ " . ($before->{$_} // 0) . ' -> ' . ($after->{$_} // 0) } sort keys %$after;
	cmp_ok($after->{private} - $before->{private}, '<=', $GROWTH_MAX, "$who: private memory");
	cmp_ok($before->{contexts}, '>', 0, "$who: it told of its memory contexts");
	cmp_ok($after->{contexts} - $before->{contexts}, '<=', 256, "$who: memory contexts");
	is($after->{'anon_inode:'} // 0, $before->{'anon_inode:'} // 0, "$who: epoll descriptors");
	is($after->{'pipe:'} // 0, $before->{'pipe:'} // 0, "$who: pipes");
	is($after->{threads}, 1, "$who: no thread is left");
	cmp_ok($after->{'socket:'} // 0, '<=', ($before->{'socket:'} // 0) + ($who eq 'worker' ? 50 : 0), "$who: sockets: kept connections at most");
	is($after->{file}, $before->{file}, "$who: files");
}
is(worker_pid($node), $worker, 'all by one worker');
is(shared(), $shared, "shared memory is as it was: $shared");
is(status($node, 'slots_used || requests_waiting::text || calls_in_flight || answers_unstored'), '0000', 'nothing is left over');
is($api->stats->{broken} // 0, 0, 'no call was broken off');

# One after the other, all places for calls and all slots can still be had.
my $places = status($node, 'slots_total');
is($session->query_safe("SELECT count(*) FROM clearout_verify((SELECT array_agg('valid-last-' || i || '\@x.test') FROM generate_series(1, 4 * $places) i)) WHERE status = 'valid'"),
	4 * $places, 'four times as many as there are slots');
$session->quit;
$node->stop;
done_testing();
