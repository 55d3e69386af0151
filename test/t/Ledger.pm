# What the tests of a whole server have in common: the counters, the alerts
# and the content of the ledger, each told by plain SQL and not by the
# extension's own functions.
package Ledger;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use Test::More;

use Exporter 'import';
our @EXPORT = qw(new_node value expected period_end counters_add_up counters_are_right alerts_are_right contents contents_query values_of storage_is_sound);

# What each row counts for, by quota, subject and period.  The rows are the
# ledger's, or those of a query that has its columns and a sign.  Joined to, it is
# not to be made for each row anew.
sub expected
{
	my ($rows, @also) = @_;
	my $also = join '', map { "u.$_, " } @also;
	my $keys = join ', ', 1 .. 3 + @also;
	$rows //= '(SELECT 1 AS sign, * FROM usage_monitor.usage)';

	return qq{
WITH expected AS MATERIALIZED (
    SELECT $also q.quota_id, s.subject, p.period_start,
           sum(u.sign * CASE q.metric WHEN 'cost' THEN coalesce(u.cost, 0) WHEN 'tokens' THEN u.total_tokens
                             -- a correction is money, and no request
                             ELSE (u.operation IS DISTINCT FROM 'correction')::int END) AS used
      FROM usage_monitor.quota q
     CROSS JOIN $rows u
     CROSS JOIN LATERAL (
               SELECT CASE q.scope WHEN 'all' THEN '' WHEN 'org' THEN u.org WHEN 'department' THEN u.department
                          WHEN 'project' THEN u.project WHEN 'user' THEN u.user_id WHEN 'session' THEN u.session_id
                          WHEN 'model' THEN CASE WHEN q.exact THEN u.model ELSE u.resolved_model END WHEN 'provider' THEN u.provider END
                WHERE q.scope <> 'tag'
               UNION ALL
               SELECT t.key || '=' || t.value FROM jsonb_each_text(u.tags) t
                WHERE q.scope = 'tag' AND (q.subject IS NULL OR q.subject IN (t.key, t.key || '=' || t.value))) s (subject)
     CROSS JOIN LATERAL (
               SELECT CASE WHEN q.period = 'lifetime' THEN '-infinity'
                          -- of months that all have such a day
                          ELSE (date_trunc(q.period, u.ts AT TIME ZONE q.time_zone - (q.billing_day - 1) * interval '1 day')
                                + (q.billing_day - 1) * interval '1 day') AT TIME ZONE q.time_zone END) p (period_start)
     WHERE q.enabled
       AND s.subject IS NOT NULL
       AND (q.scope = 'tag' OR q.subject IS NULL OR q.subject = s.subject)
       AND (q.org IS NULL OR q.org = u.org)
       AND (q.provider IS NULL OR q.provider = u.provider)
       AND (q.model IS NULL OR q.model IN (u.model, u.resolved_model))
       AND NOT EXISTS (SELECT FROM usage_monitor.quota o WHERE o.overrides = q.quota_id AND o.subject = s.subject AND o.enabled)
     GROUP BY $keys),
level AS (
    SELECT q.quota_id, q.name AS quota, l.level, l.share, q.amount * l.share AS threshold
      FROM usage_monitor.quota q
     CROSS JOIN LATERAL (
               VALUES ('warning', q.warning_threshold), ('critical', q.critical_threshold), ('exceeded', 1)
               UNION ALL
               SELECT trim_scale(t.share * 100) || '%', t.share FROM unnest(q.thresholds) AS t (share)) l (level, share))
};
}

# When a period ends that begins then, of quota q.
sub period_end
{
	my ($start) = @_;

	return qq{CASE WHEN q.period = 'lifetime' THEN 'infinity'
		ELSE ($start AT TIME ZONE q.time_zone + ('1 ' || q.period)::interval) AT TIME ZONE q.time_zone END};
}

# A node with the extension in its database postgres: a copy of UM_TEMPLATE, if
# there is one (test/run makes it), which has it already.
sub new_node
{
	my ($name, @lines) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	local $ENV{INITDB_TEMPLATE} = $ENV{UM_TEMPLATE} if defined $ENV{UM_TEMPLATE};
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', join("\n", 'max_prepared_transactions = 20', @lines, ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS usage_monitor CASCADE');
	return $node;
}

# init() of PostgreSQL 17 copies INITDB_TEMPLATE by itself; that of 15 and 16
# only knows initdb.
{
	no warnings 'redefine';
	my $system_or_bail = \&PostgreSQL::Test::Utils::system_or_bail;
	*PostgreSQL::Test::Utils::system_or_bail = sub {
		@_ = ('cp', '-RPp', $ENV{INITDB_TEMPLATE}, $_[2]) if $_[0] eq 'initdb' && defined $ENV{INITDB_TEMPLATE};
		goto &$system_or_bail;
	};
}

