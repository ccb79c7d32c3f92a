# SPDX-License-Identifier: BSD-2-Clause
#
# words.pl SCALE: hashes of arrays, regular expressions, string building and sorting.

use strict;
use warnings;

my $rounds = int(10 * $ARGV[0]) || 1;
my ($state, $sum) = (42, 0);

sub draw { $state = ($state * 1103515245 + 12345) % 2147483648; return int($state / 65536) % $_[0]; }

for my $round (1 .. $rounds) {
  my (%index, @lines);
  for my $line (1 .. 8000) {
    my @words = map { join '', map { chr(97 + draw(26)) } 1 .. 1 + draw(6) } 1 .. 6;
    push @lines, join ' ', @words;
    push @{ $index{ substr $_, 0, 2 } }, $line for @words;
  }
  for my $line (@lines) {
    (my $copy = $line) =~ s/([aeiou]+)/<$1>/g;
    $sum += length $copy;
    $sum += scalar grep { /^(.).*\1$/ } split / /, $line;
  }
  my @sorted = sort { @{ $index{$b} } <=> @{ $index{$a} } || $a cmp $b } keys %index;
  $sum += length join ',', map { "$_=" . join '+', @{ $index{$_} } } @sorted;
}
print "$sum\n";
