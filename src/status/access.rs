//! Access control of the status page, and the headers that restrict browsers.
//!
//! Every request passes [`guard`] before any page or API sees it. It checks the host name,
//! requests from other sites, sizes, and the token, in this order.

mod failures;
mod login;
mod origin;
mod sessions;
mod token;

pub use token::Access;

use super::api::Problem;
use crate::{
    server::http::Peer,
    telemetry::{log::Limit, metrics},
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{self, HeaderName},
    },
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
};
use failures::Failures;
use http_body_util::Limited;
use login::Login;
use maud::Markup;
use sessions::{SessionId, Sessions};
use std::{fmt, sync::Arc};
use tokio::sync::{Semaphore, watch};

/// The paths that need no token: style and script of the login page.
pub(super) const PUBLIC: &str = "/assets/";

/// The maximum size of a message that is checked.
pub(super) const MAX_MESSAGE: usize = 10 << 20;

/// The maximum size of a request body with a message. A form has other fields, too.
const MAX_LARGE_BODY: usize = MAX_MESSAGE + (1 << 20);

/// The maximum size of other request bodies.
const MAX_BODY: usize = 64 << 10;

/// The paths that accept messages.
const LARGE_BODIES: [&str; 2] = ["/check", "/api/v1/explain"];

/// The maximum number of large bodies in memory.
const MAX_LARGE_BODIES: usize = 2;

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
     connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; \
     base-uri 'none'";

/// The header fields of every response.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

static WRONG_TOKENS: Limit = Limit::warnings();
static SLOWED_DOWN: Limit = Limit::same_text();

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client(pub(super) Peer);

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "[{address}]"),
            None => f.write_str("a unix socket"),
        }
    }
}

/// The token of one client against cross-site request forgery. Handlers put
/// [`Csrf::token`] into each form as the hidden field [`Csrf::FIELD`], and refuse a form for
/// which [`Csrf::is`] is false.
#[derive(Clone, Debug)]
pub struct Csrf {
    token: String,
    has_session: bool,
}

impl Csrf {
    /// The name of the form field.
    pub const FIELD: &'static str = "csrf";

    /// Returns the value of the form field.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns whether a form has the right value.
    pub fn is(&self, presented: &str) -> bool {
        verify_slices_are_equal(self.token.as_bytes(), presented.as_bytes()).is_ok()
    }

    /// Returns the form to log out, if the client has logged in.
    pub fn logout_form(&self) -> Option<Markup> {
        self.has_session.then(|| login::logout_form(self))
    }

    /// Returns whether the client has logged in, and so can log out by POST to `/logout`.
    pub fn has_session(&self) -> bool {
        self.has_session
    }
}

/// Adds the checks of this module before all routes.
pub(super) fn guard<S>(routes: Router<S>, access: watch::Receiver<Access>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let guard = Arc::new(Guard {
        access,
        sessions: Sessions::new(),
        failures: Failures::default(),
        large_bodies: Semaphore::new(MAX_LARGE_BODIES),
    });
    let login = Login::routes(Arc::clone(&guard));
    let check = move |request: Request, next: Next| {
        let guard = Arc::clone(&guard);
        async move {
            let is_api = request.uri().path().starts_with("/api/");
            let answered = guard.answer(request, next).await;
            confine(answered.unwrap_or_else(|refusal| refusal.into_response(is_api)))
        }
    };
    routes
        .merge(login)
        // The guard limits bodies by path.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(check))
}

struct Guard {
    access: watch::Receiver<Access>,
    sessions: Sessions,
    failures: Failures,
    large_bodies: Semaphore,
}

