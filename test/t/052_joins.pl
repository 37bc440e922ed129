# Joins with stored answers: clearout_cached() is inlined, whatever the plan;
# what clearout_unverified() and clearout_summary tell.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PGOPTIONS} = '-c client_min_messages=warning';

my $api = ClearoutSandbox->new;
my $node = clearout_node('main', $api, conf => "autovacuum = off\nlog_statement = none\n");

sub sql { return value_of($node, @_) }

my $lateral = 'SELECT c.id, v.status FROM customer c LEFT JOIN LATERAL clearout_cached(c.email) v ON true';
my $by_hand = 'SELECT c.id, r.status FROM customer c LEFT JOIN clearout_results r ON r.email = clearout_normalize(c.email)';

sub explain
{
	my ($query, $settings) = @_;
	return sql(join('', map { "SET $_; " } @{ $settings || [] }) . "EXPLAIN (COSTS OFF) $query");
}

sql('SELECT clearout_pause()');
sql(q{CREATE TABLE customer (id int PRIMARY KEY, email text);
	INSERT INTO customer SELECT i, 'Customer' || i || '@X.test' FROM generate_series(1, 20000) i;
	INSERT INTO clearout_results (email, status, safe_to_send, verified_at, source)
		SELECT clearout_normalize(email), CASE id % 3 WHEN 0 THEN 'invalid' ELSE 'valid' END,
			CASE id % 3 WHEN 0 THEN 'no' ELSE 'yes' END, now() - id * interval '1 hour', 'instant'
		FROM customer WHERE id <= 10000;
	ANALYZE customer, clearout_results});

subtest 'clearout_cached is a join' => sub {
	foreach my $settings (
		[],
		[ 'enable_hashjoin = off' ],
		[ 'enable_hashjoin = off', 'enable_mergejoin = off' ],
		[ 'parallel_setup_cost = 0', 'parallel_tuple_cost = 0', 'min_parallel_table_scan_size = 0' ])
	{
		my $plan = explain($lateral, $settings);
		is($plan, explain($by_hand, $settings) =~ s/\br\b/r/gr, join(', ', 'as by hand', @$settings));
		unlike($plan, qr/Function Scan|SubPlan/, 'no call is left');
	}
	like(explain($lateral), qr/^Hash (Left|Right) Join/, 'a hash join');
	like(explain($lateral, [ 'enable_hashjoin = off' ]), qr/Merge (Left|Right) Join/, 'a merge join');
	like(explain($lateral, [ 'parallel_setup_cost = 0', 'parallel_tuple_cost = 0', 'min_parallel_table_scan_size = 0' ]),
		qr/Gather.*Parallel Seq Scan/s, 'a parallel plan');
	like(explain(q{SELECT * FROM clearout_cached('Customer7@X.test')}), qr/Index Scan/, 'one address');
	is(sql("SELECT count(*), count(status) FROM ($lateral) AS j"), '20000|10000', 'all rows, with the answers that there are');
	is(sql(q{SELECT email, status, source FROM clearout_cached(' customer3@x.TEST')}), 'customer3@x.test|invalid|stored', 'in normal form');
	is(sql(q{SELECT count(*) FROM clearout_cached(NULL)}), 0, 'null');
	is(sql(q{SELECT count(*) FROM clearout_cached('malformed')}), 0, 'malformed');
	is(sql(q{ALTER EXTENSION clearout SET SCHEMA information_schema; SET search_path = pg_catalog;
			SELECT status FROM information_schema.clearout_cached('customer1@x.test');}), 'valid', 'in another schema');
	sql('ALTER EXTENSION clearout SET SCHEMA public');
	sql('CREATE TABLE other (email text COLLATE "en-x-icu")') if sql(q{SELECT count(*) FROM pg_collation WHERE collname = 'en-x-icu'});
	sql('CREATE TABLE IF NOT EXISTS other (email text COLLATE "POSIX")');
	is(sql('SELECT count(*) FROM other LEFT JOIN LATERAL clearout_cached(email) ON true'), 0, 'a column with a collation of its own');
	is(sql(q{SELECT count(*) FROM customer c LEFT JOIN LATERAL clearout_cached(c.email) v ON true
			WHERE v.status IS DISTINCT FROM (SELECT r.status FROM clearout_results r WHERE r.email = clearout_normalize(c.email))}), 0, 'the right answers');
};

