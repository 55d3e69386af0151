# Sixteen clients record for two users a transaction, in random order, with
# rollbacks, savepoints, prepared transactions, every isolation level, and
# sessions that are cut off; administrators change quotas and prices all the
# time.  In the end there was no deadlock, and everything adds up.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{UM_SECONDS} // 30;
my $node = new_node('main', 'deadlock_timeout = 100ms', 'max_connections = 100', 'log_min_messages = error');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', q{
	SELECT usage_monitor.set_price('m', 1, 2);
	-- never changed, so that its alerts can be told from the ledger
	SELECT usage_monitor.set_quota('fixed ' || n, s, NULL, a, p, m)
	  FROM (VALUES (1, 'user', 60000, 'lifetime', 'tokens'), (2, 'all', 100, 'lifetime', 'cost'), (3, 'user', 1e9, 'month', 'cost'),
			(4, 'project', 500, 'year', 'requests'), (5, 'tag', 2000, 'lifetime', 'requests')) v (n, s, a, p, m);
	SELECT usage_monitor.set_quota('hard', 'session', NULL, 100, 'lifetime', 'requests', enforcement => 'block');
	SELECT usage_monitor.set_quota('changing ' || n, 'user', 'u' || n, 1000, 'lifetime', 'requests') FROM generate_series(1, 5) n;
});

sub pick { return $_[ int rand @_ ] }

# One transaction of a client.
sub transaction
{
	my ($gid) = @_;
	my ($dice, $sql) = (rand, '');
	my $insert = sub {
		my $late = rand() < 0.02 ? "'2025-03-0" . pick(1 .. 5) . "'" : 'now()';
		my $session = rand() < 0.1 ? "'s" . pick(1 .. 5) . "'" : 'NULL';
		return "INSERT INTO usage_monitor.usage (ts, user_id, project, session_id, model, tags, input_tokens, output_tokens) VALUES "
		  . "($late, 'u" . pick(1 .. 20) . "', 'p" . pick(1 .. 3) . "', $session, 'm', '{\"t\": " . pick(1 .. 3) . "}', "
		  . pick(1 .. 300) . ', ' . pick(1 .. 300) . ");\n";
	};

	return $insert->() if $dice < 0.2;
	$sql .= 'BEGIN ISOLATION LEVEL ' . pick('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ') . ";\n" . $insert->();
	$sql .= "SAVEPOINT s;\n" . $insert->() . pick("ROLLBACK TO s;\n", "RELEASE s;\n") if rand() < 0.3;
	# of another transaction's row, and of one row only: two could meet in opposite order
	$sql .= pick('DELETE FROM usage_monitor.usage',
		'UPDATE usage_monitor.usage SET input_tokens = input_tokens + 10',
		"UPDATE usage_monitor.usage SET user_id = 'u1'")
	  . " WHERE usage_id = (SELECT usage_id FROM usage_monitor.usage ORDER BY usage_id DESC LIMIT 1 OFFSET " . pick(0 .. 100) . ");\n"
	  if $sql =~ /COMMITTED/ && rand() < 0.1;
	$sql .= $insert->();
	return $sql . "ROLLBACK;\n" if rand() < 0.2;
	return $sql . "COMMIT;\n" if rand() < 0.9;
	return $sql . "PREPARE TRANSACTION '$gid';\n" . pick('COMMIT', 'COMMIT', 'ROLLBACK') . " PREPARED '$gid';\n";
}

sub change
{
	return pick(
		"SELECT usage_monitor.set_quota('changing " . pick(1 .. 5) . "', 'user', 'u" . pick(1 .. 5) . "', " . pick(10, 100, 1e6) . ", '" . pick('lifetime', 'day') . "', '" . pick('requests', 'cost', 'tokens') . "');\n",
		"DELETE FROM usage_monitor.quota WHERE name = 'changing " . pick(1 .. 5) . "';\n",
		"UPDATE usage_monitor.quota SET enabled = NOT enabled WHERE name = 'changing " . pick(1 .. 5) . "';\n",
		"BEGIN; SELECT usage_monitor.set_quota('changing 9', 'user', NULL, 50, 'month', 'requests'); SELECT pg_sleep(0.05); " . pick('COMMIT', 'ROLLBACK') . ";\n",
		"SELECT usage_monitor.set_price('m', " . pick(1 .. 9) . ', ' . pick(1 .. 9) . ");\n",
		"SELECT pg_sleep(0.02);\n");
}

# Feeds scripts to psql until time is up, and connects anew when cut off.
sub run_client
{
	my ($name, $next) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;

	my $end = time + $seconds;
	my $count = 0;
	local $SIG{PIPE} = 'IGNORE';
	srand(unpack('%32C*', $name) * 7919);
	while (time < $end)
	{
		open my $psql, '|-', 'psql -XqAt -v ON_ERROR_STOP=0 -d ' . "'" . $node->connstr('postgres') . "' >>$dir/$name.log 2>&1" or die "psql: $!";
		print $psql map { $next->("$name-" . ++$count) } 1 .. 50;
		close $psql;
	}
	POSIX::_exit(0);
}

my @clients = map { run_client("client$_", \&transaction) } 1 .. 16;
push @clients, map { run_client("admin$_", \&change) } 1 .. 2;

my $end = time + $seconds;
while (grep { waitpid($_, POSIX::WNOHANG()) == 0 } @clients)
{
	sleep 0.5;
	$node->psql('postgres', q{
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1}) if time < $end;
	# who was cut off after PREPARE TRANSACTION would keep all others waiting
	$node->psql('postgres', "ROLLBACK PREPARED '$_'")
	  for split /\n/, value($node, "SELECT gid FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - interval '1 second'");
}

$node->safe_psql('postgres', "ROLLBACK PREPARED '$_'") for split /\n/, value($node, 'SELECT gid FROM pg_prepared_xacts');

my $output = join '', map { slurp_file($_) } glob "$dir/*.log";
my %unexpected;
for (grep { /ERROR|FATAL|PANIC|WARNING/ } split /\n/, $output)
{
	s/^.*?(ERROR|FATAL|PANIC|WARNING)/$1/;
	next if /terminating connection|quota "hard" of session|current transaction is aborted|prepared transaction with identifier .* does not exist|no transaction in progress|cannot exceed|savepoint "s" does not exist|tuple to be locked was already moved/;
	s/"[^"]*"/""/g;
	$unexpected{$_}++;
}
is(join("\n", map { "$unexpected{$_} x $_" } sort keys %unexpected), '', 'no unexpected errors');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'no deadlock');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'no crash');

my $rows = value($node, 'SELECT count(*) FROM usage_monitor.usage');
note "$rows rows, alerts: " . value($node, "SELECT string_agg(l, ', ') FROM (SELECT level || ' ' || count(*) AS l FROM usage_monitor.alert GROUP BY level) a");
cmp_ok($rows, '>', 1000, 'there was load');
cmp_ok(value($node, "SELECT count(*) FROM usage_monitor.alert a JOIN usage_monitor.quota q USING (quota_id) WHERE q.name LIKE 'fixed%'"), '>', 10, 'thresholds were crossed');
counters_are_right($node, 'after the load');
alerts_are_right($node, 'after the load', 'fixed%');

$node->stop;
done_testing();