impl Guard {
    async fn answer(&self, request: Request, next: Next) -> Result<Response, Refusal> {
        let access = self.access.borrow().clone();
        let headers = request.headers();
        let host = origin::host(&request)?;
        origin::check_host(&host, access.host_names())?;
        origin::check_site(&request, &host, access.host_names())?;

        let limit = match LARGE_BODIES.contains(&request.uri().path()) {
            true => MAX_LARGE_BODY,
            false => MAX_BODY,
        };
        let length = content_length(headers);
        if length.is_some_and(|length| length > limit) {
            return Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request is larger than {limit} bytes"),
            ));
        }

        let client = request.extensions().get::<Client>().copied();
        let client = client.unwrap_or(Client(None));
        let session = self.session(&access, headers, client)?;
        if session == Session::None && !is_public(request.uri().path()) {
            return self.log_in_first(&request);
        }
        let csrf = Csrf {
            token: self.sessions.csrf(&session),
            has_session: matches!(session, Session::Cookie(_)),
        };

        let is_large = limit > MAX_BODY
            && request.method() == Method::POST
            && length.is_none_or(|n| n > MAX_BODY);
        let _permit = match is_large {
            true => Some(self.large_bodies.try_acquire().map_err(|_none_left| {
                Refusal::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "other messages are being checked; try again in a few seconds",
                )
            })?),
            false => None,
        };
        let mut request = request.map(|body| Body::new(Limited::new(body, limit)));
        request.extensions_mut().insert(csrf);
        request.extensions_mut().insert(client);
        Ok(next.run(request).await)
    }

    /// What lets the client in.
    fn session(
        &self,
        access: &Access,
        headers: &HeaderMap,
        client: Client,
    ) -> Result<Session, Refusal> {
        let Some(token) = access.token() else {
            return Ok(Session::NotNeeded);
        };
        if let Some(authorization) = headers.get(header::AUTHORIZATION) {
            let presented = authorization.to_str().ok().and_then(bearer);
            return match self.is_token(token, presented.unwrap_or_default(), client)? {
                true => Ok(Session::Bearer),
                false => Err(Refusal::new(StatusCode::UNAUTHORIZED, "the token is wrong")),
            };
        }
        let id = sessions::presented(headers).filter(|id| self.sessions.is_open(id, token));
        Ok(id.map_or(Session::None, Session::Cookie))
    }

    /// Compares a token that a client presents. Clients that have failed before have to
    /// wait, whatever they present.
    fn is_token(
        &self,
        token: &token::Token,
        presented: &str,
        client: Client,
    ) -> Result<bool, Refusal> {
        if let Some(wait) = self.failures.wait(client.0) {
            SLOWED_DOWN.log(format_args!(
                "status page: {client} has presented wrong tokens and has to wait"
            ));
            let seconds = wait.as_secs() + 1;
            return Err(Refusal {
                retry_after: Some(seconds),
                ..Refusal::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    format!("too many wrong tokens; try again in {seconds} s"),
                )
            });
        }
        let is_right = token.is(presented);
        match is_right {
            true => self.failures.forget(client.0),
            false => {
                metrics::get().status_login_failures.inc();
                self.failures.record(client.0);
                WRONG_TOKENS.log(format_args!("status page: wrong token from {client}"));
            }
        }
        Ok(is_right)
    }

    fn log_in_first(&self, request: &Request) -> Result<Response, Refusal> {
        let is_page = !request.uri().path().starts_with("/api/");
        match is_page && request.method() != Method::POST {
            true => Ok(Redirect::to(&login::location(request.uri())).into_response()),
            false => Err(Refusal::new(StatusCode::UNAUTHORIZED, "a token is needed")),
        }
    }
}

/// Why a client is let in, or that it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Session {
    /// No token is configured.
    NotNeeded,
    /// It presents the token with each request.
    Bearer,
    /// It has logged in.
    Cookie(SessionId),
    /// It has neither token nor session.
    None,
}

fn is_public(path: &str) -> bool {
    path == login::PATH || path.starts_with(PUBLIC)
}

/// RFC 9110 section 11.1: the scheme is case-insensitive.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim_start())
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    // hyper has read it already, so it is a number.
    length.to_str().ok()?.parse().ok()
}

fn confine(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    reason: String,
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            retry_after: None,
        }
    }

    fn into_response(self, is_api: bool) -> Response {
        let mut response = match is_api {
            true => Problem::new(self.status, self.reason).into_response(),
            false => format!("{}\n", self.reason).into_response(),
        };
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"sixgate\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
