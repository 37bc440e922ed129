
=pod

=head1 NAME

ClearoutDoc - the SQL in the documentation

=head1 SYNOPSIS

  foreach my $block (doc_blocks("doc/recipes.md"))
  {
	  print "$block->{line} ($block->{marker}): $block->{sql}";
  }

=cut

package ClearoutDoc;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(doc_files doc_blocks);

my $doc = dirname(abs_path(__FILE__)) . '/../../doc';

=pod

=head1 FUNCTIONS

=over

=item doc_files()

The files of F<doc>.

=item doc_blocks($file)

Its blocks of SQL in their order, each with C<line>, C<sql>, and C<marker>: what
an HTML comment in the line before says, '' if there is none.

=back

=cut

sub doc_files
{
	return sort glob "$doc/*.md";
}

sub doc_blocks
{
	my ($file) = @_;
	my ($number, $before, $block, @blocks) = (0, '');

	$file = "$doc/$file" unless $file =~ m{/};
	foreach my $line (split /\n/, slurp_file($file))
	{
		$number++;
		if (!$block && $line eq '```sql')
		{
			my ($marker) = $before =~ /^<!--\s*(.*?)\s*-->$/;
			$block = { line => $number, sql => '', marker => defined $marker ? $marker : '' };
		}
		elsif ($block && $line eq '```')
		{
			push @blocks, $block;
			undef $block;
		}
		elsif ($block)
		{
			$block->{sql} .= "$line\n";
		}
		$before = $line;
	}
	die "$file: a block has no end" if $block;
	return @blocks;
}

1;
