# The finder: found, not found, sought on after the call, and what goes wrong.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid wait_until wait_gone call_sql start_caller finish_callers);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api,
	max_attempts => 3,
	find_timeout => '1s',
	conf => "restart_after_crash = on\n");

sub sql { return value_of($node, @_) }

sub find_sql
{
	my ($name, $domain, $arguments) = @_;
	$arguments = defined $arguments ? ", $arguments" : '';
	return "SELECT status, email, source, reason FROM clearout_find('$name', '$domain'$arguments)";
}

sub find { return call_sql($node, find_sql(@_)) }

sub asked
{
	my ($subject, $endpoint) = @_;
	return $api->subject_stats($endpoint // 'find', $subject)->{asked};
}

# What is equal is asked once, whatever its spelling.
subtest 'found' => sub {
	my $first = find('Somebody Doe', 'Corp.test');
	is($first->{err}, '', 'no error');
	like($first->{out}, qr/^found\|\S+\@corp\.test\|service\|$/, 'found by a call');
	my ($email) = $first->{out} =~ /^found\|([^|]*)/;
	is(find("  somebody\tDOE ", 'https://www.corp.test/about')->{out}, "found|$email|stored|", 'stored, in another spelling');
	is(sql(q{SELECT asked_name, asked_domain, status, email, source, raw -> 'domain' IS NOT NULL, found_at <= now(), asked_at <= now()
		FROM clearout_people}), "somebody doe|corp.test|found|$email|instant|t|t|t", 'the row');
	is(asked('somebody doe|corp.test'), 1, 'by one call');

	my $many = sql(q{SELECT p.status, cardinality(p.emails), p.email = p.emails[1], p.role, p.business, p.domain, p.confidence_score BETWEEN 0 AND 100,
		p.credits_charged > 0, p.raw IS NOT NULL FROM clearout_find('Many Doe', 'corp.test') p});
	like($many, qr/^found\|3\|t\|[tf]\|[tf]\|corp\.test\|t\|t\|t$/, 'all candidates, and the rest');

	# once per statement, however often it is called
	my $calls = asked('somebody roe|corp.test');
	sql(q{SELECT (clearout_find('Somebody Roe', 'corp.test', max_age => '0')).*});
	is(asked('somebody roe|corp.test') - $calls, 1, '(clearout_find()).* asks once');
	sql(q{SELECT clearout_find('Somebody Roe', 'corp.test', max_age => '0')});
	is(asked('somebody roe|corp.test') - $calls, 2, 'max_age');
	is(find('Somebody Roe', 'corp.test', "timeout => '0'")->{out} =~ /\|stored\|/ ? 1 : 0, 1, 'no time, but stored');
	is(find('Somebody Poe', 'corp.test', "timeout => '0'")->{sqlstate}, 'VC006', 'no time');
	is(asked('somebody poe|corp.test'), 0, 'and no call');

	is(sql(q{SELECT clearout_find(NULL, 'corp.test') IS NULL AND clearout_find('Jane', NULL) IS NULL}), 't', 'NULL in, NULL out');
	is(find(' ', 'corp.test')->{sqlstate}, '22023', 'no name');
	is(find('Jane', "\t")->{sqlstate}, '22023', 'no domain');
	is(find('x' x 3000, 'corp.test')->{sqlstate}, '22023', 'too long a name');
};

subtest 'not found' => sub {
	foreach my $shape (qw(code empty))
	{
		$api->config(find_nothing => $shape) if $shape eq 'empty';
		is(find("Nobody $shape", 'corp.test')->{out}, 'not_found||service|', "$shape: an answer");
		is(find("nobody $shape", 'corp.test')->{out}, 'not_found||stored|', "$shape: that is stored");
		is(asked("nobody $shape|corp.test"), 1, "$shape: and not asked again");
	}
	is(sql(q{SELECT count(*) FROM clearout_people WHERE status = 'not_found' AND email IS NULL AND emails IS NULL}), 2, 'rows');
};

# The caller has gone, the answer is there.
subtest 'sought on' => sub {
	$api->config(find_time => 1500);
	my $caller = find('Somebody Slow', 'corp.test', "timeout => '90s'");
	is($caller->{err}, '', 'sought on: no error');
	like($caller->{out}, qr/^found\|\S+\|service\|$/, 'sought on: found in time');
	is(asked('somebody slow|corp.test'), 1, 'sought on: one call');
	is(sql('SELECT count(*) FROM clearout_queue'), 0, 'sought on: nothing is left');

	# The service does not tell how far it is until we have looked.
	$api->hold(endpoint => 'queue');
	$caller = find('Somebody Slower', 'corp.test', "timeout => '5s'");
	is($caller->{sqlstate}, 'VC006', 'too late for him');
	like($caller->{detail}, qr/still being sought/, 'told so');
	like($caller->{hint}, qr/joins the search/, 'and what to do');
	is(sql(q{SELECT name, domain, email, queue_id IS NOT NULL, next_attempt_at > now() - interval '1 minute', origin = clearout_origin() FROM clearout_queue}),
		'somebody slower|corp.test||t|t|t', 'written down');
	$caller = start_caller($node, find_sql('Somebody Slower', 'corp.test', "timeout => '120s'"));
	ok(wait_until(60, sub { sql('SELECT requests_waiting FROM clearout_status') eq '1' }), 'another one asks');
	$api->release;
	finish_callers(120, $caller);
	is($caller->{err}, '', 'joined: no error');
	like($caller->{out}, qr/^found\|/, 'joined: found');
	is(asked('somebody slower|corp.test'), 1, 'joined: no second call');
	is(sql('SELECT count(*) FROM clearout_queue'), 0, 'joined: the row is gone');
};

# Nobody waits, and the worker dies: the answer comes all the same.
subtest 'a search outlives the worker' => sub {
	$api->config(find_time => 1500);
	foreach my $blow (qw(kill terminate))
	{
		$api->hold(endpoint => 'queue');
		is(find("Somebody $blow", 'corp.test', "timeout => '5s'")->{sqlstate}, 'VC006', "$blow: sought on");
		is(sql('SELECT count(*) FROM clearout_queue WHERE queue_id IS NOT NULL'), 1, "$blow: written down");
		my $pid = worker_pid($node);
		if ($blow eq 'kill') { kill 'KILL', $pid }
		else { sql("SELECT pg_terminate_backend($pid)") }
		ok(defined wait_gone($pid, 60), "$blow: the worker is gone");
		$api->release;
		ok(wait_until(60, sub {
			my ($out) = ('');
			$node->psql('postgres', "SELECT status FROM clearout_people WHERE asked_name = 'somebody $blow'", stdout => \$out);
			return $out eq 'found';
		}), "$blow: found in the end");
		is(asked("somebody $blow|corp.test"), 1, "$blow: by one call");
		ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), "$blow: nothing is left");
	}
	$api->config(find_time => 0);
};

