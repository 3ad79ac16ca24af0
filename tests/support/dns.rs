//! A real DNS server for tests, on UDP and TCP, over a zone in memory.
//!
//! It answers like a recursive resolver: it follows aliases, distinguishes NXDOMAIN and
//! NODATA and adds a SOA record (so that they are cached), and truncates answers that are
//! too long for UDP. Names can be made to fail. It supports no zone cuts, no wildcards
//! except those of [`Zone::add_below`], and no DNSSEC.

use super::daemon::TIMEOUT;
use hickory_proto::{
    op::{Edns, Message, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Senders for most tests: a client whose mail passes SPF for good.example, one without
/// reverse DNS, one whose reverse DNS fails, and a domain that no client passes for.
pub const SENDERS: &str = r#"
2001:db8:1::10            PTR    mail.good.example
mail.good.example         AAAA   2001:db8:1::10
2001:db8:1::60            SERVFAIL
good.example              TXT    "v=spf1 ip6:2001:db8:1::/64 -all"
bad.example               TXT    "v=spf1 -all"
"#;

/// A running server. Dropping it stops it.
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    zone: Mutex<Zone>,
    questions: Mutex<Vec<(String, String)>>,
    asked: Condvar,
    connections: Mutex<Vec<TcpStream>>,
    stopping: AtomicBool,
}

impl DnsServer {
    /// Starts on a free port of 127.0.0.1.
    pub fn start(zone: Zone) -> Self {
        // The port has to be free for both protocols.
        for _ in 0..100 {
            if let Ok(server) = Self::start_at(zone.clone(), (Ipv4Addr::LOCALHOST, 0).into()) {
                return server;
            }
        }
        panic!("no port is free for both UDP and TCP");
    }

    /// Starts on a given address; port 0 selects a free one.
    pub fn start_at(zone: Zone, address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpListener::bind(address)?;
        let address = tcp.local_addr()?;
        let udp = UdpSocket::bind(address)?;
        let shared = Arc::new(Shared {
            zone: Mutex::new(zone),
            questions: Mutex::default(),
            asked: Condvar::new(),
            connections: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let for_udp = Arc::clone(&shared);
        let for_tcp = Arc::clone(&shared);
        let threads = vec![
            thread::spawn(move || for_udp.serve_udp(&udp)),
            thread::spawn(move || for_tcp.serve_tcp(&tcp)),
        ];
        Ok(Self {
            address,
            shared,
            threads,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves another zone from now on. Resolvers may have cached the old one.
    pub fn set_zone(&self, zone: Zone) {
        *lock(&self.shared.zone) = zone;
    }

    /// Refuses EDNS from now on, as in [`Zone::refuse_edns`].
    pub fn refuse_edns(&self, code: ResponseCode) {
        lock(&self.shared.zone).refuse_edns(code);
    }

    /// All queries so far: names as received, without the trailing dot, bytes that are not
    /// printable ASCII as `\DDD`; types such as `TXT`. A query that was repeated over TCP
    /// is listed twice.
    pub fn questions(&self) -> Vec<(String, String)> {
        lock(&self.shared.questions).clone()
    }

    /// Waits until the queries are these; panics if they are not in time.
    pub fn wait_for_questions(&self, are_enough: impl Fn(&[(String, String)]) -> bool) {
        let questions = lock(&self.shared.questions);
        let (questions, result) = self
            .shared
            .asked
            .wait_timeout_while(questions, TIMEOUT, |questions| !are_enough(questions))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!result.timed_out(), "only these came: {questions:?}");
    }

    /// Clears the list of queries.
    pub fn forget_questions(&self) {
        lock(&self.shared.questions).clear();
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // A packet and a connection wake up the two threads.
        let any: IpAddr = match self.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let wake = UdpSocket::bind((any, 0));
        let _ = wake.and_then(|socket| socket.send_to(&[], self.address));
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for connection in lock(&self.shared.connections).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if self.stopping.load(Ordering::SeqCst) {
                break;
            }
            if let Some(answer) = self.answer(&buffer[..length], Transport::Udp) {
                let _ = socket.send_to(&answer, client);
            }
        }
    }

    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((connection, _)) = listener.accept() {
            if self.stopping.load(Ordering::SeqCst) {
                break;
            }
            if let Ok(clone) = connection.try_clone() {
                lock(&self.connections).push(clone);
            }
            let shared = Arc::clone(self);
            // Ends when the client, or Drop, closes the connection.
            thread::spawn(move || shared.serve_connection(connection));
        }
    }

    fn serve_connection(&self, mut connection: TcpStream) {
        while let Ok(query) = read_message(&mut connection) {
            let Some(answer) = self.answer(&query, Transport::Tcp) else {
                continue;
            };
            if answer.is_empty() || write_message(&mut connection, &answer).is_err() {
                break;
            }
        }
        let _ = connection.shutdown(Shutdown::Both);
    }

    /// The bytes to send, or `None` for no answer and for input that is not a query. An
    /// empty answer closes a TCP connection.
    fn answer(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = Message::from_vec(bytes).ok()?;
        let question = query.queries.first()?.clone();
        lock(&self.questions).push((printable(&question.name), question.query_type.to_string()));
        self.asked.notify_all();
        let [over_udp, over_tcp] = lock(&self.zone).edns_refusals;
        let refusal = match transport {
            Transport::Udp => over_udp,
            Transport::Tcp => over_tcp,
        };
        if let Some(code) = refusal.filter(|_| query.edns.is_some()) {
            return refuse_edns(&query, question, code)?.to_vec().ok();
        }
        let found = lock(&self.zone).look_up(&question);
        if let Some(misbehaviour) = found.misbehaviour {
            return misbehave(misbehaviour, &query, transport);
        }
        let message = response(&query, question, found)?;
        let answer = message.to_vec().ok()?;
        if answer.len() > transport.limit(&query) {
            return message.truncate().to_vec().ok();
        }
        Some(answer)
    }
}

#[derive(Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn limit(self, query: &Message) -> usize {
        match self {
            Self::Udp => usize::from(query.max_payload()).max(512),
            Self::Tcp => usize::from(u16::MAX),
        }
    }
}

fn response(query: &Message, question: Query, found: Found) -> Option<Message> {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = found.code?;
    message.add_query(question);
    message.add_answers(found.answers);
    message.add_authorities(found.soa);
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        message.set_edns(edns);
    }
    Some(message)
}

