# The sandbox's lists of names: the finder's side of the life cycle that
# 065_sandbox_bulk.pl tests in detail.  Needs no PostgreSQL.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use Test::More;
use Time::HiRes qw(sleep time);

my @columns = map { "Clearout Finder $_" } (
	'Full Name', 'First Name', 'Last Name', 'Domain', 'Company', 'Email Address', 'Confidence Score',
	'Business Account', 'Status', 'Reason', 'Processed At (UTC)');
my $api = ClearoutSandbox->new;

sub upload { return $api->upload('/email_finder/bulk', @_) }
sub post { my ($path, %body) = @_; return $api->call('POST', "/email_finder$path", json => \%body) }
sub code { return $_[0]{json}{error}{code} // "HTTP $_[0]{status} " . ($_[0]{json}{status} // '') }

sub progress
{
	my $data = $api->call('GET', "/email_finder/bulk/progress_status?list_id=$_[0]")->{json}{data};
	return "$data->{progress_status} $data->{percentage}";
}

sub wait_until
{
	my ($id, $state) = @_;
	my $end = time + 120;
	my $seen;

	sleep 0.01 while ($seen = progress($id)) !~ /^$state / && time < $end;
	return is($seen, "$state 100", "it is $state");
}

sub rows
{
	my ($id) = @_;
	my $url = post('/download/result', list_id => $id)->{json}{data}{url};

	return map { [ split /,/, $_, -1 ] } split /\n/, $api->call('GET', $url, headers => { Authorization => undef })->{content};
}

my $csv = "First Name,Last Name,Company,Domain\n"
  . "Somebody,Doe,Acme,acme.test\n"
  . "Nobody,Doe,Acme,acme.test\n"
  . "Role,,Acme Inc,\n"
  . "Somebody,Doe,Acme,acme.test\n"
  . "S0me,Body,Acme,somebody.test\n";

subtest 'life of a list' => sub {
	my $id = upload('names.csv', $csv)->{json}{data}{list_id};
	like($id, qr/^[0-9a-f]{24}$/, 'uploaded');
	wait_until($id, 'completed');
	my ($list) = $api->lists('names.csv');
	is("$list->{kind} $list->{rows} $list->{charged}", 'find 5 6', '4 + 2 credits, duplicates cost nothing');
	like(post('/download/result', list_id => $id)->{json}{data}{url}, qr{/names_appended_clearout_finder_results\.csv\?}, 'URL');
	my ($header, @rows) = rows($id);
	is_deeply($header, [ 'First Name', 'Last Name', 'Company', 'Domain', @columns ], 'columns');
	is(join('|', @{ $rows[0] }[ 4 .. 9, 11 .. 13 ]), 'somebody doe|somebody|doe|acme.test|acme|somebody.doe@acme.test|Yes|Found|Success', 'found');
	cmp_ok($rows[0][10], '>=', 50, 'confidence');
	is(join('|', @{ $rows[1] }[ 9 .. 13 ]), '|||Not Found|Email Address Not Found', 'not found');
	is(join('|', @{ $rows[2] }[ 4, 9, 12 ]), 'role|info@acme-inc.test|Found', 'by company, without a last name');
	is($rows[4][12], 'Not Found', 'unsupported name');
	like($rows[0][14], qr/^\d{4}-\d\d-\d\dT.*Z$/, 'processed at');
	is($api->subject_stats('find', 'Somebody Doe|acme.test')->{rows}, 2, 'rows counted');

	is(code($api->call('POST', '/download/result', json => { list_id => $id })), 1029, "the verifier does not know it");
	is(code(post('/list/cancel', list_id => $id)), 1116, 'too late to cancel');
	is(scalar @{ post('/list', filter => { processed => 'processed' })->{json}{data} }, 1, 'in the list of lists');
	is(post('/list', filter => { type => 'upload' })->{status}, 400, 'which has no such filter');
	is(post('/list/remove', list_id => $id)->{json}{data}{name}, 'names.csv', 'removed');
	is(code(post('/download/result', list_id => $id)), 1029, 'gone');
	is(code($api->call('GET', "/email_finder/bulk/progress_status?list_id=$id")), 1008, 'gone');
};

subtest 'refused' => sub {
	$api->reset;
	is(code(upload('names.xlsx', $csv)), 1100, 'file type');
	is(upload('names.csv', $csv, optimize => 'fastest_turnaround')->{status}, 400, 'optimize is for the verifier');
	foreach my $header ('Name', 'Domain', 'First Name,Email', 'Email')
	{
		is(upload('names.csv', "$header\nx,y\n")->{json}{error}{reasons}[0]{field}[0], 'file', "columns: $header");
	}
	foreach my $header ('Full Name,Website', 'NAME,Company Name', 'First Name,Domain')
	{
		is(code(upload("$header.csv", "$header\nJane,x.test\n")), 'HTTP 200 success', "columns: $header");
	}
	$api->config(credits => 15, bulk_speed => 0, bulk_lists => 1);
	$api->list(finish => 1);
	my $answer = upload('names.csv', $csv);
	is("$answer->{status} " . code($answer) . " $answer->{json}{error}{additional_info}{required_credits}", '402 1028 5', 'four credits a row, in advance');
	$api->config(credits => 20);
	is(code(upload('names.csv', $csv)), 'HTTP 200 success', 'just enough');
	is(code(upload('names2.csv', $csv)), 1083, 'too many lists');
	is(code($api->upload('/email_verify/bulk', 'm.csv', "Email\na\@b.test\n")), 'HTTP 200 success', 'the verifier counts its own');
	is(code(upload('names.csv', $csv, ignore_duplicate_file => 'true')), 1083, 'still too many');
};

subtest 'cancel' => sub {
	$api->reset;
	$api->config(bulk_speed => 10);
	my $id = upload('c.csv', join("\n", 'Name,Domain', map { "Somebody,c$_.test" } 1 .. 200))->{json}{data}{list_id};
	my $end = time + 10;
	sleep 0.02 while ($api->lists)[0]{processed} < 2 && time < $end;
	is(code(post('/list/cancel', list_id => $id)), 'HTTP 200 success', 'cancelled');
	wait_until($id, 'cancelled');
	my ($list) = $api->lists;
	is($list->{charged}, 4 * $list->{processed}, 'what was processed is charged');
	my ($header, @rows) = rows($id);
	my @cancelled = grep { $_->[11] eq 'Request cancelled' && $_->[10] eq 'Not Found' && $_->[7] eq '' } @rows;
	is(scalar @cancelled, 200 - $list->{processed}, 'the rest is not found');
};

is($api->log, '', 'nothing on standard error');

done_testing();
