//! The real daemon with a DNS server, and an MTA that offers only what a mask allows.

use crate::{
    mail::{self, Mail, SELECTOR},
    masks::Mask,
    signer::Key,
    support::{
        daemon::Daemon,
        dns::{DnsServer, Zone},
        milter::{MilterClient, Modification, Reply, split_message},
    },
};

pub struct Fixture {
    pub daemon: Daemon,
    mails: Vec<Mail>,
    _dns: DnsServer,
}

/// What came of a message.
pub struct Outcome {
    pub reply: Reply,
    pub edits: Vec<Modification>,
}

const CLIENT: &str = "2001:db8:1::10";

impl Fixture {
    pub fn new(config: &str) -> Self {
        let key = Key::ed25519();
        let zone = format!(
            "2001:db8:1::10 PTR mail.good.example\n\
             mail.good.example AAAA 2001:db8:1::10\n\
             good.example TXT \"v=spf1 ip6:2001:db8:1::/64 -all\"\n\
             bad.example TXT \"v=spf1 -all\"\n\
             {SELECTOR}._domainkey.signed.example TXT \"v=DKIM1; k=ed25519; p={}\"\n",
            key.public()
        );
        let dns = DnsServer::start(Zone::parse(&zone).expect("a zone"));
        let results = match config.contains("authentication_results:") {
            true => "",
            false => "authentication_results: {authserv_id: mx.contoso.com}\n",
        };
        let daemon = Daemon::start(&format!(
            "dns: {{servers: [{}], timeout: 2s, attempts: 2}}\n\
             opt_in: {{domains: [contoso.com]}}\n{results}{config}",
            dns.address()
        ));
        Self {
            daemon,
            mails: mail::all(&key),
            _dns: dns,
        }
    }

    pub fn mails(&self) -> &[Mail] {
        &self.mails
    }

    pub fn mail(&self, name: &str) -> &Mail {
        let mut mails = self.mails.iter();
        mails.find(|mail| mail.name == name).expect("a mail")
    }

    pub fn mta(&self, mask: &Mask) -> MilterClient {
        MilterClient::open_with(&self.daemon.address(), mask.offer).expect(mask.name)
    }

    pub fn mta_with_client(&self, mask: &Mask) -> MilterClient {
        let mut mta = self.mta(mask);
        assert_eq!(mta.connect("[x]", b'6', CLIENT, 25252), Reply::Continue);
        assert_eq!(mta.helo("mail.good.example"), Reply::Continue);
        mta
    }

    pub fn mta_with_recipient(&self, mask: &Mask, sender: &str) -> MilterClient {
        let mut mta = self.mta_with_client(mask);
        assert_eq!(mta.mail(&[sender]), Reply::Continue);
        assert_eq!(mta.rcpt(&["<b@contoso.com>"]), Reply::Continue);
        mta
    }
}

/// Hands a message over as the MTA of the mask does.
pub fn deliver(fixture: &Fixture, mask: &Mask, mail: &Mail) -> Outcome {
    let mut mta = fixture.mta_with_recipient(mask, mail.sender);
    let text = mail.text.as_bytes();
    let end = match mask.is_stalwart {
        false => mta.message(text, 50),
        true => {
            let reply = header(&mut mta, text);
            let (first, rest) = text.split_at(7);
            match reply {
                Reply::Continue => {
                    assert_eq!(mta.body(first), Reply::Continue);
                    assert_eq!(mta.body(rest), Reply::Continue);
                    mta.eom()
                }
                reply => {
                    return Outcome {
                        reply,
                        edits: Vec::new(),
                    };
                }
            }
        }
    };
    Outcome {
        reply: end.reply,
        edits: end.modifications,
    }
}

fn header(mta: &mut MilterClient, text: &[u8]) -> Reply {
    assert_eq!(mta.data(), Reply::Continue);
    let (fields, _) = split_message(text);
    for (name, value) in fields {
        let value = value.replace('\n', "\r\n");
        assert_eq!(mta.header(&name, value.trim()), Reply::Continue);
    }
    mta.eoh()
}
