//! Generated logs of a Postfix with sixgate, its senders and its spam, reproducible by
//! seed, together with the expected report.

// Each test binary that includes this uses a part.
#![allow(dead_code)]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt::{self, Write as _},
    io::{self, Write},
};

/// 2026-11-14T00:00:00Z
pub(crate) const BEGIN: i64 = 1_794_614_400;

/// The expected counts of the lines.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    pub(crate) accepted: u64,
    pub(crate) deferred: u64,
    pub(crate) rejected: u64,
    pub(crate) rules: BTreeMap<&'static str, u64>,
    pub(crate) end: i64,
    mails: Vec<Mail>,
}

impl Truth {
    /// The number of messages with an outcome, by its name in the report.
    pub(crate) fn fate(&self, name: &str) -> usize {
        self.mails
            .iter()
            .filter(|mail| mail.fate(self.end) == name)
            .count()
    }
}

#[derive(Debug)]
struct Mail {
    first: i64,
    attempts: u32,
    outcome: Option<&'static str>,
}

impl Mail {
    fn fate(&self, end: i64) -> &'static str {
        match self.outcome {
            Some(outcome) => outcome,
            None if self.first > end - 4 * 3600 => "waiting",
            None if self.attempts > 1 => "retrying",
            None => "gone",
        }
    }
}

/// Writes whole mail transactions until the log has `bytes` bytes.
pub(crate) fn write(out: &mut impl Write, seed: u64, bytes: u64) -> io::Result<Truth> {
    let mut fixture = Fixture {
        random: seed,
        time: BEGIN,
        text: String::new(),
        truth: Truth::default(),
        retries: BinaryHeap::new(),
        sequence: 0,
    };
    while fixture.truth.bytes < bytes {
        fixture.text.clear();
        // Formatting into a string can't fail.
        fixture.step().map_err(io::Error::other)?;
        fixture.truth.bytes += fixture.text.len() as u64;
        fixture.truth.end = fixture.time;
        out.write_all(fixture.text.as_bytes())?;
    }
    Ok(fixture.truth)
}

struct Fixture {
    random: u64,
    time: i64,
    text: String,
    truth: Truth,
    retries: BinaryHeap<Reverse<(i64, u64, Plan)>>,
    sequence: u64,
}

/// The behavior of a sender after a deferral.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Plan {
    GiveUp,
    Ipv4(usize),
    Ipv4Refused(usize),
    Ipv6(usize),
    Ipv6InVain(usize, u32),
}

impl Fixture {
    /// xorshift64*
    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn step(&mut self) -> fmt::Result {
        if let Some(&Reverse((due, id, plan))) = self.retries.peek()
            && due <= self.time
        {
            self.retries.pop();
            return self.retry(id, plan);
        }
        self.time += (self.below(4) == 0) as i64;
        self.sequence += 1;
        let id = self.sequence;
        match self.below(100) {
            0..45 => self.ipv4(id),
            45..70 => self.pass(id),
            70..78 => self.not_opted_in(id),
            78..98 => self.defer(id),
            _ => self.chatter(),
        }
    }

    fn retry(&mut self, id: u64, plan: Plan) -> fmt::Result {
        match plan {
            Plan::GiveUp => Ok(()),
            Plan::Ipv4(mail) => {
                self.truth.mails[mail].outcome = Some("ipv4");
                self.ipv4(id)
            }
            Plan::Ipv4Refused(mail) => {
                self.truth.mails[mail].outcome = Some("ipv4_refused");
                self.refuse_over_ipv4(id)
            }
            Plan::Ipv6(mail) => {
                self.truth.mails[mail].outcome = Some("ipv6");
                self.pass(id)
            }
            Plan::Ipv6InVain(mail, left) => {
                self.truth.mails[mail].attempts += 1;
                if left > 0 {
                    let again = Plan::Ipv6InVain(mail, left - 1);
                    self.retries.push(Reverse((self.time + 1800, id, again)));
                }
                self.refuse(id)
            }
        }
    }

