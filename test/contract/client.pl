# The vendor's own client at work with the sandbox: what it takes for an
# answer, the sandbox must give.  Run by test/contract/check, which has put a
# copy of the client's package, and what that needs, into $CONTRACT_SDK.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use File::Find;
use File::Temp;
use IPC::Open2;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

my $sdk = $ENV{CONTRACT_SDK} or die "run test/contract/check\n";
my $copy = File::Temp->newdir('clearout_client_XXXXXX', TMPDIR => 1);
my $json = JSON::PP->new->utf8->canonical;
my $api = ClearoutSandbox->new;
my ($from, $to, $pid);

END
{
	if ($pid)
	{
		local $?;
		kill 'TERM', $pid;
		waitpid $pid, 0;
	}
}

sub slurp { open(my $fh, '<:raw', $_[0]) or die "$_[0]: $!"; local $/; return <$fh> }
sub spew { open(my $fh, '>:raw', $_[0]) or die "$_[0]: $!"; print $fh $_[1]; close $fh or die "$_[0]: $!" }

system('cp', '-R', "$sdk/.", "$copy") == 0 && system('chmod', '-R', 'u+w', "$copy") == 0
  or die "copy failed\n";
my $package = "$copy/node_modules/\@clearoutio/clearout";
die "there is no client in $sdk\n" unless -d $package;

# As it comes it would talk to the service; it must refuse to start then.
my $refused = `node $FindBin::RealBin/client.js $package token </dev/null 2>&1`;
is($? >> 8, 3, 'it does not start while it would go elsewhere') or BAIL_OUT($refused);

