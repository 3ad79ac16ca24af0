//! Scripts: bytes that stand for frames, so that most mutations still result in frames that an
//! MTA could send.

/// Steps and words that mutations insert.
pub(super) const DICTIONARY: &[&str] = &[
    "\x00",
    "\x01\x00",
    "\x02\x00\x00",
    "\x03\x00",
    "\x04\x00",
    "\x05\x00",
    "\x06\x00",
    "\x07\x00",
    "\x08",
    "\x09\x10",
    "\x0a",
    "\x0b",
    "\x0c",
    "\x0dC\x10",
    "\x0dM\x10",
    "\x0dR\x10",
    "\x0dD\x20",
    "\x0e",
    "\x0f\x05",
    "<b@contoso.com>",
    "{auth_authen}",
];

/// Seed dialogues: the zone, the splitting, and steps.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let dialogues: [&[u8]; 10] = [
        // negotiate, CONNECT, HELO, MAIL, RCPT, From, end of headers, body, end
        &[0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 9, 16, 10, 12],
        // with macros, several recipients and a signature; ABORT
        &[
            0, 2, 0, 0, 3, 1, 4, 1, 2, 1, 0, 5, 1, 2, 2, 1, 6, 1, 6, 2, 7, 0, 7, 1, 2, 3, 0, 8, 9,
            200, 9, 90, 2, 4, 0, 10, 11,
        ],
        // an exempt transaction, then one that is checked
        &[0, 3, 0, 4, 0, 2, 1, 2, 5, 0, 5, 0, 6, 0, 7, 0, 8, 10],
        // an accepted connection
        &[0, 3, 3, 4, 0, 5, 0, 6, 0],
        // two messages, forged results
        &[
            0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 2, 7, 0, 8, 10, 5, 2, 6, 3, 7, 0, 7, 1, 8, 9, 1, 10, 12,
        ],
        // no options, as in maddy: each command has a reply
        &[
            1, 6, 32, 0, 0, 0, 3, 0, 4, 0, 5, 0, 6, 0, 12, 2, 7, 0, 7, 1, 8, 9, 90, 9, 9, 10, 12,
        ],
        // Stalwart, which continues after an acceptance
        &[
            1, 6, 255, 0, 0, 66, 3, 3, 4, 0, 5, 0, 6, 0, 12, 2, 7, 0, 8, 9, 9, 10, 12,
        ],
        &[
            1, 6, 255, 0, 0, 66, 3, 0, 4, 0, 2, 1, 2, 5, 0, 6, 0, 12, 2, 7, 0, 8, 9, 9, 10, 5, 0,
            6, 1, 10,
        ],
        // version 2
        &[
            1, 2, 63, 0, 0, 127, 3, 0, 4, 0, 5, 2, 6, 0, 7, 0, 7, 1, 7, 2, 8, 9, 40, 10, 12,
        ],
        // missing steps
        &[0, 3, 0, 5, 0, 6, 0, 10, 5, 0, 8, 10, 5, 0, 6, 0, 9, 3, 10],
    ];
    let fixtures = dialogues
        .iter()
        .flat_map(|steps| (0..4).map(move |fixture| [&[fixture, fixture * 60], *steps].concat()));
    fixtures.collect()
}

/// Returns the bytes that an MTA sends.
pub(super) fn bytes(steps: &[u8]) -> Vec<u8> {
    let mut script = Script(steps);
    let mut sent = Vec::new();
    while let Some(step) = script.byte() {
        script.step(step, &mut sent);
    }
    sent
}

struct Script<'a>(&'a [u8]);

