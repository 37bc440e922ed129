# ALTER EXTENSION UPDATE: every release that there was, updated, is what a fresh
# install is.  Since a first release has nothing to be updated from, a release
# before and one after it are made up here, and the comparison is shown to see
# what an update script can forget.  And what libraries and scripts of different
# age do with each other.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutCatalog;
use ClearoutSandbox;
use ClearoutStress qw(worker_pid);
use ClearoutTest;
use File::Copy;
use File::Path qw(mkpath);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my ($current) = slurp_file("$top/clearout.control") =~ /^default_version *= *'(.*)'/m;
my @scripts = map { m{([^/]+)$} } glob "$top/clearout--*.sql";
my @releases = map { /^clearout--((?:(?!--).)+)\.sql$/ } @scripts;
my $script = slurp_file("$top/clearout--$current.sql");

# Where this server looks for extensions is a setting of Debian's up to 17, and
# of PostgreSQL from 18 on; others have one place, which is not ours to fill.
my ($setting, $stage) = ($ENV{TEMP_CONFIG} ? slurp_file($ENV{TEMP_CONFIG}) : '') =~ /^(extension_destdir|extension_control_path) = '([^:']+)/m;
my $sharedir = `$ENV{PG_CONFIG} --sharedir`;
chomp $sharedir;
my $made_up = defined $setting;
my $place = "${PostgreSQL::Test::Utils::tmp_check}/extensions";
my $conf = '';

# ---------- releases that are made up ----------

sub without
{
	my ($text, @patterns) = @_;
	foreach (@patterns)
	{
		($text =~ s/$_//) or BAIL_OUT("the script has no $_");
	}
	return $text;
}

sub is_written
{
	my ($name, $text) = @_;
	open(my $out, '>', "$place$sharedir/extension/$name") or die "$name: $!";
	print $out "\\echo Use ALTER EXTENSION. \\quit\n$text";
	close $out or die "$name: $!";
	return;
}

# 0.9 has a table less, which the library needs, a column and an index less;
# a function has another comment, and one is for everybody.
my @forgotten = $script =~ /(CREATE TABLE clearout_forgotten \(.*?\);\n)|(COMMENT ON (?:TABLE|COLUMN) clearout_forgotten.*?;\n)|(REVOKE ALL ON clearout_forgotten FROM PUBLIC;\n)/sg;
my $table = join '', grep { defined } @forgotten;
my ($index) = $script =~ /(CREATE INDEX ON clearout_spill \(email\);\n)/;
my ($comment) = $script =~ /(COMMENT ON FUNCTION clearout_retry\(\) IS\n'[^']*';\n)/;
my %steps = (
	table => $table,
	column => "ALTER TABLE clearout_lookup_spill ADD error text;\nCOMMENT ON COLUMN clearout_lookup_spill.error IS\n'why its table refused it; null if it only was locked';\n",
	index => $index,
	comment => $comment,
	rights => "REVOKE ALL ON FUNCTION clearout_retry() FROM PUBLIC;\n",
	dump => "SELECT pg_catalog.pg_extension_config_dump('clearout_budgets', '');\n");

sub older
{
	my $text = without($script, map { quotemeta } (grep { defined } @forgotten), $index, $steps{dump},
		"COMMENT ON COLUMN clearout_lookup_spill.error IS\n'why its table refused it; null if it only was locked';\n");

	$text = without($text, qr/(?<=spilled_at\t\ttimestamptz NOT NULL DEFAULT now\(\)),\n\terror\t\t\ttext(?=\n\);\nCREATE INDEX ON clearout_lookup_spill)/,
		qr/(?<=\tclearout_)retry\(\), clearout_(?=pause\(\))/);
	$text =~ s/\Q$comment\E/COMMENT ON FUNCTION clearout_retry() IS 'once more';\n/ or BAIL_OUT('no comment');
	return $text;
}

