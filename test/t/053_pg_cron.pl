# The jobs of doc/recipes.md, run by the real pg_cron every minute instead of
# every night.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutDoc;
use ClearoutSandbox;
use ClearoutStress qw(wait_until worker_pid);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $sharedir = `$ENV{PG_CONFIG} --sharedir` if $ENV{PG_CONFIG};
$sharedir = `pg_config --sharedir` unless defined $sharedir;
chomp $sharedir;
plan skip_all => 'pg_cron is not installed' unless -e "$sharedir/extension/pg_cron.control";

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api,
	extension => 0,
	conf => "shared_preload_libraries = 'clearout, pg_cron'\n"
	  . "cron.database_name = 'postgres'\ncron.use_background_workers = on\n"
	  . "max_worker_processes = 24\nautovacuum = off\n");

sub sql { return value_of($node, @_) }

sql(q{CREATE EXTENSION pg_cron; CREATE EXTENSION clearout; CREATE ROLE ops LOGIN;
	SELECT clearout_grant('ops', 'admin'); GRANT USAGE ON SCHEMA cron TO ops;
	CREATE TABLE customer (email text); GRANT SELECT ON customer TO ops;
	CREATE TABLE erasure_request (email text, done_at timestamptz); GRANT SELECT ON erasure_request TO ops;
	INSERT INTO customer VALUES ('new@x.test'), ('malformed'), (NULL), ('stale@x.test'), ('fresh@x.test');
	INSERT INTO erasure_request VALUES ('erase@x.test', NULL), ('kept@x.test', now());
	INSERT INTO clearout_results (email, status, verified_at, source) VALUES
		('fresh@x.test', 'valid', now(), 'instant'),
		('old@x.test', 'valid', now() - interval '100 days', 'instant'),
		('ancient@x.test', 'valid', now() - interval '3 years', 'instant'),
		('erase@x.test', 'valid', now(), 'instant'), ('kept@x.test', 'valid', now(), 'instant')});
ok(worker_pid($node), 'a worker runs');

# The old ones are put into the queue after those that go have gone.
my ($block) = grep { $_->{marker} eq 'needs pg_cron' } doc_blocks('recipes.md');
ok($block, 'the recipe is there');
my $jobs = $block->{sql};
is($jobs =~ s/'\d+ \d+ \* \* \*'/'* * * * *'/g, 4, 'it has four jobs');
$node->safe_psql('postgres', "SET ROLE ops; $jobs");

# The jobs start with the minute.
sub ends_well
{
	my ($condition, $what, $seconds) = @_;
	wait_until($seconds || 120, sub { sql("SELECT $condition") eq 't' });
	return is(sql("SELECT $condition"), 't', $what);
}

ends_well(q{(SELECT count(DISTINCT jobid) = 4 FROM cron.job_run_details WHERE status = 'succeeded')}, 'all jobs have run', 240);
ends_well(q{EXISTS (SELECT FROM clearout_results WHERE email = 'new@x.test')
	AND EXISTS (SELECT FROM clearout_results WHERE email = 'stale@x.test')}, 'what is new was verified');
ends_well(q{(SELECT verified_at > now() - interval '1 day' FROM clearout_results WHERE email = 'old@x.test')}, 'what was old, too');
ends_well(q{NOT EXISTS (SELECT FROM clearout_results WHERE verified_at < now() - interval '2 years')}, 'no answer is older than two years');
ends_well(q{NOT EXISTS (SELECT FROM clearout_results WHERE email = 'erase@x.test')}, 'who wanted it is forgotten');
is(sql(q{SELECT count(*) FROM clearout_results WHERE email = 'kept@x.test'}), 1, 'and nobody else');
is($api->calls('fresh@x.test'), 0, 'what is fresh was not asked for');
is(sql(q{SELECT count(*) FROM cron.job_run_details WHERE status = 'failed'}), 0, 'no job has failed');
is(sql(q{SELECT DISTINCT username FROM cron.job_run_details}), 'ops', 'they ran as the role that scheduled them');

$node->stop;
done_testing();
