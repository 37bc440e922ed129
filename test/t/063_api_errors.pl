# Every error code of the service, from every family of endpoints where it can
# occur: the SQLSTATE, what the service said, and what to do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(worker_pid call_sql status);
use ClearoutTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = ClearoutSandbox->new(limit => 1_000_000, credits => 1_000_000);
my $node = clearout_node('main', $api, max_attempts => 1, wait_timeout => '20s', find_timeout => '2s');

# What a caller is told: SQLSTATE, message, hint.
my %told = (
	token => [ 'VC002', qr/refused the token/, qr/Put a valid token into the file named by clearout\.api_token_file/ ],
	credits => [ 'VC003', qr/out of credits/, qr/^Buy credits/ ],
	daily => [ 'VC004', qr/daily limit/, qr/^Ask again tomorrow/ ],
	rate => [ 'VC005', qr/rate limit is used up/, qr/^Ask again in a minute/ ],
	waits => [ 'VC006', qr/within the time limit/, qr/^See the view clearout_status, or wait longer/ ],
	timeout => [ 'VC006', qr/did not answer in time/, qr/^Ask again later/ ],
	service => [ 'VC007', qr/failed to answer/, qr/^Ask again later/ ],
	input => [ 'VC009', qr/refused the request/, qr/^Check what is asked for/ ]);

# Families: a call, the endpoint's name, and what is different there.  X stands
# for letters that no other case has.
my @families = (
	[ verify => 'verify', q{SELECT clearout_verify('valid-X@x.test', %s)} ],
	[ check => 'catchall', q{SELECT clearout_is_catchall('X@x.test', %s)} ],
	[ check => 'gibberish', q{SELECT clearout_is_gibberish('X@x.test', %s)} ],
	[ find => 'find', q{SELECT clearout_find('Somebody X', 'corp.test', %s)} ],
	[ search => 'queue', q{SELECT clearout_find('Somebody X', 'corp.test', %s)} ],
	[ reverse => 'reverse_email', q{SELECT clearout_reverse_email('X@x.test', %s)} ],
	[ reverse => 'reverse_linkedin', q{SELECT clearout_reverse_linkedin('https://linkedin.com/in/X', %s)} ],
	[ reverse => 'reverse_domain', q{SELECT clearout_reverse_domain('X.test', %s)} ],
	[ domain => 'mx', q{SELECT * FROM clearout_mx('X.test', %s)} ],
	[ domain => 'whois', q{SELECT clearout_whois('X.test', %s)} ],
	[ name => 'name', q{SELECT clearout_validate_name('X', %s)} ],
	[ account => 'credits', q{SELECT clearout_credits(%s)} ],
	[ account => 'account_limits', q{SELECT clearout_account_limits(%s)} ],
	[ public => 'autocomplete', q{SELECT * FROM clearout_autocomplete('X', %s)} ]);

my @paid = qw(verify check find reverse domain name);
my @token = (@paid, 'search', 'account');
my @all = (@token, 'public');

# [HTTP status, code or none, what is told, families]; "" is an answer.
my @cases = (
	[ 401, 1000, token => @token ],
	[ 401, undef, token => @token ],
	[ 403, 1074, token => @token ],
	[ 403, undef, token => qw(verify check find reverse domain search) ],
	[ 403, undef, service => qw(name account public) ],
	[ 402, 1002, credits => @paid ],
	[ 402, 1028, credits => @paid ],
	[ 402, 1031, credits => @paid ],
	[ 402, 1099, credits => 'find' ],
	[ 402, undef, credits => @paid ],
	[ 200, 1017, daily => qw(verify check find reverse) ],
	[ 200, 1032, daily => qw(verify check find reverse) ],
	[ 429, 1030, waits => @token ],
	[ 429, undef, waits => @token ],
	[ 429, 1030, rate => 'public' ],
	[ 200, 1088, input => qw(find) ],
	[ 400, undef, input => qw(verify check find reverse domain name public) ],
	[ 200, 1004, input => 'find' ],
	[ 200, 1027, '' => qw(find search reverse) ],
	[ 404, 1027, '' => qw(find search reverse) ],
	[ 200, 1027, service => qw(verify check domain) ],
	[ 200, 1104, service => 'search' ],
	[ 200, 1007, service => @all ],
	[ 200, 1008, service => @all ],
	[ 200, 1029, service => @all ],
	[ 200, 1116, service => @all ],
	[ 200, 1999, service => @all ],
	[ 404, undef, service => qw(verify check domain name account public) ],
	[ 415, undef, service => @paid ],
	[ 500, undef, service => (@paid, 'account', 'public') ],
	[ 503, undef, service => (@paid, 'account', 'public') ],
	[ 524, undef, timeout => qw(verify check reverse domain name) ]);

