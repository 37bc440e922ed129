# One token, one window: databases with the same token share it, those with
# another do not, and whoever else uses the token is made room for.
#
# What is judged are the windows that the server saw.  Left out are the first
# ones, in which limit and end of a window are learnt, and the last one, in
# which the test itself ends.
#
# Measures time, so it wants a quiet machine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(status worker_pid wait_until start_caller finish_callers);
use ClearoutTest;
use HTTP::Tiny;
use List::Util qw(min max sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $LEARNING = 2;	# windows

my @tokens = map { $_ x 32 . ':' . '0123456789abcdef' x 4 } qw(a b);

# The windows of one token that are judged: limit learnt, and over.
sub windows
{
	my ($stats, $token) = @_;
	my @windows = grep { $_->{token} eq $token && $_->{counted} > 0 } @{ $stats->{windows} };

	return @windows[ $LEARNING .. $#windows - 1 ];
}

sub shares
{
	return map { sprintf '%d/%d%s', $_->{counted}, $_->{limit}, $_->{refused} ? " ($_->{refused} refused)" : '' } @_;
}

# Sessions that ask for ever new addresses of this name.
sub start_load
{
	my ($node, $database, $name, $sessions, $seconds) = @_;
	my $load = { out => '', err => '' };
	my $script = PostgreSQL::Test::Utils::tempdir_short() . "/$name.sql";

	append_to_file($script, "SELECT clearout_verify('$name-' || nextval('address') || '\@x.test', timeout => '300 s');\n");
	$node->safe_psql($database, 'CREATE SEQUENCE IF NOT EXISTS address');
	$load->{run} = IPC::Run::start(
		[ 'pgbench', '-n', '-c', $sessions, '-T', $seconds, '-f', $script, $node->connstr($database) ],
		'<', \undef, '>', \$load->{out}, '2>', \$load->{err},
		IPC::Run::timeout($seconds + 300));
	return $load;
}

# How many were answered; undef if not all of them.
sub finish_load
{
	my ($load) = @_;

	$load->{run}->finish;
	diag $load->{err} if $load->{run}->result(0) != 0;
	return undef if $load->{run}->result(0) != 0 || $load->{err} =~ /ERROR|FATAL|aborted/;
	return $load->{out} =~ /actually processed: (\d+)/ ? $1 : undef;
}

# Another client of the same token, which knows nothing of limits: so many
# calls a second, each on time.  Returns a handle for stop_other().
sub start_other
{
	my ($api, $rate, $token) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir();
	my $pid = fork();

	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		my $http = HTTP::Tiny->new(timeout => 10, keep_alive => 0, proxy => undef, http_proxy => undef);
		my $start = time;
		my %count = (200 => 0, 429 => 0);
		my $end = 0;

		local $SIG{TERM} = sub { $end = 1 };
		for (my $i = 0; !$end; $i++)
		{
			my $wait = $start + $i / $rate - time;
			sleep $wait if $wait > 0;
			my $answer = $http->post($api->url . '/email_verify/instant', {
				headers => { Authorization => "Bearer $token", 'Content-Type' => 'application/json' },
				content => qq({"email":"valid-other-$i\@x.test"}) });
			$count{ $answer->{status} }++;
		}
		append_to_file("$directory/count", join ' ', %count);
		POSIX::_exit(0);
	}
	return { pid => $pid, file => "$directory/count" };
}

sub stop_other
{
	my ($other) = @_;

	kill 'TERM', $other->{pid};
	waitpid $other->{pid}, 0;
	$? = 0;
	return split / /, slurp_file($other->{file});
}

# A machine that stands still for seconds loses a window, whatever we do: so each
# part has some tries to show that windows are used.
sub part
{
	my ($name, $code) = @_;
	my $shown = 0;

	foreach my $last (0, 0, 1)
	{
		subtest $name => sub { $shown = $code->($last) };
		last if $shown;
		note "$name: once more";
	}
	return;
}

my $servers = 0;

part('ten databases, two tokens' => sub {
	my ($last) = @_;
	my ($limit, $window, $seconds) = (100, 2000, 20);
	my $api = ClearoutSandbox->new(
		token => \@tokens, limit => $limit, window_ms => $window, window_start => 'aligned', latency => '20..120', credits => 1000000);
	my $node = clearout_node('ten' . $servers++, $api, max_attempts => 1, conf => "log_statement = none\n");
	my @databases = map { "db$_" } 0 .. 9;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/second';

	append_to_file($file, "$tokens[1]\n");
	chmod 0600, $file;
	foreach my $i (0 .. 9)
	{
		$node->safe_psql('postgres', "CREATE DATABASE $databases[$i]");
		$node->safe_psql('postgres', "ALTER DATABASE $databases[$i] SET clearout.api_token_file = '$file'") if $i % 2;
		$node->safe_psql($databases[$i], 'CREATE EXTENSION clearout');
	}
	ok(worker_pid($node, $_), "$_ has its worker") foreach @databases;
	is(value_of($node, q{SELECT count(DISTINCT datname) FROM pg_stat_activity WHERE backend_type = 'clearout worker'}), 11, 'each its own');

	my @loads = map { start_load($node, $_, "valid-$_", 8, $seconds) } @databases;

	# What one database learns of the window, the others with its token know.
	ok(wait_until(60, sub { 10 == grep { (status($node, 'rate_limit', $_) || 0) == $limit } @databases }), 'all know the limit');
	my @done = map { finish_load($_) } @loads;
	is(scalar(grep { defined } @done), 10, 'no caller was refused') or diag map { $_->{err} } @loads;
	note "answered: @{[ map { $_ // '-' } @done ]}";

	my $stats = $api->stats;
	my $addresses = $api->address_stats;
	my $used = 1;
	is($stats->{rate_limited}, 0, 'no 429');
	is("$addresses->{asked} $addresses->{max}", sum(map { $_ // 0 } @done) . ' 1', 'each address by one call');
	is(sum(map { value_of($node, 'SELECT count(*) FROM clearout_results', $_) } @databases), $addresses->{answered}, 'each answer is stored');
	foreach my $i (0, 1)
	{
		my @windows = windows($stats, $tokens[$i]);
		my @counted = map { $_->{counted} } @windows;
		my @own = @done[ grep { $_ % 2 == $i } 0 .. 9 ];

		note "token $i: @{[ shares(@windows) ]}";
		cmp_ok(max(0, @counted), '<=', $limit, "token $i: its five databases keep to one limit");
		$used &&= @windows >= 6 && sum(@counted) >= 0.97 * $limit * @counted && min(@own) >= 0.3 * max(@own);
		next unless $used || $last;
		cmp_ok(scalar @windows, '>=', 6, "token $i: full windows");
		cmp_ok(sum(@counted), '>=', 0.97 * $limit * @counted, "token $i: and use it");
		cmp_ok(min(@own), '>=', 0.3 * max(@own), "token $i: none of them is left behind");
	}

	# The two did so at the same time.
	my ($first, $second) = map { my $token = $_; [ windows($stats, $token) ] } @tokens;
	my $together = 0;
	foreach my $window (@$first)
	{
		$together += $window->{counted} + $_->{counted} foreach grep { $_->{start_ms} == $window->{start_ms} } @$second;
	}
	$used &&= $together > 1.8 * $limit * @$first;
	if (!$used && !$last)
	{
		$node->stop;
		return 0;
	}
	cmp_ok($together / @$first, '>', 1.8 * $limit, 'different tokens are not limited by each other');

	# A database that changes its token changes its window.
	$node->safe_psql('postgres', "ALTER DATABASE db0 SET clearout.api_token_file = '$file'");
	my $charged = sub { my ($entry) = grep { $_->{token} eq $_[0] } @{ $api->stats->{tokens} }; return $entry->{charged} };
	my @before = map { $charged->($_) } @tokens;
	ok(wait_until(60, sub { status($node, 'restarts', 'db0') ne '' && value_of($node, q{SELECT status FROM clearout_verify('valid-moved@x.test', timeout => '60s')}, 'db0') eq 'valid' }),
		'another token file');
	cmp_ok($charged->($tokens[1]) + $charged->($tokens[0]) - $before[0] - $before[1], '==', 1, 'one call');
	$node->stop;
	return 1;
});

foreach my $start (qw(aligned first_call))
{
	part("another client of the token, windows: $start" => sub {
		my ($last) = @_;
		my ($limit, $window, $seconds) = (200, 4000, 40);
		my $api = ClearoutSandbox->new(
			token => $tokens[0], limit => $limit, window_ms => $window, window_start => $start, latency => '20..120', credits => 1000000);
		my $node = clearout_node("other_$start" . $servers++, $api, max_attempts => 1, conf => "log_statement = none\n");

		worker_pid($node);
		my $other = start_other($api, $limit / 2 * 1000 / $window, $tokens[0]);
		my $load = start_load($node, 'postgres', 'valid-ours', 40, $seconds);
		my $done = finish_load($load);
		my $stats = $api->stats;
		my %other = stop_other($other);

		ok(defined $done, 'no caller was refused') or diag $load->{err};
		my $ours = $stats->{rate_limited} - $other{429};
		my @windows = windows($stats, $tokens[0]);
		note "windows: @{[ shares(@windows) ]}";
		note 'ours ' . ($done // '-') . ", of the other $other{200} and $other{429} refused; of ours refused $ours";
		my $together = sum(0, map { $_->{counted} } @windows);
		my $sent = $other{200} + $other{429};
		my $used = @windows >= 5 && $together >= 0.97 * $limit * @windows && $ours <= 0.01 * ($done // 0)
		  && $sent >= 0.4 * $limit * $seconds * 1000 / $window;
		if (!$used && !$last)
		{
			$node->stop;
			return 0;
		}
		cmp_ok(scalar @windows, '>=', 5, 'full windows');
		cmp_ok($together, '>=', 0.97 * $limit * @windows, 'they are used together');
		cmp_ok(max($ours, 0), '<=', 0.01 * ($done // 0), 'hardly a 429 for us');
		cmp_ok($sent, '>=', 0.4 * $limit * $seconds * 1000 / $window, 'the other has sent all the time');
		cmp_ok($other{200}, '>', 0, 'and has its part');
		is(status($node, 'faults'), 0, 'and a 429 is no fault');
		is(value_of($node, 'SELECT count(*) FROM clearout_results'), $done, 'all are stored');
		$node->stop;
		return 1;
	});
}

done_testing();