if ($made_up)
{
	mkpath("$place$sharedir/extension");
	copy($_, "$place$sharedir/extension/") or die "$_: $!" foreach "$top/clearout.control", map { "$top/$_" } @scripts;
	is_written('clearout--0.9.sql', older());
	is_written("clearout--0.9--$current.sql", join '', map { $steps{$_} } sort keys %steps);
	# what forgets one of these steps, each under a number of its own
	foreach my $step (sort keys %steps)
	{
		is_written("clearout--0.8$step.sql", older());
		is_written("clearout--0.8$step--$current.sql", join '', map { $steps{$_} } grep { $_ ne $step } sort keys %steps);
	}
	# a release to come, as an older library meets it
	is_written("clearout--$current--99.sql", q{
		ALTER TABLE clearout_results ADD shade text;
		ALTER TABLE clearout_queue ADD shade text NOT NULL DEFAULT 'blue';
		CREATE TABLE clearout_shades (shade text PRIMARY KEY);
		CREATE FUNCTION clearout_shade(email text) RETURNS text AS 'MODULE_PATHNAME', 'clearout_normalize' LANGUAGE C STRICT;
		-- the server looks for the function when it is created, and this library has it not
		UPDATE pg_catalog.pg_proc SET prosrc = 'clearout_shade' WHERE proname = 'clearout_shade';});
	is_written("clearout--$current--98.sql", q{
		ALTER TABLE clearout_results ADD shade text;
		CREATE FUNCTION clearout_shade(email text) RETURNS text AS 'MODULE_PATHNAME', 'clearout_shade' LANGUAGE C STRICT;});
	# Debian's setting is for libraries as well; it has to be the same file as
	# the one that is preloaded
	my $libdir = `$ENV{PG_CONFIG} --pkglibdir`;
	chomp $libdir;
	mkpath("$place$libdir");
	symlink("$stage$libdir/clearout.so", "$place$libdir/clearout.so") or die "clearout.so: $!";
	$conf = $setting eq 'extension_destdir' ? "extension_destdir = '$place'\n" : "extension_control_path = '$place$sharedir:$stage:\$system'\n";
}

# ---------- every release ----------

my $api = ClearoutSandbox->new(limit => 1_000_000);
my $node = clearout_node('main', $api, extension => 0, conf => $conf . "log_statement = none\nautovacuum = off\n");

sub database
{
	my ($name, $sql) = @_;
	(my $database = $name) =~ tr/./_/;
	$node->safe_psql('postgres', "CREATE DATABASE \"$database\"");
	$node->safe_psql($database, $sql);
	return $database;
}

my $fresh = database('fresh', 'CREATE EXTENSION clearout');
my %fresh = catalog_of($node, $fresh);

