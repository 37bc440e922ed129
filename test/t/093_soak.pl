# Everything at once, under faults of the service and kills of processes, and
# what must hold afterwards: the short form of test/soak.  CLEAROUT_SOAK is
# "SECONDS SEED".

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSoak;
use PostgreSQL::Test::Utils;
use Test::More;

my ($seconds, $seed) = split ' ', $ENV{CLEAROUT_SOAK} || '40 1';

note "$seconds seconds, seed $seed";
my $soak = ClearoutSoak->new(seconds => $seconds, seed => $seed);
$soak->run;
$soak->settle;
$soak->check;
done_testing();
