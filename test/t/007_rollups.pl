# Sixteen clients record, late ones too, change and delete what others have
# recorded, roll back, prepare, and stay open, while the rollups are refreshed
# and rebuilt all the time.  Whenever one looks, in one snapshot, every view is
# what the ledger says; so it is after a crash, and on a standby.
use strict;
use warnings;

# a session of psql must not end before the run does; the modules read its limit as they are loaded
my $seconds;

BEGIN
{
	$seconds = $ENV{UM_SECONDS} // 8;
	$ENV{PG_TEST_TIMEOUT_DEFAULT} //= $seconds + 400;
}

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $open = $seconds > 100 ? 60 : 5;
my $node = new_node('main', 'max_connections = 60', 'usage_monitor.auto_refresh_rows = 300');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', q{
	SELECT usage_monitor.configure('USD', 'America/New_York');
	SELECT usage_monitor.set_price('m' || n, 1 + n, 2.5 * n, provider => 'v' || n % 2, service_tier => t) FROM generate_series(0, 4) n, unnest('{standard, batch}'::text[]) t;
});
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

# What a transaction is made of.  Of others' rows it changes one only: two
# could meet in opposite order.
my $insert = q{
INSERT INTO usage_monitor.usage (ts, org, department, project, user_id, session_id, model, operation, source, service_tier,
								 input_tokens, output_tokens, duration_ms, success, cached, tags, request_id)
SELECT now() - CASE WHEN random() < 0.2 THEN random() * interval '400 days' ELSE random() * interval '1 hour' END,
	   'o' || :r % 3, 'd' || :r % 2, nullif('p' || :r % 4, 'p0'), nullif('u' || :r % 7, 'u0'), 's' || :r % 9, nullif('m' || :r % 6, ''),
	   nullif('op' || :r % 3, 'op1'), 'src' || :r % 2, CASE WHEN :r % 5 = 0 THEN 'batch' ELSE 'standard' END,
	   :r % 1000, :r % 300, nullif(:r % 9000, 0), :r % 11 > 0, :r % 13 = 0,
	   CASE :r % 3 WHEN 0 THEN jsonb_build_object('team', :r % 4) WHEN 1 THEN '{"a": true, "b": null}' END,
	   CASE WHEN random() < 0.5 THEN gen_random_uuid()::text END
  FROM generate_series(1, :n);
};
my $other = q{(SELECT usage_id FROM usage_monitor.usage WHERE xid <> pg_current_xact_id()::text::bigint ORDER BY usage_id DESC OFFSET :o LIMIT 1)};
my %script = (
	insert => $insert,
	savepoint => "BEGIN;$insert SAVEPOINT s; $insert ROLLBACK TO s; $insert RELEASE s; COMMIT;",
	rollback => "BEGIN;$insert DELETE FROM usage_monitor.usage WHERE usage_id = $other; ROLLBACK;",
	update => "BEGIN ISOLATION LEVEL READ COMMITTED; UPDATE usage_monitor.usage SET output_tokens = output_tokens + 1, user_id = 'u9', duration_ms = :r WHERE usage_id = $other; COMMIT;",
	move => "BEGIN; UPDATE usage_monitor.usage SET ts = ts - interval '1 day', tags = '{\"moved\": 1}' WHERE usage_id = $other; $insert COMMIT;",
	delete => "DELETE FROM usage_monitor.usage WHERE usage_id = $other;",
	own => "BEGIN; $insert UPDATE usage_monitor.usage SET org = 'o9' WHERE xid = pg_current_xact_id()::text::bigint; DELETE FROM usage_monitor.usage WHERE xid = pg_current_xact_id()::text::bigint AND input_tokens % 2 = 0; COMMIT;",
	record => q{SELECT FROM usage_monitor.record(jsonb_build_object('model', 'm1', 'usage', jsonb_build_object('prompt_tokens', :r % 100, 'completion_tokens', :n, 'total_tokens', :r % 100 + :n)), org => 'r', request_id => 'req' || :r % 20, provider => 'openai');},
	prepare => "BEGIN; $insert UPDATE usage_monitor.usage SET success = false WHERE usage_id = $other; PREPARE TRANSACTION 'p:client_id'; SELECT pg_sleep(random() / 4); COMMIT PREPARED 'p:client_id';",
	open => "BEGIN; $insert SELECT pg_sleep(random() * $open); $insert COMMIT;",
	pause => '\sleep 30 ms');
my %weight = (insert => 30, savepoint => 5, rollback => 5, update => 10, move => 5, delete => 5, own => 5, record => 5, prepare => 3, open => 2,
	# a ledger that grows for long takes long to look at
	pause => $seconds > 100 ? 300 : 60);

for my $name (keys %script)
{
	(my $sql = $script{$name}) =~ s/\s*\n\s*/ /g;
	append_to_file("$dir/$name.sql", "\\set r random(1, 1000000)\n\\set n random(1, 5)\n\\set o random(0, 300)\n"
		  . join("\n", map { /^\\/ ? $_ : "$_;" } grep { /\S/ } split /;\s*/, $sql) . "\n");
}
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';