cmp_ok(scalar keys %fresh, '>', 500, 'there is something to compare');
is($node->safe_psql($fresh, q{SELECT extversion FROM pg_extension WHERE extname = 'clearout'}), $current, 'the version of the control file');
ok((grep { $_ eq $current } @releases), 'has a script of its own');
like(slurp_file("$top/CHANGELOG.md"), qr/^## \Q$current\E /m, 'and is in the change log');
is($node->safe_psql($fresh, qq{SELECT string_agg(source, ' ') FROM pg_extension_update_paths('clearout') WHERE target = '$current' AND path IS NULL AND source NOT IN ('98', '99')}),
	'', 'it can be reached from every release');
is(catalog_difference(\%fresh, { catalog_of($node, database('again', "CREATE EXTENSION clearout VERSION '$current'")) }), '', 'two installs are the same');

foreach my $release (sort grep { $_ ne $current } @releases, $made_up ? '0.9' : ())
{
	subtest "from $release" => sub {
		my $database = database("from$release", "CREATE EXTENSION clearout VERSION '$release'");

		isnt(catalog_difference(\%fresh, { catalog_of($node, $database) }), '', 'it is another');
		$node->safe_psql($database, 'ALTER EXTENSION clearout UPDATE');
		is(catalog_difference(\%fresh, { catalog_of($node, $database) }), '', 'updated, it is what a fresh one is');
		ok(worker_pid($node, $database), 'its worker is there');
		ok(poll_status($node, q{state = 'running'}, $database), 'and runs');
		is(value_of($node, "SELECT status FROM clearout_verify('valid-$release\@x.test')", $database), 'valid', 'and calls');
		# there is no way back but by an older dump, and none is pretended
		is(sqlstate($node, "ALTER EXTENSION clearout UPDATE TO '$release'", $database), '22023', 'there is no way back');
	};
}

SKIP:
{
	skip 'this server has one place for extensions only', 1 unless $made_up;

	subtest 'what an update can forget is seen' => sub {
		my %seen = (
			table => qr/^missing: relation clearout_forgotten$/m,
			column => qr/^missing: column clearout_lookup_spill\.error$/m,
			index => qr/^missing: index clearout_spill_email_idx$/m,
			comment => qr/^different: function clearout_retry\(\): .*once more instead of/m,
			rights => qr/^different: function clearout_retry\(\): /m,
			dump => qr/^missing: dumped clearout_budgets$/m);

		foreach my $step (sort keys %steps)
		{
			my $database = database("forgets$step", "CREATE EXTENSION clearout VERSION '0.8$step'; ALTER EXTENSION clearout UPDATE");
			my $difference = catalog_difference(\%fresh, { catalog_of($node, $database) }) =~ s/public\.//gr;

			like($difference, $seen{$step}, $step);
			$node->safe_psql('postgres', "DROP DATABASE \"$database\"");
		}
	};

	# A library that is newer than the script: 094 has all of it.
	subtest 'new library, old script' => sub {
		my $database = database('old_script', q{CREATE EXTENSION clearout VERSION '0.9'});

		ok(poll_status($node, q{state = 'update needed'}, $database), 'the status says so');
		like(error_of($node, q{SELECT clearout_verify('valid-old@x.test')}, $database), qr/HINT:\s+Run ALTER EXTENSION clearout UPDATE\./, 'and whoever asks is told');
		is($api->calls('valid-old@x.test'), 0, 'nothing was asked');
	};

	# A library that is older: the package was taken back, or a standby has not
	# been upgraded yet.
	subtest 'old library, new script' => sub {
		my $database = database('new_script', 'CREATE EXTENSION clearout');
		ok(worker_pid($node, $database), 'the worker is there');

		is(sqlstate($node, q{ALTER EXTENSION clearout UPDATE TO '98'}, $database), '42883', 'an update that wants another library fails');
		is($node->safe_psql($database, q{SELECT extversion FROM pg_extension WHERE extname = 'clearout'}), $current, 'and changes nothing');
		is(catalog_difference(\%fresh, { catalog_of($node, $database) }), '', 'at all');

		$node->safe_psql($database, q{ALTER EXTENSION clearout UPDATE TO '99'});
		$node->restart;
		ok(poll_status($node, q{state = 'running'}, $database), 'with the script of a later release it runs');
		is(value_of($node, q{SELECT status FROM clearout_verify('valid-later@x.test')}, $database), 'valid', 'and calls');
		is(value_of($node, q{SELECT status FROM clearout_cached('valid-later@x.test')}, $database), 'valid', 'and reads');
		is(value_of($node, q{SELECT clearout_enqueue('invalid-later@x.test')}, $database), 't', 'and enqueues');
		ok($node->poll_query_until($database, q{SELECT status = 'invalid' FROM clearout_results WHERE email = 'invalid-later@x.test'}), 'and does it');
		like(error_of($node, q{SELECT clearout_shade('valid-later@x.test')}, $database), qr/ERROR:\s+42883: could not find function "clearout_shade" in file/, 'what it does not have, it says');
		is(value_of($node, q{SELECT state FROM clearout_status}, $database), 'running', 'and goes on');
	};
}

unlike(slurp_file($node->logfile), qr/signal 11|signal 6|TRAP:|PANIC/, 'nothing has crashed');
$node->stop;
done_testing();
