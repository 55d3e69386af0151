# Two nodes, each a ledger of its own organisations, and a hub that publishes
# prices and quotas and subscribes to the ledgers: after thousands of
# transactions of all kinds, with the hub and a node killed meanwhile, the hub
# has every row as it is, the same views, and each alert once.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use Ledger;
use Test::More;

# of each node; 5000 for the whole of it
my $transactions = $ENV{UM_COUNT} // 400;

my ($hub, $n1, $n2) = map { new_node($_) } qw(hub n1 n2);
my %orgs = (n1 => [ 'acme', 'globex' ], n2 => ['initech']);
my $number = 0;
my %number = map { $_->name => ++$number } $n1, $n2;

sub sql { my ($node, @statements) = @_; $node->safe_psql('postgres', $_) for @statements; }

sub subscribe
{
	my ($to, $name, $from, $publication) = @_;
	sql($to, "CREATE SUBSCRIPTION $name CONNECTION '" . $from->connstr . " dbname=postgres' PUBLICATION $publication");
	$to->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')") or die "$name does not come to be";
}

sub settings_arrive { $hub->wait_for_catchup("config_$_") for 1, 2; }
sub calls_arrive { $_->wait_for_catchup("ledger_$number{$_->name}") for $n1, $n2; }

# Relations, each with the number and a sum of its rows of some organisations, but for what is of the server's own
sub rows
{
	my ($node, $relations, @orgs) = @_;
	my $orgs = join ',', map { "'$_'" } @orgs;
	return value($node, join "\nUNION ALL ", map { qq{
		SELECT '$_', count(*), md5(string_agg(r.row, E'\n' ORDER BY r.row COLLATE "C"))
		  FROM (SELECT (to_jsonb(r) - 'xid')::text AS row FROM usage_monitor.$_ r WHERE r.org IN ($orgs)) r} } @$relations);
}

my @views = split /\n/, value($hub, q{
	SELECT c.relname
	  FROM pg_class c
	  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org'
	 WHERE c.relnamespace = 'usage_monitor'::regnamespace AND c.relkind = 'v'
	   AND (c.relname LIKE '%\_usage' OR c.relname = 'duration_distribution') AND c.relname NOT IN ('quota_usage', 'recent_usage')
	 ORDER BY 1});

sub hub_is_right
{
	my ($name) = @_;
	for my $node ($n1, $n2)
	{
		my @own = @{ $orgs{ $node->name } };
		is(rows($hub, [ 'usage', @views ], @own), rows($node, [ 'usage', @views ], @own), "$name: calls and views of " . $node->name . ' are the same at the hub');
	}
	for my $node ($n1, $n2, $hub)
	{
		is(value($node, 'SELECT * FROM usage_monitor.verify()'), '', "$name: " . $node->name . ' agrees with itself');
	}
}

