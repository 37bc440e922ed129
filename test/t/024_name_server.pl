# A database whose base URL cannot be resolved, because the name server is dead
# or says no: it alone suffers, and its worker can leave at any time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(status worker_pid wait_until start_verify finish_callers
  call_sql verify wait_gone);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# To leave takes less than a second; the rest is for busy machines.
my $SOON = 20;

my $api = ClearoutSandbox->new(limit => 1000000);

# A server with two databases, of which one has a service that has no address.
sub two_databases
{
	my ($name, $host) = @_;
	my $node = clearout_node($name, $api, max_attempts => 2, wait_timeout => '20s');

	$node->safe_psql('postgres', 'CREATE DATABASE lost');
	$node->safe_psql('postgres', "ALTER DATABASE lost SET clearout.base_url = 'https://$host/v2'");
	$node->safe_psql('lost', 'CREATE EXTENSION clearout');
	ok(worker_pid($node, $_), "$_ has a worker") foreach qw(postgres lost);
	return $node;
}

# The names under .invalid have no address, and never will.
subtest 'a name without an address' => sub {
	my $node = two_databases('unknown', 'api.clearout.invalid');
	my $pid = worker_pid($node, 'lost');
	my $caller = verify($node, 'valid-1@x.test', "timeout => '60s'", 'lost');

	like($caller->{sqlstate}, qr/^VC00[67]$/, 'the caller is told') or diag $caller->{err};
	is(verify($node, 'valid-1@x.test')->{out}, 'valid|yes|service|Success', 'the other database does not notice');
	is($api->calls('valid-1@x.test'), 1, 'one call');
	is(worker_pid($node, 'lost'), $pid, 'the worker lives on');
	is(value_of($node, 'SELECT count(*) FROM clearout_results', 'lost'), 0, 'nothing is stored');

	# Put right, it works.
	$node->safe_psql('postgres', 'ALTER DATABASE lost RESET clearout.base_url');
	ok(wait_until(60, sub { verify($node, 'valid-2@x.test', undef, 'lost')->{out} =~ /^valid\|/ }), 'with the right URL it answers');
	$node->stop;
};

# A dead name server is one that does not answer: whoever resolves a name
# waits.  That is played by a library that takes the place of the C library's
# function, and waits in it for longer than a resolver would.
my $directory = PostgreSQL::Test::Utils::tempdir();
my $library = "$directory/dead_name_server.so";
my $cc = $ENV{CC} || 'cc';

append_to_file("$directory/dead_name_server.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <time.h>

typedef int (*Resolve) (const char *, const char *, const struct addrinfo *, struct addrinfo **);

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	Resolve		resolve = (Resolve) dlsym(RTLD_NEXT, "getaddrinfo");
	struct timespec wait = {600, 0};

	if (node && strstr(node, "dead-name-server"))
	{
		while (nanosleep(&wait, &wait) != 0)
			;
		return EAI_AGAIN;
	}
	return resolve(node, service, hints, result);
}
C

SKIP:
{
	skip 'needs a C compiler', 1
	  if system("$cc -shared -fPIC -o '$library' '$directory/dead_name_server.c' -ldl >/dev/null 2>&1") != 0;

	subtest 'a dead name server' => sub {
		my $pg_ctl = PostgreSQL::Test::Utils::tempdir();
		my $bindir = PostgreSQL::Test::Cluster->new('bindir')->config_data('--bindir');

		append_to_file("$pg_ctl/pg_ctl", "#!/bin/sh\nLD_PRELOAD=\"\${LD_PRELOAD:+\$LD_PRELOAD }$library\" exec '$bindir/pg_ctl' \"\$@\"\n");
		chmod 0755, "$pg_ctl/pg_ctl";
		local $ENV{PATH} = "$pg_ctl:$ENV{PATH}";

		my $node = two_databases('dead', 'api.dead-name-server.test');
		my $resolves = sub {
			my $pid = worker_pid($node, 'lost');
			my @threads = glob "/proc/$pid/task/*";
			return @threads > 1;
		};

		# Several calls, so that several threads wait for the name server.
		my @lost = map { start_verify($node, "valid-lost-$_\@x.test", "timeout => '6s'", 'lost') } 1 .. 5;
		ok(wait_until(60, sub { status($node, 'calls_in_flight', 'lost') == 5 }), 'calls of that database are under way');
		ok(wait_until(60, $resolves), 'and wait for the name server');

		my $start = time;
		is(verify($node, "valid-on-$_\@x.test")->{out}, 'valid|yes|service|Success', "the other database goes on: $_") foreach 1 .. 20;
		cmp_ok((time - $start) / 20, '<', $SOON, 'as fast as ever');
		is($api->address_stats->{max}, 1, 'by one call each');
		is(finish_callers(60, @lost), 0, 'whoever waits is let go');
		# at his timeout, or when the worker gives up to connect, four seconds later
		like(join(' ', map { $_->{sqlstate} } @lost), qr/^VC00[67]( VC00[67]){4}$/, 'and told why');
		cmp_ok($_->{seconds}, '<', 6 + $SOON, 'in time') foreach @lost;

		# The worker still takes requests.
		my $more = verify($node, 'valid-more@x.test', "timeout => '1s'", 'lost');
		is($more->{sqlstate}, 'VC006', 'the next is let go as well');
		ok($resolves->(), 'threads still wait for the name server');

		# It leaves at once when told to.
		my $pid = worker_pid($node, 'lost');
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
		my $gone = wait_gone($pid, 60);
		ok(defined $gone && $gone < $SOON, 'SIGTERM: the worker leaves at once') or diag $gone // 'not at all';
		ok(wait_until(60, sub { my $next = worker_pid($node, 'lost'); $next && $next ne $pid }), 'and another one comes');

		# It is in the way of no command.
		my $caller = start_verify($node, 'valid-drop@x.test', "timeout => '60s'", 'lost');
		ok(wait_until(60, $resolves), 'a thread waits for the name server');
		$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ 'valid-drop' AND pid <> pg_backend_pid()});
		finish_callers(60, $caller);
		my $command = call_sql($node, 'ALTER DATABASE lost RENAME TO found');
		is($command->{err}, '', 'RENAME works');
		cmp_ok($command->{seconds}, '<', $SOON, 'at once');
		$node->safe_psql('postgres', 'ALTER DATABASE found RENAME TO lost');

		# Nor of a shutdown.
		worker_pid($node, 'lost');
		$caller = start_verify($node, 'valid-stop@x.test', "timeout => '60s'", 'lost');
		ok(wait_until(60, sub { status($node, 'calls_in_flight', 'lost') == 1 }), 'a call is under way');
		ok(wait_until(60, $resolves), 'and waits for the name server');
		my @pids = map { worker_pid($node, $_) } qw(postgres lost);
		$start = time;
		$node->stop('fast');
		cmp_ok(time - $start, '<', 2 * $SOON, 'a fast shutdown is not held up');
		ok(!ClearoutStress::is_alive($_), 'the worker has gone') foreach @pids;
		finish_callers(30, $caller);
		is($caller->{sqlstate}, '57P01', 'the caller is told');

		$node->start;
		is(verify($node, 'valid-again@x.test')->{out}, 'valid|yes|service|Success', 'all is well afterwards');
		$node->stop;
	};
}

done_testing();
