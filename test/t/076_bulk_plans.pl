# How the worker's statements on large lists are carried out.  A plan that reads
# a list through for each of its rows is right, and a thousand times too slow;
# no test of what comes out would notice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until);
use ClearoutTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
chomp(my $libraries = `$pg_config --pkglibdir`);
plan skip_all => 'this server has no auto_explain' unless -e "$libraries/auto_explain.so";

my $ROWS = 6000;
my $api = ClearoutSandbox->new(credits => 10_000_000, limit => 1_000_000);
my $node = clearout_node('main', $api, bulk_rows => $ROWS, conf => <<'CONF');
shared_preload_libraries = 'clearout, auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_timing = off
auto_explain.log_format = json
log_statement = none
CONF

# The plans of the statements like this one: what they have read of a table, and
# how many rows they had to look for.
sub plans
{
	my ($statement) = @_;
	my @plans;

	foreach my $text (slurp_file($node->logfile) =~ /LOG: +duration: [\d.]+ ms +plan:\n(.*?)\n(?=\S)/gs)
	{
		my $plan = decode_json($text);
		push @plans, $plan->{Plan} if $plan->{'Query Text'} =~ $statement;
	}
	return @plans;
}

sub nodes
{
	my ($node) = @_;
	return ($node, map { nodes($_) } @{ $node->{Plans} // [] });
}

# Rows of the table that were looked at, be they thrown away or not.
sub rows_read
{
	my ($plan, $table) = @_;
	my $rows = 0;

	foreach my $scan (grep { ($_->{'Relation Name'} // '') eq $table } nodes($plan))
	{
		$rows += $scan->{'Actual Loops'} * ($scan->{'Actual Rows'} + ($_ // 0)) foreach $scan->{'Rows Removed by Filter'};
	}
	return $rows;
}

# Nothing is known of a spool that was just filled: neither vacuum nor analyze
# has been there.
my $job = value_of($node, "SELECT clearout_bulk_verify('SELECT ''list-'' || i || ''\@plan.test'' FROM generate_series(1, $ROWS) i')");
ok(wait_until(120, sub { value_of($node, "SELECT state FROM clearout_jobs WHERE job = $job") eq 'done' }), 'a list is done');
is(value_of($node, "SELECT rows_answered FROM clearout_jobs WHERE job = $job"), $ROWS, 'with all of its rows');

my @plans = plans(qr/^SELECT k\.number::integer FROM unnest\(\$1\) WITH ORDINALITY AS k \(asked, number\) WHERE NOT EXISTS/);
cmp_ok(scalar @plans, '>', 0, 'what comes back is compared with what the list has asked');
my $looked_for = 0;
my $read = 0;
foreach my $plan (@plans)
{
	$read += rows_read($plan, 'clearout_spool');
	$looked_for += $_->{'Actual Rows'} * $_->{'Actual Loops'} foreach grep { $_->{'Node Type'} eq 'Function Scan' } nodes($plan);
}
is($looked_for, $ROWS, 'row by row of the list');
cmp_ok($read, '<=', 2 * $ROWS, 'each by its address: the list is not read through for it');
note scalar @plans, " statements have read $read rows of the spool";

$node->stop;
done_testing();
