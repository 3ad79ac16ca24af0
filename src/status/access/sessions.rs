//! Sessions of browsers that have logged in.

use super::{
    Session,
    token::{Token, sha256},
};
use aws_lc_rs::{hmac, rand};
use axum::http::{HeaderMap, header};
use data_encoding::HEXLOWER;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The name of the cookie.
const COOKIE: &str = "sixgate_session";

/// The lifetime of a session.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The maximum number of sessions. A new one evicts the oldest.
const CAPACITY: usize = 256;

/// The value of the cookie: 256 random bits in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionId(String);

/// The open sessions, which end with the process.
pub(super) struct Sessions {
    /// By the hash of the ID, so that the time of a lookup reveals nothing about other IDs.
    open: Mutex<HashMap<[u8; 32], Open>>,
    csrf_key: hmac::Key,
}

struct Open {
    began: Instant,
    /// The token that opened the session. The session ends when the token changes.
    token: Token,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            open: Mutex::default(),
            csrf_key: hmac::Key::new(hmac::HMAC_SHA256, &random()),
        }
    }

    /// Opens a session.
    pub(super) fn open(&self, token: &Token) -> SessionId {
        let id = SessionId(HEXLOWER.encode(&random()));
        let mut open = self.lock();
        open.retain(|_, session| session.began.elapsed() < LIFETIME);
        if open.len() >= CAPACITY {
            let oldest = open.iter().min_by_key(|(_, session)| session.began);
            if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
                open.remove(&oldest);
            }
        }
        let session = Open {
            began: Instant::now(),
            token: token.clone(),
        };
        open.insert(id.hash(), session);
        id
    }

    /// Returns whether the session is open.
    pub(super) fn is_open(&self, id: &SessionId, token: &Token) -> bool {
        let is_valid =
            |session: &Open| session.began.elapsed() < LIFETIME && session.token == *token;
        self.lock().get(&id.hash()).is_some_and(is_valid)
    }

    /// Ends a session.
    pub(super) fn close(&self, id: &SessionId) {
        self.lock().remove(&id.hash());
    }

    /// Returns the token against cross-site request forgery. Another site can't read it, and it
    /// is not valid for any other session.
    pub(super) fn csrf(&self, session: &Session) -> String {
        let text = match session {
            Session::Cookie(id) => id.0.as_str(),
            Session::NotNeeded | Session::Bearer | Session::None => "",
        };
        HEXLOWER.encode(hmac::sign(&self.csrf_key, text.as_bytes()).as_ref())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionId {
    fn hash(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }

    /// Returns the cookie of a new session. After HTTPS, it is sent over HTTPS only.
    pub(super) fn cookie(&self, is_https: bool) -> String {
        let secure = if is_https { "; Secure" } else { "" };
        let id = &self.0;
        let seconds = LIFETIME.as_secs();
        format!("{COOKIE}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}")
    }

    /// Returns the cookie that removes the session's cookie.
    pub(super) fn removal() -> String {
        format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0")
    }
}

/// Returns the session ID of a request.
pub(super) fn presented(headers: &HeaderMap) -> Option<SessionId> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|cookies| cookies.to_str().ok());
    let mut cookies = cookies.flat_map(|cookies| cookies.split(';'));
    cookies.find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then(|| SessionId(value.to_owned()))
    })
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    #[expect(
        clippy::expect_used,
        reason = "AWS-LC never fails to give random bytes"
    )]
    rand::fill(&mut bytes).expect("random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::access::token::tests::token;

    #[test]
    fn sessions_are_bounded_and_the_oldest_gives_way() {
        let sessions = Sessions::new();
        let token = token("0123456789abcdef");
        let ids: Vec<_> = (0..=CAPACITY).map(|_| sessions.open(&token)).collect();
        assert_eq!(sessions.lock().len(), CAPACITY);
        assert!(!sessions.is_open(&ids[0], &token));
        assert!(ids[1..].iter().all(|id| sessions.is_open(id, &token)));
    }

    #[test]
    fn a_session_ends_with_the_logout_or_with_its_token() {
        let sessions = Sessions::new();
        let (old, new) = (token("0123456789abcdef"), token("fedcba9876543210"));
        let id = sessions.open(&old);
        assert!(sessions.is_open(&id, &old));
        assert!(!sessions.is_open(&id, &new));
        sessions.close(&id);
        assert!(!sessions.is_open(&id, &old));
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=b; c".parse().unwrap());
        assert_eq!(presented(&headers), None);
        headers.append(header::COOKIE, "x=1; sixgate_session=12".parse().unwrap());
        assert_eq!(presented(&headers), Some(SessionId("12".to_owned())));
    }
}