/// A server that knows EDNS, but not its version 0, says BADVERS in an OPT record;
/// one that does not know it sends none (RFC 6891 sections 6.1.3 and 7).
fn refuse_edns(query: &Message, question: Query, code: ResponseCode) -> Option<Message> {
    let mut message = response(query, question, Found::records(Vec::new()))?;
    message.metadata.response_code = code;
    if code != ResponseCode::BADVERS {
        message.edns = None;
    }
    Some(message)
}

/// Responses that do not answer the query.
fn misbehave(how: Misbehaviour, query: &Message, transport: Transport) -> Option<Vec<u8>> {
    let id = query.metadata.id;
    match (how, transport) {
        (Misbehaviour::Truncated, Transport::Tcp) => Some(Vec::new()),
        (Misbehaviour::Truncated, Transport::Udp) => response(
            query,
            query.queries.first()?.clone(),
            Found::records(Vec::new()),
        )?
        .truncate()
        .to_vec()
        .ok(),
        (Misbehaviour::WrongId, _) => welcome(query, id ^ 1, query.queries.first()?.clone()),
        (Misbehaviour::WrongQuestion, _) => {
            let mut other = query.queries.first()?.clone();
            other.name = name("other.invalid");
            welcome(query, id, other)
        }
        (Misbehaviour::Garbage, _) => Some([&id.to_be_bytes(), [0xff; 100].as_slice()].concat()),
        (Misbehaviour::Noise, _) => Some(vec![0x55; 3]),
    }
}