my $changed = 0;
find(
	{
		no_chdir => 1,
		wanted => sub {
			$File::Find::prune = 1 if -d && m{/node_modules$};
			return unless -f && /\.(ya?ml)$/;
			my $text = slurp($_);
			my $url = $api->url;
			spew($_, $text) if $changed += $text =~ s{^([ #\t]*-[ \t]*url:[ \t]*["']?)[^"'\s]+}{$1$url}gm;
		} },
	$package);
cmp_ok($changed, '>', 0, 'the URL of its server was changed');

delete @ENV{qw(http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy)};
$pid = open2($to, $from, 'node', "$FindBin::RealBin/client.js", $package, $api->token);

# What a method of the client returns or throws.
sub run
{
	my ($service, $method, %parameters) = @_;
	my $answer;

	print $from $json->encode({ service => $service, method => $method, parameters => \%parameters }), "\n";
	$from->flush;
	local $SIG{ALRM} = sub { die "the client does not answer: $method\n" };
	alarm 60;
	$answer = <$to>;
	alarm 0;
	die "the client has ended: $method\n" unless defined $answer;
	return $json->decode($answer);
}

sub result { my $answer = run(@_); diag $json->encode($answer) unless $answer->{result}; return $answer->{result} || {} }
sub code { my $answer = run(@_); return $answer->{error}{code} // $json->encode($answer) }

is(result(undef, 'getCredits')->{available_credits}, 100000, 'credits');

my $verified = result('emailVerifier', 'verify', email => 'valid-1@client.test');
is("$verified->{email_address} $verified->{status} $verified->{safe_to_send}", 'valid-1@client.test valid yes', 'verify');
is(result('emailVerifier', 'verify', email => 'disposable@example.com')->{disposable}, 'yes', 'test address');
is($api->requests->[-1]{authorization} . ' ' . $api->requests->[-1]{content_type}, 'raw application/json;charset=UTF-8', 'in its own spelling');

# Its "timeout" for these is that of the constructor, whatever is passed.
my %check = (
	isCatchAllEmail => [ 'catch_all@example.com', 'catchall' ],
	isDisposableEmail => [ 'disposable@example.com', 'disposable' ],
	isBusinessEmail => [ 'jane@client.test', 'business_account' ],
	isFreeEmail => [ 'free@example.com', 'free_account' ],
	isRoleEmail => [ 'role@example.com', 'role_account' ],
	isGibberishEmail => [ 'gibberish@example.com', 'gibberish' ]);
foreach my $method (sort keys %check)
{
	my ($email, $key) = @{ $check{$method} };
	is(result('emailVerifier', $method, email => $email)->{$key}, 'yes', $method);
}

my $found = result('emailFinder', 'find', name => 'Somebody Doe', domain => 'client.test');
is("$found->{emails}[0]{email_address} $found->{first_name} $found->{total}", 'somebody.doe@client.test somebody 1', 'find');
$api->config(find_time => 1500);
my $late = run('emailFinder', 'find', name => 'Somebody Late', domain => 'client.test', timeout => 1000)->{error};
my $qid = $late->{additional_info}{queue_id};
like($qid, qr/^[0-9a-f]{24}$/, 'find: out of time, but goes on');
is(result('emailFinder', 'getStatus', qid => $qid)->{query_status}, 'running', 'queue: running');
my $end = time + 20;
sleep 0.2 while !($found = run('emailFinder', 'getStatus', qid => $qid)->{result} || {})->{emails} && time < $end;
is($found->{emails}[0]{email_address}, 'somebody.late@client.test', 'queue: found');
$api->config(find_time => 0);

# Lists, of both kinds.
my $file = "$copy/list.csv";
my %list = (
	emailVerifier => {
		content => " Email\nvalid-1\@client.test\ninvalid-1\@client.test\n",
		upload => 'bulkVerify', progress => 'getBulkVerifyProgressStatus', percent => 'percentile',
		result => 'downloadBulkVerifyResult', remove => 'removeBulkVerifyList', cancel => 'cancelBulkVerifyList' },
	emailFinder => {
		content => "First Name,Last Name,Company,Domain\nSomebody,Doe,Client,client.test\nNobody,,Client,client.test\n",
		upload => 'bulkFind', progress => 'getBulkFindProgressStatus', percent => 'percentage',
		result => 'downloadBulkFindResult', remove => 'removeBulkFindList', cancel => 'cancelBulkFinderList' });
foreach my $service (sort keys %list)
{
	my $l = $list{$service};
	my $progress;

	spew($file, $l->{content});
	my $id = result($service, $l->{upload}, file => $file)->{list_id};
	like($id, qr/^[0-9a-f]{24}$/, "$service: upload");
	$end = time + 20;
	sleep 0.1 while ($progress = result($service, $l->{progress}, list_id => $id))->{progress_status} ne 'completed' && time < $end;
	is($progress->{ $l->{percent} }, 100, "$service: progress");
	my $url = result($service, $l->{result}, list_id => $id)->{url};
	my $content = $api->call('GET', $url, headers => { Authorization => undef })->{content};
	is(scalar(() = $content =~ /\n/g), 3, "$service: result");
	is(code($service, $l->{cancel}, list_id => $id), 1116, "$service: cannot be cancelled");
	is(result($service, $l->{remove}, list_id => $id)->{name}, 'list.csv', "$service: remove");
	is(code($service, $l->{result}, list_id => $id), 1029, "$service: gone");

	$api->config(bulk_speed => 0);
	$id = result($service, $l->{upload}, file => $file)->{list_id};
	like(run($service, $l->{upload}, file => $file)->{error}{message}, qr/^Duplicate file/, "$service: the same file again");
	is(result($service, $l->{cancel}, list_id => $id)->{list_id}, $id, "$service: cancel");
	sleep 0.1;
	is(result($service, $l->{remove}, list_id => $id, ignore_result => JSON::PP::true)->{source}, 'upload', "$service: remove unread");
	$api->config(bulk_speed => undef);
}

# What goes wrong.
is(run('emailVerifier', 'verify', email => '')->{error}{reasons}[0]{types}[0], 'any.empty', 'error: 400 with reasons');
is(run('emailVerifier', 'verify', email => 'a@client.test', timeout => 500)->{error}{reasons}[0]{types}[0], 'number.min', 'error: timeout');
is(code('emailFinder', 'find', name => 'J4ne', domain => 'client.test'), 1088, 'error: name');
is(code('emailFinder', 'getStatus', qid => 'x'), 1104, 'error: queue id');
is(code('emailVerifier', 'getBulkVerifyProgressStatus', list_id => 'x'), 1008, 'error: list');
$api->config(credits => 0);
is(code('emailVerifier', 'verify', email => 'a@client.test'), 1002, 'error: credits');
is(code('emailFinder', 'find', name => 'Jane', domain => 'client.test'), 1099, 'error: credits of the finder');
$api->config(credits => 5, daily_limit => 0);
is(code('emailVerifier', 'verify', email => 'a@client.test'), 1017, 'error: daily limit');
$api->config(daily_limit => undef, limit => 1);
run('emailVerifier', 'verify', email => 'a@client.test');
is(code('emailVerifier', 'verify', email => 'a@client.test'), 1030, 'error: rate limit');
$api->config(limit => 0, valid => 0);
is(code('emailVerifier', 'verify', email => 'a@client.test'), 1000, 'error: token');
$api->config(valid => 1);
$api->fault(status => 503, times => 1);
like(run('emailVerifier', 'verify', email => 'a@client.test')->{error}{message}, qr/503/, 'error: 503 without a body');

done_testing();
