# Run for years: the default partition is drained while others record and
# read; nothing is lost, nobody waits for long, and no reader misses a call.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('years', 'usage_monitor.auto_refresh_rows = 0', 'log_lock_waits = on');
my $dir = PostgreSQL::Test::Utils::tempdir;
my $rows = $ENV{UM_ROWS} || 9_000;

$node->safe_psql('postgres', q{
	SELECT usage_monitor.set_price('m', 1, 2, valid_from => '2020-01-01');
	SELECT usage_monitor.set_quota(s || ' ' || p, s, NULL, 1e9, p, 'requests') FROM unnest('{all,user}'::text[]) s, unnest('{day,lifetime}'::text[]) p});
# of two months or three, many of them of one instant
$node->safe_psql('postgres', qq{
	INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, request_id)
	SELECT CASE WHEN n % 3 = 0 THEN now() ELSE now() - n * interval '5 minutes' END, 'u' || n % 10, 'm', n, 'r' || n FROM generate_series(1, $rows) n});

# Four that record, of months that there is something to drain of, and wait for
# no more than a second; of each, how many it recorded.  Two that read: what was
# there when they began is there.
my $write = "$dir/write.sql";
PostgreSQL::Test::Utils::append_to_file($write, q{
\set n random(1, 4)
INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, request_id) SELECT now() - random() * (ROWS - 200) * interval '5 minutes', 'w' || :n, 'm', 1, gen_random_uuid() FROM generate_series(1, 3);
UPDATE usage_monitor.usage SET output_tokens = :n WHERE org = 'default' AND request_id = 'r' || (random() * ROWS)::integer;
} =~ s/ROWS/$rows/gr);
my $read = "$dir/read.sql";
PostgreSQL::Test::Utils::append_to_file($read, qq{
SELECT 1 / (count(*) = $rows)::integer FROM usage_monitor.usage WHERE request_id LIKE 'r%';
SELECT 1 / (count(*) = $rows)::integer FROM usage_monitor.usage WHERE request_id LIKE 'r%' AND ts < now() + interval '1 hour' AND ts >= now() - interval '1 day' - $rows * interval '5 minutes';
SELECT 1 / (sum(requests) = $rows)::integer FROM usage_monitor.user_usage WHERE user_id LIKE 'u%';
});
my @clients;
for my $client ([ 4, $write, 40 ], [ 2, $read, 3 ])
{
	my ($number, $script, $rate) = @$client;
	my ($out, $err) = ('', '');
	push @clients, { out => \$out, err => \$err, handle => IPC::Run::start(
		[ 'pgbench', '-n', '-M', 'prepared', '-c', $number, '-j', 1, '-T', 600, '-R', $rate, '-P', 600, '--max-tries', 1, '-l', '--log-prefix', "$script.log", '-f', $script, $node->connstr('postgres') ],
		'>', \$out, '2>', \$err) };
}
# how long they take on a machine that may have other things to do
$node->poll_query_until('postgres', "SELECT count(*) > 300 FROM usage_monitor.usage WHERE user_id LIKE 'w%'") or die 'nobody records';
$node->safe_psql('postgres', 'CALL usage_monitor.drain_default_partition()');
$node->safe_psql('postgres', 'SELECT usage_monitor.create_partitions()');
# as if their time were over: what is interrupted writes no more of its log
$_->{handle}->signal('ALRM') for @clients;
$_->{handle}->finish for @clients;

unlike(${ $clients[1]{err} } . ${ $clients[0]{err} }, qr/ERROR|aborted/, 'nobody fails, and readers see every call');
# of each transaction how long it took; what it was late by, of its own client's, is the last column
my @ms = sort { $b <=> $a } map { my @column = split; ($column[2] - $column[6]) / 1000 }
	grep { /^(\d+ ){6}\d+$/ } map { split /\n/, PostgreSQL::Test::Utils::slurp_file($_) } glob "$write.log*";
