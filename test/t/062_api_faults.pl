# Faults of the service in calls of other kinds than verifications, and what
# stands in the way of their answers: clear errors, nothing wrong stored, and
# nothing that was paid for is lost.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid wait_until call_sql start_caller finish_callers rss_kb);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api, max_attempts => 2, request_timeout => '20s', find_timeout => '20s', wait_timeout => '60s');

sub sql { return value_of($node, @_) }

# Short where nothing will come, so that a busy machine has time for all others.
sub give_up_after
{
	my ($time) = @_;

	sql("ALTER SYSTEM SET clearout.$_ = '$time'") foreach qw(request_timeout find_timeout);
	$node->reload;
	return;
}

# A family: endpoint, call, whether it may be paid for, an answer that is of
# the wrong kind.
my @families = (
	[ 'find', q{SELECT clearout_find('Somebody X', 'corp.test')}, 1, { emails => 'none' } ],
	[ 'role', q{SELECT clearout_is_role('X@x.test')}, 1, { email_address => 'another@x.test', role_account => 'yes' } ],
	[ 'reverse_email', q{SELECT clearout_reverse_email('X@x.test')}, 1, { email_address => 'another@x.test', lead => { name => 'x' } } ],
	[ 'mx', q{SELECT clearout_mx('X.test')}, 1, { domain => 'another.test', mx_records => [] } ],
	[ 'name', q{SELECT clearout_validate_name('X')}, 1, {} ],
	[ 'account_plan', q{SELECT clearout_account_plan()}, 0, {} ],
	[ 'autocomplete', q{SELECT clearout_autocomplete('X')}, 0, { name => 'x' } ]);
# name, rule, SQLSTATE
my @faults = (
	[ 'reset', { kind => 'reset' }, 'VC007' ],
	[ 'close', { kind => 'close' }, 'VC007' ],
	[ 'hang', { kind => 'hang' }, 'VC006' ],
	[ 'cut', { kind => 'cut' }, 'VC007' ],
	[ 'half', { kind => 'half' }, 'VC007' ],
	[ 'huge', { kind => 'huge', megabytes => 50 }, 'VC007' ],
	[ 'not-http', { kind => 'raw', body => "SSH-2.0\r\n" }, 'VC007' ],
	[ 'html', { body => '<html>', content_type => 'text/html' }, 'VC007' ],
	[ 'empty', { body => '' }, 'VC007' ],
	[ 'bytes', { body_hex => 'fffe00feff22' }, 'VC007' ],
	[ 'nested', { nested => 200_000 }, 'VC007' ],
	[ 'number', { body => '17' }, 'VC007' ],
	[ 'no-data', { body => { status => 'success' } }, 'VC007' ],
	[ 'text-data', { body => { status => 'success', data => 'x' } }, 'VC007' ],
	[ 'redirect', { location => 'http://127.0.0.1:1/' }, 'VC007' ],
	[ 'wrong', undef, 'VC007' ]);
my $letters = 'aaaa';