append_to_file("$dir/refresh.sql", "SELECT usage_monitor.refresh();\n\\sleep 50 ms\n");
append_to_file("$dir/rebuild.sql", "SELECT usage_monitor.rebuild_rollups();\n\\sleep 200 ms\n");

# The totals in one statement, so in one snapshot, and without a write: also
# for a standby.
my $totals = q{SELECT view, requests, cost FROM (} . join(' UNION ALL ', map {
		"SELECT '$_' AS view, sum(requests) AS requests, sum(cost) AS cost, sum(total_tokens) AS tokens, sum(unpriced_requests) AS unpriced FROM usage_monitor.$_"
	} qw(hourly_usage daily_usage weekly_usage project_usage user_usage model_usage operation_usage hourly_total daily_total model_total source_total))
  . q{) v WHERE (requests, cost, tokens, unpriced) IS DISTINCT FROM
		(SELECT (count(*)::numeric, sum(cost), sum(total_tokens), count(*) FILTER (WHERE cost IS NULL)::numeric) FROM usage_monitor.usage)};

# Sessions that stay, and remember what they have summed up: one looks back for
# a while, too.
my @session = map { $_->background_psql('postgres') } $node, $standby;
my $looks = 0;
sub look_again
{
	my @step = ('BEGIN ISOLATION LEVEL REPEATABLE READ', '', 'COMMIT', '');
	my $step = $step[ $looks++ % @step ];

	$session[0]->query_safe($step) if $step;
	return grep { $_ ne '' } map { $_->query_safe('SELECT * FROM usage_monitor.verify()') . $_->query_safe($totals) } @session;
}

# The load goes on until one has looked four times, if that takes longer.
my ($checks, @wrong, $load_output, $refresh_output) = (0);
my $longest = $seconds + 300;
my @load = (
	IPC::Run::start([ 'pgbench', '-n', '-c', 16, '-j', 2, '-T', $longest, '--max-tries=1', map { ('-f', "$dir/$_.sql\@$weight{$_}") } sort keys %script ],
		'>&', \$load_output),
	IPC::Run::start([ 'pgbench', '-n', '-c', 2, '-T', $longest, '-f', "$dir/refresh.sql\@20", '-f', "$dir/rebuild.sql\@1" ], '>&', \$refresh_output));
my $start = time;

while (time < $start + ($checks > 3 ? $seconds : $longest))
{
	my $result = $node->safe_psql('postgres', "SET client_min_messages = warning;\n" . slurp_file("$FindBin::RealBin/../include/views.psql")
		  . "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT * FROM pg_temp.compare();\nSELECT 'verify', v.* FROM usage_monitor.verify() v;\nCOMMIT;\n");
	$checks++;
	push @wrong, $result if $result ne '24 views||';
	my $on_standby = value($standby, $totals);
	push @wrong, "standby: $on_standby" if $on_standby ne '';
	push @wrong, map { "session: $_" } look_again();
	last if @wrong > 3;
}
# as if its time were over
$_->signal('ALRM') for @load;
$_->finish for @load;
$_->quit foreach @session;
is(join("\n", @wrong), '', 'every view is what the ledger says, whenever one looks');
cmp_ok($checks, '>', 3, 'one looked');
note "$checks times";
like($load_output, qr/number of failed transactions: 0 /, 'no transaction failed');
like($refresh_output, qr/number of failed transactions: 0 /, 'no refresh failed');
cmp_ok(value($node, 'SELECT count(*) FROM usage_monitor.usage'), '>', 1000, 'there was load');
unlike(slurp_file($node->logfile), qr/deadlock detected|PANIC|TRAP|terminated by signal/, 'no deadlock, no crash');

my $compare = slurp_file("$FindBin::RealBin/../include/views.psql") . "SELECT * FROM pg_temp.compare();\n";
value($node, $insert =~ s/:[rn]/3/gr);
$node->stop('immediate');
$node->start;
is(value($node, $compare), '24 views||', 'after a crash');
cmp_ok(value($node, 'SELECT usage_monitor.refresh()'), '>', 0, 'what was not folded is folded');
is(value($node, $compare), '24 views||', 'after the fold');
$node->wait_for_catchup($standby);
is(value($standby, $totals), '', 'standby: views are what the ledger says');
my ($code, $output, $error) = $standby->psql('postgres', 'SELECT usage_monitor.refresh()');
like($error, qr/cannot execute refresh\(\) (during recovery|in a read-only transaction)/, 'standby: a fold is refused');

$node->stop;
$standby->promote;
is(value($standby, 'SELECT usage_monitor.refresh() >= 0'), 't', 'promoted: the tail is folded');
is(value($standby, $compare), '24 views||', 'promoted: views are what the ledger says');
$standby->stop;
done_testing();
