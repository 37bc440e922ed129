# Who may ask the finder and look things up; where nothing may be spent; how
# much one statement may cause.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until call_sql worker_pid);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', $api->conf);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION clearout');

sub sql { return value_of($node, @_) }

# Every function, by the word that allows it.
my %calls = (
	verify => [ map { "clearout_is_$_('a\@x.test')" } qw(catchall disposable business free role gibberish) ],
	find => [ q{clearout_find('Somebody P', 'corp.test')}, q{clearout_enqueue_find('Somebody Later', 'corp.test')} ],
	lookup => [
		q{clearout_reverse_email('a@x.test')}, q{clearout_reverse_linkedin('https://linkedin.com/in/a')},
		q{clearout_reverse_domain('a.test')}, q{clearout_autocomplete('a')}, q{clearout_mx('a.test')},
		q{clearout_whois('a.test')}, q{clearout_validate_name('a')} ],
	admin => [ map { "clearout_$_()" } qw(credits account_credits account_limits account_plan) ]);
my @tables = qw(clearout_people clearout_lookups clearout_lookup_spill);

sql("CREATE ROLE may_$_") foreach qw(nothing verify find lookup read admin);
sql("SELECT clearout_grant('may_$_', '$_')") foreach qw(verify find lookup read admin);

foreach my $role (qw(nothing verify find lookup read admin))
{
	foreach my $word (sort keys %calls)
	{
		my $may = $role eq $word || $role eq 'admin';
		foreach my $call (@{ $calls{$word} })
		{
			is(sqlstate($node, "SET ROLE may_$role; SELECT $call"), $may ? '00000' : '42501', "$role: $call");
		}
	}
	foreach my $table (@tables)
	{
		my $may = $role eq 'read' || $role eq 'admin';
		is(sqlstate($node, "SET ROLE may_$role; SELECT count(*) FROM $table"), $may ? '00000' : '42501', "$role: SELECT of $table");
		is(sqlstate($node, "SET ROLE may_$role; DELETE FROM $table WHERE false"), $role eq 'admin' ? '00000' : '42501', "$role: DELETE of $table");
		is(sqlstate($node, "SET ROLE may_$role; CREATE TRIGGER t BEFORE INSERT ON $table FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"), '42501', "$role: no trigger on $table");
	}
}
is(sql(q{SELECT requested_by FROM clearout_queue UNION ALL SELECT 'answered' FROM clearout_people WHERE asked_name = 'somebody later'} . ' LIMIT 1') ne '', 1, 'enqueued by a role without rights on the queue');

# A search_path and objects of the caller's own are of no consequence.
sql(q{CREATE SCHEMA trap; GRANT ALL ON SCHEMA trap TO may_find;
	SET ROLE may_find; CREATE TABLE trap.clearout_queue (email text, name text, domain text, priority int, requested_by name, accepts_since timestamptz, failed_at timestamptz, origin bigint);
	CREATE FUNCTION trap.evil(name, name) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''evil''; END';
	CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.evil)});
is(sql(q{SET ROLE may_find; SET search_path = trap, public, pg_catalog; SELECT public.clearout_enqueue_find('Somebody Trapped', 'corp.test')}), 't', 'enqueued');
is(sql('SELECT count(*) FROM trap.clearout_queue'), 0, 'not into the trap');

# One statement.
subtest 'clearout.statement_limit' => sub {
	foreach my $call (q{clearout_find('Somebody ' || chr(64 + i), 'limit.test')}, q{clearout_is_role('l' || i || '@x.test')}, q{clearout_whois('l' || i || '.test')})
	{
		is(sqlstate($node, "SET clearout.statement_limit = 3; SELECT $call FROM generate_series(1, 3) i"), '00000', "$call: three");
		is(sqlstate($node, "SET clearout.statement_limit = 3; SELECT $call FROM generate_series(4, 7) i"), '53400', "$call: four are too many");
	}
	is(sqlstate($node, q{SET clearout.statement_limit = 1; SELECT clearout_credits(), clearout_account_plan(), clearout_account_limits()}), '00000', 'free calls do not count');
};

# Where nothing may be spent, what is stored can be read.
my @stored = (
	q{SELECT status FROM clearout_find('Somebody P', 'corp.test')}, q{SELECT clearout_is_role('a@x.test') IS NULL},
	q{SELECT clearout_whois('a.test') IS NULL}, q{SELECT count(*) > 0 FROM clearout_mx('a.test')});
my @new = (
	q{SELECT clearout_find('Somebody New', 'corp.test')}, q{SELECT clearout_is_role('new@x.test')}, q{SELECT clearout_whois('new.test')},
	q{SELECT clearout_autocomplete('new')}, q{SELECT clearout_credits()}, q{SELECT clearout_enqueue_find('Somebody New', 'corp.test')});
my %known = map { $_ => sql($_) } @stored;

foreach my $sql (@stored) { is(sql("BEGIN READ ONLY; $sql"), $known{$sql}, "read only: $sql") }
foreach my $sql (@new) { is(sqlstate($node, "BEGIN READ ONLY; $sql"), '25006', "read only: $sql") }

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
foreach my $sql (@stored) { is(value_of($standby, $sql), $known{$sql}, "standby: $sql") }
my $calls = $api->total_calls;
foreach my $sql (@new) { is(sqlstate($standby, $sql), '25006', "standby: $sql") }
is($api->total_calls, $calls, 'standby: no call');

# A search goes on after the promotion.
$api->config(find_time => 6000);
$api->hold(endpoint => 'queue');
is(call_sql($node, q{SELECT clearout_find('Somebody Promoted', 'corp.test', timeout => '100ms')})->{sqlstate}, 'VC006', 'asked on the primary');
$node->append_conf('postgresql.conf', 'clearout.find_timeout = 1s');
$node->reload;
is(call_sql($node, q{SELECT clearout_find('Somebody Moved', 'corp.test', timeout => '5s')})->{sqlstate}, 'VC006', 'sought on');
ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_queue WHERE queue_id IS NOT NULL AND name = 'somebody moved'}) eq '1' }), 'written down');
$node->wait_for_catchup($standby);
$node->stop('immediate');
$api->release;
$standby->promote;
ok(worker_pid($standby), 'the standby has a worker now');
ok(wait_until(120, sub { value_of($standby, q{SELECT count(*) FROM clearout_people WHERE asked_name = 'somebody moved' AND status = 'found'}) eq '1' }), 'which ends the search');
is($api->subject_stats('find', 'somebody moved|corp.test')->{asked}, 1, 'by the call that was made');

unlike(slurp_file($standby->logfile) . slurp_file($node->logfile), qr/signal 11|signal 6|TRAP:|PANIC:.*clearout/, 'nothing has crashed of itself');
$standby->stop;
done_testing();
