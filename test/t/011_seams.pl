# Where C writes tables itself: an index that is rebuilt meanwhile, and recovery
# that compares each page with what it was.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('seams', 'wal_consistency_checking = all', 'autovacuum = off');

$node->safe_psql('postgres', q{
	CREATE EXTENSION amcheck;
	SELECT usage_monitor.set_quota('session', 'session', NULL, 0.015, 'lifetime', enforcement => 'block');
});

# Begins a session that is told what to do, statement by statement.
sub begin_session
{
	my %session = (in => '', out => '', told => 0);
	$session{psql} = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres') ],
		'<', \$session{in}, '>', \$session{out}, '2>&1', IPC::Run::timeout(150));
	return \%session;
}

# Has a session do something, and returns what it says once that is done.
sub have
{
	my ($session, $sql) = @_;
	my $marker = 'done-' . ++$session->{told};

	$session->{out} = '';
	$session->{in} .= "$sql;\n\\echo $marker\n";
	$session->{psql}->pump until $session->{out} =~ /$marker\n/;
	return $session->{out} =~ s/$marker\n//r;
}

sub end_session
{
	my ($session) = @_;
	$session->{in} .= "\\q\n";
	$session->{psql}->finish;
}

# Records a call for each of 40 sessions, one by one; returns how many there are of it then.
sub record_for_all
{
	my ($prefix) = @_;

	$node->psql('postgres', join '', map { "INSERT INTO usage_monitor.usage (session_id, model, cost) VALUES ('$prefix$_', 'm', 0.01);\n" } 1 .. 40);
	return value($node, "SELECT count(*) FROM usage_monitor.usage WHERE session_id LIKE '$prefix%'");
}

# 40 sessions are born while an index of the counters is made under an open snapshot
my $prefix = 'a';
for my $rebuild ('REINDEX INDEX CONCURRENTLY _usage_monitor._counter_row_pkey',
	'REINDEX TABLE CONCURRENTLY _usage_monitor._counter_row',
	'CREATE UNIQUE INDEX CONCURRENTLY own ON _usage_monitor._counter_row (subject, quota_id, period_start, slot)')
{
	my $holder = begin_session;
	have($holder, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
	my $rebuilder = IPC::Run::start([ 'psql', '-Xqc', $rebuild, '-d', $node->connstr('postgres') ], '>', \my $said, '2>&1');

	# there is an index that is ready, and waits for the snapshot
	$node->poll_query_until('postgres', q{
		SELECT count(*) > 0 FROM pg_index
		 WHERE indrelid = '_usage_monitor._counter_row'::regclass AND indisready AND indisunique AND NOT indisvalid
	}) or die 'no second index';
	is(record_for_all($prefix), 40, "$rebuild: 40 sessions begin");
	is(value($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query ~ '^(REINDEX|CREATE)' AND state = 'active'}),
		't', "$rebuild: meanwhile");
	have($holder, 'COMMIT');
	end_session($holder);
	$rebuilder->finish;
	is($said, '', "$rebuild: done");

	is(record_for_all($prefix), 40, "$rebuild: none goes over its quota");
	is(value($node, q{SELECT count(*) FROM (SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid = '_usage_monitor._counter_row'::regclass) c}),
		$rebuild =~ /CREATE/ ? 2 : 1, "$rebuild: the indexes have all rows");
	is(value($node, 'SELECT count(*) FROM usage_monitor.verify()'), 0, "$rebuild: verify() agrees");
	$prefix++;
}

# Recovery, and a standby, that compare each page find what is written in place right
$node->safe_psql('postgres', q{SELECT usage_monitor.rebuild_counters()});
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('seams_standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', q{SELECT usage_monitor.set_quota('user', 'user', NULL, 100, 'lifetime')});
# readers leave hint bits, which are not logged
$node->safe_psql('postgres', q{
	DO $$ BEGIN FOR i IN 1 .. 100 LOOP
	    INSERT INTO usage_monitor.usage (user_id, model, cost) VALUES ('u' || i % 20, 'm', 0.01);
	    COMMIT;
	    PERFORM sum(used) FROM _usage_monitor._counter_row;
	END LOOP; END $$;
});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(value($standby, 'SELECT count(*) FROM usage_monitor.verify()'), 0, 'the standby has replayed it');
$standby->stop;
$node->stop('immediate');
$node->start;
is(value($node, 'SELECT count(*) FROM usage_monitor.verify()'), 0, 'and so has recovery');
unlike(PostgreSQL::Test::Utils::slurp_file($_->logfile), qr/inconsistent page found/, 'no page is inconsistent')
  for $node, $standby;

done_testing();