    fn defer(&mut self, id: u64) -> fmt::Result {
        let mail = self.truth.mails.len();
        self.truth.mails.push(Mail {
            first: self.time,
            attempts: 1,
            outcome: None,
        });
        let (plan, delay) = match id % 20 {
            0..9 => (Plan::GiveUp, 0),
            9..15 => (Plan::Ipv4(mail), id % 7 * 300),
            15 => (Plan::Ipv4Refused(mail), 400),
            16..18 => (Plan::Ipv6(mail), 900),
            _ => (Plan::Ipv6InVain(mail, 5), 1800),
        };
        self.retries
            .push(Reverse((self.time + delay as i64, id, plan)));
        self.refuse(id)
    }

    /// A line with a syslog prefix.
    fn line(&mut self, tag: &str, text: fmt::Arguments<'_>) -> fmt::Result {
        let (day, rest) = (self.time / 86400 - BEGIN / 86400 + 14, self.time % 86400);
        // Two weeks from the 14th stay in November.
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        self.truth.lines += 1;
        writeln!(
            self.text,
            "Nov {day:2} {hour:02}:{minute:02}:{second:02} mx {tag}[4242]: {text}"
        )
    }

    fn decision(&mut self, rule: &'static str, text: fmt::Arguments<'_>) -> fmt::Result {
        *self.truth.rules.entry(rule).or_default() += 1;
        self.line("sixgate", text)
    }

    fn ipv4(&mut self, id: u64) -> fmt::Result {
        let (queue_id, host) = (queue_id(id), id % 250);
        let peer = format!("mail.{}[198.51.100.{host}]", sender_domain(id));
        self.line("postfix/smtpd", format_args!("connect from {peer}"))?;
        self.line("postfix/smtpd", format_args!("{queue_id}: client={peer}"))?;
        self.delivery(id)?;
        self.line(
            "postfix/smtpd",
            format_args!("disconnect from {peer} ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"),
        )
    }

    fn delivery(&mut self, id: u64) -> fmt::Result {
        let queue_id = queue_id(id);
        let (from, to) = (sender(id), recipient(id));
        self.line(
            "postfix/cleanup",
            format_args!("{queue_id}: message-id=<{id}.{from}>"),
        )?;
        self.line(
            "postfix/qmgr",
            format_args!("{queue_id}: from=<{from}>, size=4711, nrcpt=1 (queue active)"),
        )?;
        self.line(
            "postfix/lmtp",
            format_args!(
                "{queue_id}: to=<{to}>, relay=mx[private/dovecot-lmtp], delay=0.31, \
                 delays=0.25/0.01/0.01/0.04, dsn=2.0.0, status=sent (250 2.0.0 <{to}> {id} Saved)"
            ),
        )?;
        self.line("postfix/qmgr", format_args!("{queue_id}: removed"))
    }

    fn refuse_over_ipv4(&mut self, id: u64) -> fmt::Result {
        let (from, to, domain) = (sender(id), recipient(id), sender_domain(id));
        self.line(
            "postfix/smtpd",
            format_args!(
                "NOQUEUE: reject: RCPT from mail.{domain}[198.51.100.{}]: 554 5.7.1 Service \
                 unavailable; Client host [198.51.100.1] blocked using zen.example; \
                 from=<{from}> to=<{to}> proto=ESMTP helo=<mail.{domain}>",
                id % 250
            ),
        )
    }

    fn pass(&mut self, id: u64) -> fmt::Result {
        let (queue_id, address, domain) = (queue_id(id), address(id), sender_domain(id));
        let (from, to) = (sender(id), recipient_domain(id));
        self.truth.accepted += 1;
        self.line(
            "postfix/smtpd",
            format_args!("{queue_id}: client=mail.{domain}[{address}]"),
        )?;
        let (rule, dkim, spf) = match id % 4 {
            0 => ("dkim-pass", "pass", "neutral"),
            _ => ("spf-pass", "not-needed", "pass"),
        };
        let ms = self.below(200);
        self.decision(
            rule,
            format_args!(
                "{queue_id}: accept: rule={rule} mode=enforce client=mail.{domain}[{address}] \
                 from=<{from}> nrcpt=1 rcpt_domains={to} helo=<mail.{domain}> ptr=found \
                 ptr_names=mail.{domain} opt_in=file spf={spf} spf_identity=mailfrom \
                 spf_domain={domain} spf_term=ip6:2001:db8::/32 dkim={dkim} \
                 dkim_signatures={domain}:mail:none ms={ms}"
            ),
        )?;
        self.delivery(id)
    }