/// Records with which every check passes: a PTR record, and an SPF pass.
fn welcome(query: &Message, id: u16, question: Query) -> Option<Vec<u8>> {
    let data = match question.query_type {
        RecordType::PTR => Data::Ptr("mail.good.example".to_owned()),
        _ => Data::text("v=spf1 +all"),
    };
    let record = Record::from_rdata(question.name.clone(), 300, data.into_rdata());
    let mut message = response(query, question, Found::records(vec![record]))?;
    message.metadata.id = id;
    message.to_vec().ok()
}

fn read_message(connection: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    connection.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    connection.read_exact(&mut message)?;
    Ok(message)
}

fn write_message(connection: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    connection.write_all(&[&length.to_be_bytes(), message].concat())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The records of all names, as one zone.
#[derive(Clone, Debug)]
pub struct Zone {
    records: BTreeMap<Key, Vec<Record>>,
    /// Keyed by the name whose subdomains have these records.
    wildcards: BTreeMap<Key, Vec<RData>>,
    faults: HashMap<(Key, Option<RecordType>), Fault>,
    ttl: u32,
    /// Over UDP and over TCP.
    edns_refusals: [Option<ResponseCode>; 2],
}

/// The value of a record. Names in it are split at their dots like owner names.
#[derive(Clone, Debug)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// Preference and host; an empty host is the root (null MX).
    Mx(u16, String),
    /// The strings of one record, each of at most 255 bytes.
    Txt(Vec<Vec<u8>>),
    Ptr(String),
    Cname(String),
}

impl Data {
    /// A TXT record of any length, split into strings of 255 bytes.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self::Txt(pieces(text.as_ref()))
    }

    fn into_rdata(self) -> RData {
        match self {
            Self::A(ip) => RData::A(ip.into()),
            Self::Aaaa(ip) => RData::AAAA(ip.into()),
            Self::Mx(preference, host) => RData::MX(rdata::MX::new(preference, name(&host))),
            Self::Txt(strings) => {
                assert!(strings.iter().all(|s| s.len() <= 255), "a string too long");
                let strings = strings.iter().map(Vec::as_slice).collect();
                RData::TXT(rdata::TXT::from_bytes(strings))
            }
            Self::Ptr(host) => RData::PTR(rdata::PTR(name(&host))),
            Self::Cname(host) => RData::CNAME(rdata::CNAME(name(&host))),
        }
    }
}

/// How a name fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers SERVFAIL.
    ServFail,
    /// Answers REFUSED.
    Refused,
    /// Answers with another response code.
    Code(ResponseCode),
    /// Does not answer.
    Silence,
    /// Sends something that does not answer the query.
    Misbehaviour(Misbehaviour),
}

/// A response instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// A truncated answer over UDP; a TCP connection with the same query is closed.
    Truncated,
    /// A passing answer with the ID of another query.
    WrongId,
    /// A passing answer to another query.
    WrongQuestion,
    /// The right ID, followed by garbage.
    Garbage,
    /// Too few bytes for a header.
    Noise,
}

impl Default for Zone {
    fn default() -> Self {
        Self::new()
    }
}

impl Zone {
    /// A zone in which no name exists; TTLs are 300 seconds.
    pub fn new() -> Self {
        Self {
            records: BTreeMap::new(),
            wildcards: BTreeMap::new(),
            faults: HashMap::new(),
            ttl: 300,
            edns_refusals: [None; 2],
        }
    }

    /// The TTL, in seconds, of records added from now on and of all negative
    /// answers.
    pub fn set_ttl(&mut self, seconds: u32) {
        self.ttl = seconds;
    }

    /// Adds a record. The name is raw bytes, split at its dots; panics if the name is not
    /// valid in the DNS.
    pub fn add(&mut self, owner: impl AsRef<[u8]>, data: Data) {
        let owner = name(owner);
        let key = key(&owner);
        let record = Record::from_rdata(owner, self.ttl, data.into_rdata());
        self.records.entry(key).or_default().push(record);
    }

