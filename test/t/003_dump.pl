# A dump restores to the same ledger: rows, counters, views, sequences; it
# raises nothing again, and what is due next is raised once.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('dump');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', $_) for (
	"SELECT usage_monitor.configure(currency => 'EUR', time_zone => 'Asia/Shanghai')",
	q{
	CREATE TABLE public.usage_2025 (LIKE usage_monitor.usage_default INCLUDING ALL);
	ALTER TABLE usage_monitor.usage ATTACH PARTITION public.usage_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
	INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('USD', 'EUR', 0.9), ('CNY', 'EUR', 0.125);
	SELECT usage_monitor.set_price('own', 1, 2, cache_read => 0.1, currency => 'EUR', valid_from => '2025-01-01');
	SELECT usage_monitor.set_price('own', 3, 4, currency => 'EUR', valid_from => '2025-06-01');
	SELECT usage_monitor.set_price('yuan', 8, 16, currency => 'CNY', org => 'acme', valid_from => '2025-01-01');
	INSERT INTO usage_monitor.model_alias (pattern, model) VALUES ('house-*', 'own');
	INSERT INTO usage_monitor.model_alternative (pattern, alternative, enabled) VALUES ('gpt-4o', 'own', true), ('gpt-4o', 'gpt-4o-mini', false);
	SELECT usage_monitor.set_quota('fixed ' || s || ' ' || m || ' ' || p, s, NULL, 50, p, m)
	  FROM unnest('{all,org,department,project,user,session,model,provider,tag}'::text[]) s, unnest('{cost,tokens,requests}'::text[]) m,
		   unnest('{hour,day,week,month,year,lifetime}'::text[]) p WHERE (length(s) + length(m) + length(p)) % 3 = 0;
	SELECT usage_monitor.set_quota('due next', 'user', 'u1', 30, 'lifetime', 'requests');
	SELECT usage_monitor.set_quota('hard', 'user', 'u2', 30, 'lifetime', 'requests', enforcement => 'block');
	UPDATE usage_monitor.quota SET amount = amount + 1 WHERE name LIKE 'fixed user%';
	INSERT INTO usage_monitor.usage (ts, request_id, org, department, project, user_id, session_id, model, input_tokens, output_tokens, tags, duration_ms, success)
	SELECT t, 'r' || n, CASE n % 3 WHEN 0 THEN 'acme' ELSE 'default' END, 'd', 'p' || n % 3, 'u' || n % 4, 's' || n % 5,
		   (ARRAY['own', 'house-x', 'yuan', 'gpt-4o', 'nobody'])[n % 5 + 1], n, n, jsonb_build_object('t', n % 2), n, n % 7 > 0
	  FROM generate_series(1, 100) n, LATERAL (SELECT CASE WHEN n % 2 = 0 THEN now() ELSE '2025-05-20'::timestamptz + n * interval '10 hours' END) v (t);
	INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u3', 'own', 12.345678901234567890);
	},
	q{SELECT usage_monitor.record('{"id": "x1", "model": "gpt-4o", "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}}', user_id => 'u3')},
	q{SELECT usage_monitor.acknowledge_alert(min(alert_id), 'me'), usage_monitor.resolve_alert(max(alert_id), 'you') FROM usage_monitor.alert});

# quota_history has what quota_usage may: a counter of a period before the quota;
# and how a ledger is maintained is its own
my @views = split /\n/, value($node, q{
	SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'v' AND relname NOT LIKE '\\_%' AND relname NOT IN ('quota_usage', 'maintenance_status') AND relnamespace = 'usage_monitor'::regnamespace ORDER BY 1});
my @tables = qw(price price_rate model_alias model_alternative provider_alias exchange_rate setting quota alert);

# All of it as it is within one hour of the clock: several views go by what hour it is.
sub state_of
{
	my ($database) = @_;
	my $hour = q{SELECT date_trunc('hour', now())};
	my %state;

	do
	{
		%state = values_of($node, $database,
			hour => $hour,
			'usage' => contents_query('usage_monitor.usage', 'xid'),
			(map { $_ => contents_query("usage_monitor.$_") } @tables),
			# private ones are of counters, which are made anew; a view of the ledger may show the transaction; now() moves on
			(map { $_ => contents_query($_, 'xid', 'projected', 'projected_percentage', 'runs_out_at') } @views),
			sequences => q{
				SELECT string_agg(format('%s %s', sequencename, last_value), ', ' ORDER BY sequencename)
				  FROM pg_sequences WHERE schemaname = 'usage_monitor'});
	} while ($state{hour} ne value($node, $hour, $database));
	return \%state;
}

