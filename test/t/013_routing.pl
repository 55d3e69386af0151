# How calls come to the node of their organisation, as doc/nodes.md has it: by
# postgres_fdw, and by PgBouncer where that is installed; and a limit over
# several nodes whose shares are moved while calls come.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

# nodes that do not replicate to each other may as well be databases
my $server = new_node('server');
my $host = $server->host;
my $port = $server->port;
$server->safe_psql('postgres', "CREATE DATABASE node$_ TEMPLATE postgres") for 1, 2;
for my $n (1, 2)
{
	$server->safe_psql("node$n", $_) for (
		"SELECT usage_monitor.configure(node => $n)",
		"SELECT usage_monitor.set_price('m', 1, 2)",
		"SELECT usage_monitor.set_quota('cap', 'org', NULL, 1000, 'lifetime', 'requests', enforcement => 'block')");
}

#
# postgres_fdw: a table whose partitions are the nodes.
#
$server->safe_psql('postgres', 'CREATE DATABASE router');
sub router { return value($server, $_[0], 'router'); }
router(qq{
	CREATE EXTENSION postgres_fdw;
	CREATE TABLE usage (
		request_id text, org text NOT NULL, ts timestamptz DEFAULT now(), user_id text, model text NOT NULL,
		input_tokens bigint DEFAULT 0, output_tokens bigint DEFAULT 0, usage_id bigint, cost numeric
	) PARTITION BY LIST (org);
	CREATE SCHEMA node1; CREATE SCHEMA node2});
my %orgs = (1 => "'acme', 'globex'", 2 => "'initech'");
for my $n (1, 2)
{
	router(qq{
		CREATE SERVER node$n FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'node$n', batch_size '100', async_capable 'true');
		CREATE USER MAPPING FOR CURRENT_USER SERVER node$n;
		CREATE FOREIGN TABLE usage_node$n PARTITION OF usage FOR VALUES IN ($orgs{$n}) SERVER node$n OPTIONS (schema_name 'usage_monitor', table_name 'usage');
		IMPORT FOREIGN SCHEMA usage_monitor LIMIT TO (daily_usage, quota_status) FROM SERVER node$n INTO node$n});
}
is(router("INSERT INTO usage (org, user_id, model, input_tokens) VALUES ('acme', 'amy', 'm', 1000000) RETURNING cost, usage_id"), '1|1000000000000', 'fdw: a call costs what its node says');
is(router("INSERT INTO usage (org, user_id, model, input_tokens) VALUES ('initech', 'ian', 'm', 2000000) RETURNING cost, usage_id"), '2|2000000000000', 'fdw: and the next one is on the other node');
router("INSERT INTO usage (org, user_id, model, input_tokens, request_id) VALUES ('acme', 'amy', 'm', 1, 'once') ON CONFLICT DO NOTHING") for 1, 2;
router("INSERT INTO usage (org, user_id, model, output_tokens) SELECT 'globex', 'g', 'm', n FROM generate_series(1, 500) n");
router("UPDATE usage SET input_tokens = 3000000 WHERE org = 'initech' AND user_id = 'ian'");
is(value($server, 'SELECT org, count(*), sum(cost) FROM usage_monitor.usage GROUP BY org ORDER BY org', 'node1'), "acme|2|1.000001\nglobex|500|0.250500", 'fdw: node 1');
is(value($server, 'SELECT org, count(*), sum(cost) FROM usage_monitor.usage GROUP BY org ORDER BY org', 'node2'), 'initech|1|3', 'fdw: node 2');
is(value($server, 'SELECT * FROM usage_monitor.verify()', "node$_"), '', "fdw: node $_ agrees with itself") for 1, 2;

