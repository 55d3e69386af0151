# ALTER EXTENSION UPDATE: from whatever version there is a way to today's, and
# from one that is made up here, an upgraded installation is a fresh one, object
# by object and row by row; sessions that were there before go on, and say so.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Installation;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = extension_directory();
plan skip_all => 'earlier versions cannot be put beside this one' unless defined $directory;

my $node = new_node('upgrade');
my $today = value($node, q{SELECT extversion FROM pg_extension WHERE extname = 'usage_monitor'});

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION usage_monitor CASCADE');

my $fresh = catalog($node, 'fresh');
my $earlier = make_earlier_version($node, 'fresh', $directory);

# What is in both before: the same rows at the same time, as far as there is one.
my $rows = q{
	SELECT usage_monitor.configure(currency => 'EUR', time_zone => 'Asia/Shanghai');
	INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('USD', 'EUR', 0.9);
	SELECT usage_monitor.set_price('own', 1, 2, currency => 'EUR', valid_from => '2025-01-01');
	INSERT INTO usage_monitor.model_alias (pattern, model) VALUES ('house-*', 'own');
	SELECT usage_monitor.set_quota('a ' || s, s, NULL, 50, 'month', 'requests') FROM unnest('{all,org,user,tag}'::text[]) AS s;
	SELECT usage_monitor.set_quota('hard', 'user', 'u2', 100, 'lifetime', 'requests', enforcement => 'block');
	INSERT INTO usage_monitor.alert_rule (name, metric, threshold) VALUES ('dear', 'cost', 5);
	INSERT INTO usage_monitor.usage (ts, request_id, org, user_id, model, input_tokens, output_tokens, tags, duration_ms)
	SELECT '2025-05-20Z'::timestamptz + n * interval '10 hours', 'r' || n, CASE n % 3 WHEN 0 THEN 'acme' ELSE 'default' END, 'u' || n % 4,
		   (ARRAY['own', 'house-x', 'nobody'])[n % 3 + 1], n, n, jsonb_build_object('t', n % 2), n
	  FROM generate_series(1, 200) AS n};
my $more = q{
	INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens) SELECT '2025-06-01Z', 'u1', 'own', n FROM generate_series(1, 20) AS n;
	UPDATE usage_monitor.usage SET output_tokens = 7 WHERE request_id = 'r7';
	DELETE FROM usage_monitor.usage WHERE request_id = 'r8'};

# What sessions do that are open across an upgrade
my @across = (
	q{INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens) VALUES ('2025-06-02Z', 'u3', 'own', 1)},
	q{INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens) VALUES ('2025-06-02Z', 'u3', 'own', 2)},
	q{DELETE FROM usage_monitor.usage WHERE ts = '2025-06-02Z'});

# All rows of all tables, without what tells when they were written; verify()
# compares what is derived from them.
sub rows_of
{
	my ($database) = @_;
	my @relations = split /\n/, $node->safe_psql($database, q{
		SELECT c.oid::regclass FROM pg_class AS c JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		  JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'usage_monitor'
		 WHERE c.relnamespace = 'usage_monitor'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.oid::regclass::text COLLATE "C"});

	return { values_of($node, $database, map {
		$_ => contents_query($_, 'xid', 'recorded_at', 'created_at', 'updated_at', 'raised_at', 'at', 'last_seen', 'old', 'new')
	} @relations) };
}

sub is_equal
{
	my ($database, $name) = @_;
	my $upgraded = catalog($node, $database);

	# a difference is shown in a few lines, not in ten thousand
	my %fresh = map { $_ => 1 } split /\n/, $fresh;
	my %upgraded = map { $_ => 1 } split /\n/, $upgraded;
	my @differences = ((map { "missing: $_" } grep { !$upgraded{$_} } sort keys %fresh), (map { "too much: $_" } grep { !$fresh{$_} } sort keys %upgraded));
	splice @differences, 20;
	is(join("\n", @differences), '', "$name: every object is as in a fresh installation");
	is(length $upgraded, length $fresh, "$name: and there are as many");
}

cmp_ok(length $fresh, '>', 100_000, 'the catalog tells a lot');
$node->safe_psql('fresh', $_) for ($rows, @across, $more);
my $expected = rows_of('fresh');

for my $version (split /\n/, value($node, qq{
	SELECT source FROM pg_extension_update_paths('usage_monitor') WHERE target = '$today' AND path IS NOT NULL
	INTERSECT SELECT version FROM pg_available_extension_versions WHERE name = 'usage_monitor'}))
{
	my $database = "from_$version";
	my $name = "$version to $today";

	$database =~ tr/./_/;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE EXTENSION usage_monitor VERSION '$version' CASCADE");
	isnt(catalog($node, $database), $fresh, "$name: it is another before");
	$node->safe_psql($database, $rows);

	my $open = $node->background_psql($database, on_error_stop => 0);
	$open->query($across[0]);
	like($open->{stderr}, qr/version \Q$version\E in this database, but its library has version \Q$today\E/, "$name: the library says that it is newer");
	my $stderr = '';
	$node->psql($database, 'ALTER EXTENSION usage_monitor UPDATE', stderr => \$stderr);
	is($stderr, '', "$name: it is upgraded");
	is($open->query(q{SELECT cost FROM usage_monitor.cost('own', 1000000, 0) AS cost}), '1', "$name: a session from before prices");
	$open->query($_) for @across[ 1, 2 ];
	$open->quit;

	is_equal($database, $name);
	$node->safe_psql($database, $more);
	my $is = rows_of($database);
	is_deeply([ sort keys %$is ], [ sort keys %$expected ], "$name: the same tables");
	is($is->{$_}, $expected->{$_}, "$name: $_") for grep { exists $is->{$_} } sort keys %$expected;
	is(value($node, 'SELECT count(*) FROM usage_monitor.verify()', $database), '0', "$name: verify() finds nothing");
}

# The other way round: the script is newer than the library, in sessions old and new.
my $newer = "$directory/usage_monitor--$today--100.0.sql";

Installation::write_file($newer, "ALTER TABLE usage_monitor.usage ALTER COLUMN model SET STATISTICS 200;\n");
my @sessions = $node->background_psql('fresh', on_error_stop => 0);
$sessions[0]->query($across[0]);
$node->safe_psql('fresh', q{ALTER EXTENSION usage_monitor UPDATE TO '100.0'});
push @sessions, $node->background_psql('fresh', on_error_stop => 0);
for (@sessions)
{
	$_->query($across[1]);
	like($_->{stderr}, qr/version 100\.0 in this database, but its library has version \Q$today\E.*Install the library of that version/s, 'the library says that it is older');
	$_->quit;
}
is(value($node, q{SELECT count(*), count(cost) FROM usage_monitor.usage WHERE ts = '2025-06-02Z'}, 'fresh'), '3|3', 'and works all the same');
is(value($node, 'SELECT count(*) FROM usage_monitor.verify()', 'fresh'), '0', 'and rightly');

unlink $newer, glob("$directory/usage_monitor--$earlier*.sql");
$node->stop;
done_testing();
