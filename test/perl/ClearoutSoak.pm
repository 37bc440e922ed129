
=pod

=head1 NAME

ClearoutSoak - everything at once, under faults and kills, and what must hold afterwards

=head1 SYNOPSIS

  my $soak = ClearoutSoak->new(seconds => 60, seed => 42);
  $soak->run;
  $soak->settle;
  $soak->check;

=head1 DESCRIPTION

Sessions that use all of the extension, while the service has faults and
processes are killed.  What is done, in which order, and when blows fall follows
from the seed; what a blow hits is for the machine to say.

Addresses tell what may happen to them.  Those at once.test are never forgotten
nor wanted fresher than they are: one answer each is enough for ever.  Those at
again.test are refreshed and forgotten.  Those at rolled.test appear in nothing
but transactions that are rolled back.

=cut

package ClearoutSoak;

use strict;
use warnings;

use ClearoutSandbox;
use ClearoutStress qw(is_alive is_up wait_until);
use ClearoutTest;
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $PARALLEL = 10;
my $AGAIN = 60;
my $PEOPLE = 80;
my $CHECKED = 200;

# What a client may be told: by the service, by its own timeouts, by the blows.
my %EXPECTED = map { $_ => 1 } qw(
  VC001 VC002 VC003 VC004 VC005 VC006 VC007 VC008 VC009 VC010
  53400 57014 57P01 57P02 57P03 40P01 55P03 53300 08006 08000 08003);

=pod

=head1 METHODS

=over

=item new(seconds => N, seed => N, clients => N)

Starts sandbox and server.

=cut

sub new
{
	my ($class, %options) = @_;
	my $self = bless {
		clients => 4,
		%options,
		lossy => 0,			# blows that calls on the wire may not survive
		crashes => 0,		# of them, those that nothing in memory survives
		memory => {},
		jobs => 0,
	}, $class;

	# about as many as the clients get to, so that some are asked by several
	$self->{once} = 500 + 60 * $self->{seconds};
	$self->{api} = ClearoutSandbox->new(limit => 1_000_000, credits => 100_000_000,
		latency => '2..40', find_time => '0..300', bulk_speed => 200);
	$self->{node} = clearout_node('soak', $self->{api},
		max_parallel => $PARALLEL,
		request_slots => 64,
		request_timeout => '3s',
		wait_timeout => '3s',
		find_timeout => '2s',
		max_age_unknown => '30d',
		handler_timeout => '2s',
		bulk_rows => 100,
		conf => "restart_after_crash = on\nlog_statement = none\nlog_min_error_statement = panic\n"
		  . "log_line_prefix = '%m [%p] %b: '\ndeadlock_timeout = 200ms\n");
	$self->{node}->safe_psql('postgres', q{
		CREATE ROLE shop LOGIN;
		CREATE SCHEMA shop AUTHORIZATION shop;
		SELECT clearout_grant('shop', 'react');
		SELECT clearout_grant('shop', 'enqueue');
		SET SESSION AUTHORIZATION shop;
		CREATE TABLE shop.customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text);
		CREATE TRIGGER verify AFTER INSERT OR UPDATE OF email ON shop.customer
			FOR EACH ROW EXECUTE FUNCTION public.clearout_verify_trigger('email');
		CREATE TABLE shop.contact (email text);
		CREATE TRIGGER verify AFTER INSERT ON shop.contact REFERENCING NEW TABLE AS new_rows
			FOR EACH STATEMENT EXECUTE FUNCTION public.clearout_verify_trigger('email', 'priority=-1');
		CREATE TABLE shop.watched (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text, status text);
		SELECT public.clearout_watch('shop.watched', 'email', 'status');
		CREATE TABLE shop.asked (email text);
		CREATE TABLE shop.seen (email text);
		CREATE FUNCTION shop.note(r public.clearout_result[]) RETURNS void LANGUAGE sql AS $$
			INSERT INTO shop.seen SELECT a.email FROM unnest(r) AS a $$;
		SELECT public.clearout_add_handler('shop.note(clearout_result[])');
	});
	return $self;
}

