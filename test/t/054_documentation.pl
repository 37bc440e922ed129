# The SQL in doc/*.md is run: all blocks that begin with ```sql, in their
# order, each file in a database of its own.
#
# A comment in the line before a block says otherwise:
#	<!-- not run -->		it is an outline, or needs what is not here
#	<!-- needs NAME -->		another test runs it, where NAME is installed

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutDoc;
use ClearoutSandbox;
use ClearoutStress qw(worker_pid call_sql);
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PGOPTIONS} = '-c client_min_messages=warning';

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api,
	extension => 0,
	conf => "log_statement = none\nautovacuum = off\n");
my @roles = split /\n/, value_of($node, 'SELECT rolname FROM pg_roles');
my $run = 0;

foreach my $file (doc_files())
{
	my ($name) = $file =~ m{([^/]+)\.md$};
	my @blocks = grep { $_->{marker} eq '' } doc_blocks($file);

	next unless @blocks;
	$node->safe_psql('postgres', "CREATE DATABASE \"$name\"");
	$node->safe_psql($name, 'CREATE EXTENSION clearout');
	worker_pid($node, $name);

	# One session, as a reader would have it; what it has reached is in its output.
	my $script = join '', map { "$_->{sql}\n\\echo reached line $_->{line}\n" } @blocks;
	my $caller = call_sql($node, $script, $name);
	foreach my $block (@blocks)
	{
		my $reached = $caller->{out} =~ /^reached line $block->{line}$/m;
		ok($reached, "doc/$name.md, line $block->{line}");
		$run++;
		next if $reached;
		diag($caller->{err});
		last;
	}

	$node->safe_psql('postgres', "DROP DATABASE \"$name\" WITH (FORCE)");
	$node->safe_psql('postgres', 'DROP ROLE "' . $_ . '"')
	  foreach split /\n/, value_of($node, 'SELECT rolname FROM pg_roles WHERE rolname <> ALL (ARRAY['
		  . join(', ', map { "'$_'" } @roles) . '])');
}
cmp_ok($run, '>', 10, 'there is something to run');

$node->stop;
done_testing();
