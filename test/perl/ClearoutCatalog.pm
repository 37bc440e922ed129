
=pod

=head1 NAME

ClearoutCatalog - what the catalogs know of the extension, to be compared

=head1 SYNOPSIS

  my %fresh = catalog_of($node, 'fresh');
  my %updated = catalog_of($node, 'updated');
  is(catalog_difference(\%fresh, \%updated), '', 'the same');

=cut

package ClearoutCatalog;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(catalog_of catalog_difference);

# Each query returns one line per thing: a name, and all there is to say of it.
# Numbers that only say in which order things were made are left out: object
# ids, and those of columns, of which the order counts.
my %queries = (
	extension => q{
		SELECT 'extension', concat_ws(' ', e.extversion, e.extrelocatable, n.nspname)
		FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'clearout'
		UNION ALL
		SELECT 'dumped ' || t.oid::regclass, c
		FROM pg_extension e, unnest(e.extconfig, e.extcondition) AS t (oid, c) WHERE e.extname = 'clearout'},
	members => q{
		SELECT 'member ' || pg_describe_object(classid, objid, objsubid), '' FROM members},
	relations => q{
		SELECT 'relation ' || c.oid::regclass,
			concat_ws(' ', c.relkind, c.relpersistence, c.relreplident, c.relrowsecurity, c.reloptions, pg_get_userbyid(c.relowner),
				(SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(c.relacl) x), obj_description(c.oid, 'pg_class'),
				CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END)
		FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid},
	columns => q{
		SELECT format('column %s.%s', c.oid::regclass, a.attname),
			concat_ws(' ', row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod),
				a.attcollation::regcollation, a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attstattarget, a.attacl::text,
				pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum))
		FROM pg_class c LEFT JOIN pg_type t ON t.typrelid = c.oid
			JOIN members m ON (m.classid = 'pg_class'::regclass AND m.objid = c.oid)
				OR (m.classid = 'pg_type'::regclass AND m.objid = t.oid AND c.relkind = 'c')
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum},
	constraints => q{
		SELECT format('constraint %s of %s', o.conname, o.conrelid::regclass), pg_get_constraintdef(o.oid)
		FROM pg_constraint o JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = o.conrelid WHERE o.contype <> 'n'},
	indexes => q{
		SELECT 'index ' || i.indexrelid::regclass, concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisreplident, i.indisclustered)
		FROM pg_index i JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = i.indrelid},
	triggers => q{
		SELECT format('trigger %s of %s', t.tgname, t.tgrelid::regclass),
			concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled, obj_description(t.oid, 'pg_trigger'))
		FROM pg_trigger t JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = t.tgrelid},
	sequences => q{
		SELECT 'sequence ' || s.seqrelid::regclass, concat_ws(' ', format_type(s.seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
		FROM pg_sequence s JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = s.seqrelid},
	functions => q{
		SELECT 'function ' || p.oid::regprocedure,
			concat_ws(' ', pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner),
				(SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(p.proacl) x), obj_description(p.oid, 'pg_proc'))
		FROM pg_proc p JOIN members m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid},
	types => q{
		SELECT 'type ' || t.oid::regtype, concat_ws(' ', t.typtype, t.typacl, obj_description(t.oid, 'pg_type'))
		FROM pg_type t JOIN members m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid},
	# what pg_dump takes for given
	rights => q{
		SELECT 'at first ' || pg_describe_object(i.classoid, i.objoid, i.objsubid),
			(SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(i.initprivs) x)
		FROM pg_init_privs i JOIN members m ON m.classid = i.classoid AND m.objid = i.objoid},
);

=pod

=head1 FUNCTIONS

=over

=item catalog_of($node, $database)

A hash of what there is and what is known of it, in words.

=item catalog_difference(\%expected, \%found)

What is missing, what is there and should not be, and what is different; ''
if nothing is.

=back

=cut

sub catalog_of
{
	my ($node, $database) = @_;
	my %catalog;

	foreach my $name (sort keys %queries)
	{
		my $rows = $node->safe_psql($database, qq{
			SET search_path = pg_catalog;
			WITH members AS (SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
				WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
					AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'clearout')),
			rows (name, words) AS ($queries{$name})
			SELECT string_agg(replace(name, E'\\n', ' ') || E'\\t' || replace(coalesce(words, ''), E'\\n', '\\n'), E'\\n') FROM rows});
		foreach (split /\n/, $rows)
		{
			my ($what, $words) = split /\t/, $_, 2;
			$catalog{$what} = $words;
		}
	}
	return %catalog;
}

sub catalog_difference
{
	my ($expected, $found) = @_;
	my @lines;

	foreach (sort keys %$expected)
	{
		if (!exists $found->{$_}) { push @lines, "missing: $_" }
		elsif ($found->{$_} ne $expected->{$_}) { push @lines, "different: $_: $found->{$_} instead of $expected->{$_}" }
	}
	push @lines, map { "too much: $_" } grep { !exists $expected->{$_} } sort keys %$found;
	return join "\n", @lines;
}

1;
