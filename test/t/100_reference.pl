# doc/reference.md says what the catalogs say, and everything is in it; the
# README's settings have the defaults that it names, and every error that the
# source raises is in the table of errors.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutDoc;
use ClearoutReference;
use ClearoutTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $node = PostgreSQL::Test::Cluster->new('main');

# No token: the worker calls nobody.
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'clearout'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION clearout');
my $psql = sub { return $node->safe_psql('postgres', $_[0]) };

# ---------- the generated parts ----------

my $old = slurp_file("$top/doc/reference.md");
my $new = reference_text($old, $psql);
my @old = split /\n/, $old;
my @new = split /\n/, $new;
my %old = map { ($_ => 1) } @old;
my %new = map { ($_ => 1) } @new;

ok($old eq $new, 'doc/reference.md is what test/reference would write')
  or diag(join "\n", (map { "- $_" } grep { !$new{$_} } @old), (map { "+ $_" } grep { !$old{$_} } @new),
	'Run test/reference, and read what has changed.');

my @objects = reference_objects($psql);
cmp_ok(scalar @objects, '>', 80, 'there are objects to describe');
foreach my $name (@objects)
{
	like($new, qr/`\Q$name\E[`(]/, "$name is in the reference") or diag($name);
}

# ---------- settings ----------

my $settings = settings_of($psql);
my $readme = slurp_file("$top/README.md");
my $rows = 0;

foreach my $file ("$top/README.md", grep { !/reference\.md$/ } doc_files())
{
	my ($short) = $file =~ m{([^/]+)$};
	my $text = slurp_file($file);

	# a table whose first columns are setting and default
	while ($text =~ /^\| setting \| default \|.*\n\|[-|]+\|\n((?:\|.*\n)+)/mg)
	{
		foreach my $line (split /\n/, $1)
		{
			my (undef, $name, $default) = map { s/^ | $//gr } split /\|/, $line;

			$name =~ tr/`//d;
			$rows++;
			if (!$settings->{$name})
			{
				fail("$short: there is no setting $name");
				next;
			}
			# "2592000 (30 days)", or either of the two alone
			my $expected = human_default($settings->{$name}) =~ tr/`//dr;
			my @fit = ($expected, $expected =~ /^(\S+) \((.*)\)$/);
			$default =~ tr/`//d;
			ok((grep { $_ eq $default } @fit), "$short: default of $name") or diag("$default is not $expected");
		}
	}
}
cmp_ok($rows, '>', 5, 'there are defaults to check');

# What is written of in the pages by hand exists.
foreach my $file ("$top/README.md", "$top/SECURITY.md", doc_files())
{
	my ($short) = $file =~ m{([^/]+)$};
	my %known = map { ($_ => 1) } @objects;
	my %unknown = map { ($_ => 1) } grep { !$known{$_} } slurp_file($file) =~ /`(clearout\.[a-z_]+)`/g;

	delete $unknown{'clearout.control'};
	is(join(' ', sort keys %unknown), '', "$short names no setting that does not exist");
}

# ---------- errors ----------

my ($errors) = $new =~ /^## Errors\n(.*)/ms;
my %described = map { ($_ => 1) } $errors =~ /^\| ([0-9A-Z]{5}) \|/mg;
my $raised = raised_errors($top);

cmp_ok(scalar keys %$raised, '>', 20, 'there are errors to describe');
is(join(' ', map { "$_ ($raised->{$_}[0])" } grep { !$described{$_} } sort keys %$raised), '',
	'every error that is raised is described');
is(join(' ', grep { !$raised->{$_} } sort keys %described), '', 'every error that is described is raised');

# ---------- links between the pages ----------

foreach my $file ("$top/README.md", "$top/SECURITY.md", "$top/CONTRIBUTING.md", doc_files())
{
	my ($dir, $short) = $file =~ m{^(.*)/([^/]+)$};
	my @broken;
	my $text = slurp_file($file);

	while ($text =~ /\]\(([^)\s:]*?)(?:#([^)\s]*))?\)/g)
	{
		my ($path, $anchor) = ($1, $2);
		my $target = $path eq '' ? $file : "$dir/$path";

		if (!-e $target)
		{
			push @broken, $path;
		}
		elsif (defined $anchor && -f $target)
		{
			my %anchors = map { my $head = lc; $head =~ s/[^\w\s-]//g; $head =~ s/ /-/g; ($head => 1) }
			  slurp_file($target) =~ /^#+ (.*)$/mg;
			push @broken, "$path#$anchor" unless $anchors{$anchor};
		}
	}
	is(join(' ', @broken), '', "$short: its links lead somewhere");
}

$node->stop;
done_testing();