const CLIENTS: [&[u8]; 8] = [
    b"mail.good.example\x006\x04\x002001:db8::10\0",
    b"[IPv6:2001:db8:0:0:0:0:0:20]\x006\x04\x00IPv6:2001:db8:0:0:0:0:0:20\0",
    b"x\x006\0\x192001:db9::1\0",
    b"x\x004\0\x19192.0.2.1\0",
    b"x\x006\0\x19::ffff:192.0.2.1\0",
    b"localhost\x006\0\0::1\0",
    b"x\0U",
    b"x\x006\0\x19no address\0",
];
const NAMES: [&[u8]; 4] = [b"good.example\0", b"mail.good.example\0", b"\0", b"[::1]\0"];
const SENDERS: [&[u8]; 6] = [
    b"<a@good.example>\0SIZE=100\0",
    b"<>\0",
    b"<a@bad.example>\0",
    b"a@good.example\0",
    b"<@x:\"a@b\"@good.example>\0",
    b"\0",
];
const RECIPIENTS: [&[u8]; 6] = [
    b"<b@contoso.com>\0",
    b"<b@other.example>\0NOTIFY=NEVER\0",
    b"<b@CONTOSO.com.>\0",
    b"<b@50%.example>\0",
    b"<postmaster>\0",
    b"<b@[192.0.2.1]>\0",
];
const FIELDS: [&[u8]; 6] = [
    b"From\0 a@good.example\0",
    b"DKIM-Signature\0 v=1; a=rsa-sha256; c=relaxed/simple; d=good.example; s=s;\n\
      \th=From; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\0",
    b"Authentication-Results\0 mx.contoso.com; spf=pass\0",
    b"Subject\0 folded\n text\0",
    b"X\0\0",
    b"dkim-signature \0 v=1\0",
];
const PAIRS: [&[u8]; 6] = [
    b"i\x00AB12\0j\0mx.contoso.com\0",
    b"",
    b"{auth_authen}\0alice\0",
    b"{tls_version}\0TLSv1.3\0{verify}\0OK\0",
    b"{rcpt_addr}\0postmaster@contoso.com\0",
    b"{auth_authen}\0\0i\0",
];

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> usize {
        self.byte().unwrap_or_default().into()
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.number() % items.len()]
    }

    /// Returns bytes of the script itself.
    fn raw(&mut self) -> &'a [u8] {
        let length = self.number().min(self.0.len());
        let (raw, rest) = self.0.split_at(length);
        self.0 = rest;
        raw
    }

    fn step(&mut self, step: u8, sent: &mut Vec<u8>) {
        match step % 16 {
            0 => frame(sent, b'O', &offer(6, 0x1ff, 0x001f_ffff)),
            1 => {
                let version = self.number() as u32 % 8;
                let [actions, high, middle, low] = [(); 4].map(|()| self.number() as u32);
                let options = high << 16 | middle << 8 | low;
                // Most offers include the required action.
                let needed = u32::from(actions & 0xe0 != 0);
                frame(sent, b'O', &offer(version, actions << 1 | needed, options));
            }
            2 => {
                let stage = self.pick(b"CMRNEHTLB");
                let pairs = self.pick(&PAIRS);
                frame(sent, b'D', &[&[stage], pairs].concat());
            }
            3 => frame(sent, b'C', self.pick(&CLIENTS)),
            4 => frame(sent, b'H', self.pick(&NAMES)),
            5 => frame(sent, b'M', self.pick(&SENDERS)),
            6 => frame(sent, b'R', self.pick(&RECIPIENTS)),
            7 => frame(sent, b'L', self.pick(&FIELDS)),
            8 => frame(sent, b'N', &[]),
            9 => {
                let length = self.number().pow(2);
                frame(sent, b'B', &b"body \r\n".repeat(length / 7 + 1)[..length]);
            }
            10 => frame(sent, b'E', &[]),
            11 => frame(sent, b'A', &[]),
            12 => {
                let letter = self.pick(b"QKTU");
                frame(sent, letter, &[]);
            }
            13 => {
                let letter = self.number() as u8;
                let data = self.raw();
                frame(sent, letter, data);
            }
            // Truncates the previous frame, so that its length is wrong.
            14 => {
                let place = sent.len().saturating_sub(self.number());
                sent.truncate(place);
            }
            _ => sent.extend_from_slice(self.raw()),
        }
    }
}

fn offer(version: u32, actions: u32, opts: u32) -> Vec<u8> {
    [version, actions, opts].map(u32::to_be_bytes).concat()
}

fn frame(sent: &mut Vec<u8>, letter: u8, data: &[u8]) {
    sent.extend((data.len() as u32 + 1).to_be_bytes());
    sent.push(letter);
    sent.extend_from_slice(data);
}
