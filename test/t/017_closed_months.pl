# The statements of a month that was closed are the same in a ledger that was
# restored from a dump, byte for byte, though the prices are others by then.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('closed_months');
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
my $files = q{SELECT md5(usage_monitor.statement_html('acme', '2026-01') || usage_monitor.statement_csv('acme', '2026-01')
			 || usage_monitor.statement_json('acme', '2026-01'))};
my $kinds = q{SELECT string_agg(DISTINCT kind, ', '), count(*) FROM usage_monitor.statement('acme', '2026-01')};

$node->safe_psql('postgres', $_) for (
	q{
	SELECT usage_monitor.set_price('own', 3, 4);
	INSERT INTO usage_monitor.usage (ts, org, project, model, input_tokens, output_tokens)
	SELECT '2026-01-10Z'::timestamptz + n * interval '7 hours', 'acme', 'p' || n % 3, 'own', n * 1000, n FROM generate_series(1, 60) n;
	},
	q{SELECT usage_monitor.close_period('2026-01-31')});
my $closed = value($node, $files);
like($closed, qr/^[0-9a-f]{32}$/, 'a month is closed');
$node->safe_psql('postgres', q{UPDATE usage_monitor.price_rate SET amount = 5 WHERE amount = 3 AND price_id > 0});
is(value($node, $kinds), 'usage|6', 'the month is as it was closed');
is(value($node, $files), $closed, 'and so are its files');

$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'it is dumped');
$node->command_ok([ 'psql', '-Xq', '-1', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'restored' ], 'and restored');
is(value($node, $kinds, 'restored'), 'usage|6', 'its lines are kept');
is(value($node, $files, 'restored'), $closed, 'its files are the same');
is(value($node, q{SELECT count(*) FROM usage_monitor.reopen_period('2026-01-01')}, 'restored'), 1, 'opened again');
is(value($node, $kinds, 'restored'), 'difference, usage|9', 'it tells of the new prices');

$node->stop;
done_testing();
