# What goes wrong below HTTP: certificates, handshakes that never end, servers
# that stand still, connections that are gone, proxies.  Each has its outcome in
# time, nothing is paid for twice, and the worker lives on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(status worker_pid wait_until start_node start_verify
  finish_callers call_sql verify);
use IO::Select;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

# The bound for what takes no time, on a busy machine.
my $SOON = 20;
my $OK = 'valid|yes|service|Success';

my $directory = PostgreSQL::Test::Utils::tempdir();

# A key, and a certificate with it: for which names, and until when.  Newer
# releases of openssl refuse a negative number of days, older ones know no dates.
sub certificate
{
	my ($name, $san, @until) = @_;
	my $base = "$directory/$name";

	append_to_file("$base.ext", "subjectAltName=$san");
	foreach (@until)
	{
		return
		  unless system("openssl req -new -newkey rsa:2048 -nodes -subj /CN=$name -keyout $base.key -out $base.csr >$base.out 2>&1"
			  . " && openssl x509 -req -in $base.csr -signkey $base.key $_ -extfile $base.ext -out $base.crt >$base.out 2>&1");
	}
	die "openssl makes no certificate: " . slurp_file("$base.out");
}

plan skip_all => 'needs openssl' if system('openssl version >/dev/null 2>&1');
certificate('good', 'IP:127.0.0.1', '-days 2');
certificate('expired', 'IP:127.0.0.1', '-days -1', '-not_before 20200101000000Z -not_after 20200102000000Z');
certificate('name', 'DNS:api.clearout.test', '-days 2');

my %children;

END
{
	local $?;
	kill 'KILL', keys %children if %children;
	waitpid $_, 0 foreach keys %children;
}

# A process that serves a listening socket until the test ends.
sub serve
{
	my ($code) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64, ReuseAddr => 1)
	  or die "listen: $@";
	my $pid = fork();

	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		alarm 600;
		eval { $code->($listener) };
		POSIX::_exit(0);
	}
	$children{$pid} = 1;
	return $listener->sockport;
}

# A proxy that knows CONNECT, and takes every name for 127.0.0.1; what it was
# told goes to a file.  With a user, it wants to be told who asks.
sub start_proxy
{
	my ($log, $user) = @_;

	return serve(sub {
		my ($listener) = @_;

		local $SIG{CHLD} = 'IGNORE';
		while (my $client = $listener->accept)
		{
			next if fork();
			alarm 120;
			my $head = '';
			while ($head !~ /\r\n\r\n/)
			{
				sysread($client, $head, 4096, length $head) or POSIX::_exit(0);
			}
			open(my $file, '>>', $log) or POSIX::_exit(1);
			syswrite $file, $head;
			close $file;
			if ($user && $head !~ /^Proxy-Authorization: Basic \Q$user\E/mi)
			{
				syswrite $client, "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
				POSIX::_exit(0);
			}
			my ($port) = $head =~ /^CONNECT \S+?:(\d+) / or POSIX::_exit(0);
			my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or POSIX::_exit(0);
			syswrite $client, "HTTP/1.1 200 Connected\r\n\r\n";
			my $select = IO::Select->new($client, $server);
			while (my @ready = $select->can_read(60))
			{
				foreach my $from (@ready)
				{
					my $data = '';
					sysread($from, $data, 65536) or POSIX::_exit(0);
					syswrite $from == $client ? $server : $client, $data;
				}
			}
			POSIX::_exit(0);
		}
	});
}

my $tls = ClearoutSandbox->new(tls_cert => "$directory/good.crt", tls_key => "$directory/good.key", limit => 1000000);
my $node = start_node('main', $tls,
	settings => { max_attempts => 1, request_timeout => '20s', wait_timeout => '60s', ca_file => "$directory/good.crt" });

# Settings, by a new worker.
sub set
{
	my (%settings) = @_;
	my $pid = worker_pid($node);

	foreach my $name (sort keys %settings)
	{
		$node->safe_psql('postgres', "ALTER SYSTEM SET clearout.$name = '$settings{$name}'");
	}
	$node->reload;
	return wait_until(60, sub { my $new = status($node, 'worker_pid'); $new && $new ne $pid && $new });
}

