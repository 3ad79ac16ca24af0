#!/usr/bin/perl
# Verifies samples with Mail::DKIM. Prints a JSON object: for each sample "pass" or the reason.
use strict;
use warnings;
use JSON::PP;
use Mail::DKIM::Verifier;
use Mail::DKIM::DNS;
use Net::DNS::RR;

my (%verdicts, $facts);
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name) = @_;
        return if lc $name ne lc $facts->{name};
        return map {
            my $text = $_;
            utf8::encode($text) if utf8::is_utf8($text);
            Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => [$text =~ /(.{1,255})/gs]);
        } @{ $facts->{records} };
    };
}
for my $path (sort glob "$ARGV[0]/*.json") {
    open my $file, '<:raw', $path or die;
    $facts = decode_json(do { local $/; <$file> });
    (my $message = $path) =~ s/json$/eml/;
    open my $mail, '<:raw', $message or die;
    my $text = do { local $/; <$mail> };
    my $verdict = eval {
        local $SIG{__WARN__} = sub { };
        my $dkim = Mail::DKIM::Verifier->new;
        $dkim->PRINT($text);
        $dkim->CLOSE;
        $dkim->result eq 'pass' ? 'pass' : $dkim->result_detail;
    } // "died: $@";
    my ($name) = $path =~ m{([^/]*)\.json$};
    $verdicts{$name} = $verdict;
}
print encode_json(\%verdicts), "\n";
