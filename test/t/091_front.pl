# Behind a real front: nginx with TLS and HTTP/2, which closes connections after
# a few requests, or when they are idle, or because it is told to.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutTest qw(value_of);
use ClearoutStress qw(status worker_pid wait_until start_node call_sql verify
  start_caller finish_callers);
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my ($nginx) = grep { -x $_ } map { "$_/nginx" } grep { defined && length } qw(/usr/sbin /usr/local/sbin /usr/bin), $ENV{CLEAROUT_TOOLS}, split /:/, $ENV{PATH};
plan skip_all => 'needs nginx' unless $nginx;
my $directory = PostgreSQL::Test::Utils::tempdir();
plan skip_all => 'needs openssl'
  if system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout $directory/key -out $directory/cert >/dev/null 2>&1");

my $OK = 'valid|yes|service|Success';
my $api = ClearoutSandbox->new(limit => 1000000, latency => '5..20');
my $probe = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die $@;
my $port = $probe->sockport;
close $probe;

append_to_file("$directory/nginx.conf", <<"CONF");
daemon off;
master_process on;
worker_processes 2;
pid $directory/pid;
error_log $directory/error.log warn;
events { worker_connections 512; }
http {
	log_format seen '\$server_protocol \$connection \$connection_requests \$status';
	access_log $directory/access.log seen;
	client_body_temp_path $directory/body;
	proxy_temp_path $directory/proxy;
	fastcgi_temp_path $directory/fastcgi;
	uwsgi_temp_path $directory/uwsgi;
	scgi_temp_path $directory/scgi;
	keepalive_requests 7;
	keepalive_timeout 300ms;
	upstream api { server 127.0.0.1:@{[ $api->port ]}; keepalive 64; }
	server {
		listen 127.0.0.1:$port ssl http2;
		ssl_certificate $directory/cert;
		ssl_certificate_key $directory/key;
		location / {
			proxy_pass http://api;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_next_upstream off;
		}
	}
}
CONF
my $pid = fork();
die "fork: $!" unless defined $pid;
if ($pid == 0)
{
	open(STDOUT, '>', "$directory/out");
	open(STDERR, '>&', \*STDOUT);
	exec($nginx, '-c', "$directory/nginx.conf", '-e', "$directory/error.log") or POSIX::_exit(1);
}

END
{
	local $?;
	if ($pid) { kill 'TERM', $pid; waitpid $pid, 0 }
}

plan skip_all => 'nginx does not start: ' . (slurp_file("$directory/out") || slurp_file("$directory/error.log"))
  unless wait_until(60, sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) });

my $node = start_node('main', $api, settings => {
	base_url => "https://127.0.0.1:$port/v2", ca_file => "$directory/cert", max_parallel => 20, max_attempts => 1 });
my $worker = worker_pid($node);

is(verify($node, 'valid-1@x.test')->{out}, $OK, 'it answers');
is(call_sql($node, q{SET clearout.statement_limit = 0; SELECT count(*) FROM clearout_verify((SELECT array_agg('valid-many-' || i || '@x.test') FROM generate_series(1, 2000) i)) WHERE status = 'valid'})->{out},
	2000, 'two thousand, over connections that are closed after seven');
is($api->address_stats->{max}, 1, 'by one call each');

# Around the time when idle connections are closed: some calls meet the end of
# theirs.  Those are told so, and not made again.
my %seen = (answered => 0, lost => 0);
foreach my $i (1 .. 20)
{
	sleep 0.28 + 0.002 * $i;
	my $caller = verify($node, "valid-idle-$i\@x.test");
	$seen{ $caller->{sqlstate} eq '' ? 'answered' : 'lost' }++;
	like($caller->{out} . $caller->{sqlstate}, qr/^\Q$OK\E$|^VC007$/, "idle $i: an answer or a clear error");
	cmp_ok($api->calls("valid-idle-$i\@x.test"), '<=', 1, "idle $i: one call at most");
}
cmp_ok($seen{answered}, '>=', 10, "$seen{answered} answered, $seen{lost} lost");

# A reload of the front, under load.  It closes idle connections without looking
# whether a request is on its way: a few calls are lost, and told so.
my @callers = map {
	start_caller($node, "SET clearout.statement_limit = 0; SELECT count(*) FROM clearout_verify((SELECT array_agg('valid-load-$_-' || i || '\@x.test') FROM generate_series(1, 800) i), on_error => 'unknown') WHERE status = 'valid'")
} 1 .. 2;
foreach (1 .. 4) { sleep 0.15; kill 'HUP', $pid }
is(finish_callers(90, @callers), 0, 'reloads under load: all come to an end');
my $answered = 0;
$answered += $_->{out} || 0 foreach @callers;
cmp_ok($answered, '>=', 1550, "$answered of 1600 are answered") or diag map { $_->{err} } @callers;
is(value_of($node, q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-load-%'}), $answered, 'and stored');
is($api->address_stats->{max}, 1, 'no call was made twice');
is(status($node, 'worker_pid'), $worker, 'by one worker');
is(status($node, 'slots_used || requests_waiting::text || calls_in_flight'), '000', 'nothing is left over');

my @lines = split /\n/, slurp_file("$directory/access.log");
is(scalar(grep { !m{^HTTP/1\.1 } } @lines), 0, 'HTTP/1.1, although the front offers HTTP/2');
my %connections = map { (split / /)[1] => 1 } @lines;
cmp_ok(@lines / keys %connections, '>', 3, 'connections are used again');

$node->stop;
done_testing();
