# The server dies under load.  What clients were told is committed is there
# after the restart, what they were not told is there or not, and the counters
# say the same as the ledger.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

# the crash of a server is survived by what it has flushed
my $node = new_node('crash', 'fsync = on', 'wal_level = logical', 'checkpoint_timeout = 30s');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', q{
	SELECT usage_monitor.set_price('m', 1, 2);
	SELECT usage_monitor.set_quota('fixed user', 'user', NULL, 100, 'lifetime', 'requests');
	SELECT usage_monitor.set_quota('fixed all', 'all', NULL, 1e9, 'month', 'tokens');
	SELECT usage_monitor.set_quota('hard', 'project', 'p', 500, 'lifetime', 'requests', enforcement => 'block');
});

# Records until the server is gone; what RETURNING said after a COMMIT is remembered.
sub run_client
{
	my ($file, $client) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;

	local $SIG{PIPE} = 'IGNORE';
	open my $psql, '|-', "psql -XqAt -d '" . $node->connstr('postgres') . "' >$file 2>/dev/null" or die "psql: $!";
	$psql->autoflush(1);
	for my $n (1 .. 100000)
	{
		my $project = $n % 10 ? 'NULL' : "'p'";
		my $insert = "INSERT INTO usage_monitor.usage (user_id, project, model, input_tokens) VALUES ('u%d', $project, 'm', $n) RETURNING usage_id;\n";
		print $psql "BEGIN;\n" . join('', map { sprintf $insert, ($client + $n + $_) % 7 } 1 .. 2)
		  . ($n % 20 ? "COMMIT;\n\\echo committed\n" : "PREPARE TRANSACTION 'c$client-$n-$file';\n")
		  or last;
	}
	close $psql;
	POSIX::_exit(0);
}

for my $round ('immediate', 'kill -9')
{
	my @files = map { "$dir/$_-" . ($round eq 'immediate') } 1 .. 8;
	my @clients = map { run_client($files[$_], $_) } 0 .. $#files;

	$node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM pg_prepared_xacts') or die 'nobody prepares';
	sleep 1;
	my @processes = split /\n/, value($node, 'SELECT pid FROM pg_stat_activity');
	$round eq 'immediate' ? $node->stop('immediate') : $node->kill9;
	waitpid $_, 0 for @clients;
	# the children of a postmaster that was killed notice by themselves
	sleep 0.1 while kill 0, @processes;
	$node->start;

	my @committed;
	for my $file (@files)
	{
		my @open;
		for (split /\n/, slurp_file($file))
		{
			if (/^\d+$/) { push @open, $_ }
			elsif ($_ eq 'committed') { push @committed, splice @open, -2 if @open >= 2; @open = () }
		}
	}
	cmp_ok(scalar @committed, '>', 30, "$round: there was load");
	is(value($node, 'SELECT count(*) FROM unnest(ARRAY[' . join(',', @committed) . ']) i WHERE NOT EXISTS (SELECT FROM usage_monitor.usage WHERE usage_id = i)'),
		0, "$round: no committed row is lost");
	cmp_ok(value($node, 'SELECT count(*) FROM pg_prepared_xacts'), '>', 0, "$round: prepared transactions are still there");
	counters_are_right($node, "$round, while transactions are prepared");
	$node->safe_psql('postgres', (rand() < 0.5 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$_'") for split /\n/, value($node, 'SELECT gid FROM pg_prepared_xacts');
	counters_are_right($node, $round);
	alerts_are_right($node, $round, 'fixed%');
	$node->safe_psql('postgres', "INSERT INTO usage_monitor.usage (user_id, model) VALUES ('after', 'm')");
}

# The server forgets in time how transactions ended.  Whatever a counter does not
# know any more the ledger tells, to readers and writers.
$node->safe_psql('postgres', q{
	INSERT INTO usage_monitor.usage (user_id, project, model, input_tokens) VALUES ('u', 'q', 'm', 5);
	SELECT usage_monitor.set_quota('few', 'project', 'q', 3, 'lifetime', 'requests', enforcement => 'block'),
		   usage_monitor.set_quota('fixed session', 'session', NULL, 10, 'lifetime', 'requests');
	INSERT INTO usage_monitor.usage (user_id, project, session_id, model, input_tokens) VALUES ('u', 'q', 's', 'm', 5);
	INSERT INTO usage_monitor.usage (session_id, model) SELECT 's', 'm' FROM generate_series(1, 6);
	INSERT INTO usage_monitor.usage (session_id, model) SELECT 's', 'm' FROM generate_series(1, 1)});
$node->stop;
command_ok([ 'pg_resetwal', '--epoch', 5, '--pgdata', $node->data_dir ], 'the server is made to forget');
$node->start;
cmp_ok(value($node, q{SELECT count(*) FROM _usage_monitor._counter_row r WHERE _usage_monitor._added(r.ctid) = 'NaN'}), '>', 0, 'forgotten: counters do not know');
counters_are_right($node, 'forgotten');
is(value($node, q{SELECT allowed FROM usage_monitor.check_quota(project => 'q', requests => 2) WHERE name = 'few'}), 'f', 'forgotten: what does not fit is told');
my ($result, $out, $err) = $node->psql('postgres', q{INSERT INTO usage_monitor.usage (project, model) VALUES ('q', 'm'), ('q', 'm')});
like($err, qr/quota "few" of project "q" is exceeded/, 'forgotten: and refused');
$node->safe_psql('postgres', $_) for
  q{INSERT INTO usage_monitor.usage (user_id, project, session_id, model) VALUES ('u', 'q', 's', 'm')},
  q{INSERT INTO usage_monitor.usage (session_id, model) VALUES ('s', 'm')};
counters_are_right($node, 'forgotten, and counted on');
alerts_are_right($node, 'forgotten, and counted on', 'fixed%');
is(value($node, 'SELECT * FROM usage_monitor.verify()'), '', 'forgotten, and counted on: verify() agrees');

$node->stop;
done_testing();