foreach my $family (@families)
{
	my ($endpoint, $call, $paid, $wrong) = @$family;

	subtest $endpoint => sub {
		my @callers;
		my @names;

		foreach my $fault (@faults)
		{
			my ($name, $rule) = @$fault;
			my $subject = $letters++;
			my $sql = $call =~ s/X/$subject/r;

			# 404 as a whole is an answer of reverse look-up; the rest is none
			$rule = { body => { status => 'success', data => $wrong } } unless $rule;
			$api->clear;
			$api->fault(%$rule, endpoint => $endpoint);
			give_up_after('1s') if $name eq 'hang';
			my $caller = call_sql($node, $sql);
			give_up_after('20s') if $name eq 'hang';
			is($caller->{sqlstate}, $fault->[2], "$name: outcome") or diag $caller->{err};
			my $charge = ($caller->{hint} // '') =~ /may have been charged/ ? 1 : 0;
			is($charge, $paid && $name ne 'redirect' ? 1 : 0, "$name: hint") or diag $caller->{hint};
			$api->clear;
		}
		my $sql = $call =~ s/X/$letters/r;
		$letters++;
		is(call_sql($node, $sql)->{sqlstate}, '', 'and the next one is answered');
	};
}
is(sql(q{SELECT count(*) FROM clearout_lookups WHERE kind NOT LIKE 'account%'}) . sql('SELECT count(*) FROM clearout_people'), '51', 'nothing wrong is stored');

# A warning in place of an error, and a null.
subtest 'on_error' => sub {
	$api->fault(endpoint => '*', status => 500);
	my ($out, $err) = ('', '');
	foreach my $call (q{clearout_is_free('e@x.test', on_error => 'unknown')}, q{clearout_reverse_email('e@x.test', on_error => 'unknown')})
	{
		$node->psql('postgres', "SELECT $call IS NULL", stdout => \$out, stderr => \$err);
		is($out, 't', "$call: null");
		like($err, qr/WARNING:  the Clearout service failed to answer/, "$call: and why");
	}
	is(sql(q{SELECT count(*) FROM clearout_mx('e.test', on_error => 'unknown')}), 0, 'no rows');
	is(sql(q{SELECT status, source, reason, email IS NULL FROM clearout_find('E', 'e.test', on_error => 'unknown')}),
		'unknown|none|the Clearout service failed to answer|t', 'a row that says it');
	is(sqlstate($node, q{SELECT clearout_is_free('e@x.test', on_error => 'never')}), '22023', 'another word');
	$api->clear;
};

# A locked table, a constraint, a trigger: the answer goes aside, and where it
# belongs later; callers get it all the same.
subtest 'what stands in the way' => sub {
	foreach my $case (
		[ 'clearout_people', q{SELECT status FROM clearout_find('Somebody Y', 'corp.test')}, 'found', q{asked_name = 'somebody y'} ],
		[ 'clearout_lookups', q{SELECT clearout_reverse_email('somebody.Y@x.test') IS NOT NULL}, 't', q{key = 'somebody.y@x.test'} ])
	{
		my ($table, $sql, $expected, $where) = @$case;
		my ($first, $second) = ($letters++, $letters++);
		my $of = sub { my ($text, $word) = @_; $text =~ s/([Yy])(['@])/$word$2/; return $text };

		my $locker = $node->background_psql('postgres');
		$locker->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE");
		my $caller = call_sql($node, $of->($sql, $first));
		is($caller->{out}, $expected, "$table locked: answered") or diag $caller->{err};
		is(sql("SELECT count(*) FROM $table WHERE " . $of->($where, $first)), 0, "$table locked: not there yet");
		is(sql('SELECT count(*) FROM clearout_lookup_spill WHERE error IS NULL'), 1, "$table locked: aside");
		is(call_sql($node, $of->($sql, $first))->{out}, $expected, "$table locked: from there");
		# a verdict is not held up by that
		is(sql("SELECT source FROM clearout_verify('valid-$first\@x.test')"), 'service', "$table locked: a verdict");
		is(sql("SELECT count(*) FROM clearout_results WHERE email = 'valid-$first\@x.test'"), 1, "$table locked: in its place");
		$locker->query_safe('COMMIT');
		$locker->quit;
		ok(wait_until(60, sub { sql("SELECT count(*) FROM $table WHERE " . $of->($where, $first)) eq '1' }), "$table: merged");
		is(sql('SELECT count(*) FROM clearout_lookup_spill'), 0, "$table: nothing is left aside");

		sql("ALTER TABLE $table ADD CONSTRAINT refused CHECK (NOT (" . $of->($where, $second) . '))');
		is(call_sql($node, $of->($sql, $second))->{out}, $expected, "$table refuses: answered");
		like(sql('SELECT error FROM clearout_lookup_spill'), qr/refused/, "$table refuses: kept with the reason");
		sql("ALTER TABLE $table DROP CONSTRAINT refused");
		$node->restart;		# so that it is tried now
		ok(wait_until(60, sub { sql("SELECT count(*) FROM $table WHERE " . $of->($where, $second)) eq '1' }), "$table: taken at last");
		is(sql('SELECT count(*) FROM clearout_lookup_spill'), 0, "$table: nothing is left");
	}
	is(sql(q{SELECT count(*) FROM clearout_people WHERE asked_name LIKE 'somebody %' AND (email IS NULL OR emails IS NULL OR full_name IS NULL)}), 0, 'complete, by either way');
};

# What waits aside is forgotten, and expires, as well.
subtest 'forget what is aside' => sub {
	sql(q{ALTER TABLE clearout_people ADD CONSTRAINT refused CHECK (asked_domain <> 'forget.test');
		ALTER TABLE clearout_lookups ADD CONSTRAINT refused CHECK (key <> 'a@forget.test' AND key <> 'forget.test')});
	my $email = sql(q{SELECT (clearout_find('Many Doe', 'forget.test')).emails[2]});
	sql(q{SELECT clearout_is_business('a@forget.test')});
	sql(q{SELECT clearout_whois('forget.test')});
	is(sql('SELECT count(*) FROM clearout_lookup_spill'), 3, 'aside');
	sql('SELECT clearout_forget(upper($$' . $email . '$$))');
	is(sql(q{SELECT string_agg(kind, ',' ORDER BY kind) FROM clearout_lookup_spill}), 'business,whois', 'a person is forgotten by one of the addresses');
	sql(q{SELECT clearout_forget('A@forget.test')});
	is(sql(q{SELECT string_agg(kind, ',') FROM clearout_lookup_spill}), 'whois', 'a check by its address');
	sql(q{SELECT clearout_expire('0')});
	is(sql('SELECT count(*) FROM clearout_lookup_spill'), 0, 'the rest expires');
	sql(q{ALTER TABLE clearout_people DROP CONSTRAINT refused; ALTER TABLE clearout_lookups DROP CONSTRAINT refused});
};

# An older answer does not replace a newer one.
subtest 'which answer wins' => sub {
	my %answer = (emails => [ { email_address => 'new@corp.test' } ], found_on => '2024-01-02T00:00:00.000Z');
	$api->fault(endpoint => 'find', body => { status => 'success', data => {%answer} });
	is(sql(q{SELECT email FROM clearout_find('Somebody Wins', 'corp.test', max_age => '0')}), 'new@corp.test', 'the first');
	$api->clear;
	$api->fault(endpoint => 'find', body => { status => 'success', data => { %answer, emails => [ { email_address => 'old@corp.test' } ], found_on => '2023-01-02T00:00:00.000Z' } });
	is(sql(q{SELECT email FROM clearout_find('Somebody Wins', 'corp.test', max_age => '0')}), 'new@corp.test', 'an older one is not taken');
	is(sql(q{SELECT email, source FROM clearout_find('Somebody Wins', 'corp.test')}), 'new@corp.test|stored', 'what is there is fresh');
	$api->clear;
	$api->fault(endpoint => 'find', body => { status => 'success', data => { %answer, emails => [], found_on => '2999-01-02T00:00:00.000Z' } });
	is(sql(q{SELECT status FROM clearout_find('Somebody Wins', 'corp.test', max_age => '0')}), 'not_found', 'a newer one is');
	is(sql(q{SELECT found_at <= now(), email IS NULL FROM clearout_people WHERE asked_name = 'somebody wins'}), 't|t', 'and is not from the future');
	$api->clear;
};

# Equal questions share a call; the answer outlives whoever asked.
subtest 'one call' => sub {
	$api->hold(endpoint => 'find');
	my @callers = map { start_caller($node, q{SELECT email FROM clearout_find('Somebody Shared', 'corp.test', timeout => '120s')}) } 1 .. 10;
	ok($api->wait_for(held => 1), 'held');
	ok(wait_until(60, sub { sql('SELECT requests_waiting FROM clearout_status') eq '10' }), 'all wait');
	$api->release;
	is(finish_callers(120, @callers), 0, 'all are answered');
	my %out = map { $_->{out} => 1 } @callers;
	is(scalar(keys %out), 1, 'the same');
	is($api->subject_stats('find', 'somebody shared|corp.test')->{asked}, 1, 'by one call');

	$api->hold(endpoint => 'mx');
	my $caller = start_caller($node, q{SELECT * FROM clearout_mx('cancelled.test', timeout => '120s')});
	ok($api->wait_for(held => 1), 'another is asked');
	sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ 'cancelled.test' AND pid <> pg_backend_pid()});
	finish_callers(60, $caller);
	is($caller->{sqlstate}, '57014', 'cancelled');
	$api->release;
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_lookups WHERE kind = 'mx' AND key = 'cancelled.test'}) eq '1' }), 'stored all the same');
};

my $log = slurp_file($node->logfile);
unlike($log, qr/signal 11|signal 6|TRAP:|PANIC:.*clearout/, 'nothing has crashed of itself');
$node->stop;
done_testing();
