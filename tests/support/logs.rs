//! Log files in a directory, and runs of `report` and `trace` on them.

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// Nov 21 2026 12:00 UTC: the modification time of the logs.
const WRITTEN: u64 = 1_795_262_400;

/// Log files, and the commands that read them.
pub struct Logs {
    directory: TempDir,
}

impl Logs {
    pub fn new() -> Self {
        Self {
            directory: TempDir::new().expect("a directory"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a log, compressed as its file name says.
    pub fn write(&self, name: &str, lines: impl AsRef<[u8]>) {
        let path = self.path(name);
        let lines = lines.as_ref();
        let bytes = match name.rsplit_once('.') {
            Some((_, "gz")) => gzip(lines),
            Some((_, "xz")) => compressed_by("xz", lines),
            Some((_, "zst")) => compressed_by("zstd", lines),
            _ => lines.to_vec(),
        };
        fs::write(&path, bytes).expect("a log");
        let file = File::options().write(true).open(&path).expect("the log");
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(WRITTEN);
        file.set_modified(written).expect("a time");
    }

    pub fn report(&self, arguments: &str, input: &[u8]) -> Output {
        self.run("report", arguments, input)
    }

    pub fn trace(&self, arguments: &str, input: &[u8]) -> Output {
        self.run("trace", arguments, input)
    }

    fn run(&self, command: &str, arguments: &str, input: &[u8]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sixgate"))
            .arg(command)
            .args(arguments.split_whitespace())
            .current_dir(self.directory.path())
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = program.stdin.take().expect("a pipe");
        // A program that does not read its input may have exited.
        let _ = stdin.write_all(input);
        drop(stdin);
        program.wait_with_output().expect("the program ends")
    }

    /// The report as JSON.
    pub fn json(&self, arguments: &str) -> Value {
        json(&self.report(&format!("--json {arguments}"), b""))
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("room");
    encoder.finish().expect("room")
}

/// With the program that logrotate uses.
pub fn compressed_by(program: &str, bytes: &[u8]) -> Vec<u8> {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("log");
    fs::write(&file, bytes).expect("a log");
    let output = Command::new(program).arg("-qc").arg(&file).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {output:?}");
    output.stdout
}

/// Returns the output of a command, which must succeed.
pub fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A mail.log with the lines of Postfix and sixgate.
pub const MAIL_LOG: &str = "\
Nov 21 06:00:00 mx postfix/smtpd[11]: connect from unknown[2001:db8:1::20]
Nov 21 06:00:01 mx sixgate[7]: NOQUEUE: reject: RCPT from unknown[2001:db8:1::20]: 450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::20] must have reverse DNS record.; rule=no-ptr mode=enforce from=<a@v4.example> to=<b@contoso.com> helo=<x> ptr=none opt_in=file ms=3
Nov 21 06:00:01 mx postfix/smtpd[11]: NOQUEUE: milter-reject: RCPT from unknown[2001:db8:1::20]: 450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:1::20] must have reverse DNS record.; from=<a@v4.example> to=<b@contoso.com> proto=ESMTP helo=<x>
Nov 21 06:00:03 mx postfix/smtpd[12]: connect from mail.v4.example[198.51.100.10]
Nov 21 06:00:03 mx postfix/smtpd[12]: 4F9D195432C: client=mail.v4.example[198.51.100.10]
Nov 21 06:00:03 mx postfix/cleanup[13]: 4F9D195432C: message-id=<1@v4.example>
Nov 21 06:00:03 mx postfix/qmgr[14]: 4F9D195432C: from=<a@v4.example>, size=612, nrcpt=1 (queue active)
Nov 21 06:00:04 mx postfix/lmtp[15]: 4F9D195432C: to=<b@contoso.com>, relay=mx[private/dovecot-lmtp], delay=0.31, delays=0.25/0.01/0.01/0.04, dsn=2.0.0, status=sent (250 2.0.0 Saved)
Nov 21 06:00:04 mx postfix/qmgr[14]: 4F9D195432C: removed
Nov 21 06:10:00 mx sixgate[7]: 4F9D195432D: reject: END-OF-MESSAGE from mail.v6.example[2001:db8:2::1]: 450 4.7.26 Service unavailable, message sent over IPv6 [2001:db8:2::1] must pass either SPF or DKIM validation.; rule=unauthenticated mode=enforce from=<a@v6.example> nrcpt=2 rcpt_domains=contoso.com,contoso.net helo=<x> ptr=found ptr_names=mail.v6.example opt_in=file spf=fail spf_identity=mailfrom spf_domain=v6.example spf_term=-all dkim=none ms=40
Nov 21 06:20:00 mx sixgate[7]: 4F9D195432E: accept: rule=spf-pass mode=enforce client=mail.v6.example[2001:db8:2::1] from=<a@v6.example> nrcpt=2 rcpt_domains=contoso.com,contoso.net helo=<x> ptr=found ptr_names=mail.v6.example opt_in=file spf=pass spf_identity=mailfrom spf_domain=v6.example spf_term=ip6:2001:db8:2::/48 dkim=not-needed ms=5
Nov 21 06:30:00 mx sixgate[7]: NOQUEUE: reject: RCPT from mail.six.example[2001:db8:3::1]: 450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:3::1] must have reverse DNS record.; rule=no-ptr mode=enforce from=<Only@Six.example> to=<b@contoso.com> helo=<x> ptr=none opt_in=file ms=3
Nov 21 07:30:00 mx sixgate[7]: NOQUEUE: reject: RCPT from mail.six.example[2001:db8:3::1]: 450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:3::1] must have reverse DNS record.; rule=no-ptr mode=enforce from=<only@six.example> to=<b@contoso.com> helo=<x> ptr=none opt_in=file ms=3
Nov 21 07:40:00 mx sixgate[7]: NOQUEUE: reject: RCPT from unknown[2001:db8:4::1]: 450 4.7.25 Service unavailable, sending IPv6 address [2001:db8:4::1] must have reverse DNS record.; rule=no-ptr mode=enforce from=<> to=<b@contoso.com> helo=<x> ptr=none opt_in=file ms=3
Nov 21 07:41:00 mx sixgate[7]: NOQUEUE: reject: RCPT from unknown[2001:db8:4::2]: 550 5.2.1 Service unavailable, [fabrikam.com] does not accept email over IPv6.; rule=not-opted-in mode=enforce from=<a@v4.example> to=<b@fabrikam.com> helo=<x> opt_in=no-domain ms=0
Nov 21 07:42:00 mx sixgate[7]: 4F9D195432F: reject: END-OF-MESSAGE from mail.slow.example[2001:db8:5::1]: 451 4.4.3 Service unavailable, temporary failure, please try again later.; rule=auth-temperror mode=enforce from=<a@slow.example> nrcpt=1 rcpt_domains=contoso.com helo=<x> ptr=found opt_in=file spf=temperror spf_domain=slow.example dkim=none ms=6000
Nov 21 11:50:00 mx postfix/smtpd[12]: NOQUEUE: reject: RCPT from mail.slow.example[198.51.100.30]: 554 5.7.1 Service unavailable; Client host [198.51.100.30] blocked using zen.example; from=<a@slow.example> to=<b@contoso.com> proto=ESMTP helo=<x>
";