    /// Adds a record to all names below this one that have no records.
    pub fn add_below(&mut self, owner: impl AsRef<[u8]>, data: Data) {
        let records = self.wildcards.entry(key(&name(owner))).or_default();
        records.push(data.into_rdata());
    }

    /// Answers every query that has an OPT record with this code, and others as usual.
    pub fn refuse_edns(&mut self, code: ResponseCode) {
        self.edns_refusals = [Some(code); 2];
    }

    /// The same only over TCP.
    pub fn refuse_edns_over_tcp(&mut self, code: ResponseCode) {
        self.edns_refusals = [None, Some(code)];
    }

    /// Adds the PTR record of an address.
    pub fn add_ptr(&mut self, ip: IpAddr, host: &str) {
        self.add(reverse(ip), Data::Ptr(host.to_owned()));
    }

    /// Makes all queries for a name fail.
    pub fn fault(&mut self, owner: impl AsRef<[u8]>, fault: Fault) {
        self.faults.insert((key(&name(owner)), None), fault);
    }

    /// Makes the queries for a name and one type (such as `TXT`) fail.
    pub fn fault_for(&mut self, owner: impl AsRef<[u8]>, rtype: &str, fault: Fault) {
        let rtype = rtype.parse().expect("a record type");
        self.faults.insert((key(&name(owner)), Some(rtype)), fault);
    }

    /// Parses a zone with one record on each line, see [`Zone::add_line`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut zone = Self::new();
        for (number, line) in text.lines().enumerate() {
            zone.add_line(line)
                .map_err(|error| format!("line {}: {error}: {line}", number + 1))?;
        }
        Ok(zone)
    }

    /// Parses one line: `name TYPE value`, `name FAULT` or `name TYPE FAULT`, where FAULT
    /// is SERVFAIL, REFUSED, FORMERR, NOTIMP, SILENCE, TRUNCATED, WRONG-ID, WRONG-QUESTION,
    /// GARBAGE or NOISE; an IP address instead of the name stands for its reverse name. The
    /// strings of TXT are quoted and may contain `\"`, `\\` and `\DDD`; those too long for
    /// the DNS are split. A `;` starts a comment.
    pub fn add_line(&mut self, line: &str) -> Result<(), String> {
        let words = words(line)?;
        let words: Vec<&Word> = words.iter().collect();
        let [owner, rest @ ..] = words.as_slice() else {
            return Ok(());
        };
        let owner = match owner.as_str()?.parse() {
            Ok(ip) => reverse(ip),
            Err(_) => owner.bytes.clone(),
        };
        match rest {
            [only] => self.fault(owner, fault(only).ok_or("no fault")?),
            [rtype, value] if fault(value).is_some() => {
                self.fault_for(owner, rtype.as_str()?, fault(value).ok_or("no fault")?);
            }
            [rtype, values @ ..] => self.add(owner, data(rtype.as_str()?, values)?),
            [] => return Err("a name alone".to_owned()),
        }
        Ok(())
    }

    fn look_up(&self, question: &Query) -> Found {
        let mut answers = Vec::new();
        let mut at = key(&question.name);
        // The maximum number of aliases that a resolver follows; it also ends a loop.
        for _ in 0..16 {
            if let Some(fault) = self.fault_of(&at, question.query_type) {
                return Found::fault(fault);
            }
            let Some(records) = self.records.get(&at) else {
                match self.wildcard(&at) {
                    Some(data) => return self.synthesized(question, data, answers),
                    None => return self.absent(&at, answers),
                }
            };
            let wanted = |record: &&Record| record.record_type() == question.query_type;
            let before = answers.len();
            answers.extend(records.iter().filter(wanted).cloned());
            if answers.len() > before {
                return Found::records(answers);
            }
            let Some((alias, target)) = records.iter().find_map(as_alias) else {
                return self.absent(&at, answers);
            };
            answers.push(alias.clone());
            at = key(target);
        }
        Found::records(answers)
    }

    fn wildcard(&self, at: &Key) -> Option<&[RData]> {
        let mut ancestors = (0..at.len()).rev();
        ancestors.find_map(|labels| self.wildcards.get(&at[..labels]).map(Vec::as_slice))
    }

    fn synthesized(&self, question: &Query, data: &[RData], before: Vec<Record>) -> Found {
        let mut answers = before;
        let wanted = data
            .iter()
            .filter(|data| data.record_type() == question.query_type);
        let record =
            |data: &RData| Record::from_rdata(question.name.clone(), self.ttl, data.clone());
        answers.extend(wanted.map(record));
        Found {
            soa: answers.is_empty().then(|| self.soa()),
            ..Found::records(answers)
        }
    }

    fn fault_of(&self, at: &Key, rtype: RecordType) -> Option<Fault> {
        let fault = |rtype| self.faults.get(&(at.clone(), rtype)).copied();
        fault(None).or_else(|| fault(Some(rtype)))
    }

    fn absent(&self, at: &Key, aliases: Vec<Record>) -> Found {
        let exists = self.has_name_at_or_below(at);
        Found {
            code: Some(if exists {
                ResponseCode::NoError
            } else {
                ResponseCode::NXDomain
            }),
            answers: aliases,
            soa: Some(self.soa()),
            misbehaviour: None,
        }
    }

    /// A name without records exists if one below it does (RFC 8020).
    fn has_name_at_or_below(&self, at: &Key) -> bool {
        let mut names = self.records.range(at.clone()..).map(|(key, _)| key);
        let by_record = names.next().is_some_and(|key| key.starts_with(at));
        by_record || self.faults.keys().any(|(key, _)| key.starts_with(at))
    }

    fn soa(&self) -> Record {
        let ttl = i32::try_from(self.ttl).unwrap_or(i32::MAX);
        let (mname, rname) = (name("ns.invalid"), name("hostmaster.invalid"));
        let soa = rdata::SOA::new(mname, rname, 1, ttl, ttl, ttl, self.ttl);
        Record::from_rdata(Name::root(), self.ttl, RData::SOA(soa))
    }
}

