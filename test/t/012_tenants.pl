# Who is confined to organisations stays so through a dump and a restore that
# keeps triggers; pg_dump itself writes no policy of a table
# that belongs to an extension.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('tenants');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', $_) for (
	'CREATE ROLE acme_reader LOGIN; CREATE ROLE acme_writer LOGIN; CREATE ROLE all_reader LOGIN; CREATE ROLE by_hand LOGIN',
	'GRANT USAGE ON SCHEMA usage_monitor TO by_hand; GRANT INSERT ON usage_monitor.usage TO by_hand',
	q{
	SELECT usage_monitor.grant_access('all_reader', 'reader');
	SELECT usage_monitor.grant_access('acme_reader', 'reader', org => 'acme');
	SELECT usage_monitor.grant_access('acme_writer', 'writer', org => 'acme')},
	q{
	SELECT usage_monitor.set_quota('each org', 'org', NULL, 1);
	INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens, cost)
	SELECT o, o || n, 'm', 10, 0.25 FROM unnest('{acme,rival}'::text[]) o, generate_series(1, 4) n},
	'SELECT usage_monitor.refresh()',
	"INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('acme', 'm', 1), ('rival', 'm', 1)");

# What a role sees and may do, in a database
sub is_confined
{
	my ($name, $database) = @_;
	my $as = sub { my ($role, $sql) = @_; return value($node, "SET ROLE $role; $sql", $database) };
	my $sees = q{
		SELECT (SELECT string_agg(DISTINCT org, ',') FROM usage_monitor.usage), (SELECT sum(requests) FROM usage_monitor.daily_usage),
		       (SELECT sum(requests) FROM usage_monitor.daily_total), (SELECT string_agg(DISTINCT subject, ',') FROM usage_monitor.alert),
		       (SELECT string_agg(DISTINCT subject, ',') FROM usage_monitor.quota_status)};

	is($as->('acme_reader', $sees), 'acme|5|5|acme|acme', "$name: one organisation's reader sees that");
	is($as->('all_reader', $sees), 'acme,rival|10|10|acme,rival|acme,rival', "$name: who reads all sees all");
	is($node->psql($database, "SET ROLE acme_writer; INSERT INTO usage_monitor.usage (org, model) VALUES ('rival', 'm')"), 3,
		"$name: one organisation's writer does not record for another");
	is($node->psql($database, "BEGIN; SET ROLE acme_writer; INSERT INTO usage_monitor.usage (model) VALUES ('m'); SET ROLE by_hand; INSERT INTO usage_monitor.usage (org, model) VALUES ('rival', 'm'); ROLLBACK"), 0,
		"$name: but for his own, and who was granted by hand for all");
	is($node->psql($database, 'SET ROLE acme_reader; SELECT FROM usage_monitor.usage_default'), 3, "$name: nobody reads a partition by its name");
	is(value($node, 'SELECT count(*) FROM usage_monitor.verify()', $database), 0, "$name: verify() agrees");
}

is_confined('before', 'postgres');
my $connection = $node->connstr('postgres');
$node->command_ok([ 'pg_dump', '-d', $connection, '-f', "$dir/plain.sql" ], 'pg_dump');
$node->command_ok([ 'pg_dump', '-Fc', '-d', $connection, '-f', "$dir/custom" ], 'pg_dump -Fc');
unlike(slurp_file("$dir/plain.sql"), qr/CREATE POLICY|ROW LEVEL SECURITY/, 'a dump has no policies of an extension');

$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(plain parallel disabled);
$node->command_ok([ 'psql', '-X', '-1', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('plain'), '-f', "$dir/plain.sql" ], 'psql -1 restores');
is_confined('plain', 'plain');
$node->command_ok([ 'pg_restore', '-j', '2', '-d', $node->connstr('parallel'), "$dir/custom" ], 'pg_restore -j 2');
is_confined('parallel', 'parallel');
$node->command_ok([ 'pg_restore', "--section=$_", '-d', $node->connstr('disabled'), "$dir/custom" ], "pg_restore --section=$_") for qw(pre-data);
$node->command_ok([ 'pg_restore', '--data-only', '--disable-triggers', '-d', $node->connstr('disabled'), "$dir/custom" ], 'pg_restore --data-only --disable-triggers');
# that disables the trigger of access, too
cmp_ok(value($node, "SELECT count(*) FROM usage_monitor.verify() WHERE what = 'access'", 'disabled'), '>', 10,
	'verify() says that row security is off where triggers were disabled');
$node->safe_psql('disabled', 'UPDATE usage_monitor.access SET role = role');
is(value($node, "SELECT count(*) FROM usage_monitor.verify() WHERE what = 'access'", 'disabled'), 0, 'and any change of access mends it');

done_testing();
