
=pod

=head1 NAME

ClearoutSandbox - the stand-in for the Clearout API, for TAP tests

=head1 SYNOPSIS

  my $api = ClearoutSandbox->new(limit => 100, latency => '10..50');
  $node->append_conf('postgresql.conf', $api->conf);

  $api->fault(status => 429, reset => 1, times => 1);
  is($api->calls('valid@example.com'), 2, 'asked twice');

=head1 DESCRIPTION

Starts F<clearout-sandbox> on free loopback ports, sets faults and reads
counters through its control port, and ends it with the test.  The words that
settings, faults and counters use are those of F<test/sandbox/README.md>.

Every method dies if the sandbox refuses what it is told.

=cut

package ClearoutSandbox;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use Fcntl qw(O_CREAT O_EXCL O_WRONLY);
use File::Basename;
use File::Temp;
use HTTP::Tiny;
use IO::Select;
use JSON::PP;
use POSIX ();
use Time::HiRes qw(sleep time);

my $START_TIMEOUT = 60;
my %running;

=pod

=head1 METHODS

=over

=item ClearoutSandbox->new(%settings)

Starts a sandbox.  Beside the settings: C<token> (one, or a reference to
several; the first is used in C<conf>), C<tls_cert> and C<tls_key> (files),
C<args> (more options, as a reference to a list).  The program is
C<$ENV{CLEAROUT_SANDBOX}>, or F<test/sandbox/build/clearout-sandbox>.

=cut

sub new
{
	my ($class, %settings) = @_;
	my $self = bless {
		owner => $$,
		args => [],
		port => 0,
		control_port => 0,
		dir => File::Temp->newdir('clearout_sandbox_XXXXXX', TMPDIR => 1),
		json => JSON::PP->new->utf8->allow_nonref->canonical,
	}, $class;
	my $args = delete $settings{args} || [];
	my $tokens = delete $settings{token};

	$tokens = [ ('s' x 32) . ':' . join('', map { sprintf '%x', rand 16 } 1 .. 64) ]
	  unless defined $tokens;
	$tokens = [$tokens] unless ref $tokens;
	$self->{token} = $tokens->[0];
	$self->{tls} = exists $settings{tls_cert};

	push @{ $self->{args} }, "--token=$_" foreach @$tokens;
	foreach my $name (sort keys %settings)
	{
		my $value = defined $settings{$name} ? $settings{$name} : 'none';

		(my $option = $name) =~ tr/_/-/;
		$value = "$value->[0]..$value->[1]" if ref $value eq 'ARRAY';
		push @{ $self->{args} }, "--$option=$value";
	}
	push @{ $self->{args} }, @$args;

	$self->write_token_file($self->{token});
	$self->start;
	return $self;
}

sub _program
{
	return $ENV{CLEAROUT_SANDBOX} if $ENV{CLEAROUT_SANDBOX};
	return dirname(abs_path(__FILE__)) . '/../sandbox/build/clearout-sandbox';
}

=pod

=item start, stop, crash

C<stop> ends the server, C<crash> kills it: connections break, new ones are
refused.  C<start> starts it again on the same ports, with fresh counters.

=cut

sub start
{
	my ($self) = @_;
	my $end = time + $START_TIMEOUT;

	croak 'the sandbox is already running' if $self->{pid};
	until ($self->_try)
	{
		# Meanwhile its port may have served somebody else's connection.
		croak "the sandbox did not start: $self->{said}" . $self->log
		  unless $self->{port} && $self->log =~ /in use/ && time < $end;
		sleep 0.1;
	}
	return $self;
}

