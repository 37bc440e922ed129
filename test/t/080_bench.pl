# test/bench with tiny amounts: all figures run through, and what does not work
# fails.  Nothing is said about speed here.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $bench = "$FindBin::RealBin/../bench";

# As whoever runs the tests; where the library is loaded from is its own matter.
delete $ENV{TEMP_CONFIG};

my ($out, $err) = ('', '');
my $ok = IPC::Run::run([ $bench, '--quick', '--runs', 1, '--scale', 0.004 ], '>', \$out, '2>', \$err, IPC::Run::timeout(900));
ok($ok, 'it runs through') or diag $err;
note $out;

my @row = map { [ split /\s{2,}/ ] } grep { /\s(?:[<>+]|-$|0$)/ } split /\n/, $out;
my @figures = split /\n/, `$bench --list`;
cmp_ok(scalar @figures, '>=', 10, 'there are figures');
foreach my $figure (@figures)
{
	like($err, qr/^\Q$figure\E$/m, "$figure is measured");
}
cmp_ok(scalar @row, '>=', scalar @figures, 'and told');
foreach my $row (@row)
{
	like(join('  ', @$row), qr/ [-\d,.]*\d\b/, "$row->[0]: a number");
}

# What is not there is not measured.
$ok = IPC::Run::run([ $bench, '--quick', '--runs', 1, '--scale', 0.004, '--only', 'nonsense' ], '>', \$out, '2>', \$err, IPC::Run::timeout(180));
ok(!$ok, 'an unknown figure is refused');
like($err, qr/no figure "nonsense"/, 'and said so');

done_testing();
