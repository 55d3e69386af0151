# Quotas are made, changed and dropped all the time by two sessions while
# sixteen writers run, four of them with transactions that stay open for ten
# seconds.  In the end every counter is the ledger's sum, and no statement of a
# writer took longer than a second: nobody waited for an open transaction.
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
my $node = new_node('birth', 'deadlock_timeout = 100ms', 'max_connections = 100', 'log_min_messages = error');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', q{
	SELECT usage_monitor.set_price('m', 1, 2);
	SELECT usage_monitor.set_quota('always', 'org', NULL, 1e6);
});

sub insert
{
	my $late = rand() < 0.05 ? "now() - interval '" . pick(1 .. 40) . " days'" : 'now()';
	return "INSERT INTO usage_monitor.usage (ts, org, user_id, project, model, tags, input_tokens, output_tokens) VALUES ($late, '"
	  . pick(qw(o1 o2)) . "', 'u" . pick(1 .. 10) . "', '" . pick(qw(a b)) . "', 'm', '{\"t\": " . pick(1 .. 3) . "}', " . pick(1 .. 300) . ', ' . pick(1 .. 300) . ");\n";
}

sub short_transaction
{
	return insert() if rand() < 0.6;
	my $sql = "BEGIN;\n" . insert() . "SAVEPOINT s;\n" . insert() . pick("ROLLBACK TO s;\n", '') . insert();
	return $sql . pick("COMMIT;\n", "COMMIT;\n", "ROLLBACK;\n");
}

sub long_transaction
{
	return 'BEGIN ISOLATION LEVEL ' . pick('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE') . ";\n" . insert() . insert()
	  . "\\timing off\nSELECT pg_sleep(" . pick(1, 10, 10) . ");\n\\timing on\n" . pick('', insert()) . pick("COMMIT;\n", "COMMIT;\n", "ROLLBACK;\n");
}

sub change
{
	my $name = 'q' . pick(1 .. 12);
	my @subject = pick([ 'all', 'NULL' ], [ 'user', 'NULL' ], [ 'user', "'u" . pick(1 .. 10) . "'" ], [ 'org', "'o1'" ], [ 'project', 'NULL' ], [ 'tag', "'t'" ], [ 'tag', "'t=1'" ]);
	my $period = pick(qw(hour day week month year lifetime));
	my $set = sprintf "SELECT usage_monitor.set_quota('%s', '%s', %s, %s, '%s', '%s'%s);\n",
	  $name, @{ $subject[0] }, pick(5, 100, 1e6), $period, pick(qw(cost tokens requests)), pick('', ", org => 'o1'", ", thresholds => '{0.1, 0.2}'");

	return pick(
		$set, $set, $set,
		"DELETE FROM usage_monitor.quota WHERE name = '$name';\n",
		"UPDATE usage_monitor.quota SET amount = amount * 2 WHERE name = '$name';\n",
		"UPDATE usage_monitor.quota SET enabled = NOT enabled WHERE name = '$name';\n",
		"BEGIN;\n$set" . "SELECT pg_sleep(" . pick(0.1, 1) . ");\n" . pick("COMMIT;\n", "ROLLBACK;\n"),
		"BEGIN;\n" . insert() . $set . insert() . "COMMIT;\n");
}

my $end = time + $seconds;
my $connstr = $node->connstr('postgres');
my @pids = map { start_client($connstr, $dir, "short$_", $end, \&short_transaction, timing => 1) } 1 .. 12;
push @pids, map { start_client($connstr, $dir, "long$_", $end, \&long_transaction, timing => 1, batch => 1) } 1 .. 4;
push @pids, map { start_client($connstr, $dir, "admin$_", $end, \&change, batch => 5) } 1 .. 2;
run_until($end, \@pids, sub { });

my ($statements, $longest) = (0, 0);
for (map { split /\n/, slurp_file($_) } glob "$dir/{short,long}*.log")
{
	next unless /^Time: ([0-9.]+) ms/;
	$statements++;
	$longest = $1 if $1 > $longest;
}
my @errors = grep { /ERROR|FATAL|PANIC/ } map { split /\n/, slurp_file($_) } glob "$dir/*.log";

note "$statements statements of writers, the longest took $longest ms; "
  . value($node, q{SELECT count(*) || ' rows; quotas made: ' || (SELECT last_value FROM usage_monitor.quota_quota_id_seq) FROM usage_monitor.usage});
is(join("\n", @errors), '', 'no errors');
unlike(slurp_file($node->logfile), qr/deadlock detected|PANIC|TRAP|terminated by signal/, 'no deadlock, no crash');
cmp_ok($statements, '>', $seconds * 100, 'there was load');
cmp_ok($longest, '<', 1000, 'no statement of a writer took longer than a second');
counters_add_up($node, 'after the load');
is(value($node, 'SELECT * FROM usage_monitor.verify()'), '', 'verify() agrees');

$node->stop;
done_testing();
