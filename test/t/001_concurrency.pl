# The torture of test/attack, for a short while: there is no deadlock, and
# everything adds up, at every commit.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Ledger;
use Replay;
use Test::More;
use Torture;

my $node = torture(seconds => $ENV{UM_SECONDS} // 9, clients => 24);

is(wrong_alerts($node, 'fixed%'), '', 'each alert is raised by the transaction that reaches its level, and no other is');
is(wrong_alerts($node, 'hard%'), '', 'so are those of blocking quotas, whose limits move');
is(wrong_late_alerts($node, '$_%'), '', "so are those of periods that were over ($_)") for qw(fixed hard);
is(exceeded_quotas($node, 'hard%'), '', 'no commit exceeds a blocking quota');
alerts_are_right($node, 'in the end', 'fixed%', 1);

$node->stop;
done_testing();