# Two callers, of whom one wants a row in any case: nobody could be reached.
sub is_unreachable
{
	my ($what, $number, %expect) = @_;
	my @callers = (
		start_verify($node, "valid-$number-e\@x.test"),
		start_verify($node, "valid-$number-u\@x.test", "on_error => 'unknown'"));

	is(finish_callers(60, @callers), 0, "$what: the callers have ended");
	is($callers[0]{sqlstate}, 'VC007', "$what: an error") or diag $callers[0]{err};
	like($callers[0]{message}, qr/cannot be reached/, "$what: message");
	like($callers[0]{detail}, $expect{detail}, "$what: detail") if $expect{detail};
	unlike($callers[0]{hint}, qr/may have been charged/, "$what: nothing was charged");
	like($callers[1]{out}, qr/^unknown\|unknown\|none\|/, "$what: or a row");
	is($node->safe_psql('postgres', "SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-$number-%'"), 0, "$what: nothing is stored");
	return;
}

subtest 'certificates' => sub {
	is(verify($node, 'valid-1@x.test')->{out}, $OK, 'a good one');

	my $expired = ClearoutSandbox->new(tls_cert => "$directory/expired.crt", tls_key => "$directory/expired.key", token => $tls->token);
	ok(set(base_url => $expired->url, ca_file => "$directory/expired.crt"), 'a server whose certificate has expired');
	my $pid = worker_pid($node);
	is_unreachable('expired', 'expired');
	is($expired->total_calls, 0, 'expired: nothing was sent');
	is(worker_pid($node), $pid, 'expired: the worker lives on');

	(my $by_name = $tls->url) =~ s/127\.0\.0\.1/localhost/;
	ok(set(base_url => $by_name, ca_file => "$directory/good.crt"), 'a certificate for another name');
	my $calls = $tls->total_calls;
	is_unreachable('another name', 'name');
	is($tls->total_calls, $calls, 'another name: nothing was sent');

	ok(set(base_url => $tls->url, ca_file => ''), 'an authority that the system does not know');
	is_unreachable('unknown authority', 'authority');
	is($tls->total_calls, $calls, 'unknown authority: nothing was sent');

	ok(set(ca_file => "$directory/nothing.crt"), 'a file of authorities that is not there');
	is(verify($node, 'valid-nothing@x.test')->{sqlstate}, 'VC007', 'is no reason to trust everybody');
	is($tls->total_calls, $calls, 'nothing was sent');

	ok(set(ca_file => "$directory/good.crt"), 'put right');
	is(verify($node, 'valid-2@x.test')->{out}, $OK, 'it answers');
};

# Somebody listens, and says nothing: the handshake does not end.
subtest 'a handshake without an end' => sub {
	my $port = serve(sub { my ($listener) = @_; my @kept; while (my $client = $listener->accept) { push @kept, $client } });

	ok(set(base_url => "https://127.0.0.1:$port/v2"), 'a server that does not speak');
	my $pid = worker_pid($node);

	my $patient = start_verify($node, 'valid-patient@x.test', "timeout => '50s'");
	my $caller = verify($node, 'valid-short@x.test', "timeout => '1s'");
	is($caller->{sqlstate}, 'VC006', 'a short timeout: let go');
	cmp_ok($caller->{seconds}, '<', 1 + $SOON, 'in time');
	$caller = call_sql($node, q{SET statement_timeout = '700ms'; SELECT clearout_verify('valid-statement@x.test')});
	is($caller->{sqlstate}, '57014', 'statement_timeout');
	cmp_ok($caller->{seconds}, '<', 0.7 + $SOON, 'in time');

	is(finish_callers(60, $patient), 0, 'whoever waits longer');
	is($patient->{sqlstate}, 'VC007', 'is told that nobody can be reached') or diag $patient->{err};
	unlike($patient->{hint}, qr/may have been charged/, 'and that nothing was charged');
	cmp_ok($patient->{seconds}, '<', 45, 'after the time that a connection may take');
	is(worker_pid($node), $pid, 'the worker lives on');
	is(status($node, 'slots_used'), 0, 'no slot is left over');

	$node->safe_psql('postgres', 'CREATE DATABASE away TEMPLATE template0');
	$node->safe_psql('away', 'CREATE EXTENSION clearout');
	worker_pid($node, 'away');
	verify($node, 'valid-away@x.test', "timeout => '1s'", 'away');
	$caller = call_sql($node, 'DROP DATABASE away');
	is($caller->{err}, '', 'DROP DATABASE with such a handshake under way');
	cmp_ok($caller->{seconds}, '<', $SOON, 'at once');

	ok(set(base_url => $tls->url), 'put right');
	is(verify($node, 'valid-3@x.test')->{out}, $OK, 'it answers');
};