struct Found {
    /// `None` for no answer.
    code: Option<ResponseCode>,
    answers: Vec<Record>,
    soa: Option<Record>,
    misbehaviour: Option<Misbehaviour>,
}

impl Found {
    fn records(answers: Vec<Record>) -> Self {
        Self {
            code: Some(ResponseCode::NoError),
            answers,
            soa: None,
            misbehaviour: None,
        }
    }

    fn fault(fault: Fault) -> Self {
        Self {
            code: match fault {
                Fault::ServFail => Some(ResponseCode::ServFail),
                Fault::Refused => Some(ResponseCode::Refused),
                Fault::Code(code) => Some(code),
                Fault::Silence | Fault::Misbehaviour(_) => None,
            },
            answers: Vec::new(),
            soa: None,
            misbehaviour: match fault {
                Fault::Misbehaviour(misbehaviour) => Some(misbehaviour),
                Fault::ServFail | Fault::Refused | Fault::Code(_) | Fault::Silence => None,
            },
        }
    }
}

fn as_alias(record: &Record) -> Option<(&Record, &Name)> {
    match &record.data {
        RData::CNAME(target) => Some((record, &target.0)),
        _ => None,
    }
}

/// Labels in lower case from the root down, so that the names below a name
/// follow it in order.
type Key = Vec<Vec<u8>>;

fn key(name: &Name) -> Key {
    name.iter().rev().map(<[u8]>::to_ascii_lowercase).collect()
}

fn name(dotted: impl AsRef<[u8]>) -> Name {
    let dotted = dotted.as_ref();
    let labels = dotted.strip_suffix(b".").unwrap_or(dotted);
    if labels.is_empty() {
        return Name::root();
    }
    Name::from_labels(labels.split(|&byte| byte == b'.'))
        .unwrap_or_else(|error| panic!("{}: {error}", dotted.escape_ascii()))
}

fn reverse(ip: IpAddr) -> Vec<u8> {
    Name::from(ip).to_ascii().into_bytes()
}