sub _sql { my ($self, $sql) = @_; return $self->{node}->safe_psql('postgres', $sql) }

# While a server starts or ends, there may be no answer at all.
sub _try
{
	my ($self, $sql) = @_;
	my ($out, $err) = ('', '');
	# psql that ends before it has read all of it makes this die
	my $rc = eval {
		$self->{node}->psql('postgres', "SET statement_timeout = '20s'; $sql",
			stdout => \$out, stderr => \$err) };

	return defined $rc && $rc == 0 ? $out : '';
}

# ---------- clients ----------

sub _pick { return $_[int rand @_] }
sub _once { my ($self) = @_; return 'o' . int(rand $self->{once}) . '@once.test' }
sub _again { return 'a' . int(rand $AGAIN) . '@again.test' }
sub _rolled { return 'r' . int(rand 1e6) . '@rolled.test' }
sub _person { return "'Jane Doe" . chr(97 + int rand 26) . chr(97 + int rand 3) . "', 'p" . int(rand $PEOPLE) . ".test'" }

sub _array
{
	my ($self, $count) = @_;
	return 'ARRAY[' . join(', ', map { "'" . $self->_once . "'" } 1 .. 1 + int rand $count) . ']';
}

sub _timeout { return 'timeout => \'' . (100 + int rand 2000) . 'ms\'' }