    fn not_opted_in(&mut self, id: u64) -> fmt::Result {
        let (address, domain, from) = (address(id), sender_domain(id), sender(id));
        let to = format!("late{}.example", id % 5);
        self.truth.rejected += 1;
        self.decision(
            "not-opted-in",
            format_args!(
                "NOQUEUE: reject: RCPT from mail.{domain}[{address}]: 550 5.2.1 Service \
                 unavailable, [{to}] does not accept email over IPv6.; rule=not-opted-in \
                 mode=enforce from=<{from}> to=<u{id}@{to}> helo=<mail.{domain}> opt_in=no-domain \
                 ms=0"
            ),
        )
    }

    fn refuse(&mut self, id: u64) -> fmt::Result {
        let (address, from, to) = (address(id), sender(id), recipient(id));
        let domain = sender_domain(id);
        self.truth.deferred += 1;
        match id % 3 {
            0 => self.decision(
                "no-ptr",
                format_args!(
                    "NOQUEUE: reject: RCPT from unknown[{address}]: 450 4.7.25 Service \
                     unavailable, sending IPv6 address [{address}] must have reverse DNS record.; \
                     rule=no-ptr mode=enforce from=<{from}> to=<{to}> helo=<mail.{domain}> \
                     ptr=none opt_in=file ms=12"
                ),
            ),
            1 => self.decision(
                "auth-temperror",
                format_args!(
                    "{}: reject: END-OF-MESSAGE from mail.{domain}[{address}]: 451 4.4.3 Service \
                     unavailable, temporary failure, please try again later.; rule=auth-temperror \
                     mode=enforce from=<{from}> nrcpt=1 rcpt_domains={} helo=<mail.{domain}> \
                     ptr=found opt_in=file spf=temperror spf_identity=mailfrom \
                     spf_domain={domain} dkim=none ms=6000",
                    queue_id(id),
                    recipient_domain(id)
                ),
            ),
            _ => self.decision(
                "unauthenticated",
                format_args!(
                    "{}: reject: END-OF-MESSAGE from mail.{domain}[{address}]: 450 4.7.26 Service \
                     unavailable, message sent over IPv6 [{address}] must pass either SPF or DKIM \
                     validation.; rule=unauthenticated mode=enforce from=<{from}> nrcpt=1 \
                     rcpt_domains={} helo=<mail.{domain}> ptr=found opt_in=file spf=fail \
                     spf_identity=mailfrom spf_domain={domain} spf_term=-all dkim=none ms=45",
                    queue_id(id),
                    recipient_domain(id)
                ),
            ),
        }
    }

    /// Lines that are irrelevant for the report, some of them not UTF-8.
    fn chatter(&mut self) -> fmt::Result {
        self.line(
            "dovecot",
            format_args!("imap-login: Login: user=<u>, method=PLAIN, rip=2001:db8::1"),
        )?;
        self.line(
            "postfix/anvil",
            format_args!("statistics: max connection rate 1/60s for (smtpd:::1)"),
        )
    }
}

fn queue_id(id: u64) -> String {
    format!("{:010X}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24)
}

/// A few domains send a lot of mail, many send little.
fn sender_domain(id: u64) -> String {
    let spread = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let rank = spread % (1 + (spread >> 8) % 30_000);
    format!("sender{rank}.example")
}

fn sender(id: u64) -> String {
    format!("u{id}@{}", sender_domain(id))
}

fn recipient_domain(id: u64) -> String {
    format!("d{}.example", id % 40)
}

fn recipient(id: u64) -> String {
    format!("b{}@{}", id % 1000, recipient_domain(id))
}

fn address(id: u64) -> String {
    let network = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50;
    format!(
        "2001:db8:{:x}:{:x}::{:x}",
        1 + network % 200,
        network % 7,
        1 + id % 9
    )
}
