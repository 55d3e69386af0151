# Five prompts of 0.15 at once against 0.45 that are left: three are admitted,
# every time, by five sessions that begin at the same instant.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{UM_ROUNDS} // 100;
my $node = new_node('main', 'deadlock_timeout = 100ms');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', q{
	CREATE TABLE outcome (round integer, allowed boolean);
	SELECT usage_monitor.set_quota('prompts', 'session', NULL, 0.45, 'lifetime', enforcement => 'block'),
		   usage_monitor.set_quota('everything', 'all', NULL, 1e6, 'lifetime', enforcement => 'block');
});

# Each client does one transaction a round.  A lock holds them back until all
# have come, so that they begin together.
PostgreSQL::Test::Utils::append_to_file("$dir/reserve.sql", q{
\set round :round + 1
SELECT pg_advisory_lock_shared(:round);
INSERT INTO outcome SELECT :round, allowed FROM usage_monitor.reserve(session_id => 's' || :round, cost => 0.15);
SELECT pg_advisory_unlock_shared(:round);
});

my $holder = $node->background_psql('postgres');
$holder->query_safe("SELECT count(pg_advisory_lock(n)) FROM generate_series(1, $rounds) n");
my $pgbench = IPC::Run::start(
	[ 'pgbench', '-n', '-c', 5, '-t', $rounds, '-D', 'round=0', '-f', "$dir/reserve.sql", $node->connstr('postgres') ],
	'>', "$dir/out", '2>', "$dir/err");
$holder->query_safe(qq{
	DO \$\$
	BEGIN
		FOR round IN 1 .. $rounds LOOP
			WHILE (SELECT count(*) < 5 FROM pg_locks WHERE locktype = 'advisory' AND objid = round AND NOT granted) LOOP
				PERFORM pg_sleep(0.002);
			END LOOP;
			PERFORM pg_advisory_unlock(round);
			COMMIT;
		END LOOP;
	END \$\$});
$holder->quit;
ok(IPC::Run::finish($pgbench), 'no session failed');
is(value($node, 'SELECT count(*), count(*) FILTER (WHERE allowed) FROM outcome'), 5 * $rounds . '|' . 3 * $rounds, 'three of five were admitted');
is(value($node, 'SELECT round, count(*) FILTER (WHERE allowed) FROM outcome GROUP BY round HAVING count(*) FILTER (WHERE allowed) <> 3 ORDER BY 1'), '', 'in every round');
is(value($node, q{SELECT reserved, remaining FROM usage_monitor.quota_status WHERE name = 'everything'}), sprintf('%.2f|%.2f', 0.45 * $rounds, 1e6 - 0.45 * $rounds), 'they are held of both quotas');

# All are settled, for less.
is(value($node, q{SELECT count(*) FROM usage_monitor.reservation r, usage_monitor.settle(r.reservation_id, model => 'm', cost => 0.10) s}), 3 * $rounds, 'all were settled');
is(value($node, q{SELECT count(*) FROM usage_monitor.quota_status WHERE reserved <> 0 OR used <> 0.30 AND scope = 'session'}), 0, 'what they held is given back');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/deadlock detected|PANIC|TRAP/, 'no deadlock, no crash');
counters_are_right($node, 'settled');
is(value($node, 'SELECT * FROM usage_monitor.verify()'), '', 'verify() agrees');

# A client that dies leaves its reservation, which ends by itself.
my $dying = $node->background_psql('postgres');
$dying->query_safe(q{SELECT usage_monitor.reserve(session_id => 'last', cost => 0.45, ttl => '4 s')});
$dying->{run}->kill_kill;
is(value($node, q{SELECT allowed FROM usage_monitor.reserve(session_id => 'last', cost => 0.45)}), 'f', 'it holds the room');
$node->stop('immediate');
$node->start;
ok($node->poll_query_until('postgres', q{SELECT allowed FROM usage_monitor.reserve(session_id => 'last', cost => 0.45)}), 'until its end, whatever happens');

$node->stop;
done_testing();
