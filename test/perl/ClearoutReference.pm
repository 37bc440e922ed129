
=pod

=head1 NAME

ClearoutReference - the generated parts of doc/reference.md

=head1 SYNOPSIS

  my $text = reference_text($old_text, sub { return $node->safe_psql('postgres', $_[0]) });

=head1 DESCRIPTION

The file is written by hand but for what stands between a comment that orders
something from the catalogs and the next C<< <!-- end --> >>:

  <!-- functions NAME ... -->      functions and procedures, in this order
  <!-- relations NAME ... -->      tables, views, and types, with their columns
  <!-- settings NAME ... -->       settings
  <!-- privileges -->              what the words of clearout_grant() stand for

In place of names, C<*> means those that no order names.  So an object that
nobody has found a place for is there as well.

=cut

package ClearoutReference;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP;

our @EXPORT = qw(reference_text reference_objects raised_errors settings_of human_default);

my $begin = qr/^<!-- (functions|relations|settings|privileges)((?: [\w.*]+)*) -->\n/m;
my $end = "<!-- end -->\n";

# In which order the words are listed is the order in the function that knows them.
my $words = q{
	SELECT m[1] AS word, m.n FROM (
		SELECT regexp_matches(
			(regexp_match(prosrc, 'what NOT IN \((.*?)\)'))[1], '''(\w+)''', 'g') AS m, n
		FROM (SELECT prosrc, 1 AS n FROM pg_proc WHERE proname = 'clearout_privileges') p) m (m, n)};

my $query = {
	functions => qq{
		WITH word AS (SELECT word, row_number() OVER () AS place FROM ($words) w),
		entry AS (
			SELECT word, place, to_regprocedure(substring(object FROM '^\\w+ (.*)\$')) AS function
			FROM word, clearout_privileges(word) WHERE object ~ '^(FUNCTION|PROCEDURE) ')
		SELECT p.proname AS name, p.oid::regprocedure::text AS signature,
			pg_get_function_arguments(p.oid) AS arguments,
			coalesce(pg_get_function_result(p.oid), '') AS result,
			obj_description(p.oid, 'pg_proc') AS comment,
			ARRAY(SELECT e.word FROM entry e WHERE e.function = p.oid ORDER BY e.place) AS words,
			EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0) AS everybody,
			EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 'pg_monitor'::regrole) AS monitor
		FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
			JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid
		WHERE x.extname = 'clearout'
		ORDER BY p.proname COLLATE "C", p.oid::regprocedure::text COLLATE "C"},
	relations => qq{
		WITH word AS (SELECT word, row_number() OVER () AS place FROM ($words) w),
		entry AS (
			SELECT word, place, privilege, to_regclass(substring(object FROM '^TABLE (.*)\$')) AS relation
			FROM word, clearout_privileges(word) WHERE object ~ '^TABLE ')
		SELECT c.relname AS name, c.relkind AS kind,
			coalesce(obj_description(c.oid, 'pg_class'), obj_description(c.reltype, 'pg_type')) AS comment,
			c.oid = ANY (x.extconfig) AS dumped,
			(SELECT string_agg(a.attname, ', ' ORDER BY array_position(i.indkey::int2[], a.attnum)) FROM pg_index i JOIN pg_attribute a
				ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = c.oid AND i.indisprimary) AS key,
			(SELECT json_agg(json_build_object('privilege', e.privilege, 'words', e.words) ORDER BY e.place)
				FROM (SELECT privilege, min(place) AS place, array_agg(word ORDER BY place) AS words
					FROM entry WHERE relation = c.oid GROUP BY privilege) e) AS grants,
			EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = 'pg_monitor'::regrole) AS monitor,
			EXISTS (SELECT FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a WHERE a.grantee = 0) AS everybody,
			(SELECT json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
					'comment', col_description(c.oid, a.attnum)) ORDER BY a.attnum)
				FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
		FROM pg_class c
			LEFT JOIN pg_type t ON c.relkind = 'c' AND t.oid = c.reltype
			JOIN pg_depend d ON d.deptype = 'e' AND (d.classid, d.objid) IN (('pg_class'::regclass, c.oid), ('pg_type'::regclass, t.oid))
			JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid
		WHERE x.extname = 'clearout' AND c.relkind IN ('r', 'p', 'v', 'm', 'c')
		ORDER BY c.relname COLLATE "C"},
	settings => q{
		SELECT name, boot_val, unit, vartype, context, min_val, max_val, enumvals, short_desc, extra_desc
		FROM pg_settings WHERE name LIKE 'clearout.%' ORDER BY name COLLATE "C"},
	privileges => qq{
		SELECT word, ARRAY(SELECT privilege || ' on ' || object FROM clearout_privileges(word)) AS privileges
		FROM ($words) w},
};

