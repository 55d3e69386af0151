# The postmaster is killed under load again and again: after each start the
# ledger, the counters and the rollups say the same, and in the end every table
# and index is sound.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use Ledger;
use Load;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $kills = $ENV{UM_KILLS} || 20;
my $node = new_node('kills', 'fsync = on', 'checkpoint_timeout = 30s', 'usage_monitor.auto_refresh_rows = 2000');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', q{
	SELECT usage_monitor.set_price('m', 1, 2);
	SELECT usage_monitor.set_quota('fixed user', 'user', NULL, 200, 'lifetime', 'requests');
	SELECT usage_monitor.set_quota('fixed all', 'all', NULL, 1e9, 'month', 'tokens');
	SELECT usage_monitor.set_quota('hard', 'project', 'p', 500, 'lifetime', 'requests', enforcement => 'block')});

for my $kill (1 .. $kills)
{
	my $end = time + 60;
	my @clients = map {
		start_client($node->connstr('postgres'), $dir, "client$kill-$_", $end, sub {
			my $rows = 1 + int rand 5;
			my $insert = "INSERT INTO usage_monitor.usage (ts, user_id, project, model, input_tokens) SELECT now() - random() * interval '40 days',"
			  . " 'u' || floor(random() * 20), CASE WHEN random() < 0.05 THEN 'p' END, 'm', n FROM generate_series(1, $rows) n;\n";
			return pick($insert, $insert, "BEGIN;\n$insert SAVEPOINT s;\n$insert ROLLBACK TO s;\nCOMMIT;\n", "BEGIN;\n$insert ROLLBACK;\n",
				"SELECT usage_monitor.refresh();\n", "DELETE FROM usage_monitor.usage WHERE user_id = 'u1' AND input_tokens = 1;\n");
		})
	} 1 .. 6;

	sleep 0.5 + rand 1.5;
	my @processes = split /\n/, value($node, 'SELECT pid FROM pg_stat_activity');
	$node->kill9;
	kill 'TERM', @clients;
	waitpid $_, 0 for @clients;
	# the children of a postmaster that was killed notice by themselves
	sleep 0.1 while kill 0, @processes;
	$node->start;
	is(value($node, 'SELECT * FROM usage_monitor.verify()'), '', "kill $kill: verify() finds nothing");
}
counters_are_right($node, 'after all kills');
cmp_ok(value($node, 'SELECT count(*) FROM usage_monitor.usage'), '>', $kills * 20, 'there was load');
storage_is_sound($node, 'after all kills');

$node->stop;
done_testing();
