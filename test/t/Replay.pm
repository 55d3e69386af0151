# What a server did, transaction by transaction in the order of their commits,
# read from its log by logical decoding.
package Replay;

use strict;
use warnings;

use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

use Exporter 'import';
our @EXPORT = qw(start_log replay wrong_alerts wrong_late_alerts exceeded_quotas);

# From here on the log is kept.
sub start_log
{
	my ($node) = @_;

	# old rows are to be in the log, too
	$node->safe_psql('postgres', q{
		ALTER TABLE usage_monitor.usage_default REPLICA IDENTITY FULL;
		-- what was over then is late
		CREATE TABLE replay_start AS SELECT now() AS at;
		SELECT pg_create_logical_replication_slot('replay', 'test_decoding');
	});
}

# The columns of a tuple as test_decoding writes it.
sub columns
{
	my ($tuple) = @_;
	my %value;

	while ($tuple =~ /\G\s*(?:"([^"]+)"|(\w+))\[(?:[^\[\]]|\[\])*\]:('(?:[^']|'')*'|\S+)/gc)
	{
		my ($name, $value) = ($1 // $2, $3);
		next if $value eq 'null';
		$value =~ s/^'(.*)'$/$1/s;
		$value =~ s/''/'/g;
		$value{$name} = $value;
	}
	return \%value;
}

sub csv
{
	return join(',', map { defined $_ ? '"' . s/"/""/gr . '"' : '' } @_) . "\n";
}

# Reads the log into the tables replay_row, replay_alert and replay_quota, each
# with the place of the transaction in the order of commits.
sub replay
{
	my ($node) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir;
	my @row = qw(org department project user_id session_id model resolved_model provider operation tags ts cost total_tokens);
	my @alert = qw(alert_id quota_id subject period_start level used);
	my @quota = qw(quota_id amount enforcement enabled);
	my @raise = qw(quota_id amount);
	my @adjustment = qw(quota_id subject period_start amount);
	my %file;
	my $txn = 0;

	open $file{$_}, '>', "$dir/$_.csv" or die "$dir/$_.csv: $!" for qw(row alert quota raise adjustment);
	open my $log, '-|', 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c',
	  q{COPY (SELECT data FROM pg_logical_slot_get_changes('replay', NULL, NULL, 'include-xids', 'off')
			   WHERE data ~ '^COMMIT|^table usage_monitor\.(usage_default|alert|quota|quota_raise|quota_adjustment): ') TO STDOUT} or die "psql: $!";
	while (my $line = <$log>)
	{
		chomp $line;
		$line =~ s/\\\\/\\/g;
		if ($line =~ /^COMMIT/)
		{
			$txn++;
			next;
		}
		my ($table, $what, $tuple) = $line =~ /^table usage_monitor\.(\w+): (\w+): (.*)/s or die "not understood: $line";
		my ($old, $new) = $tuple =~ /^old-key: (.*) new-tuple: (.*)/s ? ($1, $2) : $what eq 'DELETE' ? ($tuple, undef) : (undef, $tuple);

		if ($table eq 'usage_default')
		{
			print { $file{row} } csv($txn, -1, @{ columns($old) }{@row}) if defined $old;
			print { $file{row} } csv($txn, 1, @{ columns($new) }{@row}) if defined $new;
		}
		elsif ($table eq 'alert')
		{
			my $alert = columns($new);
			print { $file{alert} } csv($txn, @$alert{@alert}) if $what eq 'INSERT' && defined $alert->{quota_id};
		}
		elsif ($table eq 'quota_raise')
		{
			print { $file{raise} } csv($txn, @{ columns($new) }{@raise});
		}
		elsif ($table eq 'quota_adjustment')
		{
			print { $file{adjustment} } csv($txn, @{ columns($new) }{@adjustment});
		}
		elsif (defined $new)
		{
			print { $file{quota} } csv($txn, @{ columns($new) }{@quota});
		}
	}
	close $log or die "pg_logical_slot_get_changes: $!";
	close $_ for values %file;

	$node->safe_psql('postgres', qq{
		CREATE TABLE replay_row (txn bigint, sign integer, org text, department text, project text, user_id text, session_id text,
			model text, resolved_model text, provider text, operation text, tags jsonb, ts timestamptz, cost numeric, total_tokens bigint);
		CREATE TABLE replay_alert (txn bigint, alert_id bigint, quota_id bigint, subject text, period_start timestamptz, level text, used numeric);
		CREATE TABLE replay_base (txn bigint, quota_id bigint, amount numeric, enforcement text, enabled boolean);
		CREATE TABLE replay_raise (txn bigint, quota_id bigint, amount numeric);
		CREATE TABLE replay_adjustment (txn bigint, quota_id bigint, subject text, period_start timestamptz, amount numeric);
		\\copy replay_row FROM '$dir/row.csv' (FORMAT csv)
		\\copy replay_alert FROM '$dir/alert.csv' (FORMAT csv)
		\\copy replay_base FROM '$dir/quota.csv' (FORMAT csv)
		\\copy replay_raise FROM '$dir/raise.csv' (FORMAT csv)
		\\copy replay_adjustment FROM '$dir/adjustment.csv' (FORMAT csv)
		-- the limit after each transaction that moved it: raises do not end meanwhile
		CREATE TABLE replay_quota AS
		SELECT b.txn, b.quota_id, b.amount + (SELECT coalesce(sum(r.amount), 0) FROM replay_raise r WHERE r.quota_id = b.quota_id AND r.txn <= b.txn) AS amount,
			   b.enforcement, b.enabled
		  FROM replay_base b;
		SELECT pg_drop_replication_slot('replay');
		-- what each counter was after each transaction
		CREATE TABLE replay_counter AS } . expected('replay_row', 'txn') . q{
		SELECT txn, quota_id, subject, period_start, sum(used) AS delta,
			   sum(sum(used)) OVER (PARTITION BY quota_id, subject, period_start ORDER BY txn) AS used
		  FROM (SELECT txn, quota_id, subject, period_start, used FROM expected
				UNION ALL
				SELECT txn, quota_id, subject, period_start, amount FROM replay_adjustment) e
		 GROUP BY 1, 2, 3, 4;
		ANALYZE replay_counter;
	});
	return $txn;
}

# Levels that the replay reaches in another transaction than the alert's, or
# at another usage, or that have no alert, or not been reached: how many, and
# some of them.  A level is reached each time that the usage is at the threshold
# of the limit then in force and was not before, whichever of them moved.  Of
# periods that are not over.
sub wrong_alerts
{
	my ($node, $like) = @_;

	return value($node, expected('replay_row', 'txn') . qq{, counter AS (
			SELECT c.*
			  FROM replay_counter c
			  JOIN usage_monitor.quota q USING (quota_id)
			 WHERE q.name LIKE '$like' AND } . period_end('c.period_start') . qq{ > now()), amount AS (
			SELECT n.txn, n.quota_id, n.amount FROM replay_quota n
			UNION ALL
			SELECT 0, q.quota_id, q.amount FROM usage_monitor.quota q
			 WHERE NOT EXISTS (SELECT FROM replay_quota n WHERE n.quota_id = q.quota_id)), moment AS (
			SELECT quota_id, subject, period_start, txn, max(used) AS used, max(amount) AS amount
			  FROM (SELECT quota_id, subject, period_start, txn, used, NULL::numeric AS amount FROM counter
					UNION ALL
					SELECT c.quota_id, c.subject, c.period_start, a.txn, NULL, a.amount
					  FROM (SELECT DISTINCT quota_id, subject, period_start FROM counter) c
					  JOIN amount a USING (quota_id)) m
			 GROUP BY 1, 2, 3, 4), known AS (
			SELECT *,
				   count(used) OVER w AS nused,
				   count(amount) OVER w AS namount
			  FROM moment
			WINDOW w AS (PARTITION BY quota_id, subject, period_start ORDER BY txn)), state AS (
			SELECT quota_id, subject, period_start, txn,
				   max(used) OVER (PARTITION BY quota_id, subject, period_start, nused) AS used,
				   max(amount) OVER (PARTITION BY quota_id, subject, period_start, namount) AS amount
			  FROM known), seen AS (
			SELECT s.*, l.quota, l.level, s.used >= s.amount * l.share AS is_on,
				   lag(s.used >= s.amount * l.share) OVER (PARTITION BY quota_id, s.subject, s.period_start, l.level ORDER BY s.txn) AS was_on
			  FROM state s
			  JOIN level l USING (quota_id)), reached AS (
			SELECT * FROM seen WHERE is_on AND was_on IS NOT TRUE), wrong AS (
			SELECT quota_id, quota, subject, period_start, level, txn, r.used AS reached, a.used AS alert_at
			  FROM reached r
			  FULL JOIN (SELECT a.txn, quota_id, coalesce(a.subject, '') AS subject, a.period_start, a.level, a.used
						   FROM replay_alert a JOIN usage_monitor.quota q USING (quota_id)
						  WHERE q.name LIKE '$like' AND } . period_end('a.period_start') . qq{ > now()) a
				   USING (quota_id, subject, period_start, level, txn)
			 WHERE a.used IS DISTINCT FROM r.used)
		(SELECT count(*) || ' of ' || (SELECT count(*) FROM reached) || ' are wrong' FROM wrong HAVING count(*) > 0)
		UNION ALL
		(SELECT w::text FROM wrong w LIMIT 10)});
}

# The same of periods that were over before it began, of quotas that nobody
# changed: one alert for each subject, raised by the transaction that first
# exceeded one of them, which in the end says how many they are, and what the
# worst has come to.
sub wrong_late_alerts
{
	my ($node, $like) = @_;

	return value($node, qq{
		WITH period AS (
			SELECT quota_id, c.subject, c.period_start, min(c.txn) AS txn, max(c.used) AS used
			  FROM replay_counter c
			  JOIN usage_monitor.quota q USING (quota_id)
			 WHERE q.name LIKE '$like' AND c.used >= q.amount
			   AND } . period_end('c.period_start') . qq{ <= (SELECT at FROM replay_start)
			 GROUP BY 1, 2, 3), late AS (
			SELECT quota_id, subject, count(*) AS occurrences, max(used) AS used, min(txn) AS txn
			  FROM period GROUP BY 1, 2), told AS (
			SELECT quota_id, coalesce(a.subject, '') AS subject, a.occurrences, a.used, r.txn, a.details ? 'late' AS is_late,
				   count(*) OVER (PARTITION BY quota_id, a.subject) AS alerts
			  FROM usage_monitor.alert a
			  JOIN usage_monitor.quota q USING (quota_id)
			  JOIN replay_alert r USING (alert_id, quota_id)
			 WHERE q.name LIKE '$like'
			   AND } . period_end('a.period_start') . qq{ <= (SELECT at FROM replay_start)), wrong AS (
			SELECT quota_id, subject, l.occurrences, l.used, l.txn, t.*
			  FROM late l
			  FULL JOIN told t USING (quota_id, subject)
			 WHERE (l.occurrences, l.used, l.txn, true, 1) IS DISTINCT FROM (t.occurrences, t.used, t.txn, t.is_late, t.alerts))
		(SELECT count(*) || ' of ' || (SELECT count(*) FROM late) || ' are wrong' FROM wrong HAVING count(*) > 0)
		UNION ALL
		(SELECT w::text FROM wrong w LIMIT 10)});
}

# Transactions that added to a blocking quota and were above its amount, by the
# amount that was in force then, in a period that was not over.
sub exceeded_quotas
{
	my ($node, $like) = @_;

	return value($node, qq{
		SELECT q.name, c.*, a.amount
		  FROM replay_counter c
		  JOIN usage_monitor.quota q USING (quota_id)
		 CROSS JOIN LATERAL (
				SELECT r.amount, r.enforcement
				  FROM (SELECT 0 AS txn, q.quota_id, q.amount, q.enforcement
						 WHERE NOT EXISTS (SELECT FROM replay_quota n WHERE n.quota_id = q.quota_id)
						UNION ALL
						SELECT n.txn, n.quota_id, n.amount, n.enforcement FROM replay_quota n WHERE n.quota_id = q.quota_id) r
				 WHERE r.txn <= c.txn
				 ORDER BY r.txn DESC LIMIT 1) a
		 WHERE q.name LIKE '$like' AND a.enforcement = 'block' AND c.delta > 0 AND c.used > a.amount
		   AND } . period_end('c.period_start') . qq{ > now()
		 LIMIT 10});
}

1;