# Not by PostgreSQL::Test::Utils, which takes standard output to a log.
sub text_of
{
	my ($file) = @_;

	open(my $in, '<', $file) or die "$file: $!\n";
	local $/;
	return scalar <$in>;
}

sub rows
{
	my ($psql, $kind) = @_;

	# without PUBLIC's schema in front of names, whatever the caller's path is
	my $answer = $psql->(q{SET search_path = public, pg_catalog; }
		  . "SELECT coalesce(json_agg(r), '[]') FROM ($query->{$kind}) r");
	return @{ JSON::PP->new->utf8->decode($answer) };
}

=pod

=head1 FUNCTIONS

=over

=item reference_text($text, $psql)

The text with its generated parts as they should be.  C<$psql> runs SQL, as a
superuser of a database with the extension in the schema public, and returns
its output without headers.  Dies of an order for what does not exist.

=item reference_objects($psql)

The names of all functions, relations and settings.

=item raised_errors($srcdir)

The SQLSTATEs that the source raises, as a hash with the places.

=item settings_of($psql), human_default($setting)

The settings, as a hash by name; the default of one as the reference writes it.

=back

=cut

sub reference_text
{
	my ($text, $psql) = @_;
	my %named;

	# what has a place of its own is no longer among the others
	while ($text =~ /$begin/g)
	{
		my ($kind, $names) = ($1, $2);
		$named{"$kind $_"}++ foreach grep { $_ ne '*' } split ' ', $names;
	}
	my @twice = grep { $named{$_} > 1 } sort keys %named;
	die "ordered more than once: @twice\n" if @twice;

	$text =~ s{($begin).*?^\Q$end\E}{$1 . part($psql, \%named, $2, split(' ', $3)) . $end}gems;
	return $text;
}

sub reference_objects
{
	my ($psql) = @_;
	my %seen;

	return grep { !$seen{$_}++ } map { $_->{name} } map { rows($psql, $_) } qw(functions relations settings);
}

