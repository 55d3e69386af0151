# A writer who finds the tail long starts a worker that folds it; a setting
# turns that off.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use Test::More;

my $node = new_node('main', 'usage_monitor.auto_refresh_rows = 1000',
	"default_transaction_isolation = 'serializable'", "default_transaction_read_only = 'off'");
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE postgres');
my $folded = 'SELECT coalesce(sum(requests), 0) FROM _usage_monitor._rollup_day';
my $no_worker = "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'usage_monitor refresh'";
my $insert = "INSERT INTO usage_monitor.usage (model, input_tokens) SELECT 'm', n FROM generate_series(1, %d) n";

my $refreshed = "UPDATE _usage_monitor._rollup_state SET refreshed_at = now() + '%s'";
$node->safe_psql('postgres', sprintf($refreshed, '1 hour') . ';' . sprintf($insert, 900));
is(value($node, $folded), 0, 'a short tail stays');
# one transaction, which the worker must not miss though it asks for it
$node->safe_psql('postgres', sprintf($insert, 200));
ok($node->poll_query_until('postgres', "SELECT ($folded) = 1100"), 'a long tail is folded');
ok($node->poll_query_until('postgres', $no_worker), 'the worker ends');

$node->safe_psql('other', sprintf($insert, 5000));
ok($node->poll_query_until('other', "SELECT ($folded) = 5000"), 'each database has its own');
ok($node->poll_query_until('postgres', $no_worker), 'it ends, too');
$node->safe_psql('other', sprintf($refreshed, '-31 seconds') . ';' . sprintf($insert, 150));
ok($node->poll_query_until('other', "SELECT ($folded) = 5150"), 'a short tail is folded, if the last time was not just now');

# who drops the extension locks its tables in another order than a fold
$node->append_conf('postgresql.conf', "deadlock_timeout = '10s'");
$node->reload;
my $dropper = $node->background_psql('postgres');
$dropper->query_safe("SET deadlock_timeout = '7500ms'; BEGIN; LOCK TABLE _usage_monitor._rollup_user");
$node->safe_psql('postgres', sprintf($insert, 2000));
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'usage_monitor refresh' AND wait_event_type = 'Lock'"), 'a worker waits');
$dropper->query_safe('LOCK TABLE _usage_monitor._rollup_state');
pass('it gives way');
$dropper->query_safe('COMMIT');
$dropper->quit;
$node->safe_psql('postgres', sprintf($insert, 1000));
ok($node->poll_query_until('postgres', "SELECT ($folded) = 4100"), 'the next one folds what is left');
ok($node->poll_query_until('postgres', $no_worker), 'and ends');

$node->append_conf('postgresql.conf', 'usage_monitor.auto_refresh_rows = 0');
$node->reload;
$node->safe_psql('postgres', sprintf($insert, 20000));
sleep 2;
is(value($node, $folded), 4100, 'the setting turns it off');
is(value($node, 'SELECT sum(requests) FROM usage_monitor.daily_usage'), 24100, 'views are right all the same');

$node->safe_psql('postgres', 'CREATE ROLE writer; SELECT usage_monitor.grant_access(\'writer\', \'writer\')');
my (undef, undef, $error) = $node->psql('postgres', "SELECT usage_monitor.cost('m', 1, 1); SET ROLE writer; SET usage_monitor.auto_refresh_rows = 1");
like($error, qr/permission denied to set parameter "usage_monitor.auto_refresh_rows"/, 'a writer cannot set it');

$node->append_conf('postgresql.conf', "max_worker_processes = 0\nmax_logical_replication_workers = 0\nmax_parallel_workers = 0\nusage_monitor.auto_refresh_rows = 10");
$node->restart;
$node->safe_psql('postgres', sprintf($insert, 100));
is(value($node, 'SELECT sum(requests) FROM usage_monitor.daily_usage'), 24200, 'without room for a worker nothing fails');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/^.*(FATAL|PANIC|WARNING).*$/m, 'nothing to complain of in the log');
$node->stop;
done_testing();
