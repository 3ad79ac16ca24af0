//! A resolver that records its lookups, for `sixgate explain`.

use super::{Absence, Answer, Failure, Mx, Name, Purpose, Resolve};
use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Forwards every lookup to another resolver and records it.
#[derive(Debug)]
pub struct Traced<R> {
    resolver: R,
    questions: Mutex<Vec<Question>>,
}

/// One lookup and its outcome.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name looked up, in its printable form.
    pub name: String,
    /// The record type: `TXT`, `A`, `AAAA`, `MX`, `PTR` or `SOA`.
    pub rtype: &'static str,
    /// The records, or `NXDOMAIN`, `NODATA` or the failure.
    pub outcome: String,
    /// The time until the answer; near zero for a cached answer.
    pub elapsed: Duration,
}

impl<R> Traced<R> {
    /// Wraps a resolver, with an empty record.
    pub fn new(resolver: R) -> Self {
        Self {
            resolver,
            questions: Mutex::default(),
        }
    }

    /// Returns all lookups so far, in the order of their answers.
    pub fn questions(&self) -> Vec<Question> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Question>> {
        // The list only ever holds complete entries, so it is usable even if a thread
        // panicked.
        self.questions
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn record<T>(
        &self,
        name: &Name,
        rtype: &'static str,
        question: impl Future<Output = Answer<T>>,
        describe: impl Fn(&T) -> String,
    ) -> Answer<T> {
        let start = Instant::now();
        let answer = question.await;
        self.push(name, rtype, answer.describe(describe), start);
        answer
    }

    fn push(&self, name: &Name, rtype: &'static str, outcome: String, start: Instant) {
        self.lock().push(Question {
            name: name.to_string(),
            rtype,
            outcome,
            elapsed: start.elapsed(),
        });
    }
}

fn display<T: Display>(value: &T) -> String {
    value.to_string()
}

impl<R: Resolve> Resolve for Traced<R> {
    async fn txt(&self, name: &Name, purpose: Purpose) -> Answer<Vec<u8>> {
        let quoted = |text: &Vec<u8>| format!("\"{}\"", text.escape_ascii());
        self.record(name, "TXT", self.resolver.txt(name, purpose), quoted)
            .await
    }

    async fn a(&self, name: &Name) -> Answer<Ipv4Addr> {
        self.record(name, "A", self.resolver.a(name), display).await
    }

    async fn aaaa(&self, name: &Name) -> Answer<Ipv6Addr> {
        self.record(name, "AAAA", self.resolver.aaaa(name), display)
            .await
    }

    async fn mx(&self, name: &Name) -> Answer<Mx> {
        let mx = |mx: &Mx| format!("{} {}", mx.preference, mx.exchange);
        self.record(name, "MX", self.resolver.mx(name), mx).await
    }

    async fn ptr(&self, ip: IpAddr) -> Answer<Name> {
        let name = Name::reverse(ip);
        self.record(&name, "PTR", self.resolver.ptr(ip), display)
            .await
    }

    async fn is_denied(&self, name: &Name) -> Result<bool, Failure> {
        let start = Instant::now();
        let denied = self.resolver.is_denied(name).await;
        let outcome = match &denied {
            Ok(true) => Absence::NxDomain.to_string(),
            Ok(false) => "it exists".to_owned(),
            Err(failure) => failure.to_string(),
        };
        self.push(name, "SOA", outcome, start);
        denied
    }
}