# The dumped and the restored database in the same hour. The dumped one is read
# again only if an hour has begun: nothing else changes there.
my $dumped = state_of('postgres');
sub both_states
{
	my ($database) = @_;
	my $restored = state_of($database);

	while ($dumped->{hour} ne $restored->{hour})
	{
		$dumped = state_of('postgres');
		$restored = state_of($database);
	}
	return ($dumped, $restored);
}

# Compares a restored database, and records there what crosses a threshold.
sub is_restored
{
	my ($name, $database) = @_;
	my ($before, $after) = both_states($database);

	is($after->{$_}, $before->{$_}, "$name: $_") for sort keys %$before;
	counters_are_right($node, $name, $database);

	my $alerts = value($node, 'SELECT count(*), max(alert_id) FROM usage_monitor.alert', $database);
	my ($count, $last) = split /\|/, $alerts;
	is(value($node, "INSERT INTO usage_monitor.usage (user_id, model, input_tokens) SELECT 'u1', 'own', 0 FROM generate_series(1, 4) RETURNING usage_id > (SELECT max(usage_id) FROM usage_monitor.usage)", $database),
		join("\n", ('t') x 4), "$name: numbers of rows go on");
	is(value($node, "SELECT string_agg(level, ',' ORDER BY alert_id), max(alert_id) > $last FROM usage_monitor.alert WHERE details->>'quota' = 'due next'", $database),
		'warning,critical|t', "$name: the next crossing raises what is missing") ;
	is(value($node, 'SELECT count(*) FROM (SELECT FROM usage_monitor.alert GROUP BY quota_id, subject, period_start, level HAVING count(*) > 1) a', $database), 0, "$name: nothing is raised twice");
	is($node->psql($database, "SELECT usage_monitor.set_price('more', 1, 1), usage_monitor.set_quota('more', 'user', 'x', 1)"), 0, "$name: numbers of prices and quotas go on");
	is($node->psql($database, "INSERT INTO usage_monitor.usage (request_id, model, ts) VALUES ('r2', 'own', now())"), 3 , "$name: requests are still known");
}

# One database, dumped and restored in every way.
sub psql_restores
{
	my ($file, $database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->command_ok([ 'psql', '-X', '-1', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database), '-f', $file ], "$database: psql restores");
}

cmp_ok(length $dumped->{alert}, '>', 1000, 'there are alerts');
my $connection = $node->connstr('postgres');

$node->command_ok([ 'pg_dump', '-d', $connection, '-f', "$dir/plain.sql" ], 'pg_dump');
$node->command_ok([ 'pg_dump', '-Fc', '-d', $connection, '-f', "$dir/custom" ], 'pg_dump -Fc');
psql_restores("$dir/plain.sql", 'plain');
my ($before, $plain) = both_states('plain');
is_deeply([ grep { $plain->{$_} ne $before->{$_} } sort keys %$before ], [], 'plain: all the same');

# restored from what was restored
$node->command_ok([ 'pg_dump', '-d', $node->connstr('plain'), '-f', "$dir/again.sql" ], 'pg_dump of the restored');
psql_restores("$dir/again.sql", 'again');
is_restored('plain', 'plain');
is_restored('again', 'again');

$node->safe_psql('postgres', 'CREATE DATABASE parallel');
$node->command_ok([ 'pg_restore', '-j', '2', '-d', $node->connstr('parallel'), "$dir/custom" ], 'pg_restore -j 2');
is_restored('parallel', 'parallel');

$node->safe_psql('postgres', 'CREATE DATABASE sections');
$node->command_ok([ 'pg_restore', "--section=$_", '-d', $node->connstr('sections'), "$dir/custom" ], "pg_restore --section=$_") for qw(pre-data data post-data);
is_restored('sections', 'sections');

$node->stop;
done_testing();
