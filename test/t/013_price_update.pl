# pricing/update: a file or an address in, a table of what changed out, and a
# status that a timer can act upon.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('prices');
my $dir = PostgreSQL::Test::Utils::tempdir;
my $update = "$FindBin::RealBin/../../pricing/update";

local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
local $ENV{PGDATABASE} = 'postgres';

sub catalogue
{
	my ($name, $content) = @_;
	append_to_file("$dir/$name", $content);
	return "$dir/$name";
}

# status, what it printed, and what it complained of
sub update
{
	my $result = IPC::Run::run([ $update, @_ ], '>', \my $out, '2>', \my $err);
	return ($? >> 8, $out, $err);
}

my $first = catalogue('first.json', <<'END');
{
	"acme/one": {"litellm_provider": "acme", "comment": "a \\backslash\\, a\ttab, a \\. and \"quotes\"",
		"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
	"acme/two": {"litellm_provider": "acme", "input_cost_per_token": 3e-06}
}
END
my ($status, $out, $err) = update('--dry-run', $first);
is($status, 0, 'a dry run');
like($out, qr/new +\| +3 \| +2/, 'tells what would be new');
is(value($node, q(SELECT count(*) FROM usage_monitor.price WHERE origin = 'import')), 0, 'and changes nothing');

($status, $out, $err) = update($first);
is("$status $err", '0 ', 'a first catalogue, whose format is seen');
is(value($node, q(SELECT usage_monitor.cost('one', 1000000, 1000000, provider => 'acme'))), 3, 'is in the price book');
($status, $out, $err) = update('--all', "file://$first");
is($status, 1, 'what is no file and no address of the web is not read');
($status, $out, $err) = update($first);
is($status, 0, 'a second time');
like($out, qr/^ change .*\|.*\n[-+]+\n\s*\z/, 'nothing changes: the list of changes is empty');

my $second = catalogue('second.json', <<'END');
{"acme/one": {"litellm_provider": "acme", "input_cost_per_token": 1.5e-06, "output_cost_per_token": 2e-06},
 "acme/two": {"litellm_provider": "acme", "input_cost_per_token": 3e-05}}
END
($status, $out, $err) = update('--format', 'litellm', '--from', '2026-01-01', $second);
is($status, 2, 'a step of ten times is held back');
like($out, qr/acme +\| one +\| input +\| changed +\| +1 \| 1\.5 /, 'what changed is listed');
like($out, qr/acme +\| two +\| input +\| held back +\| +3 \| +30 /, 'and what is held back');
is(value($node, q(SELECT usage_monitor.cost('one', 1000000, 0, at => '2025-12-31') || ' ' || usage_monitor.cost('one', 1000000, 0, at => '2026-01-02')
	|| ' ' || usage_monitor.cost('two', 1000000, 0, at => '2026-01-02'))), '1 1.5 3', 'the rest is taken, from the day on');
($status, $out, $err) = update('--from', '2026-01-01', '--confirm', $second);
is($status, 0, 'taken when it is confirmed');
is(value($node, q(SELECT usage_monitor.cost('two', 1000000, 0, at => '2026-01-02'))), 30, 'it costs that');

for (['no catalogue', catalogue('other.json', '{"a": 1}'), qr/of no known format.*nothing was changed/s],
	['no JSON', catalogue('broken.json', '{"a": '), qr/invalid input syntax.*nothing was changed/s],
	['no file', "$dir/nowhere.json", qr/cannot read/],
	['no answer', 'http://127.0.0.1:9/prices.json', qr/cannot fetch/])
{
	($status, $out, $err) = update($_->[1]);
	is($status, 1, "$_->[0]: failed");
	like($err, $_->[2], "$_->[0]: says so");
}
($status, $out, $err) = update('--format', 'csv', $first);
like("$status $err", qr/^1 .*unknown catalogue format "csv"/, 'a format that is not known');
($status, $out, $err) = update();
like("$status $err", qr/^1 .*which catalogue/, 'which one has to be said');

done_testing();
