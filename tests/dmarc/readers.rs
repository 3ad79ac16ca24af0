//! Parsers of Authentication-Results fields that are not ours. Each must find the values that
//! sixgate wrote.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// One result: method, result, and its properties by name.
type Reading = (String, String, BTreeMap<String, String>);

/// What a reader keeps of the results of a field.
type Keeps = fn(&[Reading]) -> Vec<Reading>;

/// Reads fields with all of them, and panics where one reads something else.
pub fn compare(fields: &[String]) {
    assert!(fields.len() >= 120, "{} fields", fields.len());
    let meant: Vec<Vec<Reading>> = fields.iter().map(|field| plain(field)).collect();
    let readers: [(&str, Command, Keeps); 3] = [
        (
            "python3-authres",
            program("/usr/bin/python3", "-c", PYTHON),
            <[Reading]>::to_vec,
        ),
        (
            "libmail-authenticationresults-perl",
            program("/usr/bin/perl", "-e", PERL),
            <[Reading]>::to_vec,
        ),
        ("mailauth", mailauth(), last_of_each_method),
    ];
    for (name, command, keeps) in readers {
        let read = run(name, command, fields);
        assert_eq!(read.len(), fields.len(), "{name}");
        for ((field, read), meant) in fields.iter().zip(read).zip(&meant) {
            assert_eq!(read, keeps(meant), "{name} reads {field}");
        }
        println!("{name} reads {} fields as they are meant", fields.len());
    }
}

/// What stands in a field, by the words of RFC 8601 and for what we write alone.
fn plain(field: &str) -> Vec<Reading> {
    let mut bare = String::new();
    let (mut depth, mut quoted) = (0, false);
    for c in field.chars() {
        match c {
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            // It would end a property.
            ' ' | ';' if quoted => panic!("none of the messages has that: {field}"),
            c if depth == 0 => bare.push(c),
            _ => {}
        }
    }
    let mut results = bare.split(';');
    assert_eq!(results.next().map(str::trim), Some("mx.sixgate.test"));
    let reading = |result: &str| {
        let mut words = result.split_whitespace().map(|word| {
            let (name, value) = word.split_once('=').expect("a property");
            (name.to_owned(), value.to_owned())
        });
        let (method, result) = words.next().expect("a method");
        (method, result, words.collect())
    };
    results.map(reading).collect()
}

/// mailauth keeps all signatures, and of other methods the last result.
fn last_of_each_method(all: &[Reading]) -> Vec<Reading> {
    let mut kept: Vec<Reading> = Vec::new();
    for reading in all {
        match kept
            .iter_mut()
            .find(|other| other.0 == reading.0 && reading.0 != "dkim")
        {
            Some(other) => *other = reading.clone(),
            None => kept.push(reading.clone()),
        }
    }
    kept
}

fn program(program: &str, option: &str, script: &str) -> Command {
    let mut command = Command::new(program);
    command.args([option, script]);
    command
}

fn mailauth() -> Command {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/mailauth");
    assert!(
        folder.exists(),
        "run tests/extended.sh: there is no {}",
        folder.display()
    );
    let mut command = program("node", "-e", NODE);
    command.current_dir(folder);
    command
}

/// The fields go in as JSON, and the readings come back as JSON.
fn run(name: &str, mut command: Command, fields: &[String]) -> Vec<Vec<Reading>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let text = serde_json::to_vec(fields).expect("JSON");
    std::thread::spawn(move || stdin.write_all(&text));
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{name}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}"))
}

const PYTHON: &str = r#"
import authres, json, sys
def read(field):
    header = authres.AuthenticationResultsHeader.parse("Authentication-Results: " + field)
    assert header.authserv_id == "mx.sixgate.test", header.authserv_id
    return [[r.method, r.result, {f"{p.type}.{p.name}": p.value for p in r.properties}]
            for r in header.results]
print(json.dumps([read(field) for field in json.load(sys.stdin)]))
"#;

const PERL: &str = r#"
use strict; use JSON::PP; use Mail::AuthenticationResults::Parser;
my $fields = decode_json(do { local $/; <STDIN> });
my @all;
for my $field (@$fields) {
    my $header = Mail::AuthenticationResults::Parser->new()->parse($field);
    die $header->value()->value() unless $header->value()->value() eq "mx.sixgate.test";
    my @results;
    for my $entry (grep { ref =~ /::Entry$/ } @{$header->children}) {
        my %properties = map { ($_->key, $_->value) }
            grep { ref =~ /::SubEntry$/ } @{$entry->children};
        push @results, [$entry->key, $entry->value, \%properties];
    }
    push @all, \@results;
}
print encode_json(\@all);
"#;

const NODE: &str = r#"
const parse = require('mailauth/lib/parse-dkim-headers.js');
const reading = (method, result) => {
    const properties = {};
    for (const type of Object.keys(result)) {
        if (typeof result[type] === 'object') {
            for (const [name, value] of Object.entries(result[type])) {
                properties[`${type}.${name}`] = value;
            }
        }
    }
    return [method, result.value, properties];
};
const read = field => {
    const { parsed } = parse('Authentication-Results: ' + field);
    if (parsed.value !== 'mx.sixgate.test') throw new Error(parsed.value);
    return Object.entries(parsed)
        .filter(([method]) => !['header', 'value'].includes(method))
        .flatMap(([method, results]) => [results].flat().map(result => reading(method, result)));
};
let input = '';
process.stdin.on('data', data => (input += data));
process.stdin.on('end', () => console.log(JSON.stringify(JSON.parse(input).map(read))));
"#;