# A server that stands still: connections stay open, and nothing comes.
subtest 'a server that stands still' => sub {
	my @email = map { "valid-still-$_\@x.test" } 1 .. 10;
	my $pid = worker_pid($node);

	kill 'STOP', $tls->pid;
	my @callers = map { start_verify($node, $_, "timeout => '1s'") } @email;
	is(finish_callers(60, @callers), 0, 'the callers have ended');
	is(scalar(grep { $_->{sqlstate} eq 'VC006' } @callers), 10, 'at their timeout');
	kill 'CONT', $tls->pid;
	ok(wait_until(60, sub { status($node, 'calls_in_flight') == 0 }), 'the calls come to an end');
	is(worker_pid($node), $pid, 'the worker lives on');
	cmp_ok($tls->address_stats->{max}, '<=', 1, 'no call was made twice');
	is(verify($node, 'valid-4@x.test')->{out}, $OK, 'it answers');

	# longer than a call may take
	my $may_take = sub {
		$node->safe_psql('postgres', "ALTER SYSTEM SET clearout.request_timeout = '$_[0]'");
		$node->reload;
	};
	$may_take->('1s');
	kill 'STOP', $tls->pid;
	my $caller = verify($node, 'valid-longer@x.test');
	kill 'CONT', $tls->pid;
	$may_take->('20s');
	is($caller->{sqlstate}, 'VC006', 'longer than a call may take');
	like($caller->{hint}, qr/may have been charged/, 'which may have been charged');
	cmp_ok($tls->calls('valid-longer@x.test'), '<=', 1, 'and was not made again');
	is(verify($node, 'valid-5@x.test')->{out}, $OK, 'it answers');
};

# The server was killed and is back: kept connections are gone.
subtest 'a server that came back' => sub {
	my $pid = worker_pid($node);

	foreach my $round (1 .. 3)
	{
		is(verify($node, "valid-before-$round\@x.test")->{out}, $OK, 'a connection is kept');
		$tls->crash;
		$tls->start;
		is(verify($node, "valid-after-$round\@x.test")->{out}, $OK, 'a new one is made');
		is($tls->calls("valid-after-$round\@x.test"), 1, 'one call');
	}
	is(worker_pid($node), $pid, 'by the same worker');
};

subtest 'a proxy' => sub {
	my $secure = ClearoutSandbox->new(tls_cert => "$directory/name.crt", tls_key => "$directory/name.key", token => $tls->token, limit => 1000000);
	my $log = "$directory/proxy.log";
	my $url = 'https://api.clearout.test:' . $secure->port . '/v2';
	my $proxy = start_proxy($log);

	append_to_file($log, '');
	local $ENV{https_proxy} = 'http://127.0.0.1:9';
	ok(set(base_url => $url, ca_file => "$directory/name.crt", proxy => "http://127.0.0.1:$proxy"), 'through a proxy');
	is(verify($node, 'valid-proxy-1@x.test')->{out}, $OK, 'it answers');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM clearout_verify((SELECT array_agg('valid-proxy-' || i || '@x.test') FROM generate_series(2, 60) i)) WHERE status = 'valid'}), 59, 'many at once');
	is($secure->address_stats->{max}, 1, 'by one call each');
	my $seen = slurp_file($log);
	like($seen, qr/^CONNECT api\.clearout\.test:\d+ /, 'the proxy was asked for the name');
	unlike($seen, qr/\Q@{[ $tls->token ]}\E|^Authorization/mi, 'and saw no token');
	unlike($seen, qr/x\.test|email_verify/, 'and no address');

	# the same server by its address is reached without
	my $before = -s $log;
	my $strict = start_proxy($log, 'dXNlcjpwYXNz');
	ok(set(proxy => "http://127.0.0.1:$strict"), 'a proxy that wants a password');
	my $caller = verify($node, 'valid-407@x.test');
	is($caller->{sqlstate}, 'VC007', 'and gets none: an error') or diag $caller->{err};
	unlike($caller->{hint}, qr/may have been charged/, 'nothing was charged');
	is($secure->calls('valid-407@x.test'), 0, 'nobody was asked');
	cmp_ok(-s $log, '>', $before, 'the proxy was');
	ok(set(proxy => "http://user:pass\@127.0.0.1:$strict"), 'and gets it');
	is(verify($node, 'valid-408@x.test')->{out}, $OK, 'it answers');
	unlike(slurp_file($node->logfile), qr/user:pass.*clearout worker|clearout worker.*user:pass/, 'the worker tells nobody');

	# a proxy that is gone
	ok(set(proxy => 'http://127.0.0.1:9'), 'nobody listens there');
	is_unreachable('no proxy', 'noproxy');
	ok(set(base_url => $tls->url, ca_file => "$directory/good.crt"), 'on loopback no proxy is used');
	is(verify($node, 'valid-6@x.test')->{out}, $OK, 'it answers');
};

$node->stop;
done_testing();