# What a client does next.  What is written to shop.asked was asked for in the
# same transaction, so it has to be answered in the end.
my @work = (
	[ 8, sub { "SELECT clearout_verify('" . $_[0]->_once . "', " . _timeout() . ');' } ],
	[ 3, sub { "SELECT count(*) FROM clearout_verify(" . $_[0]->_array(30) . ', ' . _timeout() . ');' } ],
	[ 2, sub { "SET statement_timeout = '" . (20 + int rand 300) . "ms'; SELECT count(*) FROM clearout_verify("
			  . $_[0]->_array(20) . "); RESET statement_timeout;" } ],
	[ 2, sub { "BEGIN; SELECT clearout_verify('" . $_[0]->_once . "', on_error => 'unknown'); ROLLBACK;" } ],
	[ 2, sub { "SELECT clearout_verify('" . _again() . "', max_age => '0', " . _timeout() . ');' } ],
	[ 4, sub { my $email = $_[0]->_once; "BEGIN; SELECT clearout_enqueue('$email'); INSERT INTO shop.asked VALUES ('$email'); COMMIT;" } ],
	[ 3, sub { my $emails = $_[0]->_array(40); "BEGIN; SELECT clearout_enqueue($emails, " . (int(rand 5) - 2)
			  . "); INSERT INTO shop.asked SELECT unnest($emails); COMMIT;" } ],
	[ 2, sub { "BEGIN; SELECT clearout_enqueue('" . _rolled() . "'); ROLLBACK;" } ],
	[ 2, sub { my $email = $_[0]->_once; "BEGIN; SELECT clearout_enqueue('$email'); INSERT INTO shop.asked VALUES ('$email');"
			  . " SAVEPOINT s; SELECT clearout_enqueue(ARRAY['" . _rolled() . "', '" . _rolled() . "']); ROLLBACK TO s; COMMIT;" } ],
	[ 2, sub { my $self = $_[0]; "COPY shop.contact FROM STDIN;\n" . join('', map { $self->_once . "\n" } 1 .. 1 + int rand 30) . "\\.\n" } ],
	# by default, such a row wants an answer that is newer than itself
	[ 1, sub { my $self = $_[0]; "COPY clearout_queue (email, accepts_since) FROM STDIN;\n" . join('', map { $self->_once . "\t-infinity\n" } 1 .. 1 + int rand 5) . "\\.\n" } ],
	[ 1, sub { "COPY clearout_queue (email) FROM STDIN;\n" . _again() . "\n" . _again() . "\n\\.\n" } ],
	[ 4, sub { "INSERT INTO shop.customer (email) VALUES ('" . $_[0]->_once . "'), ('" . $_[0]->_once . "');" } ],
	[ 1, sub { "UPDATE shop.customer SET email = '" . $_[0]->_once . "' WHERE id = " . int(rand 200) . ';' } ],
	[ 4, sub { "INSERT INTO shop.watched (email) SELECT unnest(" . $_[0]->_array(4) . ');' } ],
	[ 2, sub { "UPDATE shop.watched SET email = '" . $_[0]->_once . "' WHERE id = " . int(rand 300) . ';' } ],
	[ 1, sub { "DELETE FROM shop.watched WHERE id = " . int(rand 300) . ';' } ],
	[ 2, sub { 'SELECT clearout_find(' . _person() . ', ' . _timeout() . ');' } ],
	[ 2, sub { 'SELECT clearout_enqueue_find(' . _person() . ');' } ],
	[ 2, sub { 'SELECT clearout_is_' . _pick(qw(disposable role free business catchall)) . "('c" . int(rand $CHECKED) . "\@check.test', " . _timeout() . ');' } ],
	[ 1, sub { "SELECT clearout_mx('m" . int(rand 30) . ".test', " . _timeout() . ');' } ],
	# in order, so that these do not make deadlocks of their own
	[ 1, sub { "UPDATE clearout_results r SET verified_at = verified_at - interval '60 days', asked_at = asked_at - interval '60 days'"
			  . " FROM (SELECT email FROM clearout_results WHERE email LIKE '%\@again.test' ORDER BY email LIMIT 10 FOR UPDATE) a WHERE r.email = a.email;"
			  . " SELECT clearout_refresh(max_rows => 20);" } ],
	[ 1, sub { "SELECT clearout_forget('" . _again() . "');" } ],
	[ 1, sub { 'SELECT clearout_retry();' } ],
	[ 1, sub { "SET ROLE shop; SELECT clearout_retry_handlers(); RESET ROLE;" } ],
	[ 2, sub { 'SELECT count(*), count(r.status) FROM shop.customer c LEFT JOIN LATERAL clearout_cached(c.email) r ON true WHERE c.id < 300;' } ],
	[ 1, sub { "BEGIN; SELECT count(*) FROM (SELECT FROM clearout_results WHERE email LIKE 'o" . int(rand 9) . "%' ORDER BY email FOR UPDATE) x; SELECT pg_sleep("
			  . (rand 0.6) . "); COMMIT;" } ],
	[ 1, sub { 'SELECT state, reason, slots_used, queued FROM clearout_status;' } ]);
my @weighted = map { my $work = $_; ($work->[1]) x $work->[0] } @work;

sub _client
{
	my ($self, $number) = @_;
	my $end = $self->{end};
	my $base = "$self->{dir}/client$number";

	srand($self->{seed} * 1000 + $number);
	for (my $round = 0; time < $end; $round++)
	{
		my $script = join("\n", map { _pick(@weighted)->($self) } 1 .. 12) . "\n";
		my $impatient = rand() < 0.05 ? rand 1 : undef;

		open(my $file, '>', "$base.sql") or POSIX::_exit(1);
		print $file $script;
		close $file;
		my $pid = fork();
		if ($pid == 0)
		{
			$ENV{PGAPPNAME} = 'soak';
			open(STDIN, '<', "$base.sql") or POSIX::_exit(126);
			open(STDOUT, '>', '/dev/null') or POSIX::_exit(126);
			open(STDERR, '>>', "$base.err") or POSIX::_exit(126);
			{ exec 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $self->{node}->connstr('postgres'), '-f', '-' }
			POSIX::_exit(127);
		}
		if (defined $impatient)
		{
			sleep $impatient;
			kill 'KILL', $pid;
		}
		waitpid $pid, 0;
		sleep 0.2 if $?;	# no server at the moment, perhaps
	}
	POSIX::_exit(0);
}

