# Rewrites preprocessed C from standard input to standard output: each function
# that an argument names gets another name everywhere and, where it is defined,
# a trap for a body. Line markers keep every other line where it was, and the
# trap's own lines lie in no source file. Writes "NAME\tLINE\tFILE" for each
# definition to the file that EXCISED names, and exits 3 when no name occurs.
use strict;
use warnings;

my %name = map { $_ => 1 } @ARGV;
my $text = do { local $/; <STDIN> };
my ($out, $line, $file, $seen) = ('', 1, '', 0);
my ($braces, $parens) = (0, 0);
my @found;

# token takes the next token off the text: a directive, white space, a literal,
# a word or one other byte.
sub token {
	return if pos($text) >= length $text;
	return ('directive', $1) if $text =~ /\G(?<![^\n])([ \t]*#[^\n]*(?:\n|\z))/gc;
	return ('space', $1) if $text =~ /\G(\n|[ \t\r\f\x0b]+)/gc;
	return ('literal', $1) if $text =~ /\G((?:L|u8?|U)?"(?:[^"\\\n]|\\.)*"|(?:L|u8?|U)?'(?:[^'\\\n]|\\.)*')/gcs;
	return ('word', $1) if $text =~ /\G([A-Za-z_\$][A-Za-z0-9_\$]*)/gc;
	return ('number', $1) if $text =~ /\G(\.?[0-9](?:[eEpP][+-]|[A-Za-z0-9_.])*)/gc;
	$text =~ /\G(.)/gcs;
	return ('byte', $1);
}

# count follows line markers and line ends.
sub count {
	my ($kind, $t) = @_;
	if ($kind eq 'directive') {
		if ($t =~ /^\s*#\s*(?:line\s+)?(\d+)\s+"((?:[^"\\]|\\.)*)"/) {
			($line, $file) = ($1, $2);
		} else {
			$line++;
		}
	} else {
		$line += ($t =~ tr/\n//);
	}
}

# balanced copies up to the byte that closes what is open.
sub balanced {
	my ($open, $close) = @_;
	my ($depth, $copy) = (1, '');
	while (my ($kind, $t) = token()) {
		count($kind, $t);
		$copy .= $t;
		next if $kind ne 'byte';
		$depth++ if $t eq $open;
		return $copy if $t eq $close && --$depth == 0;
	}
	die "excise: $file: text ends inside $open\n";
}

pos($text) = 0;
while (my ($kind, $t) = token()) {
	if ($kind ne 'word' || !$name{$t}) {
		count($kind, $t);
		if ($kind eq 'byte') {
			$braces++ if $t eq '{';
			$braces-- if $t eq '}';
			$parens++ if $t eq '(';
			$parens-- if $t eq ')';
		}
		$out .= $t;
		next;
	}
	$seen = 1;
	my ($function, $at, $in) = ($t, $line, $file);
	my $new = "cleanstart_excised_$function";
	if ($braces || $parens) {
		$out .= $new;
		next;
	}
	# A name at file scope: a definition when a parameter list follows, and
	# then a body, with declarations of parameters between in the old style.
	my ($head, $isdef) = ('', 0);
	my ($k, $u);
	while (($k, $u) = token()) { count($k, $u); $head .= $u; last if $k ne 'space' && $k ne 'directive'; }
	if (defined $k && $k eq 'byte' && $u eq '(') {
		$head .= balanced('(', ')');
		my $first = 1;
		while (($k, $u) = token()) {
			count($k, $u);
			$head .= $u;
			next if $k eq 'space' || $k eq 'directive';
			if ($k eq 'byte' && $u eq '{') { $isdef = 1; last; }
			# a prototype ends, or has an attribute or another declarator
			last if $first && ($k ne 'word' || $u =~ /^(?:__attribute__|__attribute|__asm__|__asm|asm)$/);
			$first = 0;
			$head .= balanced('(', ')') if $k eq 'byte' && $u eq '(';
			last if $k eq 'byte' && ($u eq '}' || $u eq '=');
		}
	} elsif (defined $k && $k eq 'byte' && $u eq '{') {
		$braces++;
	}
	if (!$isdef) {
		$out .= $new . $head;
		next;
	}
	balanced('{', '}');
	$head =~ s/^[ \t]*#[^\n]*\n//mg;
	$head =~ s/\{\z//;
	push @found, "$function\t$at\t$in\n";
	$out .= "\n# 1 \"<excised>\"\n$new$head { __builtin_trap(); }\n# $line \"$file\"\n";
}

exit 3 if !$seen;
die "excise: braces do not balance\n" if $braces || $parens;
print $out or die "excise: $!\n";
close STDOUT or die "excise: $!\n";
if (@found && $ENV{EXCISED}) {
	open my $f, '>>', $ENV{EXCISED} or die "excise: $!\n";
	print $f @found or die "excise: $!\n";
	close $f or die "excise: $!\n";
}