#
# As doc/nodes.md says.
#
sql($hub, 'ALTER DATABASE postgres SET usage_monitor.replicated_alerts = on',
	q{
	SELECT usage_monitor.set_price('m', 1, 2);
	CREATE PUBLICATION config FOR TABLE
		usage_monitor.price WHERE (price_id > 0), usage_monitor.price_rate WHERE (price_id > 0),
		usage_monitor.model_alias WHERE (origin <> 'shipped'), usage_monitor.provider_alias WHERE (origin <> 'shipped'),
		usage_monitor.usage_field WHERE (line > 100000), usage_monitor.exchange_rate, usage_monitor.discount,
		usage_monitor.quota WHERE (scope = 'org' OR org IS NOT NULL), usage_monitor.quota_raise},
	# the hub is partitioned otherwise
	q{
	CREATE TABLE usage_2025 (LIKE usage_monitor.usage_default INCLUDING ALL);
	ALTER TABLE usage_2025 REPLICA IDENTITY FULL;
	ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_2025 FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2026-01-01 00:00+00')});
sql($n1, q{
	CREATE TABLE usage_spring (LIKE usage_monitor.usage_default INCLUDING ALL);
	ALTER TABLE usage_monitor.usage ATTACH PARTITION usage_spring FOR VALUES FROM ('2025-03-01 00:00+00') TO ('2025-07-01 00:00+00')});
for my $node ($n1, $n2)
{
	my $n = $number{ $node->name };
	sql($node, 'ALTER DATABASE postgres SET usage_monitor.replicated_alerts = on',
		"SELECT usage_monitor.configure(node => $n)",
		# what was recorded before the hub is told of at first
		"INSERT INTO usage_monitor.usage (org, user_id, project, model, input_tokens) SELECT '$orgs{$node->name}[0]', 'early', 'early', 'm', n FROM generate_series(1, 20) n",
		'CREATE PUBLICATION ledger FOR TABLE usage_monitor.usage WITH (publish_via_partition_root = true)');
	subscribe($node, "config_$n", $hub, 'config');
	sql($hub, q{SELECT usage_monitor.set_quota('each project', 'project', NULL, 30, 'lifetime', 'requests', thresholds => '{0.25, 0.5}')}) if $n == 1;
	subscribe($hub, "ledger_$n", $node, 'ledger');
}
is(value($hub, 'SELECT count(*) FROM usage_monitor.alert'), 0, 'the initial copy raises nothing');
sql($n1, "INSERT INTO usage_monitor.usage (org, user_id, project, model) VALUES ('acme', 'early', 'early', 'm')");
calls_arrive();
is(value($hub, "SELECT string_agg(level, ' ' ORDER BY alert_id) FROM usage_monitor.alert WHERE subject = 'early'"), '25% 50% warning critical exceeded', 'but the next call all that is reached');

# A change that a subscriber could not follow is refused.
sql($n1, "INSERT INTO usage_monitor.usage (org, ts, model) VALUES ('acme', '2025-04-01', 'm')");
for my $statement ("UPDATE usage_monitor.usage SET tags = '{}' WHERE ts < '2025-07-01'", "DELETE FROM usage_monitor.usage WHERE ts < '2025-07-01'")
{
	my ($code, $out, $err) = $n1->psql('postgres', $statement);
	like($err, qr/cannot change a call in partition "usage_spring": .*REPLICA IDENTITY FULL;/s, 'a partition that tells its key alone cannot be changed');
}
{
	# what a session knows of the publications it forgets when one changes
	my $change = "UPDATE usage_monitor.usage SET tags = '{}' WHERE ts < '2025-07-01' RETURNING 'changed'";
	my ($code, $out, $err) = $n1->psql('postgres', "BEGIN;
		ALTER PUBLICATION ledger SET (publish_via_partition_root = false); $change; $change;
		ALTER PUBLICATION ledger SET (publish_via_partition_root = true); $change;");
	is($out, "changed\nchanged", 'one that is published by itself can be');
	like($err, qr/cannot change a call in partition "usage_spring"/, 'until it is published as a part of the ledger');
}
sql($n1, 'ALTER TABLE public.usage_spring REPLICA IDENTITY FULL', "UPDATE usage_monitor.usage SET tags = '{}' WHERE ts < '2025-07-01'");

#
# Sessions that are open hear of prices, aliases, rates, discounts, fields and quotas.
#
my %session = map { $_->name => $_->background_psql('postgres') } $n1, $n2;

sub costs
{
	my ($columns, $values) = @_;
	return join ' ', map { scalar $session{ $_->name }->query("INSERT INTO usage_monitor.usage (org, $columns) VALUES ('$orgs{$_->name}[0]', $values) RETURNING coalesce(cost::text, cost_source)") } $n1, $n2;
}
is(costs('model, input_tokens', "'m', 1000000"), '1 1', 'nodes have the price of the hub');
sql($hub, q{UPDATE usage_monitor.price_rate SET amount = 3 WHERE price_id > 0 AND meter = 'input'});
settings_arrive();
is(costs('model, input_tokens', "'m', 1000000"), '3 3', 'open sessions have the new rate');
is(costs('model, input_tokens', "'yuan', 1000000"), 'unpriced unpriced', 'no price yet');
sql($hub, q{
	SELECT usage_monitor.set_price('yuan', 100, 100, currency => 'CNY');
	INSERT INTO usage_monitor.exchange_rate (from_currency, to_currency, rate) VALUES ('CNY', 'USD', 0.14)});
settings_arrive();
is(costs('model, input_tokens', "'yuan', 1000000"), '14 14', 'a price and an exchange rate came');
sql($hub, q{UPDATE usage_monitor.exchange_rate SET rate = 0.15; INSERT INTO usage_monitor.discount (org, percent) VALUES ('initech', 50)});
settings_arrive();
is(costs('model, input_tokens', "'yuan', 1000000"), '15 7.5', 'a new exchange rate and a discount came');
sql($hub, q{DELETE FROM usage_monitor.discount; INSERT INTO usage_monitor.model_alias (pattern, model) VALUES ('short', 'm')});
settings_arrive();
is(costs('model, input_tokens', "'short', 1000000"), '3 3', 'an alias came, and the discount has gone');
sql($hub, q{INSERT INTO usage_monitor.usage_field (family, path, meaning) VALUES ('*', 'prompt_tokens_details.cache_hits', 'cache_read')});
settings_arrive();
my $response = '{"object": "chat.completion", "model": "m", "choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101, "prompt_tokens_details": {"cache_hits": 7}}}';
is($session{n1}->query("SELECT cache_read_input_tokens, unread FROM usage_monitor.record('$response', org => 'acme')"), '7|', 'a line for reading responses came');

# A node refuses by its own calls at once, and a limit that comes below them raises its alert.
sql($hub, q{SELECT usage_monitor.set_quota('cap', 'user', 'bob', 10, 'lifetime', 'requests', org => 'acme', enforcement => 'block')});
settings_arrive();
$session{n1}->query("INSERT INTO usage_monitor.usage (org, user_id, project, model) SELECT 'acme', 'bob', 'cap', 'm' FROM generate_series(1, 7)");
my $more = "INSERT INTO usage_monitor.usage (org, user_id, project, model) SELECT 'acme', 'bob', 'cap', 'm' FROM generate_series(1, 5)";
like(($n1->psql('postgres', $more))[2], qr/quota "cap" of user "bob" is exceeded/, 'a node refuses');
sql($hub, q{SELECT usage_monitor.raise_quota('cap', 3, until => now() + interval '1 day')});
settings_arrive();
$session{n1}->query($more);
is(value($n1, "SELECT used FROM usage_monitor.quota_status WHERE name = 'cap'"), 12, 'a raise came to an open session');
sql($hub, q{SELECT usage_monitor.set_quota('cap too', 'user', 'bob', 12, 'lifetime', 'requests', org => 'acme', enforcement => 'block')});
settings_arrive();
is(value($n1, "SELECT string_agg(a.level, ' ' ORDER BY a.alert_id) FROM usage_monitor.alert a JOIN usage_monitor.quota q USING (quota_id) WHERE q.name = 'cap too'"),
	'warning critical exceeded', 'a quota that is reached when it comes raises its alerts');

#
# Thousands of transactions.  Calls of projects only come, so that for each of
# them each level is reached once; of all others everything is changed.
#
sql($_, q{
	CREATE PROCEDURE work(orgs text[], transactions int) LANGUAGE plpgsql AS $$
	DECLARE
		first CONSTANT bigint := (SELECT min(usage_id) FROM usage_monitor.usage);
		kind  int;
		own   text;
		it    bigint;
		day   timestamptz;
	BEGIN
		FOR i IN 1 .. transactions LOOP
			kind := floor(random() * 40);
			own := orgs[1 + floor(random() * cardinality(orgs))];
			BEGIN
				SELECT u.usage_id INTO it
				  FROM usage_monitor.usage u
				 WHERE u.usage_id >= first + floor(random() * (currval_of() - first)) AND u.project IS NULL
				 ORDER BY u.usage_id LIMIT 1;
				IF kind < 14 OR it IS NULL THEN
					INSERT INTO usage_monitor.usage (ts, org, user_id, model, input_tokens, output_tokens, request_id, duration_ms, tags)
					SELECT CASE WHEN random() < 0.5 THEN now() ELSE '2025-01-01'::timestamptz + random() * interval '300 days' END,
					       own, 'u' || floor(random() * 5), ('{m,later,yuan,short}'::text[])[1 + floor(random() * 4)], floor(random() * 10000), floor(random() * 1000),
					       CASE WHEN random() < 0.3 THEN gen_random_uuid()::text END, random() * 100, CASE WHEN random() < 0.3 THEN '{"team": "a"}'::jsonb END
					  FROM generate_series(1, 1 + floor(random() * 3)::int);
				ELSIF kind < 18 THEN
					INSERT INTO usage_monitor.usage (org, user_id, project, model, cost) SELECT own, 'p', 'p' || floor(random() * 12), 'm', 1;
				ELSIF kind < 21 THEN
					PERFORM usage_monitor.record(format('{"object": "chat.completion", "model": "m", "choices": [], "usage": {"prompt_tokens": %s, "completion_tokens": 1, "total_tokens": %s}}', i, i + 1)::jsonb,
						org => own, user_id => 'again', request_id => 'again-' || floor(random() * 20));
				ELSIF kind < 25 THEN
					UPDATE usage_monitor.usage SET output_tokens = floor(random() * 1000) WHERE usage_id = it;
				ELSIF kind < 28 THEN
					UPDATE usage_monitor.usage SET tags = jsonb_build_object('device', floor(random() * 4)::text), user_id = 'u' || floor(random() * 5) WHERE usage_id = it;
				ELSIF kind < 31 THEN
					UPDATE usage_monitor.usage SET ts = '2025-01-01'::timestamptz + random() * interval '500 days' WHERE usage_id = it;
				ELSIF kind < 33 THEN
					UPDATE usage_monitor.usage SET cost = floor(random() * 100) / 10, input_cost = NULL, output_cost = NULL WHERE usage_id = it;
				ELSIF kind < 36 THEN
					DELETE FROM usage_monitor.usage WHERE usage_id = it;
				ELSIF kind < 38 THEN
					PERFORM usage_monitor.void_call(it, 'a test');
				ELSE
					day := '2025-01-01'::timestamptz + floor(random() * 300) * interval '1 day';
					PERFORM usage_monitor.reprice(day, day + interval '3 days', dry_run => false);
				END IF;
			EXCEPTION WHEN no_data_found OR lock_not_available OR deadlock_detected THEN
				NULL;	-- somebody else has deleted it
			END;
			IF random() < 0.15 THEN
				ROLLBACK;
			ELSE
				COMMIT;
			END IF;
			PERFORM nextval('done');
		END LOOP;
	END
	$$;
	CREATE SEQUENCE done;
	CREATE FUNCTION currval_of() RETURNS bigint LANGUAGE sql RETURN (SELECT max(usage_id) FROM usage_monitor.usage)}) for $n1, $n2;
sql($hub, q{SELECT usage_monitor.set_quota('each user', 'user', NULL, 500, 'lifetime', 'requests')});
sql($hub, q{SELECT usage_monitor.set_quota('hub would block', 'all', NULL, 50, 'lifetime', 'requests', enforcement => 'block')});

sub done { my ($node) = @_; return value($node, 'SELECT last_value FROM done'); }

# Two sessions of a node do so many transactions, if it lives.
sub start_work
{
	my ($node, $count) = @_;
	my $orgs = join ',', @{ $orgs{ $node->name } };
	return map {
		my $out = '';
		IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', "CALL work('{$orgs}', " . int($count / 2 + 1) . ')' ], '<', \undef, '&>', \$out);
	} 1, 2;
}
sub end_work { $_->finish for @_; }

my @work = map { start_work($_, $transactions / 2) } $n1, $n2;
$hub->poll_query_until('postgres', 'SELECT count(*) > 100 FROM usage_monitor.usage') or die 'nothing arrives';
$hub->stop('immediate');
end_work(@work);
$hub->start;
sql($hub, q{SELECT usage_monitor.set_price('later', 5, 5)}, 'SELECT usage_monitor.refresh()');
settings_arrive();
my $before = done($n1);
@work = map { start_work($_, $transactions / 2) } $n1, $n2;
$n1->poll_query_until('postgres', "SELECT last_value > $before + 10 FROM done") or die 'nothing is done';
$session{n1}->quit;
$n1->stop('immediate');
end_work(@work);
$n1->start;
for my $node ($n1, $n2)
{
	while ((my $left = $transactions - done($node)) > 0)
	{
		end_work(start_work($node, $left));
	}
	cmp_ok(done($node), '>=', $transactions, $node->name . ': ' . done($node) . ' transactions');
}
calls_arrive();
hub_is_right('the load');
is(value($n1, 'SELECT count(*) > 0 FROM usage_monitor.audit_log WHERE what = \'void_call\''), 't', 'calls were voided');
counters_add_up($hub, 'hub');
alerts_are_right($hub, 'hub', 'each project');
alerts_are_right($hub, 'hub', 'each user', 1);
is(value($hub, q{SELECT count(*) > 3 AND count(*) = count(DISTINCT (a.subject, a.level)) FROM usage_monitor.alert a JOIN usage_monitor.quota q USING (quota_id) WHERE q.name = 'each project'}), 't',
	'an alert that spans nodes is raised once');
sql($hub, 'SELECT usage_monitor.refresh()');
hub_is_right('folded');

#
# The hub tells who listens; its rollups are kept short by a worker, by its own
# count of rows.
#
my $listener = $hub->background_psql('postgres');
$listener->query('LISTEN usage_monitor_alert');
is(value($hub, 'SELECT last_value > 50 FROM usage_monitor.usage_usage_id_seq'), 't', 'the hub counts what arrives');
is(value($hub, 'SELECT s.usage_id = q.last_value FROM _usage_monitor._rollup_state s, usage_monitor.usage_usage_id_seq q'), 't', 'and knows up to where it is folded');
sql($n2, "INSERT INTO usage_monitor.usage (org, project, model) SELECT 'initech', 'loud', 'm' FROM generate_series(1, 30)");
calls_arrive();
my $heard = '';
for (1 .. 50)
{
	$heard .= $listener->query('SELECT pg_sleep(0.1)');
	last if $heard =~ /exceeded/;
}
like($heard, qr/notification "usage_monitor_alert" .*"exceeded"/, 'who listens at the hub hears of it');
$listener->quit;
is(value($hub, "SELECT count(*) FROM usage_monitor.alert WHERE subject = 'loud'"), 5, 'each level once');

#
# A reservation is settled and released at its node alone.
#
my $held = value($n1, "SELECT reservation_id FROM usage_monitor.reserve('acme', cost => 1)");
is(value($n1, "SELECT usage_monitor.release('$held', org => 'globex')"), 'f', 'not of that organisation');
is(($n1->psql('postgres', "SELECT usage_monitor.settle('$held', model => 'm', org => 'globex')"))[0], 3, 'nor settled');
is(value($n1, "SELECT org FROM usage_monitor.settle('$held', model => 'm', input_tokens => 1, org => ' acme ')"), 'acme', 'but of its own');

#
# An organisation moves to the other node.
#
calls_arrive();
my $moved = rows($n1, ['usage'], 'acme');
my $alerts = value($hub, 'SELECT count(*) FROM usage_monitor.alert');
sql($hub, 'ALTER DATABASE postgres SET usage_monitor.replicated_alerts = off',
	'ALTER SUBSCRIPTION ledger_1 DISABLE', 'ALTER SUBSCRIPTION ledger_2 DISABLE');
$hub->poll_query_until('postgres', 'SELECT count(pid) = 0 FROM pg_stat_subscription') or die 'the hub does not stop';
my $file = $n1->basedir . '/moved';
my $theirs = q{FROM usage_monitor.alert a JOIN usage_monitor.quota q USING (quota_id) WHERE q.org = 'acme' OR (q.scope = 'org' AND a.subject = 'acme')};
for my $what ([ "SELECT a.* $theirs", 'alert' ], [ "SELECT * FROM usage_monitor.usage WHERE org = 'acme'", 'usage' ])
{
	sql($n1, "COPY ($what->[0]) TO '$file'");
	sql($n2, "COPY usage_monitor.$what->[1] FROM '$file'");
}
sql($n1, "DELETE FROM usage_monitor.usage WHERE org = 'acme'");
sql($hub, 'ALTER SUBSCRIPTION ledger_1 ENABLE');
$n1->wait_for_catchup('ledger_1');
sql($hub, 'ALTER SUBSCRIPTION ledger_2 ENABLE');
$n2->wait_for_catchup('ledger_2');
sql($hub, 'ALTER DATABASE postgres SET usage_monitor.replicated_alerts = on',
	'SELECT pg_terminate_backend(pid) FROM pg_stat_subscription WHERE pid IS NOT NULL');
is(rows($n2, ['usage'], 'acme'), $moved, 'moved: the new node has it');
%orgs = (n1 => ['globex'], n2 => [ 'acme', 'initech' ]);
hub_is_right('moved');
sql($n2, "INSERT INTO usage_monitor.usage (org, user_id, project, model) VALUES ('acme', 'early', 'early', 'm')");
calls_arrive();
is(value($hub, 'SELECT count(*) FROM usage_monitor.alert'), $alerts, 'moved: the hub alerts on nothing again');
is(value($n2, "SELECT used FROM usage_monitor.quota_status WHERE name = 'cap'"), 12, 'moved: its quotas know');
like(($n2->psql('postgres', "INSERT INTO usage_monitor.usage (org, user_id, model) VALUES ('acme', 'bob', 'm'), ('acme', 'bob', 'm')"))[2], qr/is exceeded/, 'moved: and refuse');
sql($n2, "DELETE FROM usage_monitor.quota WHERE name = 'cap too'", "INSERT INTO usage_monitor.usage (org, user_id, project, model) VALUES ('acme', 'bob', 'cap', 'm')");
calls_arrive();
is(value($n2, "SELECT string_agg(a.level, ' ' ORDER BY a.raised_at, a.alert_id) FROM usage_monitor.alert a JOIN usage_monitor.quota q USING (quota_id) WHERE q.name = 'cap'"),
	'warning critical exceeded', 'moved: what was raised is not raised again');
is(value($hub, 'SELECT count(*) FROM usage_monitor.alert'), $alerts + 2, 'moved: and the hub alerts on what is reached now');

#
# What the hub has archived it keeps; what a node drops, and what comes late, is
# right at the hub.
#
my $sum = "SELECT sum(cost) FROM usage_monitor.daily_total WHERE day BETWEEN '2025-01-01' AND '2025-12-31'";
my $year = value($hub, $sum);
sql($hub, q{SELECT usage_monitor.drop_usage_before('2026-01-01')});
is(value($hub, $sum), $year, 'archived: the hub shows the same');
sql($n2, "INSERT INTO usage_monitor.usage (ts, org, model, cost) VALUES ('2025-05-05', 'initech', 'm', 0.25)");
calls_arrive();
is(value($hub, $sum), value($hub, "SELECT $year + 0.25"), 'archived: and what comes late');
is(value($hub, 'SELECT * FROM usage_monitor.verify()'), '', 'archived: the hub agrees with itself');

$session{n2}->quit;
$_->stop for $hub, $n1, $n2;
done_testing();