# ---------- blows ----------

my @faults = (
	{ kind => 'reset' }, { kind => 'reset', processed => JSON::PP::true() }, { kind => 'close' },
	{ kind => 'dead' }, { kind => 'hang' }, { kind => 'hang', processed => JSON::PP::true() },
	{ kind => 'cut', end => 'reset' }, { kind => 'half' }, { kind => 'long' }, { kind => 'short' },
	{ kind => 'drip', bytes => 50, interval_ms => 100 }, { kind => 'raw', body => "nonsense\r\n\r\n" },
	{ status => 429, reset => 1 }, { status => 500 }, { status => 503 }, { status => 524 },
	{ status => 401 }, { status => 402 }, { body => 'nonsense' }, { body => '{"status":"success"}' },
	{ nested => 5000 }, { delay_ms => 1500 }, { delay_ms => 6000 });

my @blows = (
	[ 12, 'fault' ], [ 2, 'token' ], [ 2, 'credits' ], [ 3, 'bulk' ], [ 3, 'reload' ], [ 2, 'pause' ], [ 1, 'lock' ],
	[ 4, 'cancel' ], [ 2, 'terminate client' ], [ 3, 'terminate worker' ], [ 2, 'terminate launcher' ],
	[ 3, 'terminate reactor' ], [ 1, 'kill worker' ], [ 1, 'kill client' ], [ 1, 'restart' ]);