sub _try
{
	my ($self) = @_;
	my $program = _program();
	my $out;

	croak "there is no $program: run make -C test/sandbox" unless -x $program;

	my $log = "$self->{dir}/log";
	pipe(my $in, $out) or die "pipe: $!";
	my $pid = fork();
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		close $in;
		open(STDOUT, '>&', $out) or POSIX::_exit(1);
		open(STDERR, '>>', $log) or POSIX::_exit(1);
		# the test's own pipes must not stay open in the server
		POSIX::close($_) foreach 3 .. 63;
		exec($program, @{ $self->{args} }, '--exit-with-parent',
			"--port=$self->{port}", "--control-port=$self->{control_port}")
		  or POSIX::_exit(1);
	}
	close $out;

	my $line = '';
	my $select = IO::Select->new($in);
	my $end = time + $START_TIMEOUT;
	until ($line =~ /\n/)
	{
		my $left = $end - time;
		last if $left <= 0 || !$select->can_read($left);
		last unless sysread($in, $line, 512, length $line);
	}
	close $in;
	if ($line !~ m{^listening (\w+)://\S+:(\d+)/v2 control http://127\.0\.0\.1:(\d+)$}m)
	{
		kill 'KILL', $pid;
		waitpid $pid, 0;
		$self->{said} = $line;
		return 0;
	}
	@$self{qw(scheme port control_port)} = ($1, $2, $3);
	$self->{pid} = $pid;
	$running{$pid} = $$;
	# On a kept connection the two writes of a request, head and body, would
	# wait for a delayed acknowledgement.
	$self->{http} = HTTP::Tiny->new(
		timeout => 60,
		keep_alive => 0,
		proxy => undef,
		http_proxy => undef,
		https_proxy => undef);
	return 1;
}

sub _end
{
	my ($self, $signal) = @_;
	my $pid = delete $self->{pid};

	return unless $pid;
	delete $running{$pid};
	# the test's exit status is not ours to change
	local $?;
	kill $signal, $pid;
	waitpid $pid, 0;
	return;
}

sub stop { return $_[0]->_end('TERM') }
sub crash { return $_[0]->_end('KILL') }

sub DESTROY
{
	my ($self) = @_;
	local ($@, $!, $?);

	$self->stop if $self->{pid} && $self->{owner} == $$;
	return;
}

END
{
	foreach my $pid (grep { $running{$_} == $$ } keys %running)
	{
		local $?;
		kill 'TERM', $pid;
		waitpid $pid, 0;
	}
}

=pod

=item url, control_url, port, pid, token, token_file, log

Where it listens, its process, the token and the file that holds it (mode
0600), and what the server wrote to its standard error.

=cut

sub url { my $self = shift; return "$self->{scheme}://127.0.0.1:$self->{port}/v2" }
sub control_url { return "http://127.0.0.1:$_[0]{control_port}" }
sub port { return $_[0]{port} }
sub pid { return $_[0]{pid} }
sub token { return $_[0]{token} }
sub token_file { return "$_[0]{dir}/token" }

sub log
{
	my ($self) = @_;
	open(my $fh, '<', "$self->{dir}/log") or return '';
	local $/;
	my $text = <$fh>;
	return defined $text ? $text : '';
}

=pod

=item write_token_file($token)

Puts another token there, right or wrong; the server is not told.

=cut

sub write_token_file
{
	my ($self, $token) = @_;
	my $file = $self->token_file;

	# whole under another name first: somebody may be reading it
	unlink "$file.new";
	sysopen(my $fh, "$file.new", O_WRONLY | O_CREAT | O_EXCL, 0600)
	  or die "$file.new: $!";
	print $fh "$token\n";
	close $fh or die "$file.new: $!";
	rename "$file.new", $file or die "$file: $!";
	return;
}

=pod

=item conf(%settings)

Lines for F<postgresql.conf>: preload, base URL, token file, and the given
C<clearout.> settings.

=cut

sub conf
{
	my ($self, %settings) = @_;
	my $conf =
		"shared_preload_libraries = 'clearout'\n"
	  . "clearout.base_url = '@{[ $self->url ]}'\n"
	  . "clearout.api_token_file = '@{[ $self->token_file ]}'\n";

	$conf .= "clearout.$_ = '$settings{$_}'\n" foreach sort keys %settings;
	return $conf;
}

sub _control
{
	my ($self, $method, $path, $order) = @_;
	my %options;

	$options{content} = $self->{json}->encode($order) if $order;
	my $answer = $self->{http}->request($method, $self->control_url . $path, \%options);
	my $data = eval { $self->{json}->decode($answer->{content}) };

	croak "$method $path: $answer->{status} "
	  . (ref $data eq 'HASH' && $data->{error} || $answer->{content})
	  unless $answer->{success};
	return $data;
}

=pod

=item fault(%rule), clear, clear($id)

Orders a fault and returns its id; C<clear> ends one, or all of them.

=item hold(%rule), release(%which)

From now on, answers that fit the rule are held back: the request is counted
and charged, but the client waits.  C<release> lets go and ends the holds;
C<< email => ... >> only of one address, C<< endpoint => ... >> of one
endpoint, C<< keep => 1 >> keeps the holds for later requests.  Returns the number of answers let go.

=cut

sub fault { my ($self, %rule) = @_; return $self->_control('POST', '/fault', \%rule)->{id} }
sub hold { my ($self, %rule) = @_; return $self->_control('POST', '/hold', \%rule)->{id} }

sub clear
{
	my ($self, $id) = @_;
	$self->_control('POST', '/clear', defined $id ? { id => $id + 0 } : {});
	return;
}

sub release
{
	my ($self, %which) = @_;
	return $self->_control('POST', '/release', \%which)->{released};
}

=pod

=item config(%settings), reset

Changes settings of the running server; with C<token> those of one token
(C<valid>, C<credits>, C<daily_limit>; an unknown token is added).  C<reset>
goes back to the start: settings, counters, faults, holds, windows, credits.

=cut

sub config { my ($self, %settings) = @_; return $self->_control('POST', '/config', \%settings) }
sub reset { $_[0]->_control('POST', '/reset', {}); return }

=pod

=item stats, calls($email), answered($email), charged($email), rows($email), counts($email)

C<stats> is a hash of all counters; C<calls> is how often an address was asked
for, C<answered> how often a success answer was sent to its end, C<charged>
what it cost, C<rows> (of an address) how often it was processed in a list;
C<counts> is a hash of these, with C<asked> for C<calls>.

=item subject_stats($endpoint, $subject)

The same of other endpoints than verify: a hash with C<asked>, C<answered> and
C<charged> of one subject, or the summary over all of them.  The subject of
C<find> is C<NAME|DOMAIN>.

=item total_calls, address_stats, requests, faults

All requests; the summary over all addresses; the last requests one by one;
how often each fault was applied.

=cut

sub stats { return $_[0]->_control('GET', '/stats') }
sub total_calls { return $_[0]->stats->{requests} }
sub address_stats { return $_[0]->_control('GET', '/calls') }
sub requests { return $_[0]->_control('GET', '/requests') }
sub faults { return $_[0]->_control('GET', '/faults')->{faults} }

sub _encode
{
	my ($text) = @_;
	utf8::encode($text) if utf8::is_utf8($text);
	$text =~ s/([^A-Za-z0-9.\@_-])/sprintf '%%%02X', ord $1/ge;
	return $text;
}

sub counts
{
	my ($self, $email) = @_;
	return $self->_control('GET', '/calls?email=' . _encode($email));
}

sub _address
{
	my ($self, $email, $what) = @_;
	return $self->counts($email)->{$what};
}

sub subject_stats
{
	my ($self, $endpoint, $subject) = @_;
	my $path = "/calls?endpoint=$endpoint";

	$path .= '&subject=' . _encode($subject) if defined $subject;
	return $self->_control('GET', $path);
}

sub calls { return $_[0]->_address($_[1], 'asked') }
sub answered { return $_[0]->_address($_[1], 'answered') }
sub charged { return $_[0]->_address($_[1], 'charged') }
sub rows { return $_[0]->_address($_[1], 'rows') }

=pod

=item lists($name), list(%order)

What became of the uploaded lists, removed ones included, oldest first; all or
those of one file name.  C<list> orders something of the lists with that
C<name> or C<list_id>, or of all: C<< say => 'queued' >>, C<percent>,
C<finish>, C<cancel>, C<expire>, C<remove>.

=cut

sub lists
{
	my ($self, $name) = @_;
	my $path = '/lists';

	$path .= '?name=' . _encode($name) if defined $name;
	return @{ $self->_control('GET', $path)->{lists} };
}

sub list { my ($self, %order) = @_; return $self->_control('POST', '/list', \%order)->{lists} }

=pod

=item call($method, $path, %options)

A request to the API itself, as a client would make it; the path is that after
F</v2>, or a whole URL.  Options: C<json> (data) or C<content>, C<headers> (an
undefined one is left out; the token goes along unless C<Authorization> is
there).  Returns status, headers, content, and the content as data in C<json>.

=item upload($path, $name, $content, %fields)

The same for a form with a file.

=cut

sub call
{
	my ($self, $method, $path, %options) = @_;
	my %headers = (Authorization => 'Bearer ' . $self->token);
	my $data = delete $options{json};

	$options{content} = $self->{json}->encode($data) if defined $data;
	$headers{'Content-Type'} = 'application/json' if $method eq 'POST';
	%headers = (%headers, %{ delete $options{headers} || {} });
	delete $headers{$_} foreach grep { !defined $headers{$_} } keys %headers;
	$path = $self->url . $path unless $path =~ /^https?:/;
	my $answer = $self->{http}->request($method, $path, { headers => \%headers, %options });
	$answer->{json} = eval { $self->{json}->decode($answer->{content}) };
	return $answer;
}

sub upload
{
	my ($self, $path, $name, $content, %fields) = @_;
	my $boundary = 'xx' . int(rand 1e9) . 'xx';
	my $body = '';

	$body .= "--$boundary\r\nContent-Disposition: form-data; name=\"$_\"\r\n\r\n$fields{$_}\r\n"
	  foreach sort keys %fields;
	$body .= "--$boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"$name\"\r\n"
	  . "Content-Type: text/csv\r\n\r\n$content\r\n--$boundary--\r\n";
	return $self->call('POST', $path, content => $body,
		headers => { 'Content-Type' => "multipart/form-data; boundary=$boundary" });
}

=pod

=item wait_for($what, $value)

Waits until a counter of C<stats> has reached the value, at most 60 seconds;
false if it has not.  C<< $api->wait_for(held => 1) >>.

=back

=cut

sub wait_for
{
	my ($self, $what, $value) = @_;
	my $end = time + 60;

	while (time < $end)
	{
		my $stats = $self->stats;

		croak "there is no counter $what" unless exists $stats->{$what};
		return 1 if $stats->{$what} >= $value;
		sleep 0.01;
	}
	return 0;
}

1;
