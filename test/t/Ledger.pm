# What the tests of a whole server have in common: the counters, the alerts
# and the content of the ledger, each told by plain SQL and not by the
# extension's own functions.
package Ledger;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use Test::More;

use Exporter 'import';
our @EXPORT = qw(new_node value counters_are_right alerts_are_right contents);

# What every counter must be.  Counters of periods that began before their
# quota need not exist; those that do must be right.
my $recount = q{
WITH expected AS (
    SELECT q.quota_id, s.subject, p.period_start,
           sum(CASE q.metric WHEN 'cost' THEN coalesce(u.cost, 0) WHEN 'tokens' THEN u.total_tokens ELSE 1 END) AS used
      FROM usage_monitor.quota q
     CROSS JOIN usage_monitor.usage u
     CROSS JOIN LATERAL (
               SELECT CASE q.scope WHEN 'all' THEN '' WHEN 'org' THEN u.org WHEN 'department' THEN u.department
                          WHEN 'project' THEN u.project WHEN 'user' THEN u.user_id WHEN 'session' THEN u.session_id
                          WHEN 'model' THEN u.model WHEN 'provider' THEN u.provider END
                WHERE q.scope <> 'tag'
               UNION ALL
               SELECT t.key || '=' || t.value FROM jsonb_each_text(u.tags) t
                WHERE q.scope = 'tag' AND (q.subject IS NULL OR q.subject IN (t.key, t.key || '=' || t.value))) s (subject)
     CROSS JOIN LATERAL (
               SELECT CASE q.period WHEN 'lifetime' THEN '-infinity'
                          ELSE date_trunc(q.period, u.ts, q.time_zone) END) p (period_start)
     WHERE q.enabled
       AND s.subject IS NOT NULL
       AND (q.scope = 'tag' OR q.subject IS NULL OR q.subject = s.subject)
       AND (q.org IS NULL OR q.org = u.org)
       AND (q.provider IS NULL OR q.provider = u.provider)
       AND (q.model IS NULL OR q.model = u.model)
     GROUP BY 1, 2, 3)
};

# A node with the extension in its database postgres.
sub new_node
{
	my ($name, @lines) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', join("\n", 'max_prepared_transactions = 20', @lines, ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION usage_monitor CASCADE');
	return $node;
}

# What a query says.
sub value
{
	my ($node, $query, $database) = @_;
	return $node->safe_psql($database // 'postgres', $query);
}

sub counters_are_right
{
	my ($node, $name, $database) = @_;

	is(value($node, $recount . q{
		SELECT q.name, coalesce(e.subject, h.subject, ''), period_start, h.used AS counter, e.used AS ledger
		  FROM (SELECT quota_id, coalesce(subject, '') AS subject, period_start, used FROM usage_monitor.quota_history) h
		  FULL JOIN expected e USING (quota_id, subject, period_start)
		  JOIN usage_monitor.quota q USING (quota_id)
		 WHERE coalesce(h.used, 0) <> coalesce(e.used, 0)
		 ORDER BY 1, 2, 3 LIMIT 10}, $database), '', "$name: counters equal the ledger");
	is(value($node, q{
		SELECT q.name, c.subject, c.used
		  FROM usage_monitor.quota q
		  JOIN (SELECT quota_id, subject, period_start, sum(used) AS used
				  FROM usage_monitor.quota_usage GROUP BY 1, 2, 3) c USING (quota_id)
		 WHERE q.enforcement = 'block' AND c.used > q.amount}, $database), '', "$name: no blocking quota is exceeded");
}

# Alerts of the quotas whose names match, which nobody changed meanwhile.
sub alerts_are_right
{
	my ($node, $name, $like, $database) = @_;

	is(value($node, $recount . qq{, reached AS (
			SELECT q.quota_id, e.subject, e.period_start, l.level
			  FROM expected e
			  JOIN usage_monitor.quota q USING (quota_id)
			 CROSS JOIN LATERAL (VALUES ('warning', q.warning_threshold), ('critical', q.critical_threshold), ('exceeded', 1)) l (level, share)
			 WHERE q.name LIKE '$like' AND e.used >= q.amount * l.share)
		SELECT quota_id, subject, period_start, level, coalesce(a.count, 0)
		  FROM reached r
		  FULL JOIN (SELECT quota_id, coalesce(a.subject, '') AS subject, period_start, level, count(*)
					   FROM usage_monitor.alert a JOIN usage_monitor.quota q USING (quota_id)
					  WHERE q.name LIKE '$like' GROUP BY 1, 2, 3, 4) a USING (quota_id, subject, period_start, level)
		 WHERE a.count IS DISTINCT FROM 1 OR r.quota_id IS NULL
		 LIMIT 10}, $database), '', "$name: one alert for each level that was reached, and no other");
}

# The rows of a relation, sorted, without the columns that may differ.
sub contents
{
	my ($node, $relation, $database, @without) = @_;
	my $less = join '', map { " - '$_'" } @without;
	return value($node, "SELECT to_jsonb(r) $less FROM $relation r ORDER BY (to_jsonb(r) $less)::text COLLATE \"C\"", $database);
}

1;
