# monitoring/: the queries under the real prometheus-postgres-exporter, with a
# role that may see figures alone; the alert rules under promtool; and the
# dashboard, which uses no metric that there is not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ClearoutSandbox;
use ClearoutStress qw(wait_until worker_pid);
use ClearoutTest;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $dir = "$top/monitoring";

# A program from Debian's packages, where test/setup could have it.
sub tool
{
	my ($name) = @_;
	my ($found) = grep { -x } map { "$_/$name" } grep { defined && length } $ENV{CLEAROUT_TOOLS}, split /:/, $ENV{PATH};
	return $found;
}

# ---------- what the files say ----------

# The metrics that the queries make, by name: their usage, and their labels.
sub metrics_of
{
	my ($text) = @_;
	my ($query, @labels, %metrics);

	foreach (split /\n/, $text)
	{
		if (/^(\w+):$/) { $query = $1; @labels = () }
		elsif (/^    - (\w+): \{usage: "(\w+)", description: "[^"]+"\}$/)
		{
			if ($2 eq 'LABEL') { push @labels, $1 }
			else { $metrics{"${query}_$1"} = { usage => $2, labels => [@labels] } }
		}
		elsif (/^    - /) { fail("a line of another form: $_") }
	}
	return %metrics;
}

# All strings of a document, however deep.
sub strings_of
{
	my ($data) = @_;

	return map { strings_of($_) } @$data if ref $data eq 'ARRAY';
	return map { strings_of($_) } values %$data if ref $data eq 'HASH';
	return defined $data && !ref $data ? ($data) : ();
}

my $queries = slurp_file("$dir/queries.yaml");
my %metrics = metrics_of($queries);
my $dashboard = eval { decode_json(slurp_file("$dir/grafana.json")) };
my @expressions;

cmp_ok(scalar keys %metrics, '>', 25, 'there are metrics');

subtest 'files' => sub {
	is($@, '', 'the dashboard is JSON') or return;

	my (%ids, %used);
	foreach my $panel (@{ $dashboard->{panels} })
	{
		ok(!$ids{ $panel->{id} }++, "panel $panel->{id} has a number of its own");
		next if $panel->{type} eq 'row';
		ok(@{ $panel->{targets} }, "$panel->{title}: asks for something");
		push @expressions, map { $_->{expr} } @{ $panel->{targets} };
	}
	cmp_ok(scalar @expressions, '>', 20, 'there are expressions');
	push @expressions, map { $_->{definition} // () } @{ $dashboard->{templating}{list} };
	is(join(' ', grep { !/\bclearout_\w/ } @expressions), '', 'and none without a metric of ours');

	my %variables = map { ($_->{name} => 1) } @{ $dashboard->{templating}{list} };
	my %wanted = map { ($_ => 1) } map { /\$\{?(\w+)/g } strings_of($dashboard);
	is(join(' ', grep { !$variables{$_} && !/^__/ } sort keys %wanted), '', 'its variables are there');

	my $rules = slurp_file("$dir/alerts.yaml");
	my ($in_rules) = (join ' ', $rules =~ /^        expr: (.*(?:\n          .*)*)/mg);
	foreach (['the dashboard', join ' ', @expressions], ['the alert rules', $in_rules])
	{
		my ($what, $text) = @$_;
		my @names = $text =~ /\b(clearout_\w+)/g;

		cmp_ok(scalar @names, '>', 10, "$what: metrics");
		$used{$_}++ foreach @names;
		is(join(' ', grep { !$metrics{$_} } @names), '', "$what: all of them exist");
	}
	is(join(' ', grep { !$used{$_} } sort keys %metrics), '', 'every metric is of use');

	# A label that is matched is one that the metric has.
	foreach my $expression (@expressions, $in_rules)
	{
		while ($expression =~ /\b(clearout_\w+)\{([^}]*)\}/g)
		{
			my ($name, $matchers) = ($1, $2);
			my %has = map { ($_ => 1) } @{ $metrics{$name}{labels} };
			is(join(' ', grep { !$has{$_} } $matchers =~ /(\w+)(?:=~|!=|=)/g), '', "$name has these labels: $matchers");
		}
	}

	# A legend names labels that its series have: those that they are summed by,
	# or all of the metric.  The exporter adds "server".
	foreach my $panel (@{ $dashboard->{panels} })
	{
		foreach my $target (@{ $panel->{targets} // [] })
		{
			my ($expression, $legend) = @{$target}{qw(expr legendFormat)};
			my ($metric) = $expression =~ /\b(clearout_\w+)/;
			my %has = map { ($_ => 1) } 'server', @{ $metrics{$metric}{labels} };
			my ($by) = $expression =~ /\bby \(([^)]*)\)/;
			my @by = split /, /, $by // '';

			is(join(' ', grep { !$has{$_} } @by), '', "$panel->{title}: summed by labels of $metric");
			%has = map { ($_ => 1) } @by if @by || $expression =~ /^sum\(/;
			is(join(' ', grep { !$has{$_} } $legend =~ /\{\{(.*?)\}\}/g), '', "$panel->{title}: the labels of its legend");
		}
	}

	my $page = slurp_file("$top/doc/monitoring.md");
	my %described = map { ($_ => 1) } map { /`(clearout_\w+)`/g } $page =~ /^(\| `clearout_.*?) \|/mg;
	is(join(' ', sort keys %described), join(' ', sort keys %metrics), 'doc/monitoring.md describes all of them');
};

subtest 'alert rules' => sub {
	my $promtool = tool('promtool') or plan skip_all => 'there is no promtool';

	command_ok([ $promtool, 'check', 'rules', "$dir/alerts.yaml" ], 'are well formed');
	command_ok([ $promtool, 'test', 'rules', "$top/test/alerts.yaml" ], 'raise what they should');

	my @alerts = slurp_file("$dir/alerts.yaml") =~ /- alert: (\w+)/g;
	my $cases = slurp_file("$top/test/alerts.yaml");
	foreach my $alert (@alerts)
	{
		like($cases, qr/alertname: $alert\n        exp_alerts:/, "$alert: is raised in a case");
		like($cases, qr/alertname: $alert\}/, "$alert: and not in another") unless $alert eq 'ClearoutNotScraped';
	}

	# What the dashboard asks is PromQL; intervals are Grafana's to fill in.
	my $file = "${PostgreSQL::Test::Utils::tmp_check}/dashboard.yaml";
	open(my $out, '>', $file) or die "$file: $!";
	print $out "groups:\n  - name: dashboard\n    rules:\n";
	my $number = 0;
	foreach my $expression (grep { !/^label_values/ } @expressions)
	{
		(my $filled = $expression) =~ s/\$__rate_interval/5m/g;
		$filled =~ s/\$datname/.*/g;
		printf $out "      - {record: 'panel:%d', expr: %s}\n", $number++, encode_json([$filled]) =~ s/^\[|\]$//gr;
	}
	close $out;
	command_ok([ $promtool, 'check', 'rules', $file ], 'the expressions of the dashboard are PromQL');
};

# ---------- the exporter ----------

my $exporter = tool('prometheus-postgres-exporter');
if (!$exporter)
{
	diag('There is no prometheus-postgres-exporter; test/setup fetches it where apt has it.');
	done_testing();
	exit;
}

my $api = ClearoutSandbox->new(limit => 1000, credits => 5000);
my $node = clearout_node('main', $api, extension => 0, credit_floor => 10, daily_budget => 700);

# As doc/monitoring.md has it; the second one with the schema elsewhere.
$node->safe_psql('postgres', 'CREATE DATABASE shop; CREATE DATABASE news');
$node->safe_psql('shop', 'CREATE EXTENSION clearout');
$node->safe_psql('news', 'CREATE SCHEMA mail; CREATE EXTENSION clearout SCHEMA mail');
$node->safe_psql('postgres', q{CREATE ROLE prometheus LOGIN; GRANT pg_monitor TO prometheus;
	ALTER ROLE prometheus SET search_path = public, mail});
$node->safe_psql('news', 'GRANT USAGE ON SCHEMA mail TO prometheus');
ok(worker_pid($node, 'shop'), 'the worker is there');

sub shop { return value_of($node, $_[0], 'shop') }

# What the exporter says: series by name and labels, without those that all
# have; and all it has said and written.
my (%series, $said, %exporters);

sub exporter_starts
{
	my ($database, @arguments) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $log = '';

	local $ENV{DATA_SOURCE_NAME} = 'user=prometheus host=' . $node->host . ' port=' . $node->port . " dbname=$database sslmode=disable";
	my $run = IPC::Run::start([ $exporter, "--extend.query-path=$dir/queries.yaml", "--web.listen-address=127.0.0.1:$port", @arguments ],
		'<', \undef, '>&', \$log);
	$exporters{$port} = { run => $run, log => \$log };
	return $port;
}

sub scrape
{
	my ($port) = @_;
	my $answer;

	wait_until(60, sub {
		$answer = HTTP::Tiny->new(timeout => 30, proxy => undef, http_proxy => undef)->get("http://127.0.0.1:$port/metrics");
		return $answer->{success};
	});
	die "the exporter does not answer: $answer->{content}${ $exporters{$port}{log} }" unless $answer->{success};
	$said = $answer->{content};
	%series = ();
	while ($said =~ /^(\w+)(?:\{(.*)\})? (\S+)$/mg)
	{
		my ($name, $labels, $value) = ($1, $2 // '', $3);
		my @labels = map { $_->[0] eq 'server' ? () : "$_->[0]=$_->[1]" } sort { $a->[0] cmp $b->[0] }
		  map { [/^(\w+)="(.*)"$/] } split /(?<="),/, $labels;
		$series{ join ' ', $name, @labels } = $value + 0;
	}
	return \%series;
}

# It scrapes until the series has the value: the views' own sources are a
# little late.
sub becomes
{
	my ($port, $name, $value, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until(60, sub { defined scrape($port)->{$name} && ($value eq '>0' ? $series{$name} > 0 : $series{$name} == $value) });
	$value eq '>0' ? cmp_ok($series{$name} // -1, '>', 0, $what) : is($series{$name}, $value, $what);
	return;
}

END
{
	local $?;
	$_->{run}->kill_kill foreach values %exporters;
}

# Some of everything.
away_from_midnight(180);
is(shop("SELECT status FROM clearout_verify('$_->[0]')"), $_->[1], "$_->[0] is $_->[1]")
  foreach ['valid@example.com', 'valid'], ['valid-2@x.test', 'valid'], ['invalid@example.com', 'invalid'],
  ['catch_all@example.com', 'catch_all'], ['unknown@example.com', 'unknown'];
$api->fault(status => 400, pattern => 'bad@x.test');
isnt(sqlstate($node, q{SELECT clearout_verify('bad@x.test')}, 'shop'), '00000', 'a call that fails');
my $job = shop(q{SELECT clearout_bulk_verify(ARRAY['valid-3@x.test', 'valid-4@x.test'])});
ok($node->poll_query_until('shop', "SELECT state = 'done' FROM clearout_jobs WHERE job = $job"), 'a job that is done');
shop('SELECT clearout_pause()');
shop(q{SELECT clearout_enqueue(ARRAY['valid-5@x.test', 'valid-6@x.test', 'valid-7@x.test'])});

subtest 'scrape' => sub {
	my $port = exporter_starts('shop');

	becomes($port, 'clearout_queue_rows datname=shop', 3, 'depth of the queue');
	becomes($port, 'clearout_queue_oldest_seconds datname=shop', '>0', 'age of its oldest row');
	becomes($port, 'clearout_answers_today_total datname=shop outcome=fault service=verify', 1, 'calls that failed');
	is($series{"clearout_answers_today_total datname=shop outcome=$_->[0] service=verify"}, $_->[1], "answers today: $_->[0]")
	  foreach ['valid', 2], ['invalid', 1], ['catch_all', 1], ['unknown', 1], ['other', 1];	# the list as a whole
	is($series{'clearout_spent_today_total datname=shop service=verify'}, shop(q{SELECT sum(credits) FROM clearout_usage}), 'credits spent today');
	is($series{'clearout_queue_paused datname=shop'}, 1, 'the queue is paused');
	is($series{'clearout_state_active datname=shop state=running'}, 1, 'the worker runs');
	is($series{'clearout_state_active datname=shop state=backoff'}, 0, 'and is in no other state');
	is($series{'clearout_service_paused datname=shop service=verify'}, 0, 'the service is not paused');
	is($series{'clearout_credits_available datname=shop'}, shop('SELECT credits FROM clearout_status'), 'credits of the account');
	is($series{'clearout_budget_credits datname=shop'}, 700, 'budget of the day');
	is($series{'clearout_budget_spent_credits datname=shop'}, shop('SELECT budget_spent FROM clearout_status'), 'what is spent of it');
	is($series{'clearout_worker_faults_total datname=shop'}, shop('SELECT faults FROM clearout_status'), 'faults');
	is($series{'clearout_worker_answers_total datname=shop'}, shop('SELECT answers FROM clearout_status'), 'answers');
	cmp_ok($series{'clearout_worker_calls_total datname=shop'}, '>=', 6, 'calls');
	is($series{'clearout_rate_limit_calls datname=shop'}, 1000, 'rate limit');
	is($series{'clearout_jobs_number datname=shop state=done'}, 1, 'a job that is done');
	is($series{'clearout_jobs_number datname=shop state=held'}, 0, 'none that is held');
	is($series{'clearout_results_addresses datname=shop safe_to_send=yes status=valid'}, 4, 'stored verdicts');
	is($series{'clearout_results_fresh datname=shop safe_to_send=no status=invalid'}, 1, 'fresh ones');
	is($series{'clearout_slots_used datname=shop'}, 0, 'slots in use');
	is($series{'clearout_slots_available datname=shop'}, shop(q{SHOW clearout.request_slots}), 'slots');

	my %seen = map { /^(\w+)/; ($1 => 1) } keys %series;
	is(join(' ', grep { !$seen{$_} } sort keys %metrics), '', 'every metric of queries.yaml has a sample');
	is(join(' ', grep { /^clearout_/ && !$metrics{$_} } sort keys %seen), '', 'and there are no others');
	my %type = $said =~ /^# TYPE (clearout_\w+) (\w+)$/mg;
	is(join(' ', grep { lc $metrics{$_}{usage} ne $type{$_} } sort keys %metrics), '', 'types as written');
	is((grep { $series{$_} == 1 } grep { /^clearout_state_active/ } keys %series), 1, 'one state at a time');
	ok((!grep { $_ != $_ } map { $series{$_} } grep { /^clearout_/ } keys %series), 'and no sample that is no number');
	is($series{'pg_exporter_last_scrape_error'}, 0, 'the exporter has met no error');
	unlike($said, qr/\@/, 'no address is told');
	unlike($said, qr/\Q@{[ substr $api->token, 33, 20 ]}\E/, 'nor the token');
	unlike(${ $exporters{$port}{log} }, qr/level=error|level=warn.*clearout/, 'its log is clean');

	if (my $promtool = tool('promtool'))
	{
		my $ours = join '', grep { /^(?:# \w+ )?clearout_/ } map { "$_\n" } split /\n/, $said;
		my ($out, $err) = ('', '');
		ok(IPC::Run::run([ $promtool, 'check', 'metrics' ], '<', \$ours, '>', \$out, '2>', \$err), 'promtool has nothing to say of them')
		  or diag("$out$err");
	}

	# What comes later is seen.
	$api->config(token => $api->token, valid => JSON::PP::false);
	isnt(sqlstate($node, q{SELECT clearout_verify('valid-8@x.test')}, 'shop'), '00000', 'the token is refused');
	becomes($port, 'clearout_service_paused datname=shop service=verify', 1, 'a pause is told');
	becomes($port, 'clearout_state_active datname=shop state=paused', 1, 'and the state');
	is($series{'clearout_state_active datname=shop state=running'}, 0, 'which is not running');
	$api->config(token => $api->token, valid => JSON::PP::true);
	shop('SELECT clearout_resume()');
	becomes($port, 'clearout_queue_rows datname=shop', 0, 'the queue is done');
	is($series{'clearout_queue_oldest_seconds datname=shop'}, 0, 'and nothing waits');
	becomes($port, 'clearout_service_paused datname=shop service=verify', 0, 'the pause is over');

	$node->safe_psql('postgres', q{ALTER SYSTEM SET clearout.databases = 'news'});
	$node->reload;
	becomes($port, 'clearout_state_active datname=shop state=no worker', 1, 'a worker that is gone is told');
};

subtest 'several databases' => sub {
	my $port = exporter_starts('shop', '--auto-discover-databases', '--include-databases=news');

	becomes($port, 'clearout_state_active datname=news state=running', 1, 'one in another schema');
	is($series{'clearout_state_active datname=shop state=no worker'}, 1, 'and the other one');
	is($series{'pg_exporter_last_scrape_error'}, 0, 'without an error');
};

subtest 'what the role may not' => sub {
	my $as = 'SET ROLE prometheus; ';

	is(sqlstate($node, $as . $_, 'shop'), '42501', $_)
	  foreach 'SELECT * FROM clearout_results', 'SELECT * FROM clearout_queue', 'SELECT * FROM clearout_jobs_data',
	  'SELECT * FROM clearout_budgets', q{SELECT clearout_verify('valid@example.com')}, 'SELECT clearout_resume()';
};

# Words that the queries spell out are those that there are.
subtest 'words' => sub {
	my $words = sub { return join ' ', sort map { split /, /, s/'//gr } @_ };
	my $comment = sub {
		my ($relation, $column) = @_;
		return shop("SELECT col_description('$relation'::regclass, attnum) FROM pg_attribute WHERE attrelid = '$relation'::regclass AND attname = '$column'");
	};
	my ($states) = $queries =~ /^clearout_state:.*?ARRAY\[(.*?)\]/ms;
	my ($services) = $queries =~ /^clearout_answers:.*?ARRAY\[(.*?)\]/ms;
	my ($pauses) = $queries =~ /^clearout_service:.*?ARRAY\[(.*?)\]/ms;
	my ($jobs) = $queries =~ /^clearout_jobs:.*?ARRAY\[(.*?)\]/ms;

	s/\s+/ /g foreach $states, $services, $pauses, $jobs;
	is($words->($states), $words->($comment->('clearout_status', 'state')), 'states of the worker');
	is($words->($services), $words->($comment->('clearout_usage', 'service') =~ s/ or /, /r), 'services');
	is($words->($pauses), $words->($comment->('clearout_pauses', 'service') =~ s/ or /, /r), 'services that can be paused');
	is($words->($jobs), $words->($comment->('clearout_jobs', 'state') =~ s/ \(of the part that is least far\)//r =~ s/;/,/r), 'states of jobs');
};

$node->stop;
done_testing();
