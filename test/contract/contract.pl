# Every function that calls the service, through a proxy that checks requests
# and answers against the description in this directory, in front of the
# sandbox.  Run by test/contract/check.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $prism = $ENV{CONTRACT_PRISM} or die "run test/contract/check\n";
my $spec = $ENV{CONTRACT_SPEC} || "$FindBin::RealBin/clearout.yaml";
my $violation = qr/violation/i;
my $own_spec = !$ENV{CONTRACT_SPEC};
my $log = PostgreSQL::Test::Utils::tempdir() . '/prism.log';
my $http = HTTP::Tiny->new(timeout => 20, proxy => undef, http_proxy => undef, keep_alive => 0);
my $api = ClearoutSandbox->new;
my $proxy_pid;
my $proxy_port;

END
{
	if ($proxy_pid)
	{
		local $?;
		kill 'TERM', -$proxy_pid;
		waitpid $proxy_pid, 0;
	}
}

sub free_port
{
	my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen: $!";
	return $socket->sockport;
}

sub slurp { open(my $fh, '<:raw', $_[0]) or return ''; local $/; return <$fh> // '' }

sub start_proxy
{
	$proxy_port = free_port();
	$proxy_pid = fork();
	die "fork: $!" unless defined $proxy_pid;
	if ($proxy_pid == 0)
	{
		setpgrp;
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>', $log);
		open(STDERR, '>&', \*STDOUT);
		POSIX::close($_) foreach 3 .. 63;
		exec($prism, 'proxy', $spec, $api->url, '--port', $proxy_port, '--host', '127.0.0.1', '--errors')
		  or POSIX::_exit(1);
	}
	my $end = time + 60;
	until (slurp($log) =~ /Prism is listening/)
	{
		die "the proxy did not start:\n" . slurp($log) if time > $end || waitpid($proxy_pid, POSIX::WNOHANG());
		sleep 0.1;
	}
}

# A request through the proxy.
sub call
{
	my ($method, $path, $body, %headers) = @_;
	return $http->request(
		$method,
		"http://127.0.0.1:$proxy_port$path",
		{
			headers => { Authorization => 'Bearer ' . $api->token, 'Content-Type' => 'application/json', %headers },
			defined $body ? (content => $body) : ()
		});
}

# Rows of the table: name, endpoints, pattern, and steps: SQL, or what the
# sandbox is told.
sub rows
{
	my @rows;

	open(my $fh, '<:raw', "$FindBin::RealBin/functions") or die "functions: $!";
	while (my $line = <$fh>)
	{
		next if $line =~ /^#|^\s*$/;
		if ($line =~ /^\s+\@(\w+) (.*)/)
		{
			push @{ $rows[-1]{steps} }, { order => $1, body => decode_json($2) };
		}
		elsif ($line =~ /^\s+(.*)/s)
		{
			my $steps = $rows[-1]{steps};

			push @$steps, { sql => '' } unless @$steps && exists $steps->[-1]{sql};
			$steps->[-1]{sql} .= $1;
		}
		else
		{
			chomp $line;
			my ($name, $endpoints, $pattern) = split / \| /, $line;
			push @rows, { name => $name, endpoints => [ split ' ', $endpoints ], pattern => $pattern, steps => [] };
		}
	}
	return @rows;
}

# What all steps of a row return, in one line, and the error that ended it.
sub run_row
{
	my ($node, $row) = @_;
	my $all = '';

	foreach my $step (@{ $row->{steps} })
	{
		if ($step->{order})
		{
			$api->_control('POST', "/$step->{order}", $step->{body});
			next;
		}
		my ($code, $out, $err) = $node->psql('postgres', $step->{sql},
			extra_params => [ '-v', 'ON_ERROR_STOP=1' ], timeout => 120);
		$all .= "$out\n" if length($out // '');
		return ($all, $err || 'failed') if $code != 0;
	}
	$all =~ s/\s+/ /g;
	$all =~ s/^ | $//g;
	return ($all, '');
}

# The endpoints of a row that were not reached, not even a while later: some
# calls are made after the statement that has caused them.
sub missed
{
	my ($row, $before) = @_;
	my $end = time + 120;
	my @missed;

	while (1)
	{
		my $now = $api->stats->{by_endpoint};

		@missed = grep { !defined $now->{$_} || $now->{$_} <= ($before->{$_} // 0) } @{ $row->{endpoints} };
		last if !@missed || time > $end;
		sleep 0.1;
	}
	return @missed;
}

$ENV{PGCLIENTENCODING} = 'UTF8';
start_proxy();

# Does the proxy check at all?  A contract that nobody reads is always kept.
my %answer = (status => 'success', data => { available_credits => 'many' });
is(call('GET', '/email_verify/getcredits')->{status}, 200, 'a request that keeps the contract comes through');
is(call('POST', '/email_verify/instant', '{"timeout":5000}')->{status}, 422, 'one without an address does not');
if ($own_spec)
{
	is(call('POST', '/email_verify/instant', '{"email":"a@b.test","e-mail":"x"}')->{status}, 422, 'nor one with a field too many');
	$api->fault(endpoint => 'credits', body => \%answer, times => 1);
	is(call('GET', '/email_verify/getcredits')->{status}, 500, 'nor an answer of another shape');
}
is(call('GET', '/email_verify/getcredits', undef, Authorization => 'Basic x')->{status}, 401, 'nor another authorization');
is($api->stats->{by_endpoint}{verify}, 0, 'what is wrong does not reach the service');
like(slurp($log), $violation, 'and the proxy tells of it');
$api->reset;
# how much the proxy has said until here
my $log_start = length slurp($log);

my $node = PostgreSQL::Test::Cluster->new('contract');
$node->init;
$node->append_conf('postgresql.conf', $api->conf);
$node->append_conf('postgresql.conf', "clearout.base_url = 'http://127.0.0.1:$proxy_port'\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION clearout;
CREATE FUNCTION until(query text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	good boolean;
BEGIN
	FOR i IN 1 .. 1200 LOOP
		EXECUTE query INTO good;
		IF good THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
	RETURN false;
END $$;
SQL

# Functions by name and first type, as in the table.  What calls the service is
# dear to the planner; each such function has a row.
my @dear = split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT DISTINCT p.proname || '(' || coalesce((p.proargtypes::oid[])[0]::regtype::text, '') || ')'
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
WHERE e.extname = 'clearout' AND p.procost >= 1000000
SQL
my @rows = rows();

# What clearout leaves out on purpose.
my %left_out = map { $_ => 1 } map { @{ $_->{endpoints} } } grep { $_->{name} eq '-' } @rows;
@rows = grep { $_->{name} ne '-' } @rows;
my %rowed = map { ($_->{name} =~ s/:.*//r) => 1 } @rows;
is(join(' ', grep { !$rowed{$_} } sort @dear), '', 'every function that calls the service is in the table');
cmp_ok(scalar @dear, '>', 0, 'there are such functions');

# The description, the sandbox and the table speak of the same endpoints.
if ($own_spec)
{
	my @described = slurp($spec) =~ /^      operationId: (\w+)$/gm;
	my @served = grep { $_ ne 'download' } keys %{ $api->stats->{by_endpoint} };

	is(join(' ', sort @described), join(' ', sort @served), 'the description has the endpoints that the sandbox has');
}

my $run = 0;
foreach my $row (@rows)
{
	my ($function) = $row->{name} =~ /^(\w+)/;

	if ($node->safe_psql('postgres', "SELECT count(*) FROM pg_proc WHERE proname = '$function'") == 0)
	{
		fail("$row->{name}: there is no such function");
		next;
	}
	my $before = $api->stats->{by_endpoint};
	my ($out, $err) = run_row($node, $row);
	my @missed = missed($row, $before);

	ok($err eq '' && $out =~ /^$row->{pattern}$/ && !@missed, $row->{name})
	  or diag "returned: $out $err", @missed ? " not reached: @missed" : '';
	$api->clear;
	$api->config(bulk_speed => undef);
	$run++;
}
cmp_ok($run, '>', 0, 'something was run');

my $stats = $api->stats;
my @untouched = grep { !$stats->{by_endpoint}{$_} } sort keys %{ $stats->{by_endpoint} };
is("@untouched", join(' ', sort keys %left_out), 'every endpoint was touched, but those that are left out');

# A failure keeps the contract too.
$api->config(credits => 0);
my ($code, $out, $err) = $node->psql('postgres', q{SELECT clearout_verify('valid-9@contract.test')});
like($err, qr/credits/, 'out of credits');
$api->config(credits => 100000);

$node->stop;

my $said = substr slurp($log), $log_start;
my @violations = grep { $_ =~ $violation } split /\n/, $said;
my $requests = () = $said =~ /Request received/g;
is(scalar @violations, 0, 'no violation') or diag join "\n", @violations[ 0 .. ($#violations > 20 ? 20 : $#violations) ];
cmp_ok($requests, '>=', $run, "the proxy has checked $requests requests");
note $said if $ENV{CONTRACT_VERBOSE};

done_testing();