# The queue is locked when the service says that it seeks on; the worker ends
# before it is free.
subtest 'a search that cannot be written down at once' => sub {
	$api->config(find_time => 8000);
	my $locker = $node->background_psql('postgres');
	$locker->query_safe('BEGIN; LOCK TABLE clearout_queue IN EXCLUSIVE MODE');
	is(find('Somebody Barred', 'corp.test', "timeout => '2s'")->{sqlstate}, 'VC006', 'sought on');
	is(sql('SELECT count(*) FROM clearout_queue'), 0, 'nothing is written');
	$locker->query_safe('COMMIT');
	$locker->quit;
	my $pid = worker_pid($node);
	sql("SELECT pg_terminate_backend($pid)");
	ok(defined wait_gone($pid, 60), 'the worker has left');
	ok(wait_until(120, sub { sql(q{SELECT count(*) FROM clearout_people WHERE asked_name = 'somebody barred' AND status = 'found'}) eq '1' }), 'found in the end');
	is(asked('somebody barred|corp.test'), 1, 'by one call');
	is(sql('SELECT count(*) FROM clearout_queue'), 0, 'nothing is left');

	# somebody holds the row that asks for it
	$api->config(find_time => 3000);
	sql(q{SELECT clearout_pause(); SELECT clearout_enqueue_find('Somebody Held', 'corp.test')});
	$locker = $node->background_psql('postgres');
	$locker->query_safe('BEGIN; SELECT FROM clearout_queue FOR UPDATE');
	sql('UPDATE clearout_control SET paused = false; NOTIFY nothing');
	sql(q{SELECT clearout_enqueue_find('Somebody Wakes', 'corp.test')});
	$node->reload;
	$pid = worker_pid($node);
	sql("SELECT pg_terminate_backend($pid)");
	ok(wait_until(120, sub { sql(q{SELECT count(*) FROM clearout_people WHERE asked_name = 'somebody held' AND status = 'found'}) eq '1' }), 'held: found');
	is(asked('somebody held|corp.test'), 1, 'held: by one call');
	$locker->query_safe('COMMIT');
	$locker->quit;
	ok(wait_until(120, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'held: all rows leave')
	  or diag sql('SELECT * FROM clearout_queue'), sql('SELECT * FROM clearout_status'), sql('SELECT * FROM clearout_control');
	is(asked('somebody held|corp.test'), 1, 'held: still one call');
	$api->config(find_time => 0);
};

subtest 'for tables' => sub {
	is(sql(q{SELECT count(*) FILTER (WHERE clearout_enqueue_find('Somebody Q' || chr(96 + i), 'Corp.test')) FROM generate_series(1, 20) i}), 20, 'enqueued');
	is(sql(q{SELECT clearout_enqueue_find('SOMEBODY DOE', 'corp.test')}), 'f', 'needless: an answer is stored');
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'drained');
	is(sql(q{SELECT count(*) FROM clearout_people WHERE asked_name LIKE 'somebody q%' AND status = 'found'}), 20, 'all found');
	is(sql(q{SELECT clearout_enqueue_find('', 'corp.test')}), 'f', 'nobody is found by that');

	# rows that came without the function
	sql('SELECT clearout_pause()');
	sql(q{INSERT INTO clearout_queue (name, domain) VALUES ('  Somebody  Plain', 'WWW.Corp.test'), ('', 'corp.test')});
	is(sql(q{SELECT clearout_enqueue_find('somebody waits', 'corp.test'), clearout_enqueue_find('Somebody Waits', 'corp.test')}), 't|f', 'waits already');
	foreach my $bad (q{(name) VALUES ('x')}, q{(domain) VALUES ('x')}, q{(email, name, domain) VALUES ('a@b.test', 'x', 'y')}, q{DEFAULT VALUES})
	{
		is(sqlstate($node, "INSERT INTO clearout_queue $bad"), '23514', "refused: $bad");
	}
	sql(q{INSERT INTO clearout_queue (email) VALUES ('valid-mixed@x.test')});
	sql('SELECT clearout_resume()');
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue WHERE failed_at IS NULL') eq '0' }), 'drained again');
	is(sql(q{SELECT count(*) FROM clearout_people WHERE asked_name IN ('somebody plain', 'somebody waits') AND asked_domain = 'corp.test'}), 2, 'found in normal form');
	is(sql(q{SELECT status FROM clearout_results WHERE email = 'valid-mixed@x.test'}), 'valid', 'an address as well');
	is(sql(q{SELECT last_error FROM clearout_queue}), 'name or domain is empty', 'the other has failed');
	sql('DELETE FROM clearout_queue');

	# the search of a row survives as well
	$api->config(find_time => 1500);
	$api->hold(endpoint => 'queue');
	sql(q{SELECT clearout_enqueue_find('Somebody Queued', 'corp.test', 5)});
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue WHERE queue_id IS NOT NULL AND priority = 5') eq '1' }), 'the row has the queue id');
	$api->release;
	ok(wait_until(60, sub { sql('SELECT count(*) FROM clearout_queue') eq '0' }), 'and leaves with the answer');
	is(asked('somebody queued|corp.test'), 1, 'one call');
	$api->config(find_time => 0);
};

