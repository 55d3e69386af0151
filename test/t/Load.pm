# Clients that feed psql with statements until time is up, and connect anew
# when they are cut off.
package Load;

use strict;
use warnings;

use IO::Handle;
use POSIX ();
use Time::HiRes qw(sleep time);

use Exporter 'import';
our @EXPORT = qw(pick start_client run_until);

sub pick { return $_[ int rand @_ ] }

# Starts a client by name; $next gives it one transaction after another.  What
# psql says goes to name.log.  Options: batch, how many transactions psql gets at
# once; timing; options of the server.
sub start_client
{
	my ($connstr, $dir, $name, $end, $next, %options) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;

	my $count = 0;
	my $timing = $options{timing} ? '-c \'\timing on\'' : '';
	local $SIG{PIPE} = 'IGNORE';
	local $ENV{PGOPTIONS} = $options{options} // '';
	srand(unpack('%32C*', $name) * 7919);
	while (time < $end)
	{
		open my $psql, '|-', "psql -XqAt -v ON_ERROR_STOP=0 -d '$connstr' $timing -f - >>$dir/$name.log 2>&1" or die "psql: $!";
		$psql->autoflush;
		for (1 .. $options{batch} // 50)
		{
			last if time >= $end || !print $psql $next->("$name-" . ++$count);
		}
		close $psql;
	}
	POSIX::_exit(0);
}

# Waits for the clients; meanwhile does something every half a second.
sub run_until
{
	my ($end, $clients, $meanwhile) = @_;

	while (grep { waitpid($_, POSIX::WNOHANG()) == 0 } @$clients)
	{
		sleep 0.5;
		$meanwhile->(time < $end);
	}
}

1;