fn printable(name: &Name) -> String {
    let bytes = name.iter().collect::<Vec<_>>().join(&b'.');
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:03}")),
        }
    }
    text
}

/// A word of a zone file with its escapes decoded.
struct Word {
    bytes: Vec<u8>,
    quoted: bool,
}

impl Word {
    fn as_str(&self) -> Result<&str, String> {
        str::from_utf8(&self.bytes).map_err(|error| error.to_string())
    }
}

fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start().as_bytes();
    while let Some(&first) = rest.first().filter(|&&byte| byte != b';') {
        let quoted = first == b'"';
        let (bytes, after) = word(&rest[usize::from(quoted)..], quoted)?;
        words.push(Word { bytes, quoted });
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

/// Returns the bytes up to the closing quote or, unquoted, to the next space.
fn word(mut rest: &[u8], quoted: bool) -> Result<(Vec<u8>, &[u8]), String> {
    let mut bytes = Vec::new();
    loop {
        match rest {
            [b'"', after @ ..] if quoted => return Ok((bytes, after)),
            [] if quoted => return Err("a quote is not closed".to_owned()),
            [] | [b' ' | b'\t' | b';', ..] if !quoted => return Ok((bytes, rest)),
            [b'\\', a @ b'0'..=b'9', b, c, after @ ..] => {
                bytes.push((a - b'0') * 100 + (b - b'0') * 10 + (c - b'0'));
                rest = after;
            }
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                bytes.push(*byte);
                rest = after;
            }
            [] => return Err("nothing".to_owned()),
        }
    }
}

fn fault(word: &Word) -> Option<Fault> {
    match word.bytes.as_slice() {
        _ if word.quoted => None,
        b"SERVFAIL" => Some(Fault::ServFail),
        b"REFUSED" => Some(Fault::Refused),
        b"FORMERR" => Some(Fault::Code(ResponseCode::FormErr)),
        b"NOTIMP" => Some(Fault::Code(ResponseCode::NotImp)),
        b"SILENCE" => Some(Fault::Silence),
        b"TRUNCATED" => Some(Fault::Misbehaviour(Misbehaviour::Truncated)),
        b"WRONG-ID" => Some(Fault::Misbehaviour(Misbehaviour::WrongId)),
        b"WRONG-QUESTION" => Some(Fault::Misbehaviour(Misbehaviour::WrongQuestion)),
        b"GARBAGE" => Some(Fault::Misbehaviour(Misbehaviour::Garbage)),
        b"NOISE" => Some(Fault::Misbehaviour(Misbehaviour::Noise)),
        _ => None,
    }
}

fn data(rtype: &str, values: &[&Word]) -> Result<Data, String> {
    if rtype == "TXT" {
        let unquoted = values.iter().any(|value| !value.quoted);
        let pieces = values.iter().flat_map(|value| pieces(&value.bytes));
        return match unquoted {
            true => Err("the strings of TXT must be quoted".to_owned()),
            false => Ok(Data::Txt(pieces.collect())),
        };
    }
    let values: Vec<&str> = values
        .iter()
        .map(|v| v.as_str())
        .collect::<Result<_, _>>()?;
    match (rtype, values.as_slice()) {
        ("A", [ip]) => Ok(Data::A(parse(ip)?)),
        ("AAAA", [ip]) => Ok(Data::Aaaa(parse(ip)?)),
        ("MX", [preference, host]) => Ok(Data::Mx(parse(preference)?, (*host).to_owned())),
        ("PTR", [host]) => Ok(Data::Ptr((*host).to_owned())),
        ("CNAME", [host]) => Ok(Data::Cname((*host).to_owned())),
        _ => Err("a record of no known form".to_owned()),
    }
}

/// At least one string, each of at most 255 bytes (RFC 1035 section 3.3).
fn pieces(text: &[u8]) -> Vec<Vec<u8>> {
    match text {
        [] => vec![Vec::new()],
        text => text.chunks(255).map(<[u8]>::to_vec).collect(),
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}