$api->config(find_later => 600_000);
my $letters = 'aaaa';
my $checked = 0;

sub check_case
{
	my ($family, $case) = @_;
	my ($kind, $endpoint, $sql) = @$family;
	my ($status, $code, $told) = @$case;
	my $name = "$endpoint, HTTP $status" . (defined $code ? ", code $code" : '');
	# to be waited for, a search needs more time
	my $timeout = $told eq 'waits' ? ($kind eq 'search' ? '5s' : '2500ms') : '60s';
	my %fault = (endpoint => $endpoint, status => $status, message => 'as the service says');

	$letters++;
	$sql =~ s/X/$letters/;
	$sql = sprintf $sql, "timeout => '$timeout'";
	$fault{code} = $code if defined $code;
	$fault{body} = { status => 'failed', error => { message => 'as the service says', defined $code ? (code => $code) : () } };
	delete $fault{$_} foreach qw(code message);
	$fault{reset} = 60 if $status == 429;
	$api->fault(endpoint => 'find', status => 524, times => 1) if $kind eq 'search';
	$api->fault(%fault);

	my $caller = call_sql($node, $sql);
	$checked++;
	if ($told eq '')
	{
		is($caller->{sqlstate}, '', "$name: an answer") or diag $caller->{err};
	}
	elsif ($kind eq 'search' && $told eq 'waits')
	{
		is($caller->{sqlstate}, 'VC006', "$name: outcome");
		like($caller->{detail} // '', qr/still being sought/, "$name: detail");
	}
	else
	{
		my ($sqlstate, $message, $hint) = @{ $told{$told} };
		is($caller->{sqlstate}, $sqlstate, "$name: outcome") or diag $caller->{err};
		like($caller->{message} // '', $message, "$name: message");
		like($caller->{hint} // '', $hint, "$name: hint");
		# another search may have been refused first, and what it was told is
		# not for this caller
		my $detail = $kind eq 'search' && $told eq 'token' ? qr/^The service (?:said: as the service says|gave no reason) \(HTTP $status/ :
		  $told eq 'waits' ? qr/^No call was sent for it/ :
		  defined $code ? qr/^The service said: as the service says \(HTTP $status, code $code\)\.$/ :
		  qr/^The service said: as the service says \(HTTP $status\)\.$/;
		like($caller->{detail} // '', $detail, "$name: detail");
	}
	$api->clear;
	return;
}

foreach my $family (@families)
{
	my ($kind, $endpoint) = @$family;

	subtest "$kind: $endpoint" => sub {
		foreach my $case (@cases)
		{
			my ($status, $code, $told, @kinds) = @$case;
			next unless grep { $_ eq $kind } @kinds;
			check_case($family, $case);
			$node->safe_psql('postgres', 'DELETE FROM clearout_queue; SELECT clearout_resume()');
			next unless $told eq 'waits';
			# the window stays closed; a new server knows of none, but perhaps of a
			# search that was written down at the end, which would close it again
			$node->safe_psql('postgres', 'SELECT clearout_pause()');
			$node->restart;
			worker_pid($node);
			$node->safe_psql('postgres', 'DELETE FROM clearout_queue; SELECT clearout_resume()');
		}
	};
}
cmp_ok($checked, '>', 150, "$checked cases were checked");

my $log = slurp_file($node->logfile);
unlike($log, qr/as the service says/, 'what the service says is told to the caller alone');
unlike($log, qr/signal 11|signal 6|TRAP:|PANIC:.*clearout/, 'nothing has crashed of itself');
$node->stop;
done_testing();