# What a query says.
sub value
{
	my ($node, $query, $database) = @_;
	return $node->safe_psql($database // 'postgres', $query);
}

sub counters_add_up
{
	my ($node, $name, $database) = @_;

	is(value($node, expected() . q{
		SELECT q.name, coalesce(e.subject, h.subject, ''), period_start, h.used AS counter, e.used AS ledger, a.amount
		  FROM (SELECT quota_id, coalesce(subject, '') AS subject, period_start, used FROM usage_monitor.quota_history) h
		  FULL JOIN expected e USING (quota_id, subject, period_start)
		  FULL JOIN (SELECT quota_id, subject, period_start, sum(amount) AS amount
					   FROM usage_monitor.quota_adjustment GROUP BY 1, 2, 3) a USING (quota_id, subject, period_start)
		  JOIN usage_monitor.quota q USING (quota_id)
		 WHERE coalesce(h.used, 0) <> coalesce(e.used, 0) + coalesce(a.amount, 0)
		 ORDER BY 1, 2, 3 LIMIT 10}, $database), '', "$name: counters equal the ledger");
}

sub counters_are_right
{
	my ($node, $name, $database) = @_;

	counters_add_up($node, $name, $database);
	is(value($node, q{
		SELECT q.name, c.subject, c.used
		  FROM usage_monitor.quota q
		  JOIN (SELECT quota_id, subject, period_start, sum(used) AS used
				  FROM usage_monitor.quota_usage GROUP BY 1, 2, 3) c USING (quota_id)
		 WHERE q.enforcement = 'block' AND c.used > q.amount}, $database), '', "$name: no blocking quota is exceeded");
}

# Alerts of the quotas whose names match, which nobody changed meanwhile, of
# periods that are not over: of others only the excess is told.  Where
# calls were corrected, usage may have been at a level and not be any more: then
# only Replay.pm can tell that an alert should not be.
sub alerts_are_right
{
	my ($node, $name, $like, $corrected, $database) = @_;
	# what was corrected downwards may have reached a level again
	my $other = $corrected ? 'false' : 'a.count > 1 OR r.quota_id IS NULL';

	is(value($node, expected() . qq{, reached AS (
			SELECT quota_id, e.subject, e.period_start, l.level
			  FROM expected e
			  JOIN level l USING (quota_id)
			  JOIN usage_monitor.quota q USING (quota_id)
			 WHERE l.quota LIKE '$like' AND e.used >= l.threshold AND } . period_end('e.period_start') . qq{ > now())
		SELECT quota_id, subject, period_start, level, coalesce(a.count, 0)
		  FROM reached r
		  FULL JOIN (SELECT quota_id, coalesce(a.subject, '') AS subject, period_start, level, count(*)
					   FROM usage_monitor.alert a JOIN usage_monitor.quota q USING (quota_id)
					  WHERE q.name LIKE '$like' AND } . period_end('a.period_start') . qq{ > now() GROUP BY 1, 2, 3, 4) a USING (quota_id, subject, period_start, level)
		 WHERE (a.count IS NULL AND r.quota_id IS NOT NULL) OR $other
		 LIMIT 10}, $database), '', "$name: one alert for each level that was reached, and no other");
}

# The rows of a relation, sorted, without the columns that may differ.
sub contents
{
	my ($node, $relation, $database, @without) = @_;
	return value($node, contents_query($relation, @without), $database);
}

sub contents_query
{
	my ($relation, @without) = @_;
	my $less = join '', map { " - '$_'" } @without;
	return "SELECT to_jsonb(r) $less FROM $relation r ORDER BY (to_jsonb(r) $less)::text COLLATE \"C\"";
}

# What queries say, each with its name, in this order and all in one session: to
# start psql takes longer than most of them.
sub values_of
{
	my ($node, $database, @queries) = @_;
	my $asked = @queries;
	my $script = '';

	while (my ($name, $query) = splice @queries, 0, 2)
	{
		$script .= "\\echo == $name\n$query;\n";
	}
	my (undef, @values) = split /^== (.*)\n/m, value($node, $script, $database) . "\n", -1;
	die 'not every query has one answer' unless @values == $asked;
	chomp @values;
	return @values;
}

# Every table and index of the database, looked at by amcheck.
sub storage_is_sound
{
	my ($node, $name, $database) = @_;

	$database //= 'postgres';
	$node->safe_psql($database, 'CREATE EXTENSION IF NOT EXISTS amcheck');
	$node->command_ok([ 'pg_amcheck', '--heapallindexed', '--parent-check', '--rootdescend', '-d', $database ], "$name: amcheck finds nothing");
}

1;