subtest 'what is not verified' => sub {
	# fresh: 30 days, 720 hours
	is(sql(q{SELECT count(*), count(status), count(*) FILTER (WHERE waits) FROM clearout_unverified('customer', 'email')}),
		'19281|9281|0', 'by the settings');
	is(sql(q{SELECT count(*) FROM clearout_unverified('customer', 'email', '1 day')}), '19977', 'by another age');
	is(sql(q{SET clearout.max_age = '2d'; SELECT count(*) FROM clearout_unverified('customer', 'email')}), '19953', 'by another setting');
	is(sql(q{SELECT count(*) FROM customer c LEFT JOIN clearout_results r ON r.email = clearout_normalize(c.email)
			WHERE r.email IS NULL OR greatest(r.verified_at, r.asked_at) < clearout_fresh_since(r.status)}), '19281', 'by a join');
	is(sql(q{SELECT clearout_enqueue(ARRAY(SELECT email FROM clearout_unverified('customer', 'email')))}), '19281', 'all of it is queued');
	is(sql(q{SELECT count(*) FROM clearout_unverified('customer', 'email') WHERE NOT waits}), '0', 'then it waits');

	sql(q{CREATE SCHEMA "my ""schema"; CREATE TABLE "my ""schema"."Some Table" ("The E-Mail" varchar(99));
		INSERT INTO "my ""schema"."Some Table" VALUES ('x@x.test'), ('X@x.test'), (NULL), ('malformed'), ('customer1@x.test'),
			('tried@x.test'), ('spilt@x.test');
		INSERT INTO clearout_results (email, status, verified_at, attempted_at, attempt_status, source)
			VALUES ('tried@x.test', 'valid', now() - interval '90 days', now(), 'unknown', 'instant');
		INSERT INTO clearout_spill (email, status, verified_at, source, error) VALUES ('spilt@x.test', 'valid', now(), 'instant', 'refused')});
	is(sql(q{SELECT email, status, verified_at, waits FROM clearout_unverified('"my ""schema"."Some Table"', 'The E-Mail')}),
		'x@x.test|||f', 'any name; each once; what was tried or spilt just now is fresh');
	is(sqlstate($node, q{SELECT * FROM clearout_unverified('customer', 'email) FROM customer; --')}), '42703', 'a column that is none');
	is(sql(q{SELECT count(*) FROM clearout_unverified(NULL, 'email')}), 0, 'null');

	sql(q{CREATE ROLE reader; SELECT clearout_grant('reader', 'read')});
	is(sqlstate($node, q{SET ROLE reader; SELECT * FROM clearout_unverified('customer', 'email')}), '42501', 'with the rights of the caller');
	sql(q{GRANT SELECT ON customer TO reader});
	is(sqlstate($node, q{SET ROLE reader; SELECT * FROM clearout_unverified('customer', 'email')}), '00000', 'which may be enough');
	is(sqlstate($node, q{SET ROLE reader; SELECT * FROM clearout_cached('customer1@x.test')}), '00000', 'a reader may join');
	is(sqlstate($node, q{SET ROLE reader; TABLE clearout_summary}), '00000', 'and see the summary');
};

is(sql(q{SELECT status, safe_to_send, addresses, fresh FROM clearout_summary WHERE safe_to_send IS NOT NULL ORDER BY 1}),
	"invalid|no|3333|239\nvalid|yes|6667|480", 'the summary');

$node->stop;
done_testing();
