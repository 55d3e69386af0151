# How large the table of counters gets under full load, and how fast writers
# are, without and with a transaction that is held open all the while.  Two and
# a half times a second a session begins and ends, whose counter many want at
# once; the other counters are always the same.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use Ledger;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{UM_SECONDS} || 120;
my $clients = $ENV{UM_CLIENTS} || 32;
my $node = new_node('bloat', 'max_connections = 100', 'synchronous_commit = off', 'max_wal_size = 4GB', 'autovacuum_naptime = 10s');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', q{
	SELECT usage_monitor.set_price('m', 1, 2);
	SELECT usage_monitor.set_quota('hot', 'org', 'o', 1e9), usage_monitor.set_quota('each user', 'user', NULL, 1e9),
		   usage_monitor.set_quota('each user a day', 'user', NULL, 1e9, 'day', 'tokens'),
		   usage_monitor.set_quota('all', 'all', NULL, 1e15, 'lifetime', 'tokens'),
		   usage_monitor.set_quota('each session', 'session', NULL, 5000, 'lifetime', 'requests');
	CREATE SEQUENCE call;
});
PostgreSQL::Test::Utils::append_to_file("$dir/insert.sql",
	"\\set u random(1, 1000)\n"
	. "INSERT INTO usage_monitor.usage (org, user_id, session_id, model, input_tokens, output_tokens) VALUES ('o', 'u' || :u, 's' || nextval('call') / 5000, 'm', 1000, 500);\n");

sub size { return value($node, q{SELECT pg_total_relation_size('_usage_monitor._counter_row')}) }

# Runs the load; returns rows a second in its first and last tenth.
sub load
{
	my ($name, $duration) = @_;
	my (@tps, $out, $err);

	IPC::Run::run([ 'pgbench', '-n', '-M', 'prepared', '-P', 1, '-c', $clients, '-j', '2', '-T', $duration, '-f', "$dir/insert.sql", $node->connstr('postgres') ],
		'>', \$out, '2>', \$err) or die "pgbench: $err";
	@tps = $err =~ /progress: [\d.]+ s, ([\d.]+) tps/g;
	my $tenth = int(@tps / 10) || 1;
	my $mean = sub { my $sum = 0; $sum += $_ for @_; return $sum / @_ };
	my ($first, $last) = ($mean->(@tps[ 0 .. $tenth - 1 ]), $mean->(@tps[ -$tenth .. -1 ]));
	note sprintf '%s: %.0f rows a second at first, %.0f in the end; counters %s rows in %.2f MB', $name, $first, $last,
	  value($node, q{SELECT count(*) || ' (' || count(*) FILTER (WHERE slot > 0) || ' slots)' FROM _usage_monitor._counter_row}), size() / 1e6;
	return ($first, $last);
}

# every counter once, by one client
$node->safe_psql('postgres', q{INSERT INTO usage_monitor.usage (org, user_id, session_id, model, input_tokens, output_tokens)
	SELECT 'o', 'u' || n, 's0', 'm', 1000, 500 FROM generate_series(1, 1000) n});
my $empty = size();
note sprintf 'without load: %.2f MB', $empty / 1e6;

load('under load', $seconds);
cmp_ok(size(), '<', 10 * $empty, 'the counters are less than ten times as large as without load');

# A transaction that sees the past keeps every version of every row, as of any
# table; but calls make none, and nobody is to be slowed down by it.
sub held
{
	my $name = shift;
	my $holder = $node->background_psql('postgres');

	$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my $seen = $holder->query_safe("SELECT sum(used) FROM usage_monitor.quota_usage JOIN usage_monitor.quota USING (quota_id) WHERE name = 'hot'");
	my ($first, $last) = load($name, $seconds);
	cmp_ok($last, '>', $first / 2, "$name: writers are not slowed down");
	is($holder->query_safe("SELECT sum(used) FROM usage_monitor.quota_usage JOIN usage_monitor.quota USING (quota_id) WHERE name = 'hot'"),
		$seen, "$name: it sees what it saw");
	$holder->query_safe('COMMIT');
	$holder->quit;
}

held('with a transaction held open');
$node->safe_psql('postgres', q{
	UPDATE usage_monitor.quota SET enabled = false WHERE name = 'each session';
	VACUUM FULL _usage_monitor._counter_row});
held('the same without sessions');
cmp_ok(size(), '<', 10 * $empty, 'the same without sessions: the counters are less than ten times as large as without load');
$node->safe_psql('postgres', q{UPDATE usage_monitor.quota SET enabled = true WHERE name = 'each session'});

my $vacuum = fork // die "fork: $!";
if ($vacuum == 0)
{
	sleep 5;
	exec 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', '\\timing on', '-c', 'VACUUM FULL _usage_monitor._counter_row';
}
load('after it, with a VACUUM FULL', 20);
waitpid $vacuum, 0;
is($?, 0, 'VACUUM FULL is possible meanwhile');
cmp_ok(size(), '<', 10 * $empty, 'and then they are small again');
counters_add_up($node, 'in the end');
is(value($node, 'SELECT * FROM usage_monitor.verify()'), '', 'verify() agrees');

$node->stop;
done_testing();
