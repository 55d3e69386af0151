# The torture of test/attack, and then a look at every table and index.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use Ledger;
use Replay;
use Test::More;
use Torture;

my $node = torture(seconds => $ENV{UM_SECONDS} || 60, clients => $ENV{UM_CLIENTS} || 16);

is(wrong_alerts($node, 'fixed%'), '', 'each alert is raised by the transaction that reaches its level, and no other is');
is(wrong_late_alerts($node, '$_%'), '', "so are those of periods that were over ($_)") for qw(fixed hard);
is(exceeded_quotas($node, 'hard%'), '', 'no commit exceeds a blocking quota');
storage_is_sound($node, 'after the torture');

$node->stop;
done_testing();
