# Counters are made anew, and old calls dropped, over and over, while writers
# record, correct and delete, in transactions that end in whatever way.  In the
# end every counter is the ledger's sum, no blocking quota is exceeded, and
# verify() agrees.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use Ledger;
use Load;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{UM_SECONDS} || 60;
my $node = new_node('catching_up', 'deadlock_timeout = 100ms', 'max_connections = 100', 'log_min_messages = error');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', q{
	SELECT usage_monitor.set_price('m', 1, 2);
	SELECT usage_monitor.set_quota('orgs', 'org', NULL, 1e6, 'year');
	SELECT usage_monitor.set_quota('users', 'user', NULL, 1e6, 'lifetime', 'tokens', thresholds => '{0.001, 0.01}');
	SELECT usage_monitor.set_quota('sessions', 'session', NULL, 1e6, 'lifetime', 'requests');
	SELECT usage_monitor.set_quota('tags', 'tag', 't', 1e6, 'month');
	SELECT usage_monitor.set_quota('blocking', 'project', NULL, 400000, 'lifetime', 'tokens', enforcement => 'block');
	CREATE FUNCTION make_partition() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		CREATE TABLE usage_monitor.usage_old (LIKE usage_monitor.usage_default INCLUDING ALL);
		PERFORM _usage_monitor._lock_ledger('make_partition');
		-- what came late meanwhile stays where it is
		IF NOT EXISTS (SELECT FROM usage_monitor.usage_default WHERE ts < date_trunc('day', now()) - interval '20 days') THEN
			EXECUTE format('ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_monitor.usage_old FOR VALUES FROM (MINVALUE) TO (%L)',
				date_trunc('day', now()) - interval '20 days');
		ELSE
			DROP TABLE usage_monitor.usage_old;
		END IF;
	END $$;
	SELECT make_partition();
});

sub insert
{
	my $late = rand() < 0.1 ? "now() - interval '" . pick(1 .. 40) . " days'" : 'now()';
	return "INSERT INTO usage_monitor.usage (ts, org, user_id, session_id, project, model, tags, input_tokens, output_tokens) VALUES ($late, '"
	  . pick(qw(o1 o2)) . "', 'u" . pick(1 .. 10) . "', 's" . pick(1 .. 5) . "', 'p" . pick(1 .. 3) . "', 'm', '{\"t\": " . pick(1 .. 3) . "}', " . pick(1 .. 300) . ', ' . pick(1 .. 300) . ");\n";
}

# some row that nobody else is changing, found by its number
sub change
{
	my $set = pick("UPDATE usage_monitor.usage SET output_tokens = output_tokens + 7", "UPDATE usage_monitor.usage SET user_id = 'u" . pick(1 .. 10) . "', session_id = 's" . pick(1 .. 5) . "'",
		"UPDATE usage_monitor.usage SET ts = ts - interval '1 day'", "UPDATE usage_monitor.usage SET project = 'p" . pick(1 .. 3) . "'", 'DELETE FROM usage_monitor.usage');
	return "$set WHERE usage_id = (SELECT usage_id FROM usage_monitor.usage TABLESAMPLE SYSTEM (20) ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED);\n" if rand() < 0.3;
	return insert();
}

sub short_transaction
{
	return insert() if rand() < 0.4;
	my $sql = "BEGIN;\n" . insert() . "SAVEPOINT s;\n" . change() . pick("ROLLBACK TO s;\n", '') . insert();
	return $sql . pick("COMMIT;\n", "COMMIT;\n", "ROLLBACK;\n");
}

sub long_transaction
{
	return "BEGIN;\n" . insert() . change() . "\\timing off\nSELECT pg_sleep(" . pick(0.2, 1, 3) . ");\n\\timing on\n" . insert() . pick("COMMIT;\n", "COMMIT;\n", "ROLLBACK;\n");
}

sub rebuild
{
	return pick("SELECT usage_monitor.rebuild_counters();\n", "SELECT usage_monitor.rebuild_counters();\n",
		"UPDATE usage_monitor.quota SET enabled = false WHERE name = 'sessions';\nUPDATE usage_monitor.quota SET enabled = true WHERE name = 'sessions';\n",
		"BEGIN;\n" . insert() . "SELECT usage_monitor.rebuild_counters();\n" . insert() . pick("COMMIT;\n", "ROLLBACK;\n"),
		"SELECT usage_monitor.fold_counters();\n");
}

sub drop
{
	return pick("SELECT usage_monitor.refresh();\n",
		"SELECT count(*) FROM usage_monitor.drop_usage_before((now() - interval '19 days')::date);\nSELECT make_partition() WHERE to_regclass('usage_monitor.usage_old') IS NULL;\n");
}

my $end = time + $seconds;
my $connstr = $node->connstr('postgres');
my @pids = map { start_client($connstr, $dir, "short$_", $end, \&short_transaction, timing => 1) } 1 .. 8;
push @pids, map { start_client($connstr, $dir, "long$_", $end, \&long_transaction, timing => 1, batch => 1) } 1 .. 3;
push @pids, map { start_client($connstr, $dir, "rebuild$_", $end, \&rebuild, batch => 2) } 1 .. 2;
push @pids, start_client($connstr, $dir, 'drop', $end, \&drop, batch => 2);
run_until($end, \@pids, sub { });

my $statements = grep { /^Time: / } map { split /\n/, slurp_file($_) } glob "$dir/{short,long}*.log";
my @errors = grep { /ERROR|FATAL|PANIC/ && !/is exceeded|current transaction is aborted|savepoint "s" does not exist/ } map { split /\n/, slurp_file($_) } glob "$dir/*.log";

note "$statements statements of writers; "
  . value($node, q{SELECT count(*) || ' rows; dropped ' || (SELECT count(*) || ' partitions with ' || coalesce(sum(requests), 0) FROM usage_monitor.archived_partition) || ' calls' FROM usage_monitor.usage});
is(join("\n", @errors), '', 'no errors but refusals');
unlike(slurp_file($node->logfile), qr/deadlock detected|PANIC|TRAP|terminated by signal/, 'no deadlock, no crash');
cmp_ok($statements, '>', $seconds * 20, 'there was load');
cmp_ok(value($node, 'SELECT count(*) FROM usage_monitor.archived_partition'), '>', 0, 'calls were dropped');
counters_are_right($node, 'after the load');
is(value($node, 'SELECT * FROM usage_monitor.verify()'), '', 'verify() agrees');

$node->stop;
done_testing();