cmp_ok(scalar(@ms), '>', 50, 'others have recorded meanwhile');
# on a machine that has other things to do everybody takes longer
my $usual = $ms[@ms / 2];
cmp_ok($ms[0], '<', 1000 + 20 * $usual, 'nobody has waited for a second') or diag "longest: @ms[0 .. 5] ms\n" . join "\n", grep { /still waiting|acquired .*Lock/ } split /\n/, PostgreSQL::Test::Utils::slurp_file($node->logfile);
note "longest: $ms[0] ms, half of them at most $usual ms";
is(value($node, "SELECT count(*), count(DISTINCT request_id) FROM usage_monitor.usage WHERE request_id LIKE 'r%'"), "$rows|$rows", 'no call is lost');
is(value($node, 'SELECT count(*) FROM ONLY usage_monitor.usage_default'), 0, 'the default partition is empty');
is(value($node, 'SELECT count(*) FROM usage_monitor.usage u JOIN _usage_monitor._partitions() p ON p.partition = u.tableoid WHERE u.ts < p.from_ts OR u.ts >= p.to_ts'), 0, 'each is in the partition of its time');
counters_add_up($node, 'drained');
is(value($node, 'SELECT count(*) FROM usage_monitor.verify()'), 0, 'drained: all is well');
storage_is_sound($node, 'drained');

# By default a background worker does what there is to do, once it is due.
is(value($node, 'SELECT count(*) FROM _usage_monitor._maintenance'), 0, 'nothing is done before it is due');
$node->safe_psql('postgres', "UPDATE _usage_monitor._rollup_state SET maintained_at = now() - interval '2 hours'");
$node->safe_psql('postgres', "INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('m', 1)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 11 AND count(error) = 0 FROM _usage_monitor._maintenance"), 'a worker does every step');
ok($node->poll_query_until('postgres', "SELECT worker = 'not needed now' AND maintained_at > now() - interval '1 hour' FROM usage_monitor.maintenance_status"), 'and ends');
is(value($node, 'SELECT count(*) FROM usage_monitor.verify()'), 0, 'maintained: all is well');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/^.*(PANIC|WARNING|was not recorded).*$/m, 'nothing to complain of in the log');

# A publication of all tables, as the road to another version of the server is:
# the publisher goes on, and the subscriber has what it has, by rollups of its own.
my $other = new_node('other_version', 'usage_monitor.auto_refresh_rows = 0');
$node->safe_psql('postgres', q{
	INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('EUR', 'USD', 1.25);
	SELECT usage_monitor.drop_usage_before((now() - interval '1 month')::date);
	INSERT INTO usage_monitor.model_alias (pattern, model) VALUES ('our-m', 'm');
	CREATE PUBLICATION everything FOR ALL TABLES WITH (publish_via_partition_root = true)});
is(value($node, 'SELECT breaking_publications FROM usage_monitor.maintenance_status'), '{}', 'no table of the extension breaks it');
$other->safe_psql('postgres', "CREATE SUBSCRIPTION everything CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION everything");
$other->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')") or die 'no synchronisation';
$node->safe_psql('postgres', $_) for (
	'SELECT usage_monitor.refresh()',
	"SELECT usage_monitor.set_price('m', 3, 4); SELECT usage_monitor.set_quota('later', 'user', NULL, 5, 'day', 'requests')",
	"INSERT INTO usage_monitor.usage (user_id, model, input_tokens) SELECT 'p' || n % 3, 'our-m', n FROM generate_series(1, 30) n",
	"UPDATE usage_monitor.usage SET input_tokens = 7 WHERE user_id = 'p1'",
	"DELETE FROM usage_monitor.usage WHERE user_id = 'p2'",
	'SELECT usage_monitor.refresh()',
	'SELECT usage_monitor.rebuild_rollups()',
	'SELECT usage_monitor.rebuild_counters()',
	'CALL usage_monitor.maintain()',
	"INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('p3', 'm', 11)");
$node->wait_for_catchup('everything');
my @same = qw(usage_monitor.daily_usage usage_monitor.user_usage usage_monitor.monthly_total usage_monitor.price usage_monitor.price_rate
	usage_monitor.model_alias usage_monitor.exchange_rate usage_monitor.quota usage_monitor.archived_partition);
