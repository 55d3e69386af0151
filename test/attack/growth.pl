# A ledger that is used as for years: calls, late ones too, corrections,
# reservations of which some are forgotten, quotas that change, maintain() all
# the time.  Users, projects and days are always the same, so once all of them
# have come nothing but the ledger and what people read one by one may grow; and
# the server's log says nothing again and again.
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
my $clients = $ENV{UM_CLIENTS} || 8;
my $node = new_node('growth', 'max_connections = 100', 'autovacuum_naptime = 5s', 'synchronous_commit = off',
	'usage_monitor.auto_refresh_rows = 5000',
	'usage_monitor.retention_counters = 1h', 'usage_monitor.retention_reservations = 1min',
	'log_statement = none', 'log_checkpoints = off');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', q{
	SELECT usage_monitor.set_price('m', 1, 2);
	SELECT usage_monitor.set_quota('org', 'org', NULL, 1e9), usage_monitor.set_quota('user', 'user', NULL, 1e9, 'day', 'tokens'),
		   usage_monitor.set_quota('hour', 'user', NULL, 1e9, 'hour', 'requests'), usage_monitor.set_quota('all', 'all', NULL, 1e9, 'lifetime'),
		   usage_monitor.set_quota('low', 'project', NULL, 1, 'day', enforcement => 'alert');
	SELECT usage_monitor.create_partitions();
	CREATE PROCEDURE maintain_often(seconds float) LANGUAGE plpgsql AS $$
	BEGIN
		FOR round IN 1 .. seconds::integer LOOP
			EXIT WHEN clock_timestamp() > pg_postmaster_start_time() + make_interval(secs => seconds);
			CALL usage_monitor.maintain();
			IF round % 10 = 0 THEN
				PERFORM usage_monitor.set_quota('low', 'project', NULL, 1 + random()::numeric(3, 2), 'day', enforcement => 'alert');
			END IF;
			COMMIT;
			PERFORM pg_sleep(1);
		END LOOP;
	END $$});

my $insert = "INSERT INTO usage_monitor.usage (ts, org, user_id, project, session_id, model, input_tokens, output_tokens, tags)"
  . " VALUES (now() - (random() < 0.1)::integer * random() * interval '3 days', 'o' || :u % 3, 'u' || :u, 'p' || :u % 20, 's' || :u % 50, 'm', :t, :t, '{\"t\": 1}')";
my %script = (
	insert => [ 20, "$insert;" ],
	many => [ 5, "BEGIN; $insert; SAVEPOINT s; $insert; ROLLBACK TO s; $insert; COMMIT;" ],
	rollback => [ 2, "BEGIN; $insert; ROLLBACK;" ],
	correct => [ 5, "UPDATE usage_monitor.usage SET output_tokens = :t WHERE usage_id = (SELECT max(usage_id) - :u FROM usage_monitor.usage);" ],
	delete => [ 2, "DELETE FROM usage_monitor.usage WHERE usage_id = (SELECT max(usage_id) - :u FROM usage_monitor.usage);" ],
	reserve => [ 5, "SELECT reservation_id AS held FROM usage_monitor.reserve('o' || :u % 3, user_id => 'u' || :u, cost => 0.01) \\gset\n"
		. "SELECT usage_monitor.settle(:held, model => 'm', input_tokens => :t);" ],
	forget => [ 5, "SELECT usage_monitor.reserve('o' || :u % 3, user_id => 'u' || :u, cost => 0.01, ttl => '1 s');" ],
	check => [ 2, "SELECT count(*) FROM usage_monitor.check_quota(user_id => 'u' || :u);" ]);
append_to_file("$dir/$_.sql", "\\set u random(0, 199)\n\\set t random(1, 1000)\n" . ($script{$_}[1] =~ s/; (?=\w)/;\n/gr) . "\n") for keys %script;

# relation -> its bytes and rows
sub sizes
{
	return map { my ($name, $bytes, $rows) = split /\|/; ($name => [ $bytes, $rows ]) } split /\n/, value($node, q{
		SELECT c.oid::regclass, pg_total_relation_size(c.oid),
			   (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', c.oid::regclass), false, true, '')))[1]
		  FROM pg_class c
		 WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text IN ('usage_monitor', '_usage_monitor')
		 ORDER BY 1});
}

my ($out, $err) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-M', 'prepared', '-c', $clients, '-j', 2, '-T', $seconds, '-R', 100 * $clients, '--max-tries', 1,
	map({ ('-f', "$dir/$_.sql\@$script{$_}[0]") } sort keys %script), $node->connstr('postgres') ], '>', \$out, '2>', \$err);
my $begun = time;
my $maintaining = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', "CALL maintain_often($seconds)" ], '<', \undef, '&>', \my $maintained);
sleep 1 while time < $begun + $seconds / 2;
my %half = sizes();
$_->finish for $load, $maintaining;
my %end = sizes();

is($err =~ s/^pgbench .*\n//r, '', 'nobody fails');
is($maintained // '', '', 'maintain() has nothing to complain of');
# What grows with each call, each alert and each change of a quota; reservations stay for a minute.
my $young = $seconds < 300 ? '|reservation' : '';
my $explained = qr/^usage_monitor\.(usage_\w+|alert\w*|audit_log|quota_\w+$young)$/;
for my $name (sort keys %end)
{
	my ($bytes, $rows) = @{ $end{$name} };
	my ($bytes_before, $rows_before) = @{ $half{$name} // [ 0, 0 ] };
	note sprintf '%-36s%10d to %8d rows, %8.2f to %8.2f MB', $name, $rows_before, $rows, $bytes_before / 1e6, $bytes / 1e6 if $bytes > 500_000 || $bytes > $bytes_before;
	cmp_ok($bytes, '<=', 1.25 * $bytes_before + 1_000_000, "$name does not grow") if $name !~ $explained;
}
# What expired is gone a minute after.
is(value($node, q{SELECT count(*) FROM _usage_monitor._reservation_part WHERE expires_at < now() - interval '5 minutes'}), 0, 'what was forgotten is gone');
# (Autovacuum comes so often here, and maintain() too, that they meet.)
my %lines;
$lines{s/^.*?(?=LOG|WARNING|ERROR|FATAL|PANIC)//r =~ s/\d+/N/gr}++ for grep { /(LOG|WARNING|ERROR|FATAL|PANIC): / && !/canceling autovacuum task|skipping (vacuum|analyze) of/ } split /\n/, slurp_file($node->logfile);
is(join("\n", map { "$lines{$_} times: $_" } grep { $lines{$_} > 3 } sort keys %lines), '', 'the log says nothing again and again');
is(value($node, 'SELECT * FROM usage_monitor.verify()'), '', 'verify() agrees');

$node->stop;
done_testing();
