
=pod

=head1 NAME

ClearoutTest - what the TAP tests share

=head1 SYNOPSIS

  use ClearoutTest;

  my $api = ClearoutSandbox->new;
  my $node = clearout_node('main', $api, max_parallel => 10);

  is(sqlstate($node, q{SELECT clearout_verify('x')}), '00000', 'no error');
  my $waiter = start_psql($node, q{SELECT clearout_verify('valid@example.com')});
  ok(poll_status($node, 'requests_waiting = 1'), 'it waits');
  my ($out, $err) = finish_psql($waiter);

=cut

package ClearoutTest;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  clearout_node sqlstate error_of start_psql finish_psql value_of poll_status
  queue_faults away_from_midnight
);

# The tests are written in UTF-8, whatever the databases are in.
$ENV{PGCLIENTENCODING} = 'UTF8' if $ENV{CLEAROUT_ENCODING};

# The words that make an error readable by a program.
my @verbose = ('-v', 'VERBOSITY=verbose');

=pod

=head1 FUNCTIONS

=over

=item clearout_node($name, $api, %settings)

A running server that preloads the library and knows the sandbox, with the
extension in the database postgres, whose encoding is UTF8 or
C<$ENV{CLEAROUT_ENCODING}>.  C<conf> is text for F<postgresql.conf>,
C<extension> says whether to create it (yes), the rest are C<clearout.>
settings.

=cut

sub clearout_node
{
	my ($name, $api, %settings) = @_;
	my $conf = delete $settings{conf} // '';
	my $extension = delete $settings{extension} // 1;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=' . ($ENV{CLEAROUT_ENCODING} || 'UTF8'), '--locale=C' ]);
	$node->append_conf('postgresql.conf',
			"max_connections = 150\n"
		  . "max_worker_processes = 16\n"
		  . "fsync = off\n"
		  . $api->conf(%settings)
		  . $conf);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION clearout') if $extension;
	return $node;
}

=pod

=item sqlstate($node, $sql, $database), error_of($node, $sql, $database)

Runs it and returns the SQLSTATE of the first error, 00000 if there is none;
C<error_of> returns all that psql wrote to its standard error.

=cut

sub error_of
{
	my ($node, $sql, $database) = @_;
	my ($out, $err) = ('', '');

	$node->psql($database // 'postgres', $sql,
		stdout => \$out, stderr => \$err, extra_params => \@verbose);
	return $err;
}

sub sqlstate
{
	return state_in(error_of(@_));
}

sub state_in
{
	my ($err) = @_;

	return '00000' if $err eq '';
	return $1 if $err =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/;
	return $err;
}

=pod

=item start_psql($node, @statements), finish_psql($psql)

Runs statements one by one in a session of its own, which goes on while the
test does.  C<finish_psql> waits for its end and returns what it wrote, its
SQLSTATE as above, and all of its standard error.

=cut

sub start_psql
{
	my ($node, @statements) = @_;
	my $psql = { out => '', err => '' };

	$psql->{run} = IPC::Run::start(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', @verbose,
			'-d', $node->connstr('postgres'),
			map { ('-c', $_) } @statements
		],
		'<', \undef, '>', \$psql->{out}, '2>', \$psql->{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $psql;
}

sub finish_psql
{
	my ($psql) = @_;

	$psql->{run}->finish;
	chomp $psql->{out};
	return ($psql->{out}, state_in($psql->{err}), $psql->{err});
}

=pod

=item value_of($node, $sql), poll_status($node, $condition)

One value; and whether a condition on C<clearout_status> comes true.

=item queue_faults($node)

What amcheck, which must be there, says of table and indexes of the queue;
nothing, if all is well.

=item away_from_midnight($seconds)

Budgets and daily limits begin anew at 00:00 UTC: a test of these that takes so
long waits until that is over.

=back

=cut

sub value_of
{
	my ($node, $sql, $database) = @_;

	return $node->safe_psql($database // 'postgres', $sql);
}

sub queue_faults
{
	return (split /\n/, value_of($_[0], q{SELECT bt_index_parent_check(indexrelid, true) FROM pg_index
			WHERE indrelid = 'clearout_queue'::regclass AND indexrelid IN (SELECT oid FROM pg_class WHERE relam = 403);
		SELECT coalesce(string_agg(msg, ', '), '') FROM verify_heapam('clearout_queue')}))[-1] // '';
}

sub away_from_midnight
{
	my ($seconds) = @_;
	my $left = 86400 - time % 86400;

	return if $left > $seconds;
	note "waiting for $left s until the day of UTC is over";
	sleep $left + 1;
	return;
}

sub poll_status
{
	my ($node, $condition, $database) = @_;

	return $node->poll_query_until($database // 'postgres',
		"SELECT $condition FROM clearout_status");
}

1;
