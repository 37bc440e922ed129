# The rate limit is used, not exceeded, and nobody had to configure it: 100
# calls per window of 2 s, asked for by many sessions at once.
#
# What is judged are the windows that the server saw.  Left out are the first
# two, in which limit and end of a window are learnt, and those at the end that
# began when there were not addresses left for a whole window and one more for
# each session: some sessions have none any more by then.
#
# Measures time, so it wants a quiet machine.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress;
use List::Util qw(min sum);
use PostgreSQL::Test::Utils;
use Test::More;

my $LIMIT = 100;
my $WINDOW = 2000;	# ms
my $ADDRESSES = 1000;
my $LEARNING = 2;	# windows

my $script = PostgreSQL::Test::Utils::tempdir_short() . '/verify.sql';
append_to_file($script,
	"SELECT clearout_verify('rate' || nextval('address') || '\@x.test', timeout => '300 s');\n");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 150\nlog_statement = none\n");

# A machine that stands still for seconds loses a window, whatever we do: so each
# has some tries to show that it uses them, and none in which it may exceed one.
sub check
{
	my ($name, $sessions, $share, %settings) = @_;

	foreach my $last (0, 0, 1)
	{
		return if check_once($last, $name, $sessions, $share, %settings);
		note "$name: once more";
	}
	return;
}

sub check_once
{
	my ($last_try, $name, $sessions, $share, %settings) = @_;
	my $api = ClearoutSandbox->new(limit => $LIMIT, window_ms => $WINDOW, %settings);

	$node->append_conf('postgresql.conf', $api->conf);
	$node->start;
	$node->safe_psql('postgres', 'DROP EXTENSION IF EXISTS clearout; DROP SEQUENCE IF EXISTS address; CREATE SEQUENCE address');
	create_extension($node, 'postgres');

	my ($out, $err) = ('', '');
	run_log(
		[
			'pgbench', '-n', '-c', $sessions, '-j', 2, '-t', int($ADDRESSES / $sessions + 0.999),
			'-f', $script, $node->connstr('postgres')
		],
		'>', \$out, '2>', \$err);
	my ($done, $wanted) = $out =~ m{actually processed: (\d+)/(\d+)};
	is($done, $wanted, "$name: every call is answered") or diag $err;

	my $stats = $api->stats;
	my $addresses = $api->address_stats;
	is($stats->{rate_limited}, 0, "$name: no 429");
	is("$addresses->{distinct} $addresses->{asked} $addresses->{max}", "$done $done 1", "$name: each address by one call");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM clearout_results'), $done, "$name: all are stored");
	is(status($node, 'rate_limit'), $LIMIT, "$name: the limit was learnt");

	my @windows = grep { $_->{limit} == $LIMIT && $_->{counted} > 0 } @{ $stats->{windows} };
	note "$name: " . join ' ', map { $_->{counted} } @windows;
	my $left = $done;
	my $last = 0;
	while ($left >= $LIMIT + $sessions)
	{
		$left -= $windows[ $last++ ]{counted};
	}
	my @full = @windows[ $LEARNING .. $last - 1 ];
	$node->stop;
	return 0 if @full < 6 && !$last_try;
	cmp_ok(scalar @full, '>=', 6, "$name: full windows");
	my $least = min(map { $_->{counted} } @full);

	# A window that begins with a call does not tell when the one before had
	# ended: the seconds of x-ratelimit-reset leave that open by one.
	my $seconds = ($full[-1]{end_ms} - $full[0]{start_ms}) / 1000;
	my $lost = ($settings{window_start} || '') eq 'aligned' ? 0 : 1.1;
	my $rate = sum(map { $_->{counted} } @full) / ($seconds * 1000 / $WINDOW * $LIMIT);
	note sprintf('%s: %.1f %% of what the windows allowed end to end', $name, 100 * $rate);
	my $least_rate = $share * $WINDOW / ($WINDOW + 1000 * $lost);
	return 0 if ($least < $share * $LIMIT || $rate < $least_rate) && !$last_try;
	cmp_ok($least, '>=', $share * $LIMIT, "$name: each used to $share");
	cmp_ok($rate, '>=', $least_rate, "$name: and no long pause between them");
	return 1;
}

foreach my $start (qw(first_call aligned))
{
	foreach my $rounding (qw(up down))
	{
		check("$start, rounded $rounding", 50, 0.99,
			latency => 20, window_start => $start, reset_rounding => $rounding);
	}
}
check('latency 50 to 1000 ms', 120, 0.95, latency => [ 50, 1000 ], window_start => 'aligned');
check('latency 50 to 1000 ms, first call', 120, 0.95, latency => [ 50, 1000 ], window_start => 'first_call');

done_testing();
