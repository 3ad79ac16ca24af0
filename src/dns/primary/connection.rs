//! A TCP connection to the primary server: sends signed messages and verifies the
//! answers.

use super::{Primary, PrimaryError, TsigKey, check};
use hickory_proto::{op::Message, rr::rdata::tsig::signed_bitmessage_to_buf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// An open connection.
pub struct Connection {
    pub(super) primary: Primary,
    stream: BufReader<TcpStream>,
}

/// The maximum number of consecutive messages without a signature (RFC 8945 section
/// 5.3.1).
const MAX_UNSIGNED: usize = 99;

impl Primary {
    /// Connects to the server.
    ///
    /// # Errors
    /// Fails if the server can't be reached within the timeout.
    pub async fn connect(&self) -> Result<Connection, PrimaryError> {
        let address = self.server.socket_addr()?;
        let stream = within(self.timeout, TcpStream::connect(address)).await?;
        // Each request is one write, followed by waiting for the answer.
        stream.set_nodelay(true)?;
        Ok(Connection {
            primary: self.clone(),
            stream: BufReader::with_capacity(1 << 16, stream),
        })
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<T, PrimaryError> {
    match timeout(limit, work).await {
        Ok(done) => Ok(done?),
        Err(_elapsed) => {
            let seconds = limit.as_secs_f32();
            let complaint = format!("it did not answer within {seconds} s");
            Err(PrimaryError::Unreachable(complaint))
        }
    }
}

impl Connection {
    /// Sends several messages in one write.
    pub(super) async fn send(&mut self, messages: &[Message]) -> Result<(), PrimaryError> {
        let mut bytes = Vec::new();
        for message in messages {
            let message = message.to_vec()?;
            let length = u16::try_from(message.len());
            let length =
                length.map_err(|_| PrimaryError::Broken("a message is too long".into()))?;
            bytes.extend(length.to_be_bytes());
            bytes.extend(message);
        }
        within(self.primary.timeout, self.stream.write_all(&bytes)).await
    }

    /// Signs and sends a message. Returns the state for verifying the answer.
    pub(super) async fn send_signed(
        &mut self,
        mut message: Message,
    ) -> Result<Verification, PrimaryError> {
        let key = self.primary.key.clone();
        message.finalize(&key.signer, now())?;
        let mac = message.signature().map(|tsig| tsig.data.mac.clone());
        let verification = Verification {
            id: message.id,
            key,
            previous_mac: mac.unwrap_or_default(),
            unsigned: Vec::new(),
            unsigned_messages: 0,
            is_first: true,
        };
        self.send(&[message]).await?;
        Ok(verification)
    }

    /// Receives a message.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>, PrimaryError> {
        let stream = &mut self.stream;
        let read = async {
            let length = stream.read_u16().await?;
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await?;
            Ok(bytes)
        };
        within(self.primary.timeout, read).await
    }

    /// Receives an answer and verifies it. An unsigned message counts only once a later
    /// signature covers it ([`Verification::is_complete`]).
    pub(super) async fn receive_signed(
        &mut self,
        verification: &mut Verification,
        tried: &str,
    ) -> Result<Message, PrimaryError> {
        let bytes = self.receive().await?;
        let message = parse(&bytes)?;
        if message.id != verification.id {
            return Err(PrimaryError::Broken("the answer has another ID".into()));
        }
        // A refusal may be unsigned; believing it does no harm.
        check(&message, &self.primary.key, tried)?;
        verification.verify(&bytes, &message)?;
        Ok(message)
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Message, PrimaryError> {
    Message::from_vec(bytes)
        .map_err(|error| PrimaryError::Broken(format!("the answer can't be read: {error}")))
}

/// Verifies the signatures of the answers to a request (RFC 8945 section 5.3.1).
pub(super) struct Verification {
    id: u16,
    key: TsigKey,
    previous_mac: Vec<u8>,
    /// Messages since the last signature.
    unsigned: Vec<u8>,
    unsigned_messages: usize,
    is_first: bool,
}

impl Verification {
    /// Returns whether a signature covers everything received.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_first && self.unsigned.is_empty()
    }

    fn verify(&mut self, bytes: &[u8], message: &Message) -> Result<(), PrimaryError> {
        let wrong = |why: &str| PrimaryError::Broken(format!("the answer is not trusted: {why}"));
        let signer = &self.key.signer;
        let Some(tsig) = message.signature() else {
            if self.is_first || self.unsigned_messages == MAX_UNSIGNED {
                return Err(wrong("it is not signed"));
            }
            self.unsigned.extend(bytes);
            self.unsigned_messages += 1;
            return Ok(());
        };
        if tsig.name != *signer.signer_name() || tsig.data.algorithm != *signer.algorithm() {
            return Err(wrong("it is signed with another key"));
        }
        let (signed, _) = signed_bitmessage_to_buf(bytes, None, self.is_first)?;
        let length = u16::try_from(self.previous_mac.len()).unwrap_or_default();
        let mut whole = length.to_be_bytes().to_vec();
        whole.extend(&self.previous_mac);
        whole.extend(&self.unsigned);
        whole.extend(signed);
        let verified = signer.verify(&whole, &tsig.data.mac);
        verified.map_err(|_| wrong("its signature is wrong"))?;
        if now().abs_diff(tsig.data.time) > u64::from(tsig.data.fudge) {
            return Err(wrong("its signature is too old"));
        }
        self.previous_mac.clone_from(&tsig.data.mac);
        self.unsigned.clear();
        self.unsigned_messages = 0;
        self.is_first = false;
        Ok(())
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
