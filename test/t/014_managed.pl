# Managed PostgreSQL, which has no extension in C: the two ways from a plain
# table there to a ledger elsewhere, by the statements of doc/managed.md, rows
# that the ledger refuses included.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

# The statements of a section of the page for one of the servers, in order
my $page = slurp_file("$FindBin::RealBin/../../doc/managed.md");
my $managed = PostgreSQL::Test::Cluster->new('managed');
my $reporting = PostgreSQL::Test::Cluster->new('reporting');

sub statements
{
	my ($section, $server, $number) = @_;
	my ($text) = $page =~ /^## \Q$section\E$(.*?)(?=^## |\z)/ms or die "no section $section";
	my @blocks = $text =~ /^```sql no-run\n-- on the $server server\n(.*?)^```$/msg;
	my $block = $blocks[ $number - 1 ] // die "no statements for the $server server in $section";
	my $where = $managed->connstr . ' dbname=postgres';
	my ($host, $port) = ($managed->host, $managed->port);

	$block =~ s/CONNECTION '[^']*'/CONNECTION '$where'/;
	$block =~ s/host 'managed\.example\.com', dbname 'app'/host '$host', port '$port', dbname 'postgres'/;
	$block =~ s/OPTIONS \(user 'reader', password 'secret'\)//;
	return $block;
}

for my $node ($managed, $reporting)
{
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
	$node->start;
}
is(value($managed, "SELECT count(*) FROM pg_extension WHERE extname <> 'plpgsql'"), 0, 'the managed server has no extension');

# ---- Logical replication ----
$managed->safe_psql('postgres', statements('Logical replication', 'managed', 1));
$managed->safe_psql('postgres', "INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens) SELECT 'early', 'gpt-4o', 1000, 500 FROM generate_series(1, 5)");
my $subscribe = statements('Logical replication', 'reporting', 1);
my ($extension) = $subscribe =~ /^(CREATE EXTENSION[^;]*;)/m or die;
# its quotas are there before the calls are
$reporting->safe_psql('postgres', $extension);
$reporting->safe_psql('postgres', "SELECT usage_monitor.set_quota('monthly', 'all', NULL, 0.09, 'lifetime')");
$subscribe =~ s/\Q$extension\E//;
$reporting->safe_psql('postgres', $subscribe);
$reporting->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')") or die 'no synchronisation';
$managed->safe_psql('postgres', "INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens, cache_read_input_tokens) SELECT 'late', 'gpt-4o', 1000, 500, 100 FROM generate_series(1, 7)");

# what the ledger would refuse does not get into the plain table
for my $bad ("model, input_tokens) VALUES ('gpt-4o', -1", "model, input_tokens) VALUES (' ', 1", "model, input_tokens, cache_read_input_tokens) VALUES ('gpt-4o', 1, 2",
	"model, ts) VALUES ('gpt-4o', now() + interval '2 days'", "model, ts) VALUES ('gpt-4o', '1970-01-01'", "model, input_tokens) VALUES ('gpt-4o', 1000000000000001",
	"model, duration_ms) VALUES ('gpt-4o', 'NaN'", "model, duration_ms) VALUES ('gpt-4o', 'Infinity'", "model, duration_ms) VALUES ('gpt-4o', -1",
	"model, user_id) VALUES ('gpt-4o', repeat('x', 201)", "model, output_tokens, reasoning_output_tokens) VALUES ('gpt-4o', 1, 2")
{
	my ($status) = $managed->psql('postgres', "INSERT INTO usage_monitor.usage ($bad)");
	is($status, 3, "not in the plain table: ($bad)");
}
# what is at the edge of what gets in is no more than the ledger takes
$managed->safe_psql('postgres', q{
	INSERT INTO usage_monitor.usage (model, input_tokens, output_tokens, duration_ms, ts, user_id) VALUES
	    ('no such model', 0, 0, 0, '2015-01-01 00:00+00', ''),
	    ('ollama/llama3', 1000000000000000, NULL, 1e300, now() + interval '23 hours', repeat('x', 200))});
$managed->wait_for_catchup('usage_monitor');

is(value($reporting, "SELECT string_agg(concat_ws(' ', user_id, n, trim_scale(cost)), ', ' ORDER BY user_id) FROM (SELECT user_id, count(*) AS n, sum(cost) AS cost FROM usage_monitor.usage WHERE model = 'gpt-4o' GROUP BY user_id) u"),
	'early 5 0.0375, late 7 0.051625', 'calls from before and after are there, and priced');
is(value($reporting, "SELECT count(*) FROM usage_monitor.usage"), 14, 'and so are those at the edge');
is(value($reporting, "SELECT subenabled FROM pg_subscription"), 't', 'nothing was refused');
is(value($reporting, "SELECT string_agg(level, ', ' ORDER BY alert_id) FROM usage_monitor.alert WHERE alert_type LIKE 'quota%'"), 'warning, critical', 'quotas alert');
counters_are_right($reporting, 'replicated');

