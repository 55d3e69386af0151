# An installation as it is in the catalog, to compare two; and earlier versions,
# to come from.
package Installation;

use strict;
use warnings;

use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Exporter 'import';
our @EXPORT = qw(catalog extension_directory make_earlier_version);

# Where CREATE EXTENSION finds scripts; undef if they cannot be put there.
sub extension_directory
{
	my $config = $ENV{TEMP_CONFIG} ? slurp_file($ENV{TEMP_CONFIG}) : '';
	my ($share) = run_command([ $ENV{PG_CONFIG} // 'pg_config', '--sharedir' ]);
	my $directory = $config =~ /^extension_control_path = '([^:']*)/m ? "$1/extension"
	  : $config =~ /^extension_destdir = '([^']*)'/m ? "$1$share/extension"
	  : "$share/extension";

	return -w $directory ? $directory : undef;
}

# All of the extension's objects: as pg_dump tells them to pg_upgrade, the only
# one that wants each of them, without numbers of this database.
sub catalog
{
	my ($node, $database) = @_;
	my ($dump) = run_command([ 'pg_dump', '--binary-upgrade', '--schema-only', '-d', $node->connstr($database) ]);
	my @parts;

	for my $part (split /\n\n+(?=--\n-- )/, $dump)
	{
		$part =~ s/^SELECT pg_catalog\.binary_upgrade_set_.*\n//mg;
		$part =~ s/^-- For binary upgrade, (must preserve|set heap's relfrozenxid|set toast's relfrozenxid).*\n//mg;
		$part =~ s/^UPDATE pg_catalog\.pg_class\nSET relfrozenxid.*\nWHERE .*\n//mg;
		$part =~ s/'\{[0-9,]*\}'/'{...}'/g if $part =~ /binary_upgrade_create_empty_extension/;
		# where a column that came later has its default from, and how far sequences are
		$part =~ s/^-- set missing value.*\n//mg;
		$part =~ s/^SELECT pg_catalog\.(binary_upgrade_set_missing_value|setval)\(.*\n?//mg;
		$part =~ s/^\\(un)?restrict .*\n//mg;
		$part =~ s/\n+/\n/g;
		push @parts, $part if $part =~ /usage_monitor/;
	}
	push @parts, $node->safe_psql($database, q{
		SELECT format('dumped: %s %s', c.relation::regclass, c.condition)
		  FROM pg_extension AS e, unnest(e.extconfig, e.extcondition) AS c (relation, condition)
		 WHERE e.extname = 'usage_monitor'});
	return join "\n", sort @parts;
}

# Makes version 0.0.1 up, and the script that leads from it to today's: today's
# less a column, a view and a function that nothing else needs.  A database that
# has today's says which.
sub make_earlier_version
{
	my ($node, $database, $directory) = @_;
	my ($today) = $node->safe_psql($database, q{SELECT extversion FROM pg_extension WHERE extname = 'usage_monitor'});
	my $script = slurp_file("$directory/usage_monitor--$today.sql");
	my $member = q{EXISTS (SELECT FROM pg_depend AS m
		WHERE m.classid = '%1$s'::regclass AND m.objid = %2$s AND m.deptype = 'e')};

	# a column: the last one of its table, which no object is made of, nor any
	# row that comes with the extension
	my ($table, $column);
	for my $candidate (split /\n/, $node->safe_psql($database, sprintf(q{
		SELECT a.attrelid::regclass || ' ' || quote_ident(a.attname)
		  FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
		 WHERE c.relkind = 'r' AND a.attnum = c.relnatts AND c.relnamespace = 'usage_monitor'::regnamespace AND } . $member . q{
		   AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = 'pg_class'::regclass
							  AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.classid <> 'pg_attrdef'::regclass
							  AND NOT EXISTS (SELECT FROM pg_constraint AS n WHERE d.classid = 'pg_constraint'::regclass AND n.oid = d.objid AND n.contype = 'n'))
		 ORDER BY array_position('{archived_partition,closed_period}', c.relname::text), 1}, 'pg_class', 'c.oid')))
	{
		($table, $column) = split / /, $candidate;
		last if $script =~ /^CREATE TABLE \Q$table\E \((?:\n    .*)*?\n    \Q$column\E /m && $script !~ /INSERT INTO \Q$table\E\b/;
		undef $table;
	}
	die "no column can be spared" unless defined $table;

	# a view and a function
	my $view = $node->safe_psql($database, sprintf(q{
		SELECT c.oid::regclass FROM pg_class AS c
		 WHERE c.relkind = 'v' AND c.relnamespace = 'usage_monitor'::regnamespace AND } . $member . q{
		   AND NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
							WHERE d.refobjid = c.oid AND r.ev_class <> c.oid)
		   AND NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_type AS t ON t.typrelid = c.oid
							WHERE d.refobjid IN (c.oid, t.oid) AND d.classid = 'pg_proc'::regclass)
		 ORDER BY length(pg_get_viewdef(c.oid)), 1 LIMIT 1}, 'pg_class', 'c.oid'));
	my $function = $node->safe_psql($database, sprintf(q{
		SELECT p.oid::regprocedure FROM pg_proc AS p
		 WHERE p.prokind = 'f' AND p.pronamespace = 'usage_monitor'::regnamespace AND } . $member . q{
		   AND p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql') AND p.prorettype <> 'trigger'::regtype
		   AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid)
		 ORDER BY p.provolatile <> 's', 1 LIMIT 1}, 'pg_proc', 'p.oid'));

	# the earlier script
	my $earlier = $script;
	my ($line) = $earlier =~ /^CREATE TABLE \Q$table\E \((?:\n    .*)*?\n    (\Q$column\E .*?),?\n/m;
	$earlier =~ s/^(CREATE TABLE \Q$table\E \((?:\n    .*)*?)\n    \Q$column\E .*/$1/m;
	$earlier =~ s/,(\n\);)/$1/ if $earlier =~ /^CREATE TABLE \Q$table\E \((?:\n    .*)*?,\n\);/m;
	$earlier =~ s/^COMMENT ON COLUMN \Q$table.$column\E IS\b.*?;\n//ms;
	write_file("$directory/usage_monitor--0.0.1.sql", $earlier, "\nDROP VIEW $view;\nDROP FUNCTION $function;\n");

	# the way from it to today's
	write_file("$directory/usage_monitor--0.0.1--$today.sql",
		"ALTER TABLE $table ADD COLUMN $line;\n",
		$node->safe_psql($database, qq{
			SELECT format('COMMENT ON COLUMN $table.$column IS %L;', col_description('$table'::regclass, attnum))
			  FROM pg_attribute WHERE attrelid = '$table'::regclass AND attname = '$column'
			   AND col_description('$table'::regclass, attnum) IS NOT NULL}), "\n",
		$node->safe_psql($database, qq{
			SELECT format('CREATE VIEW $view%s AS%s', ' WITH (' || array_to_string(reloptions, ', ') || ')',
						  E'\\n' || pg_get_viewdef(oid)) FROM pg_class WHERE oid = '$view'::regclass;
			SELECT 'REVOKE ALL ON $view FROM PUBLIC;';
			SELECT format('COMMENT ON %s IS %L;', CASE objsubid WHEN 0 THEN 'VIEW $view' ELSE 'COLUMN $view.' || quote_ident(attname) END, description)
			  FROM pg_description LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid
			 WHERE objoid = '$view'::regclass AND classoid = 'pg_class'::regclass ORDER BY objsubid;
			SELECT pg_get_functiondef('$function'::regprocedure) || ';';
			SELECT 'REVOKE ALL ON FUNCTION $function FROM PUBLIC;';
			SELECT format('COMMENT ON FUNCTION $function IS %L;', obj_description('$function'::regprocedure, 'pg_proc'))}), "\n");
	note "0.0.1 is without column $column of $table, view $view, function $function";
	return '0.0.1';
}

sub write_file
{
	my ($file, @text) = @_;

	open my $out, '>', $file or die "$file: $!";
	print $out @text;
	close $out;
}

1;