my ($code, $out, $err) = $server->psql('router', "INSERT INTO usage (org, model) SELECT 'globex', 'm' FROM generate_series(1, 501)");
like($err, qr/quota "cap" of org "globex" is exceeded/, 'fdw: the quota of the node refuses');
is(value($server, "SELECT used FROM usage_monitor.quota_status WHERE subject = 'globex'", 'node1'), 500, 'fdw: and nothing stays');
router("BEGIN; INSERT INTO usage (org, model) VALUES ('acme', 'm'); ROLLBACK");
is(router("SELECT count(*) FROM usage WHERE org = 'acme'"), 2, 'fdw: what is rolled back is so on the node');
is(router('SELECT org, sum(cost) FROM (SELECT * FROM node1.daily_usage UNION ALL SELECT * FROM node2.daily_usage) d GROUP BY org ORDER BY org'),
	"acme|1.000001\nglobex|0.2505\ninitech|3", 'fdw: the views of all nodes');
like(router("EXPLAIN (VERBOSE, COSTS OFF) SELECT sum(cost) FROM usage WHERE org = 'initech'"), qr/node2(?!.*node1)/s, 'fdw: one organisation is asked for on its node alone');
like(router("EXPLAIN (VERBOSE, COSTS OFF) SELECT sum(cost) FROM node1.daily_usage WHERE day >= '2026-01-01'"), qr/Remote SQL: SELECT sum\(cost\) .* WHERE/s, 'fdw: a view of a node is summed up there');

#
# A limit over both nodes: shares that add up to it, one of which is moved while
# calls come to both.
#
my %share = (1 => 300, 2 => 100);
$server->safe_psql("node$_", qq{
	SELECT usage_monitor.set_quota('company share', 'all', NULL, $share{$_}, 'lifetime', 'requests', enforcement => 'block');
	DELETE FROM usage_monitor.usage;
	CREATE PROCEDURE work(calls int) LANGUAGE plpgsql AS \$\$
	BEGIN
		FOR i IN 1 .. calls LOOP
			BEGIN
				INSERT INTO usage_monitor.usage (org, user_id, model) VALUES ('o' || i % 7, 'u', 'm');
			EXCEPTION WHEN SQLSTATE 'UM100' THEN
				NULL;
			END;
			COMMIT;
		END LOOP;
	END
	\$\$}) for 1, 2;

sub shares { return map { value($server, "SELECT amount FROM usage_monitor.quota WHERE name = 'company share'", "node$_") } 1, 2; }

# As the page has it
sub move_share
{
	my ($from, $to, $amount) = @_;
	my $before = value($server, "SELECT amount FROM usage_monitor.quota WHERE name = 'company share'", "node$from");
	$server->safe_psql("node$from", "UPDATE usage_monitor.quota SET amount = amount - $amount WHERE name = 'company share'");
	my $after = value($server, q{
		UPDATE usage_monitor.quota q SET amount = q.amount - s.remaining
		  FROM usage_monitor.quota_status s
		 WHERE q.name = 'company share' AND s.quota_id = q.quota_id AND s.remaining < 0;
		SELECT amount FROM usage_monitor.quota WHERE name = 'company share'}, "node$from");
	my $moved = $before - $after;
	$server->safe_psql("node$to", "UPDATE usage_monitor.quota SET amount = amount + $moved WHERE name = 'company share'") if $moved > 0;
	return $moved;
}

sub work_on
{
	my ($n, $calls) = @_;
	return IPC::Run::start([ 'psql', '-XqAt', '-d', $server->connstr("node$n"), '-c', "CALL work($calls)" ], '<', \undef, '&>', '/dev/null');
}
my @work = map { work_on(@$_) } [ 1, 40 ], [ 2, 400 ], [ 2, 400 ];
my $moved = 0;
$moved += move_share(1, 2, 40) for 1 .. 5;
push @work, work_on(2, 400);
$_->finish for @work;
cmp_ok($moved, '>', 0, "shares: $moved were moved while calls came");
my @shares = shares();
is($shares[0] + $shares[1], 400, 'shares: they still add up to the limit');
my @used = map { value($server, "SELECT coalesce(sum(used), 0) FROM usage_monitor.quota_status WHERE name = 'company share'", "node$_") } 1, 2;
cmp_ok($used[$_], '<=', $shares[$_], "shares: none is exceeded, $used[$_] of $shares[$_]") for 0, 1;
cmp_ok($used[1], '>', $share{2}, 'shares: what was moved was used');
# more than is left cannot be moved
work_on(1, 400)->finish;
is(move_share(1, 2, 50), 0, 'shares: what is used is not moved');
is(join(' ', shares()), join(' ', @shares), 'shares: and stays as it was');
is(value($server, 'SELECT * FROM usage_monitor.verify()', "node$_"), '', "shares: node $_ agrees with itself") for 1, 2;

