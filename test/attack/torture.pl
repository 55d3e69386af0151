# The torture, for two minutes.  With UM_CONTROL set the library was built so
# that it does not collect shares, and what is wrong must show.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use Ledger;
use Replay;
use Test::More;
use Torture;

my $node = torture(seconds => $ENV{UM_SECONDS} || 120, clients => $ENV{UM_CLIENTS} || 32);

if ($ENV{UM_CONTROL})
{
	my $wrong = wrong_alerts($node, 'fixed%');
	my $exceeded = exceeded_quotas($node, 'hard%');

	note $wrong;
	isnt($wrong, '', 'without collection alerts are wrong, and this check sees it');
	# mostly; it takes two that cross at once
	note $exceeded eq '' ? 'no blocking quota was exceeded this time' : "blocking quotas are exceeded, and this check sees it:\n$exceeded";
}
else
{
	is(wrong_alerts($node, 'fixed%'), '', 'each alert is raised by the transaction that reaches its level, and no other is');
	is(wrong_alerts($node, 'hard%'), '', 'so are those of blocking quotas, whose limits move');
	is(wrong_late_alerts($node, '$_%'), '', "so are those of periods that were over ($_)") for qw(fixed hard);
	is(exceeded_quotas($node, 'hard%'), '', 'no commit exceeds a blocking quota');
	alerts_are_right($node, 'in the end', 'fixed%', 1);
}

# Cells that were written long ago forget by whom: there is only one state then,
# which is everybody's.  A state is a writer and what it makes used.
cmp_ok(value($node, q{
	SELECT count(*) FROM _usage_monitor._counter_row
	 WHERE (SELECT array_agg(substring(recent FROM 1 + 24 * i FOR 8) ORDER BY 1) FROM generate_series(0, 3) i)
		 = ARRAY['\x0000000000000000', '\xffffffffffffffff', '\xffffffffffffffff', '\xffffffffffffffff']::bytea[]}),
	'>', 0, 'old cells have forgotten their writers') if $ENV{UM_SETTLE};

$node->stop;
done_testing();
