# A dump's tables are restored in whatever order pg_restore -j comes to them,
# each in a transaction of its own: what belongs to a row of another table
# may come before it, and none is lost.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('restore_order');
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', $_) for (
	"SELECT usage_monitor.configure(currency => 'EUR', time_zone => 'Asia/Shanghai')",
	q{
	SELECT usage_monitor.set_price('own', 1, 2, currency => 'EUR', valid_from => '2025-01-01');
	SELECT usage_monitor.set_price('own', 3, 4, currency => 'EUR', valid_from => '2025-06-01');
	SELECT usage_monitor.set_quota('per user', 'user', NULL, 100, 'lifetime', 'requests', enforcement => 'block');
	SELECT usage_monitor.set_quota('all', 'all', NULL, 100, 'lifetime', 'tokens');
	INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens) SELECT 'u' || n % 3, 'own', n, n FROM generate_series(1, 12) n},
	q{
	SELECT usage_monitor.raise_quota('per user', 50, now() + interval '1 year', 'a campaign');
	SELECT usage_monitor.reset_quota('per user', 'u1', 'a mistake')},
	"INSERT INTO usage_monitor.usage (user_id, model, input_tokens) VALUES ('u1', 'own', 5)");

is(value($node, q{
	SELECT string_agg(format('%s: %s', c.conrelid::regclass, c.conname), ', ')
	  FROM pg_constraint c
	  JOIN pg_extension e ON e.extname = 'usage_monitor'
	 WHERE c.contype = 'f'
	   AND c.conrelid = ANY (e.extconfig)
	   AND c.confrelid = ANY (e.extconfig)}), '', 'no foreign key between tables that are dumped');

$node->command_ok([ 'pg_dump', '-Fc', '-d', $node->connstr('postgres'), '-f', "$dir/custom" ], 'pg_dump');
my ($list) = run_command([ 'pg_restore', '-l', "$dir/custom" ]);
my @entries = grep { !/^;/ } split /\n/, $list;
my @data = grep { / TABLE DATA / } @entries;
my ($first) = grep { $entries[$_] =~ / TABLE DATA / } 0 .. $#entries;
my @before = @entries[ 0 .. $first - 1 ];
my @after = grep { !/ TABLE DATA / } @entries[ $first .. $#entries ];

my @tables = qw(price price_rate quota quota_raise quota_adjustment alert usage);
my %content = map { $_ => contents($node, "usage_monitor.$_", 'postgres', 'xid') } @tables;
cmp_ok(length $content{$_}, '>', 10, "$_ has rows") for qw(price_rate quota_raise quota_adjustment);

my $counters = 'SELECT name, subject, used, amount FROM usage_monitor.quota_status ORDER BY 1, 2';
my $counted = value($node, $counters);
like($counted, qr/^per user\|u1\|1\|150$/m, 'a quota is raised, and one counter set back');

# The names of those that have rows, in the order in which they are restored
sub order
{
	return join ' ', grep { exists $content{$_} } map { / TABLE DATA \S+ (\S+) / } @_;
}

for my $case ([ 'forwards', @data ], [ 'backwards', reverse @data ])
{
	my ($name, @own) = @$case;
	PostgreSQL::Test::Utils::append_to_file("$dir/$name", join("\n", @before, @own, @after, ''));
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	# without -j: in the order of the list, each COPY a transaction; with an option that leaves row_security on
	$node->command_ok([ 'pg_restore', '-e', '-L', "$dir/$name", ($name eq 'backwards' ? '--enable-row-security' : ()),
			'-d', $node->connstr($name), "$dir/custom" ], "$name: " . order(@own));
	is(contents($node, "usage_monitor.$_", $name, 'xid'), $content{$_}, "$name: $_") for @tables;
	is(value($node, 'SELECT what, key, expected, found FROM usage_monitor.verify()', $name), '', "$name: verified");
	is(value($node, $counters, $name), $counted, "$name: counters");

	# and then what belongs to nothing is refused as ever
	my ($status, undef, $errors) = $node->psql($name, "INSERT INTO usage_monitor.price_rate (price_id, meter, amount) VALUES (999, 'input', 1)");
	is($status, 3, "$name: a rate without a price is refused");
	is(value($node, q{
		DELETE FROM usage_monitor.price WHERE origin = 'user';
		DELETE FROM usage_monitor.quota;
		SELECT (SELECT count(*) FROM usage_monitor.price_rate WHERE price_id > 0),
			   (SELECT count(*) FROM usage_monitor.quota_raise),
			   (SELECT count(*) FROM usage_monitor.quota_adjustment)}, $name), '0|0|0', "$name: a parent takes its own along");
}

# As psql runs a script: each statement a transaction
$node->safe_psql('postgres', 'CREATE DATABASE script');
$node->command_ok([ 'pg_restore', '-L', "$dir/backwards", '-f', "$dir/script.sql", "$dir/custom" ], 'script: pg_restore writes it');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('script'), '-f', "$dir/script.sql" ], 'script: psql restores');
is(contents($node, "usage_monitor.$_", 'script', 'xid'), $content{$_}, "script: $_") for @tables;

$node->stop;
done_testing();