#
# PgBouncer: a database of its name for each organisation.
#
SKIP:
{
	my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
	skip 'PgBouncer is not installed', 6 unless $pgbouncer;

	my $dir = PostgreSQL::Test::Utils::tempdir_short;
	my $pool = PostgreSQL::Test::Cluster::get_free_port();
	append_to_file("$dir/pgbouncer.ini", qq{
[databases]
acme = host=$host port=$port dbname=node1 user=} . getpwuid($<) . qq{
initech = host=$host port=$port dbname=node2 user=} . getpwuid($<) . qq{
[pgbouncer]
listen_addr =
listen_port = $pool
unix_socket_dir = $dir
auth_type = any
pool_mode = transaction
default_pool_size = 2
logfile = $dir/log
});
	my $log = '';
	my $bouncer = IPC::Run::start([ $pgbouncer, "$dir/pgbouncer.ini" ], '<', \undef, '&>', \$log);
	my $ask = sub {
		my ($org, $sql) = @_;
		my ($answer, $stderr);
		IPC::Run::run([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', "host=$dir port=$pool dbname=$org" ], '<', \$sql, '>', \$answer, '2>', \$stderr);
		chomp($answer);
		return $answer . $stderr;
	};
	for (1 .. 50)
	{
		last if -S "$dir/.s.PGSQL.$pool";
		IPC::Run::run([ 'sleep', '0.1' ]);
	}
	$server->safe_psql("node$_", "DELETE FROM usage_monitor.quota WHERE name = 'company share'; DELETE FROM usage_monitor.usage") for 1, 2;
	is($ask->('acme', "INSERT INTO usage_monitor.usage (org, model, input_tokens) VALUES ('acme', 'm', 1000000) RETURNING cost"), '1', 'pool: a call');
	is($ask->('initech', "INSERT INTO usage_monitor.usage (org, model, input_tokens) VALUES ('initech', 'm', 2000000) RETURNING cost"), '2', 'pool: and one of another organisation');
	# many clients on two connections each, with savepoints
	my @clients = map {
		my $org = $_ % 2 ? 'acme' : 'initech';
		my $sql = "BEGIN; INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('$org', 'c', 'm', 10); SAVEPOINT s; INSERT INTO usage_monitor.usage (org, user_id, model, input_tokens) VALUES ('$org', 'never', 'm', 10); ROLLBACK TO s; COMMIT;\n" x 5;
		my $sink = '';
		IPC::Run::start([ 'psql', '-XqAt', '-d', "host=$dir port=$pool dbname=$org" ], '<', \$sql, '&>', \$sink);
	} 1 .. 20;
	$_->finish for @clients;
	for my $n (1, 2)
	{
		is(value($server, "SELECT string_agg(DISTINCT org, ' '), count(*) FILTER (WHERE user_id = 'c'), count(*) FILTER (WHERE user_id = 'never') FROM usage_monitor.usage", "node$n"),
			($n == 1 ? 'acme' : 'initech') . '|50|0', "pool: node $n has the calls of its organisation, and each once");
		is(value($server, 'SELECT * FROM usage_monitor.verify()', "node$n"), '', "pool: node $n agrees with itself");
	}
	$bouncer->signal('INT');
	$bouncer->finish;
}

$server->stop;
done_testing();