my ($published, $subscribed) = map { +{ values_of($_, 'postgres', map { $_ => contents_query($_) } @same) } } $node, $other;
is($subscribed->{$_}, $published->{$_}, "subscriber: $_") for @same;
my $counters = 'SELECT name, subject, period_start, used, state FROM usage_monitor.quota_status WHERE used <> 0 ORDER BY 1, 2, 3';
is(value($other, $counters), value($node, $counters), 'subscriber: quotas');
is(value($other, 'SELECT * FROM usage_monitor.verify()'), '', 'subscriber: all is well');
$other->safe_psql('postgres', 'SELECT usage_monitor.refresh()');
is(contents($other, 'usage_monitor.daily_usage'), contents($node, 'usage_monitor.daily_usage'), 'subscriber: refreshed, the same');
$other->safe_psql('postgres', 'DROP SUBSCRIPTION everything');
# numbers go on from where the publisher was
$other->safe_psql('postgres', value($node, q{SELECT format('SELECT setval(%L, %s);', format('%I.%I', s.schemaname, s.sequencename), s.last_value)
	FROM pg_sequences s WHERE s.schemaname = 'usage_monitor' AND s.last_value IS NOT NULL}));
$other->safe_psql('postgres', "INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('p3', 'm', 11)");
is(value($other, 'SELECT count(*) FROM usage_monitor.verify()'), 0, 'subscriber: it goes on by itself');
unlike(PostgreSQL::Test::Utils::slurp_file($other->logfile), qr/^.*ERROR.*$/m, 'subscriber: nothing failed on the way');
$other->stop;

# What pg_dump takes along, by its options.
sub dumped
{
	my ($database, @options) = @_;
	my $count = 0;
	$node->command_ok([ 'pg_dump', '-f', "$dir/dump", @options, $node->connstr($database) ], "pg_dump @options");
	my $in;
	for (split /\n/, PostgreSQL::Test::Utils::slurp_file("$dir/dump"))
	{
		$in = 1, next if /^COPY usage_monitor\.usage\w* /;
		$in = 0 if /^\\\.$/;
		$count++ if $in;
	}
	return $count;
}
$node->safe_psql('postgres', "INSERT INTO usage_monitor.usage (ts, model, input_tokens) VALUES ('2019-01-01', 'm', 1)");
my $all = value($node, 'SELECT count(*) FROM usage_monitor.usage');
is(dumped('postgres'), $all, 'all calls are in a dump of the database');
is(dumped('postgres', '-e', 'usage_monitor', '-n', 'usage_monitor'), $all, 'and of extension and schema');
is(dumped('postgres', '-n', 'usage_monitor'), $all - 1, 'that of the schema lacks what the default partition has');
is(dumped('postgres', '-t', 'usage_monitor.usage'), 0, 'that of the name of the ledger has nothing');

# A dump of what was restored is the same, but for the transactions' numbers and what is random in a dump
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-f', "$dir/first.sql", $node->connstr('postgres') ], 'pg_dump');
$node->command_ok([ 'psql', '-Xq', '-1', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', "$dir/first.sql" ], 'it restores');
$node->safe_psql('restored', 'DROP PUBLICATION everything');
my @configured = split /\n/, value($node, q{SELECT c.oid::regclass FROM pg_extension e JOIN pg_class c ON c.oid = ANY (e.extconfig) WHERE e.extname = 'usage_monitor' AND c.relkind IN ('r', 'p')});
my ($dumped, $restored) = map { +{ values_of($node, $_, map { $_ => contents_query($_, 'xid') } @configured) } } 'postgres', 'restored';
is($restored->{$_}, $dumped->{$_}, "restored: $_") for @configured;
is(value($node, 'SELECT count(*) FROM usage_monitor.verify()', 'restored'), 0, 'restored: all is well');
# restored once more over itself, which is told by --clean
$node->command_ok([ 'pg_dump', '--clean', '--if-exists', '-f', "$dir/clean.sql", $node->connstr('restored') ], 'pg_dump --clean');
$node->command_ok([ 'psql', '-Xq', '-1', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', "$dir/clean.sql" ], 'it restores over itself');
is(value($node, 'SELECT count(*) FROM usage_monitor.usage', 'restored'), $all, 'with all calls');

$node->stop;
done_testing();