sub raised_errors
{
	my ($source) = @_;
	my ($headers) = map { chomp; $_ } scalar qx{"@{[ $ENV{PG_CONFIG} || 'pg_config' ]}" --includedir-server};
	my (%code, %raised);

	foreach my $file ("$headers/utils/errcodes.h", "$source/src/error.h")
	{
		my $text = text_of($file);
		while ($text =~ /^#define\s+((?:CO_)?ERRCODE_\w+)\s+MAKE_SQLSTATE\(([^)]*)\)/mg)
		{
			my ($name, $letters) = ($1, $2);
			$code{$name} = join '', $letters =~ /'(.)'/g;
		}
	}
	foreach my $file (glob "$source/src/*.c")
	{
		my $text = text_of($file);
		my ($short) = $file =~ m{([^/]+)$};

		# errcode(NAME), failure(NAME, and both sides of a choice between two
		while ($text =~ /\b(?:errcode|failure)\(([^,()]*)[,)]/g)
		{
			my $argument = $1;
			foreach my $name ($argument =~ /\b((?:CO_)?ERRCODE_\w+)/g)
			{
				die "$short: there is no $name\n" unless $code{$name};
				push @{ $raised{ $code{$name} } }, $short;
			}
		}
		push @{ $raised{XX000} }, $short if $text =~ /\belog\((?:ERROR|FATAL|PANIC)\b/;
	}
	foreach my $file (glob "$source/clearout--*.sql")
	{
		my $text = text_of($file);
		while ($text =~ /\bERRCODE = '(\w+)'/g)
		{
			my $name = 'ERRCODE_' . uc $1;
			my $code = $code{$name} || ($1 =~ /^[0-9A-Z]{5}$/ ? $1 : die "there is no $name\n");
			push @{ $raised{$code} }, 'SQL';
		}
		# RAISE without a code
		while ($text =~ /\bRAISE EXCEPTION\b([^;]*);/g)
		{
			push @{ $raised{P0001} }, 'SQL' unless $1 =~ /ERRCODE/;
		}
	}
	return \%raised;
}

sub settings_of
{
	my ($psql) = @_;
	return { map { ($_->{name} => $_) } rows($psql, 'settings') };
}

sub part
{
	my ($psql, $named, $kind, @names) = @_;
	my @all = rows($psql, $kind);
	my @chosen;

	return privileges(@all) if $kind eq 'privileges';
	foreach my $name (@names)
	{
		my @found = grep { $name eq '*' ? !$named->{"$kind $_->{name}"} : $_->{name} eq $name } @all;
		die "there is nothing called $name among the $kind\n" unless @found || $name eq '*';
		push @chosen, @found;
	}
	return "None.\n" unless @chosen;
	return $kind eq 'functions' ? functions(@chosen)
	  : $kind eq 'settings' ? settings(@chosen)
	  : relations(@chosen);
}

# Text for the cell of a table.
sub cell
{
	my ($text) = @_;
	$text = '' unless defined $text;
	$text =~ s/\|/\\|/g;
	$text =~ s/\s+/ /g;
	return $text;
}

sub list_words { return join ', ', map { "`$_`" } @_ }

# The casts that the catalog adds to defaults say nothing new.
sub arguments
{
	my ($text) = @_;
	$text =~ s/::(?:[a-z]+(?: [a-z]+)*)(?:\[\])?//g;
	$text =~ s/'(-\d+)'/$1/g;
	return $text;
}

sub functions
{
	my $text = "| function | returns | what | for |\n|---|---|---|---|\n";

	foreach my $function (@_)
	{
		my @for = $function->{everybody} ? 'everybody' : (list_words(@{ $function->{words} }) || 'superusers');
		push @for, '`pg_monitor`' if $function->{monitor} && !$function->{everybody};
		my $result = $function->{result} eq '' ? '(CALL)' : "`$function->{result}`";
		$text .= sprintf "| `%s(%s)` | %s | %s | %s |\n",
		  $function->{name}, cell(arguments($function->{arguments})), cell($result),
		  cell($function->{comment}), join ', ', @for;
	}
	return $text;
}

sub relations
{
	my %kind = (r => 'Table', p => 'Table', v => 'View', 'm' => 'Materialized view', c => 'Type');
	my $text = '';

	foreach my $relation (@_)
	{
		my @facts = "$kind{$relation->{kind}}: $relation->{comment}.";
		push @facts, "Primary key: `$relation->{key}`." if defined $relation->{key};
		push @facts, 'Dumped by pg_dump.' if $relation->{dumped};
		if ($relation->{kind} ne 'c')
		{
			my @for = map { "$_->{privilege} for " . list_words(@{ $_->{words} }) } @{ $relation->{grants} || [] };
			push @for, 'SELECT for `pg_monitor`' if $relation->{monitor};
			push @for, 'SELECT for everybody' if $relation->{everybody};
			push @facts, (@for ? join('; ', @for) : 'For superusers') . '.';
		}
		$text .= "#### `$relation->{name}`\n\n" . join(' ', @facts) . "\n\n"
		  . "| column | type | what |\n|---|---|---|\n"
		  . join('', map { sprintf "| `%s` | %s | %s |\n", $_->{name}, cell($_->{type}), cell($_->{comment}) } @{ $relation->{columns} })
		  . "\n";
	}
	return $text;
}

sub human_default
{
	my ($setting) = @_;
	my $value = $setting->{boot_val};
	my $unit = $setting->{unit} || '';
	my $seconds = $unit eq 'ms' ? $value / 1000 : $unit eq 's' ? $value : 0;

	return 'empty' if $value eq '';
	foreach my $step ([ 86400, 'days' ], [ 3600, 'hours' ], [ 60, 'minutes' ], [ 1, 'seconds' ])
	{
		my $count = $seconds / $step->[0];
		next if $seconds <= 0 || $count != int $count || ($step->[0] > 1 && $count < 1);
		my $word = $step->[1];
		$word =~ s/s$// if $count == 1;
		return "`$value` ($count $word)";
	}
	return "`$value`";
}

sub settings
{
	my %who = (
		user => 'user', superuser => 'superuser', sighup => 'reload', postmaster => 'restart');
	my $text = "| setting | default | unit | values | who | what |\n|---|---|---|---|---|---|\n";

	foreach my $setting (@_)
	{
		my $values = $setting->{vartype} eq 'enum' ? list_words(@{ $setting->{enumvals} })
		  : $setting->{vartype} eq 'integer' ? "$setting->{min_val} to $setting->{max_val}"
		  : $setting->{vartype} eq 'bool' ? 'on, off' : 'text';
		$text .= sprintf "| `%s` | %s | %s | %s | %s | %s |\n",
		  $setting->{name}, human_default($setting), $setting->{unit} || '', $values,
		  $who{ $setting->{context} }, cell(join ' ', grep { defined } @$setting{qw(short_desc extra_desc)});
	}
	return $text;
}

sub privileges
{
	my $text = '';

	foreach my $word (@_)
	{
		my %objects;
		my @order;

		foreach my $entry (@{ $word->{privileges} })
		{
			my ($privilege, $object) = $entry =~ /^(.*?) on \w+ (?:public\.)?(.*)$/ or die "cannot read $entry\n";
			push @order, $privilege unless $objects{$privilege};
			push @{ $objects{$privilege} }, "`$object`";
		}
		$text .= "**`$word->{word}`**\n\n"
		  . join('', map { "- $_ on " . join(', ', @{ $objects{$_} }) . "\n" } @order) . "\n";
	}
	return $text;
}

1;
