
=pod

=head1 NAME

ClearoutStress - many callers at once, and what /proc says of the processes

=head1 SYNOPSIS

  my $api = ClearoutSandbox->new;
  my $node = start_node('main', $api, settings => { max_parallel => 10 });
  my @callers = map { start_verify($node, "a$_\@x.test") } 1 .. 50;
  is(finish_callers(60, @callers), 0, 'all of them have ended');
  is($callers[0]{sqlstate}, '', 'answered');

=cut

package ClearoutStress;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(
  start_node create_extension status worker_pid wait_until
  start_caller start_verify finish_callers call_sql verify
  is_alive is_up wait_gone kill_postmaster rss_kb switches comes_to_rest
);

my $callers = 0;

=pod

=head1 FUNCTIONS

=over

=item start_node($name, $api, settings => {...}, conf => '...', init => [...])

A running server, preloaded and configured for the sandbox, with the extension
in the database postgres and its worker at work.

=cut

sub start_node
{
	my ($name, $api, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(@{ $options{init} || [] });
	$node->append_conf('postgresql.conf', $api->conf(%{ $options{settings} || {} }));
	# the tests write thousands of statements
	$node->append_conf('postgresql.conf', "log_statement = none\nmax_connections = 150\n");
	$node->append_conf('postgresql.conf', $options{conf}) if defined $options{conf};
	$node->start;
	create_extension($node, 'postgres');
	return $node;
}

=item create_extension($node, $database)

Returns the worker's process id.

=cut

sub create_extension
{
	my ($node, $database) = @_;

	$node->safe_psql($database, 'CREATE EXTENSION clearout');
	return worker_pid($node, $database);
}

=item wait_until($seconds, $code)

Waits until the code returns true, at most so long; what it returned.

=cut

sub wait_until
{
	my ($seconds, $code) = @_;
	my $end = time + $seconds;

	while (1)
	{
		my $result = $code->();
		return $result if $result || time > $end;
		sleep 0.02;
	}
}

=item is_up($node)

Does the server answer?  By a psql that reads no standard input: one that is
refused leaves before it has, and IPC::Run dies of the broken pipe.

=cut

sub is_up
{
	my ($node) = @_;
	my $out = '';
	return IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT 1' ], '<', \undef, '>&', \$out);
}

=item status($node, $column, $database), worker_pid($node, $database)

A column of clearout_status; the process of the worker, which is waited for
a minute, '' if there is none.

=cut

sub status
{
	my ($node, $column, $database) = @_;
	return $node->safe_psql($database || 'postgres', "SELECT $column FROM clearout_status");
}

sub worker_pid
{
	my ($node, $database) = @_;
	return wait_until(60, sub { status($node, 'worker_pid', $database) });
}

=item start_caller($node, $sql, $database), finish_callers($seconds, @callers)

A session of its own that runs one script; C<finish_callers> waits for all of
them, and returns how many had to be killed because the time was over.  Then
C<out>, C<err>, C<rc>, C<seconds>, and the error's C<sqlstate>, C<message>,
C<detail> and C<hint> are set in each; C<sqlstate> is '' if there was none,
and 'lost' if the connection broke.

=cut

sub start_caller
{
	my ($node, $sql, $database) = @_;
	my $base = PostgreSQL::Test::Utils::tempdir_short() . '/caller' . $callers++;
	my @command = (
		'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=1',
		'-d', $node->connstr($database || 'postgres'), '-f', '-');
	my $caller = { started => time, base => $base };

	PostgreSQL::Test::Utils::append_to_file("$base.sql", $sql);
	my $pid = fork();
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open(STDIN, '<', "$base.sql") or POSIX::_exit(126);
		open(STDOUT, '>', "$base.out") or POSIX::_exit(126);
		open(STDERR, '>', "$base.err") or POSIX::_exit(126);
		{ exec @command }
		POSIX::_exit(127);
	}
	$caller->{pid} = $pid;
	return $caller;
}

sub _take_caller
{
	my ($caller, $status) = @_;

	$caller->{seconds} = time - $caller->{started};
	$caller->{rc} = $status & 127 ? 128 + ($status & 127) : $status >> 8;
	foreach my $what (qw(out err))
	{
		$caller->{$what} = slurp_file("$caller->{base}.$what");
		chomp $caller->{$what};
	}
	unlink map { "$caller->{base}.$_" } qw(sql out err);

	my ($sqlstate, $message) = $caller->{err} =~ /(?:ERROR|FATAL):  (\w{5}): (.*)$/m;
	($caller->{detail}) = $caller->{err} =~ /^DETAIL:  (.*)$/m;
	($caller->{hint}) = $caller->{err} =~ /^HINT:  (.*)$/m;
	$caller->{message} = $message;
	$caller->{sqlstate} = defined $sqlstate ? $sqlstate : $caller->{rc} ? 'lost' : '';
	delete $caller->{pid};
	return;
}