# The times and the blows: the first from the seed, and each kind of kill at
# least once in a soak that is long enough for it.
sub _schedule
{
	my ($self) = @_;
	my @names = map { my $blow = $_; ($blow->[1]) x $blow->[0] } @blows;
	my @schedule;

	srand($self->{seed});
	for (my $at = 2; $at < $self->{seconds} - 3; $at += 0.3 + rand 1.7)
	{
		push @schedule, [ $at, _pick(@names), int rand 1e6 ];
	}
	my @must = ('kill worker', 'kill client', 'restart', 'terminate worker', 'terminate launcher', 'terminate reactor', 'bulk');
	foreach my $i (0 .. $#must)
	{
		my $place = int(($i + rand) * @schedule / @must);
		$schedule[$place][1] = $must[$i] if @schedule > 2 * @must;
	}
	return @schedule;
}

sub _pid_of
{
	my ($self, $condition) = @_;
	return $self->_try("SELECT pid FROM pg_stat_activity WHERE $condition AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1");
}

my %process = (
	worker => q{backend_type = 'clearout worker'},
	launcher => q{backend_type = 'clearout launcher'},
	reactor => q{backend_type = 'clearout reactor'},
	client => q{application_name = 'soak'});

sub _strike
{
	my ($self, $blow, $dice) = @_;
	my $api = $self->{api};

	if ($blow eq 'fault')
	{
		my %fault = %{ $faults[$dice % @faults] };
		my $served = $fault{processed} || $fault{delay_ms} || ($fault{kind} // '') =~ /^(?:cut|half|long|short|drip)$/;
		my $id = $api->fault(%fault, endpoint => ($dice >> 5) % 3 ? 'verify' : '*', probability => ($dice >> 7) % 2 ? 1 : 0.3);

		push @{ $self->{ending} }, [ time + 0.5 + ($dice % 97) / 40, sub { $self->_end_fault($id, $served) } ];
		return join ' ', map { "$_=$fault{$_}" } sort keys %fault;
	}
	if ($blow eq 'token')
	{
		$api->config(token => $api->token, valid => JSON::PP::false());
		push @{ $self->{ending} }, [ time + 1, sub { $api->config(token => $api->token, valid => JSON::PP::true()) } ];
	}
	elsif ($blow eq 'credits')
	{
		$api->config(token => $api->token, credits => 0);
		push @{ $self->{ending} }, [ time + 1, sub { $api->config(token => $api->token, credits => 100_000_000) } ];
	}
	elsif ($blow eq 'bulk')
	{
		my $job = ++$self->{jobs};
		my $known = $self->_try("SELECT clearout_bulk_verify(ARRAY(SELECT 'b$job-' || i || '\@bulk.test' FROM generate_series(1, 150) i))");
		$self->{jobs_known}{$job} = $known if $known ne '';
	}
	elsif ($blow eq 'reload') { $self->_try('SELECT pg_reload_conf()') }
	elsif ($blow eq 'pause')
	{
		$self->_try('SELECT clearout_pause()');
		push @{ $self->{ending} }, [ time + 1, sub { $self->_try('SELECT clearout_resume()') } ];
	}
	elsif ($blow eq 'lock') { $self->_try('BEGIN; LOCK TABLE clearout_results IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.8); COMMIT') }
	elsif ($blow eq 'cancel') { $self->_try("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE $process{client} ORDER BY random() LIMIT 2") }
	elsif ($blow =~ /^terminate (\w+)/)
	{
		my $pid = $self->_pid_of($process{$1});
		return 'none' if $pid eq '';
		$self->{lossy}++ if $1 eq 'worker';
		$self->_try("SELECT pg_terminate_backend($pid)");
	}
	elsif ($blow =~ /^kill (\w+)/)
	{
		my $pid = $self->_pid_of($process{$1});
		return 'none' if $pid !~ /^\d+$/;
		$self->_crash(sub { kill 'KILL', $pid });
	}
	elsif ($blow eq 'restart')
	{
		$self->_crash(sub { $self->{node}->stop('immediate'); $self->{node}->start });
	}
	return '';
}

sub _crash
{
	my ($self, $code) = @_;

	$self->{lossy}++;
	$self->{crashes}++;
	$code->();
	ok(wait_until(60, sub { is_up($self->{node}) }), 'the server is back');
	return;
}

# How often an answer was charged, perhaps, that the client did not get; and
# how often the sandbox counts as delivered what was no use.
sub _end_fault
{
	my ($self, $id, $served) = @_;

	foreach my $fault (grep { $_->{id} == $id } @{ $self->{api}->faults })
	{
		$self->{unheard} += $fault->{hits} if $served;
		$self->{mangled} += $fault->{hits} if $fault->{kind} =~ /^(?:half|short)$/;
	}
	$self->{api}->clear($id);
	return;
}

sub _look_at_memory
{
	my ($self) = @_;
	my $pid = $self->_pid_of($process{worker});

	$self->{memory}{$pid} = _private_kb($pid) if $pid =~ /^\d+$/ && is_alive($pid);
	return;
}

sub _private_kb
{
	my ($pid) = @_;
	open(my $file, '<', "/proc/$pid/status") or return 0;
	my $text = do { local $/; <$file> };
	return defined $text && $text =~ /^RssAnon:\s+(\d+)/m ? $1 : 0;
}

=item run

The clients and the blows, until the time is over.

=cut

sub run
{
	my ($self) = @_;
	my @schedule = $self->_schedule;
	my $begin = time;
	my @clients;

	$self->{dir} = PostgreSQL::Test::Utils::tempdir_short();
	$self->{end} = $begin + $self->{seconds};
	$self->{ending} = [];
	$self->{unheard} = $self->{mangled} = 0;
	foreach my $number (1 .. $self->{clients})
	{
		my $pid = fork();
		die "fork: $!" unless defined $pid;
		$self->_client($number) if $pid == 0;
		push @clients, $pid;
	}
	while (time < $self->{end})
	{
		my $now = time;
		my @due = grep { $_->[0] <= $now } @{ $self->{ending} };

		@{ $self->{ending} } = grep { $_->[0] > $now } @{ $self->{ending} };
		$_->[1]->() foreach @due;
		if (@schedule && $now - $begin >= $schedule[0][0])
		{
			my ($at, $blow, $dice) = @{ shift @schedule };
			my $more = $self->_strike($blow, $dice);
			note sprintf '%6.1f (%.1f) %s %s', $now - $begin, $at, $blow, $more;
			$self->_look_at_memory;
		}
		sleep 0.05;
	}
	$_->[1]->() foreach @{ $self->{ending} };
	my $left = wait_until(60, sub { @clients = grep { waitpid($_, POSIX::WNOHANG()) == 0 } @clients; !@clients });
	ok($left, 'all clients have ended');
	kill 'KILL', @clients;
	$? = 0;
	return;
}

=item settle

The service is well again: all that waits is answered, by itself as far as it
did not fail for good.

=cut

sub settle
{
	my ($self) = @_;
	my $api = $self->{api};

	$api->clear;
	$api->release;
	$api->config(token => $api->token, valid => JSON::PP::true(), credits => 100_000_000);
	ok(wait_until(60, sub { $self->_try('SELECT state FROM clearout_status') =~ /^(?:running|paused)$/ }), 'a worker is there')
	  or diag $self->_try('SELECT row_to_json(s) FROM clearout_status s');
	$self->_sql('SELECT clearout_resume()');
	ok(wait_until(60, sub { $self->_try('SELECT state FROM clearout_status') eq 'running' }), 'the worker is at work')
	  or diag $self->_try('SELECT row_to_json(s) FROM clearout_status s');

	# Without a reason to wait, nothing waits; what waits says why.
	my $silent = q{failed_at IS NULL AND next_attempt_at IS NULL};
	ok(wait_until(60, sub { $self->_try("SELECT count(*) FROM clearout_queue WHERE $silent") eq '0' }), 'no row waits without a reason')
	  or diag $self->_try("SELECT row_to_json(q) FROM clearout_queue q WHERE $silent LIMIT 5"), $self->_try('SELECT row_to_json(s) FROM clearout_status s');
	is($self->_sql('SELECT count(*) FROM clearout_queue WHERE last_error IS NULL AND queue_id IS NULL'), 0, 'each row that is left says why')
	  or diag $self->_sql('SELECT row_to_json(q) FROM clearout_queue q WHERE last_error IS NULL LIMIT 5');
	note 'left for a retry: ', $self->_sql('SELECT count(*) FILTER (WHERE failed_at IS NULL), count(failed_at) FROM clearout_queue');

	# Retries can be long apart by now: not waited for here.
	my $done = wait_until(120, sub {
		$self->_try('SELECT clearout_retry()');
		$self->_try('UPDATE clearout_queue SET next_attempt_at = now() WHERE next_attempt_at > now() + interval $$5 seconds$$');
		$self->_try('SELECT clearout_resume()');
		$self->_try('SET ROLE shop; SELECT clearout_retry_handlers()');
		sleep 0.3;
		$self->_try(q{SELECT (SELECT count(*) FROM clearout_queue) + (SELECT count(*) FROM clearout_outbox)
			+ (SELECT count(*) FROM clearout_spill) + (SELECT count(*) FROM clearout_lookup_spill)
			+ (SELECT count(*) FROM clearout_forgotten)}) eq '0' });
	ok($done, 'queue, outbox and spill are empty') or diag $self->_sql(q{SELECT
		'queue', count(*), min(row_to_json(q)::text) FROM clearout_queue q UNION ALL SELECT
		'outbox', count(*), min(row_to_json(q)::text) FROM clearout_outbox q UNION ALL SELECT
		'spill', count(*), min(row_to_json(q)::text) FROM clearout_spill q UNION ALL SELECT
		'lookup spill', count(*), min(row_to_json(q)::text) FROM clearout_lookup_spill q UNION ALL SELECT
		'forgotten', count(*), min(row_to_json(q)::text) FROM clearout_forgotten q UNION ALL SELECT
		'status', 1, row_to_json(s)::text FROM clearout_status s UNION ALL SELECT
		'handlers', 1, row_to_json(s)::text FROM clearout_handlers s});
	ok(wait_until(90, sub { $self->_try('SELECT count(*) FROM clearout_jobs_data WHERE finished_at IS NULL') eq '0' }), 'all lists are finished')
	  or diag $self->_sql('SELECT row_to_json(j) FROM clearout_jobs j WHERE finished_at IS NULL');
	return;
}

=item check

What must hold.

=back

=cut

sub check
{
	my ($self) = @_;
	my $api = $self->{api};

	is($self->_sql('SELECT slots_used, requests_waiting, calls_in_flight, answers_unstored, spilled FROM clearout_status'), '0|0|0|0|f', 'no slot is leaked, nothing is under way');

	# Queued and committed is answered.
	foreach my $table (qw(asked contact customer watched))
	{
		is($self->_sql("SELECT count(*) FROM shop.$table t WHERE NOT EXISTS (SELECT FROM clearout_results r WHERE r.email = t.email)"), 0, "each address in $table is answered")
		  or diag $self->_sql("SELECT DISTINCT email FROM shop.$table t WHERE NOT EXISTS (SELECT FROM clearout_results r WHERE r.email = t.email) LIMIT 5");
	}
	is($self->_sql('SELECT count(*) FROM shop.watched w JOIN clearout_results r USING (email) WHERE w.status IS DISTINCT FROM r.status'), 0, 'what watches show is true');
	is($self->_sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE '%@once.test' AND email NOT IN (SELECT email FROM shop.seen)}), 0, 'the handler was told each answer');
	is($self->_sql(q{SELECT count(*) FROM clearout_results WHERE email LIKE '%@rolled.test'}), 0, 'what was rolled back was not asked');

	# Answers delivered are rows stored, but for those that a kill took.
	my %stored = map { $_ => 1 } split /\n/, $self->_sql('SELECT email FROM clearout_results');
	my ($asked, $lost, $repeated, $charged, $most) = (0, 0, 0, 0, 0);
	foreach my $number (0 .. $self->{once} - 1)
	{
		my $counts = $api->counts("o$number\@once.test");

		$asked++ if $counts->{asked};
		$lost++ if $counts->{answered} && !$stored{"o$number\@once.test"};
		fail("o$number is stored, and was not answered") if $stored{"o$number\@once.test"} && !$counts->{answered};
		$repeated += $counts->{answered} - 1 if $counts->{answered} > 1;
		$charged += $counts->{charged} - 1 if $counts->{charged} > 1;
		$most = $counts->{answered} if $counts->{answered} > $most;
	}
	note "$asked addresses asked, " . scalar(keys %stored) . " rows, $lost answers lost, $repeated repeated (at most $most times), "
	  . "$charged charged again; $self->{lossy} blows with calls on the wire, $self->{crashes} crashes, $self->{unheard} answers kept back, $self->{mangled} mangled";
	cmp_ok($asked, '>', $self->{seconds}, 'the soak was under way');
	my $allowed = $PARALLEL * $self->{lossy};
	cmp_ok($lost, '<=', $PARALLEL * $self->{crashes} + $self->{mangled}, 'each answer is stored, but for calls on the wire at a crash');
	cmp_ok($repeated, '<=', $allowed + $self->{mangled}, 'no answer came twice, but for calls on the wire at a kill');
	cmp_ok($charged, '<=', $allowed + $self->{unheard}, 'nor was charged twice, but for answers that were kept back');

	foreach my $job (sort keys %{ $self->{jobs_known} || {} })
	{
		my $state = $self->_sql("SELECT state FROM clearout_jobs WHERE job = $self->{jobs_known}{$job}");
		my $rows = grep { /^b$job-/ } keys %stored;

		note "list $job: $state, $rows rows";
		is($rows, 150, "list $job: all rows") if $state eq 'done';
		is($self->_sql("SELECT count(*) FROM clearout_parts WHERE job = $self->{jobs_known}{$job} AND state = 'failed' AND error IS NULL"), 0, "list $job: a failure says why");
	}

	# What was written down is what was answered, but for the last second before
	# a crash.  Lists are verifications as well: each counts as another answer.
	# Calls are another matter: what is sent on a connection that the service
	# breaks at that moment counts as sent, and nobody has read it.
	my ($written, $lists) = split /\|/, $self->_sql("SELECT coalesce(sum(valid + invalid + catch_all + unknown), 0), coalesce(sum(other), 0) FROM clearout_usage WHERE service = 'verify'");
	my $answers = $api->address_stats->{answered};
	cmp_ok($written, '<=', $answers, "usage: no more answers than were sent ($written of $answers)")
	  or diag $self->_sql("SELECT row_to_json(u) FROM clearout_usage u");
	cmp_ok($written, '>', $answers * 0.8 - $self->{mangled}, 'usage: most of them');
	cmp_ok($lists, '<=', $self->_sql("SELECT count(*) FROM clearout_parts WHERE list_id IS NOT NULL OR uploaded_at IS NOT NULL"), "usage: no more lists than were sent ($lists)");

	$self->_check_clients;
	$self->_check_log;
	$self->_check_memory;
	return;
}