# a row that the ledger refuses all the same
$reporting->append_conf('postgresql.conf', "usage_monitor.earliest_ts = '2026-01-01'");
$reporting->restart;
$managed->safe_psql('postgres', "INSERT INTO usage_monitor.usage (request_id, model, input_tokens, ts) VALUES ('poison', 'gpt-4o', 1, '2020-01-01')");
$managed->safe_psql('postgres', "INSERT INTO usage_monitor.usage (request_id, model, input_tokens, output_tokens) VALUES ('after', 'gpt-4o', 1000, 500)");
my $stopped = $reporting->poll_query_until('postgres', 'SELECT NOT subenabled FROM pg_subscription');
ok($stopped, 'a refused row disables the subscription');
is(value($reporting, "SELECT count(*) FROM usage_monitor.usage WHERE request_id IN ('poison', 'after')"), 0, 'and nothing comes after it');
my $watch = statements('Logical replication', 'reporting', 2);
my ($enable) = $watch =~ /^(ALTER SUBSCRIPTION usage_monitor ENABLE;)/m or die;
$watch =~ s/\Q$enable\E//;
like($reporting->safe_psql('postgres', $watch), qr/^usage_monitor\|f\n[1-9]/m, 'which is seen');
my ($lsn) = slurp_file($reporting->logfile) =~ /.*finished at ([0-9A-F]+\/[0-9A-F]+)/s;
$reporting->safe_psql('postgres', "ALTER SUBSCRIPTION usage_monitor SKIP (lsn = '$lsn')");
$reporting->safe_psql('postgres', $enable);
$managed->wait_for_catchup('usage_monitor');
is(value($reporting, "SELECT string_agg(request_id, ', ') FROM usage_monitor.usage WHERE request_id IN ('poison', 'after')"), 'after', 'skipped, and what came after it is there');
$managed->safe_psql('postgres', 'DELETE FROM usage_monitor.usage');
$managed->wait_for_catchup('usage_monitor');
is(value($reporting, "SELECT count(*) FROM usage_monitor.usage"), 15, 'what is deleted on the managed server stays in the ledger');
is($reporting->safe_psql('postgres', 'SELECT * FROM usage_monitor.verify()'), '', 'verified');
$reporting->safe_psql('postgres', 'DROP SUBSCRIPTION usage_monitor');
$reporting->safe_psql('postgres', 'DROP EXTENSION usage_monitor CASCADE; DROP EXTENSION btree_gist');

# ---- Pulling ----
$managed->safe_psql('postgres', statements('Pulling', 'managed', 1));
$managed->safe_psql('postgres', "INSERT INTO ai_call (user_name, model, input_tokens, output_tokens) SELECT 'early', 'gpt-4o', 1000, 500 FROM generate_series(1, 5)");
# a transaction that began before what is pulled first, and commits after it
$managed->safe_psql('postgres', "BEGIN; INSERT INTO ai_call (user_name, model, input_tokens, output_tokens) VALUES ('slow', 'gpt-4o', 1000, 500); PREPARE TRANSACTION 'slow'");
$managed->safe_psql('postgres', "INSERT INTO ai_call (user_name, model, input_tokens, output_tokens) SELECT 'fast', 'gpt-4o', 1000, 500 FROM generate_series(1, 3)");
$reporting->safe_psql('postgres', statements('Pulling', 'reporting', 1));
my $users = "SELECT string_agg(concat_ws(' ', user_id, n, trim_scale(cost)), ', ' ORDER BY user_id) FROM (SELECT user_id, count(*) AS n, sum(cost) AS cost FROM usage_monitor.usage GROUP BY user_id) u";
is(value($reporting, $users), 'early 5 0.0375', 'what is complete was pulled, and priced');
$managed->safe_psql('postgres', "COMMIT PREPARED 'slow'");
$managed->safe_psql('postgres', q{
	INSERT INTO ai_call (user_name, model, input_tokens, output_tokens) VALUES ('bad', 'gpt-4o', -1, 500), ('bad', ' ', 1, 1), ('good', 'gpt-4o', 1000, 500);
	INSERT INTO ai_call (user_name, model, input_tokens, output_tokens, at) VALUES ('bad', 'gpt-4o', 1, 500, '1970-01-01')});
$reporting->safe_psql('postgres', 'CALL pull_calls()');
is(value($reporting, $users), 'early 5 0.0375, fast 3 0.0225, good 1 0.0075, slow 1 0.0075', 'late and bad ones lose none');
is(value($reporting, "SELECT string_agg(concat_ws(' ', sqlstate, call ->> 'input_tokens'), ', ' ORDER BY sqlstate, call ->> 'input_tokens') FROM pull_refused"), 'UM001 -1, UM001 1, UM004 1', 'what is refused is put aside');
$reporting->safe_psql('postgres', 'CALL pull_calls()');
is(value($reporting, $users), 'early 5 0.0375, fast 3 0.0225, good 1 0.0075, slow 1 0.0075', 'again pulls nothing again');
$reporting->safe_psql('postgres', "UPDATE pulled SET up_to = '0'; TRUNCATE pull_refused; CALL pull_calls()");
is(value($reporting, $users), 'early 5 0.0375, fast 3 0.0225, good 1 0.0075, slow 1 0.0075', 'nor does it from the beginning');
is(value($reporting, 'SELECT count(*) FROM pull_refused'), 3, 'what was refused is refused again');
is($reporting->safe_psql('postgres', 'SELECT * FROM usage_monitor.verify()'), '', 'verified');

$reporting->stop;
$managed->stop;
done_testing();
