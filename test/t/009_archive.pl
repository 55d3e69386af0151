# What was dropped from the ledger survives a dump: views and counters of the
# restored database are the same, and what comes late is added.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use lib $FindBin::RealBin;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('archive');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', 'CREATE DATABASE busy TEMPLATE postgres');
$node->safe_psql('postgres', $_) for (
	"SELECT usage_monitor.configure(currency => 'CNY', time_zone => 'Asia/Shanghai')",
	q{
	CREATE TABLE public.usage_2024 (LIKE usage_monitor.usage_default INCLUDING ALL);
	ALTER TABLE usage_monitor.usage ATTACH PARTITION public.usage_2024 FOR VALUES FROM ('2023-12-31 16:00+00') TO ('2024-12-31 16:00+00');
	SELECT usage_monitor.set_price('m', 4, 12);
	SELECT usage_monitor.set_quota(s || ' ' || p, s, NULL, 1000000, p, 'cost') FROM unnest('{all,org,user,tag}'::text[]) s, unnest('{day,year,lifetime}'::text[]) p;
	SELECT usage_monitor.set_quota('hard', 'all', NULL, 1000, 'lifetime', 'requests', enforcement => 'block');
	INSERT INTO usage_monitor.usage (ts, org, user_id, session_id, model, input_tokens, output_tokens, duration_ms, tags)
	SELECT '2024-12-20 00:00+08'::timestamptz + n * interval '59 minutes', 'o' || n % 2, 'u' || n % 3, 's' || n / 10, 'm', n * 1000, n, n, '{"t": 1}'
	  FROM generate_series(1, 600) n;
	},
	'SELECT usage_monitor.refresh()');

# quota_history has what quota_usage may: a counter of a period before the quota
my @views = split /\n/, value($node, q{
	SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'v' AND relname ~ '^[^_].*(_usage|_total|_trend|quota_history)$' AND relname NOT IN ('quota_usage', 'recent_usage', 'unpriced_usage')
	   AND relnamespace = 'usage_monitor'::regnamespace ORDER BY 1});

sub views_of
{
	my ($database) = @_;
	return { values_of($node, $database, map { $_ => contents_query($_) } @views) };
}

my $before = views_of('postgres');
is(value($node, q{SELECT requests, to_ts AT TIME ZONE 'Asia/Shanghai' FROM usage_monitor.drop_usage_before('2025-01-01')}), '292|2025-01-01 00:00:00', 'the partition is archived');
is(value($node, 'SELECT count(*) FROM usage_monitor.usage'), 308, 'and dropped');
my $after = views_of('postgres');
is($after->{$_}, $before->{$_}, "archived: $_") for @views;

$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', "$dir/dump.sql" ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-1', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', "$dir/dump.sql" ], 'it restores');
my $restored = views_of('restored');
is($restored->{$_}, $before->{$_}, "restored: $_") for @views;
is(value($node, 'SELECT count(*) FROM usage_monitor.verify()', 'restored'), 0, 'restored: all is well');
is(value($node, 'SELECT usage_monitor.refresh()', 'restored'), 308, 'restored: what is left is folded');
is(value($node, "SELECT usage_monitor.details_since() AT TIME ZONE 'Asia/Shanghai'", 'restored'), '2025-01-01 00:00:00', 'restored: it says from when on there are details');

for my $database ('postgres', 'restored')
{
	$node->safe_psql($database, "INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens) VALUES ('2024-12-24 12:00+08', 'o1', 'u1', 'm', 1000000)");
	is(value($node, "SELECT sum(cost) FROM usage_monitor.daily_usage WHERE day = '2024-12-24' AND org = 'o1'", $database),
		value($node, "SELECT 4 + sum(4 * (n * 1000) / 1e6 + 12 * n / 1e6) FROM generate_series(1, 600, 2) n WHERE ('2024-12-20 00:00'::timestamp + n * interval '59 minutes')::date = '2024-12-24'") =~ s/\.?0+$//r, "$database: a late call is added to the archive");
	is(value($node, "SELECT used FROM usage_monitor.quota_history WHERE name = 'hard'", $database), 601, "$database: and to the counter");
	my (undef, undef, $error) = $node->psql($database, "INSERT INTO usage_monitor.usage (model) SELECT 'm' FROM generate_series(1, 400)");
	like($error, qr/quota "hard" is exceeded/, "$database: what was dropped counts against a blocking quota");
	is(value($node, 'SELECT count(*) FROM usage_monitor.verify()', $database), 0, "$database: all is well");
}

# What comes, changes and goes in a partition between its fold and its archiving
# is archived as well: it begins anew.
$node->safe_psql('busy', $_) for (
	q{SELECT usage_monitor.set_quota('each', 'user', NULL, 1000, 'lifetime', 'requests')},
	map({ my $next = $_ + 1; "CREATE TABLE usage_monitor.usage_$_ (LIKE usage_monitor.usage_default INCLUDING ALL);
	 ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_monitor.usage_$_ FOR VALUES FROM ('$_-01-01Z') TO ('$next-01-01Z');
	 INSERT INTO usage_monitor.usage (ts, user_id, model, cost) SELECT '$_-06-01Z', 'u' || n, 'm', 1 FROM generate_series(1, 5) n" } 2021, 2022));
my $holder = $node->background_psql('busy');
$holder->query_safe('BEGIN; LOCK TABLE usage_monitor.quota_adjustment IN SHARE MODE');
my $dropping = IPC::Run::start(
	[ 'psql', '-XqAt', '-d', $node->connstr('busy'), '-c', q{SELECT name, requests, cost FROM usage_monitor.drop_usage_before('2023-01-01')} ],
	'>', \my $dropped, '2>&1');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'busy' AND wait_event_type = 'Lock' AND query LIKE '%drop_usage_before%'}),
	'the first of two partitions is being archived');
$node->safe_psql('busy', $_) for (
	q{INSERT INTO usage_monitor.usage (ts, user_id, model, cost) VALUES ('2022-06-02Z', 'late', 'm', 1)},
	q{UPDATE usage_monitor.usage SET user_id = 'moved' WHERE user_id = 'u1' AND ts > '2022-01-01Z'},
	q{DELETE FROM usage_monitor.usage WHERE user_id = 'u2' AND ts > '2022-01-01Z'});
$holder->query_safe('COMMIT');
$holder->quit;
ok($dropping->finish, 'both are archived') or diag $dropped;
is($dropped, "usage_monitor.usage_2021|5|5\nusage_monitor.usage_2022|5|5\n", 'with what came meanwhile');
is(value($node, q{SELECT string_agg(user_id || ' ' || requests, ', ' ORDER BY user_id) FROM (SELECT user_id, sum(requests) AS requests FROM usage_monitor.user_usage GROUP BY user_id) AS u}, 'busy'),
	'late 1, moved 1, u1 1, u2 1, u3 2, u4 2, u5 2', 'views have it');
is(value($node, 'SELECT count(*) FROM usage_monitor.usage', 'busy'), 0, 'and the ledger has none of it');
is(value($node, 'SELECT count(*) FROM usage_monitor.verify()', 'busy'), 0, 'all is well');

$node->stop;
done_testing();