# Finds wait for their window, verifications do not wait with them.
subtest 'neither waits behind the other' => sub {
	$api->fault(endpoint => 'find', status => 429, reset => 60);
	sql(q{SELECT clearout_enqueue_find('Somebody L' || chr(97 + i / 26) || chr(97 + i % 26), 'corp.test', 9) FROM generate_series(1, 500) i});
	sql(q{SELECT clearout_enqueue(ARRAY(SELECT 'valid-l' || i || '@x.test' FROM generate_series(1, 300) i), -9)});
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE 'valid-l%'}) eq '300' }), 'addresses pass');
	is(sql(q{SELECT count(*) FROM clearout_people WHERE asked_name LIKE 'somebody l%'}), 0, 'while the finder waits');
	$api->clear;
	sql('DELETE FROM clearout_queue');
	$node->restart;
};

# However many calls the plan allows.
subtest 'clearout.find_rpm' => sub {
	$node->append_conf('postgresql.conf', 'clearout.find_rpm = 5');
	$node->restart;
	ok(worker_pid($node), 'a worker');
	my $before = $api->stats->{by_endpoint}{find};
	my $made = sub { return $api->stats->{by_endpoint}{find} - $before };

	sql(q{SELECT clearout_enqueue_find('Somebody R' || chr(97 + i), 'corp.test') FROM generate_series(1, 20) i});
	ok(wait_until(60, sub { $made->() >= 5 }), 'five calls');
	is(sql(q{SELECT find_limit || ' ' || (find_remaining BETWEEN 0 AND 5) || ' ' || (find_resets_in BETWEEN interval '0' AND interval '2 minutes') FROM clearout_status}),
		'5 true true', 'the status shows the window');
	is(sql(q{SELECT status FROM clearout_verify('valid-rpm@x.test')}), 'valid', 'addresses have limits of their own');
	ok(wait_until(60, sub { sql(q{SELECT count(*) FROM clearout_people WHERE asked_name LIKE 'somebody r_'}) >= 5 }), 'answered');
	sleep 1;
	# five in each window of a minute
	cmp_ok($made->(), '<=', 10, 'and the others wait');
	sql('DELETE FROM clearout_queue');
};

my $log = slurp_file($node->logfile);
unlike($log, qr/signal 11|signal 6|TRAP:|PANIC:.*clearout/, 'nothing has crashed of itself');
unlike($log, qr/WARNING:.*clearout|ERROR:.*somebody/, 'nothing to complain of, and nobody named');
$node->stop;
done_testing();
