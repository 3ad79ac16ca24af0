//! Who may see the status page.

use crate::{
    config::{Config, ConfigError},
    password_file,
    server::http::Peer,
};
use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use std::path::Path;
use tokio::sync::watch;

/// The shortest token, in characters. 16 random ones of base64 are 96 bits.
const MIN_TOKEN: usize = 16;

/// Who may see the page, as the configuration says.
#[derive(Clone, Debug)]
pub struct Access {
    token: Option<Token>,
}

/// The SHA-256 of the token, so that comparing takes the same time for every length.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token([u8; 32]);

impl Access {
    /// Reads the token. `file` is that of the configuration.
    ///
    /// # Errors
    /// When the file of the token can't be read, or the token is too short.
    pub fn open(file: &Path, config: &Config) -> Result<Self, ConfigError> {
        let token_file = config.status.token_file.as_deref();
        let token = match token_file.filter(|_| config.status.is_on()) {
            Some(token_file) => Some(Token::read(token_file).map_err(|complaint| {
                Config::section_error(file, "status", "token_file", &complaint)
            })?),
            None => None,
        };
        Ok(Self { token })
    }

    /// Whether clients have to present a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

impl Token {
    fn read(file: &Path) -> Result<Self, String> {
        let token = password_file::read_blocking(file, "token")?;
        let token = token.trim();
        match token.chars().count() {
            0..MIN_TOKEN => Err(format!(
                "the token in {} is shorter than {MIN_TOKEN} characters; make one with openssl \
                 rand -hex 32",
                file.display()
            )),
            _ => Ok(Self::of(token)),
        }
    }

    fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    fn is(&self, presented: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(presented).0).is_ok()
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client(#[expect(dead_code, reason = "for the log")] pub(super) Peer);

/// The token against cross-site request forgery of one client. Handlers get it as
/// `Extension<Csrf>`, put [`Csrf::token`] into each form as the hidden field `csrf`, and
/// refuse what [`Csrf::is`] denies.
#[derive(Clone, Debug)]
pub struct Csrf(String);

impl Csrf {
    /// The name of the form field.
    pub const FIELD: &'static str = "csrf";

    /// The value of the form field.
    pub fn token(&self) -> &str {
        &self.0
    }

    /// Whether a form has the right value.
    pub fn is(&self, presented: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), presented.as_bytes()).is_ok()
    }
}

/// Lets only those in who may.
pub(super) fn guard<S>(routes: Router<S>, access: watch::Receiver<Access>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    routes.layer(middleware::from_fn(move |request: Request, next: Next| {
        let access = access.borrow().clone();
        async move { check(&access, request, next).await }
    }))
}

async fn check(access: &Access, mut request: Request, next: Next) -> Response {
    if let Some(token) = &access.token {
        let presented = request.headers().get(AUTHORIZATION);
        let presented = presented.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if !presented.is_some_and(|presented| token.is(presented)) {
            return (StatusCode::UNAUTHORIZED, "a token is needed\n").into_response();
        }
    }
    request.extensions_mut().insert(Csrf(String::new()));
    next.run(request).await
}
