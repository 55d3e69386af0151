# A standby that is promoted has the same counters; a subscriber of the ledger
# stores rows as they are, counts them once and raises nothing for them.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use Test::More;

my $quota = "SELECT usage_monitor.set_quota('fixed', 'user', NULL, 10, 'lifetime', 'requests')";
my $primary = new_node('primary');
$primary->safe_psql('postgres', "SELECT usage_monitor.set_price('m', 1, 2)");
$primary->safe_psql('postgres', $quota);
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $subscriber = new_node('subscriber');
$subscriber->safe_psql('postgres', $quota);
$primary->safe_psql('postgres', 'CREATE PUBLICATION ledger FOR TABLE usage_monitor.usage WITH (publish_via_partition_root = true)');
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION ledger CONNECTION '" . $primary->connstr . " dbname=postgres' PUBLICATION ledger");
$subscriber->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')") or die 'no synchronisation';

$primary->safe_psql('postgres', "INSERT INTO usage_monitor.usage (user_id, model, input_tokens) SELECT 'u' || n % 2, 'm', n FROM generate_series(1, 18) n");
$primary->wait_for_catchup('ledger');
is(contents($subscriber, 'usage_monitor.usage', 'postgres', 'xid'), contents($primary, 'usage_monitor.usage', 'postgres', 'xid'), 'rows arrive as they are');
counters_are_right($subscriber, 'subscriber');
is(value($subscriber, 'SELECT count(*) FROM usage_monitor.alert'), 0, 'subscriber: replicated rows raise nothing');

$primary->wait_for_catchup($standby);
is(value($standby, "SELECT usage_monitor.cost('m', 1000000, 0)"), '1', 'standby: calls are priced');
is(value($standby, q{SELECT count(*) > 0 AND bool_and(c.used = s.used AND s.used > 0) FROM usage_monitor.check_quota(user_id => 'u1') AS c
	JOIN usage_monitor.quota_status AS s ON s.quota_id = c.quota_id AND s.subject IS NOT DISTINCT FROM c.subject}), 't', 'standby: quotas are checked');
$primary->stop;
$standby->promote;
is(value($standby, 'SELECT count(*) FROM usage_monitor.usage'), 18, 'promoted: rows are there');
$standby->safe_psql('postgres', "INSERT INTO usage_monitor.usage (user_id, model) SELECT 'u1', 'm' FROM generate_series(1, 3)");
counters_are_right($standby, 'promoted');
alerts_are_right($standby, 'promoted', 'fixed');

$standby->stop;
$subscriber->stop;
done_testing();
