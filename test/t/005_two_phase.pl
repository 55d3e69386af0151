# A prepared transaction holds its counters over a restart, and they follow
# how it ends.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('two_phase');

$node->safe_psql('postgres', q{
	SELECT usage_monitor.set_quota('fixed', 'user', NULL, 10, 'lifetime', 'requests');
	SELECT usage_monitor.set_quota('hard', 'project', NULL, 10, 'lifetime', 'requests', enforcement => 'block');
	INSERT INTO usage_monitor.usage (user_id, project, model) SELECT u, 'p', 'm' FROM unnest('{a,b}'::text[]) u, generate_series(1, 2);
});

my $insert = "INSERT INTO usage_monitor.usage (user_id, project, model) SELECT '%s', 'p', 'm' FROM generate_series(1, %d);";
for my $restart ('', 'stop', 'immediate')
{
	my $name = $restart || 'no restart';

	$node->safe_psql('postgres', sprintf "BEGIN; SAVEPOINT s; $insert ROLLBACK TO s; $insert PREPARE TRANSACTION 'x'", 'a', 3, 'a', 2);
	if ($restart)
	{
		$node->stop($restart eq 'stop' ? 'fast' : 'immediate');
		$node->start;
	}
	counters_are_right($node, "$name, prepared");
	is($node->psql('postgres', "INSERT INTO usage_monitor.usage (user_id, model) VALUES ('c', 'm')"), 0, "$name: others record meanwhile");

	$node->safe_psql('postgres', $restart eq 'stop' ? "COMMIT PREPARED 'x'" : "ROLLBACK PREPARED 'x'");
	counters_are_right($node, "$name, ended");
	alerts_are_right($node, $name, 'fixed');
}

# who crosses in a prepared transaction raises the alert with it
$node->safe_psql('postgres', sprintf "BEGIN; $insert PREPARE TRANSACTION 'x'", 'd', 4);
$node->safe_psql('postgres', "COMMIT PREPARED 'x'");
my ($result, $stdout, $stderr) = $node->psql('postgres', sprintf $insert, 'd', 4);
like($stderr, qr/quota "hard" of project "p" is exceeded/, 'what was prepared counts against a blocking quota');
$node->safe_psql('postgres', "BEGIN; INSERT INTO usage_monitor.usage (user_id, model) SELECT 'e', 'm' FROM generate_series(1, 9); PREPARE TRANSACTION 'x'");
is(value($node, "SELECT count(*) FROM usage_monitor.alert WHERE subject = 'e'"), 0, 'a prepared alert is not raised yet');
$node->restart;
$node->safe_psql('postgres', "COMMIT PREPARED 'x'");
is(value($node, "SELECT string_agg(level || ' ' || used, ', ') FROM usage_monitor.alert WHERE subject = 'e'"), 'warning 9', 'and is when it commits');

# quotas
for my $change (
	"SELECT usage_monitor.set_quota('new', 'user', NULL, 1)",
	"UPDATE usage_monitor.quota SET amount = 1000 WHERE name = 'fixed'",
	"DELETE FROM usage_monitor.quota WHERE name = 'fixed'")
{
	($result, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN; $change; PREPARE TRANSACTION 'x'");
	like($stderr, qr/0A000: +cannot PREPARE a transaction that has changed quotas/, "cannot be prepared: $change");
	$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; $change; ROLLBACK TO s; PREPARE TRANSACTION 'x'");
	$node->safe_psql('postgres', "ROLLBACK PREPARED 'x'");
	pass("can be prepared, for it was taken back: $change");
}
$node->safe_psql('postgres', "BEGIN; SELECT usage_monitor.set_price('m', 1, 1); PREPARE TRANSACTION 'x'");
is(value($node, "SELECT coalesce(usage_monitor.cost('m', 1000000, 0)::text, 'unpriced')"), 'unpriced', 'a prepared price does not hold yet');
$node->safe_psql('postgres', "COMMIT PREPARED 'x'");
is(value($node, "SELECT usage_monitor.cost('m', 1000000, 0)"), '1', 'and does when it commits');

counters_are_right($node, 'in the end');
alerts_are_right($node, 'in the end', 'fixed');
$node->stop;
done_testing();