sub finish_callers
{
	my ($seconds, @waiting) = @_;
	my $end = time + $seconds;
	my $killed = 0;

	while (1)
	{
		my @still;
		foreach my $caller (@waiting)
		{
			if (waitpid($caller->{pid}, POSIX::WNOHANG()) == $caller->{pid})
			{
				_take_caller($caller, $?);
			}
			else
			{
				push @still, $caller;
			}
		}
		@waiting = @still;
		last if !@waiting || time > $end;
		sleep 0.005;
	}
	foreach my $caller (@waiting)
	{
		kill 'KILL', $caller->{pid};
		waitpid $caller->{pid}, 0;
		_take_caller($caller, $?);
		$killed++;
	}
	$? = 0;
	return $killed;
}

=item call_sql($node, $sql, $database)

One caller, waited for.

=item verify($node, $email, $arguments, $database), start_verify(...)

Ask about one address, with more arguments as SQL if wanted;
"status|safe_to_send|source|reason" will be in C<out>.

=cut

sub call_sql
{
	my ($node, $sql, $database) = @_;
	my $caller = start_caller($node, $sql, $database);

	finish_callers(180, $caller);
	return $caller;
}

sub _verify_sql
{
	my ($email, $arguments) = @_;

	$email =~ s/'/''/g;
	$arguments = defined $arguments ? ", $arguments" : '';
	return "SELECT status, safe_to_send, source, reason FROM clearout_verify('$email'$arguments);";
}

sub start_verify
{
	my ($node, $email, $arguments, $database) = @_;
	return start_caller($node, _verify_sql($email, $arguments), $database);
}

sub verify
{
	my ($node, $email, $arguments, $database) = @_;
	return call_sql($node, _verify_sql($email, $arguments), $database);
}

=item is_alive($pid), wait_gone($pid, $seconds)

A process that nobody has collected counts as gone.  C<wait_gone> returns the
seconds that it took, undef if that was too long.

=cut

sub _proc_status
{
	my ($pid) = @_;
	open(my $fh, '<', "/proc/$pid/status") or return '';
	local $/;
	my $text = <$fh>;
	return defined $text ? $text : '';
}

sub is_alive
{
	my ($pid) = @_;
	return _proc_status($pid) =~ /^State:\s+[^ZX]/m ? 1 : 0;
}

sub wait_gone
{
	my ($pid, $seconds) = @_;
	my $start = time;

	while (is_alive($pid))
	{
		return undef if time - $start > $seconds;
		sleep 0.005;
	}
	return time - $start;
}

=item kill_postmaster($node)

Kills it and nobody else, and waits until all have left that it has started;
returns how many these were, undef if they stay.  The node can be started then.

=cut

sub _children
{
	my ($parent) = @_;
	return grep { _proc_status($_) =~ /^PPid:\s+$parent$/m } map { /(\d+)/ } glob '/proc/[0-9]*';
}

sub kill_postmaster
{
	my ($node) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my @children = _children($postmaster);

	$node->kill9;
	foreach my $pid ($postmaster, @children)
	{
		return undef unless defined wait_gone($pid, 60);
	}
	# where nobody collects it, its number would count as alive
	unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	return scalar @children;
}

=item rss_kb($pid), switches($pid), comes_to_rest($pid, $seconds)

Resident memory; context switches so far, of both kinds; and whether, within a
minute or so, there are so many seconds in which it does not run at all.  What
it has to do before that takes as long as it takes on a busy machine, but who
looks at the clock ever again never comes to rest.

=back

=cut

sub rss_kb
{
	my ($pid) = @_;
	return _proc_status($pid) =~ /^VmRSS:\s+(\d+)/m ? $1 : 0;
}

sub switches
{
	my ($pid) = @_;
	my $text = _proc_status($pid);
	my ($voluntary) = $text =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
	my ($forced) = $text =~ /^nonvoluntary_ctxt_switches:\s+(\d+)/m;
	return ($voluntary || 0) + ($forced || 0);
}

sub comes_to_rest
{
	my ($pid, $seconds) = @_;
	my $end = time + 60 + 2 * $seconds;
	my $before = switches($pid);

	while (time < $end)
	{
		sleep $seconds;
		my $now = switches($pid);
		return 1 if $now == $before && $now > 0 && is_alive($pid);
		$before = $now;
	}
	return 0;
}

1;