sub _check_clients
{
	my ($self) = @_;
	my %seen;

	foreach my $number (1 .. $self->{clients})
	{
		my $file = "$self->{dir}/client$number.err";
		next unless -e $file;
		foreach my $line (split /\n/, slurp_file($file))
		{
			next unless $line =~ /(?:ERROR|FATAL|PANIC):\s+(\w{5}): (.*)/;
			# after an error in a block, the rest of it
			next if $1 eq '25P02';
			$seen{$1}++;
			# forgotten meanwhile, or locked for longer than the client waits
			next if $1 eq '55000' && $2 eq 'the answer was stored, but cannot be read';
			fail("a client was told $1: $2") unless $EXPECTED{$1};
		}
	}
	note 'clients were told: ', join ', ', map { "$_ $seen{$_}" } sort keys %seen;
	return;
}

sub _check_log
{
	my ($self) = @_;
	my $log = slurp_file($self->{node}->logfile);
	my @bad;

	push @bad, grep { /PANIC|TRAP:|was terminated by signal (?!9\b)/ } split /\n/, $log;
	my @ours = grep { /\] clearout (?:worker|launcher|reactor): / } split /\n/, $log;
	push @bad, grep { /: (?:ERROR|FATAL):/ && !/terminating|shutting down|starting up|not yet accepting/ } @ours;
	is(join("\n", @bad), '', 'no crash, and no error in our processes');
	is(join("\n", grep { /\@\w+\.test/ } @ours), '', 'no address in what they say');
	ok(index($log, $self->{api}->token) < 0, 'nor the token');
	my %warnings;
	$warnings{ s/^.*?\] //r =~ s/\d+/N/gr }++ foreach grep { /(?:WARNING|LOG|ERROR|FATAL):/ } @ours;
	note "$warnings{$_} times: $_" foreach sort keys %warnings;
	return;
}

# Once it has had some work, the worker gets no larger.
sub _check_memory
{
	my ($self) = @_;
	my $pid = $self->_pid_of($process{worker});
	my @kb;

	foreach my $round (1 .. 3)
	{
		my $emails = "ARRAY(SELECT 'valid-m$round-' || i || '\@x.test' FROM generate_series(1, 500) i)";

		$self->_sql("SELECT clearout_enqueue($emails)");
		ok(wait_until(60, sub { $self->_try('SELECT count(*) FROM clearout_queue') eq '0' }), "$round: 500 more");
		push @kb, _private_kb($pid);
	}
	note "memory of workers: @{[ map { $self->{memory}{$_} } sort { $a <=> $b } keys %{ $self->{memory} } ]}, then @kb kB";
	is($self->_pid_of($process{worker}), $pid, 'it is still the same worker');
	cmp_ok($kb[2] - $kb[0], '<=', 1024, 'its memory is flat');
	cmp_ok((sort { $b <=> $a } values %{ $self->{memory} }, @kb)[0], '<', 32 * 1024, 'and was never large');
	return;
}

1;
