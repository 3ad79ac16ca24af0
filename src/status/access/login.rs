//! The login form, and logout.

use super::{
    Client, Csrf, Guard, Refusal, origin,
    sessions::{self, SessionId},
};
use crate::status::document_head::document_head;
use axum::{
    Extension, Form, Router,
    extract::Query,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use maud::{DOCTYPE, Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::sync::Arc;

/// The path of the form.
pub(super) const PATH: &str = "/login";

pub(super) struct Login;

/// The requested page, which is opened after the login.
#[derive(Default, Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    token: String,
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct LogoutFields {
    #[serde(default)]
    csrf: String,
}

/// Returns the location of the login form for a client that has not logged in.
pub(super) fn location(uri: &Uri) -> String {
    let next = uri.path_and_query().map_or("/", |next| next.as_str());
    match next {
        "/" => PATH.to_owned(),
        next => format!(
            "{PATH}?next={}",
            utf8_percent_encode(next, NON_ALPHANUMERIC)
        ),
    }
}

/// Returns `next` if it is a path of this site, otherwise `/`. Browsers interpret `//host` and
/// `/\host` as another site.
fn local(next: &str) -> &str {
    let is_local = next.starts_with('/')
        && !next[1..].starts_with(['/', '\\'])
        && next.bytes().all(|byte| byte.is_ascii_graphic());
    if is_local { next } else { "/" }
}

impl Login {
    pub(super) fn routes<S>(guard: Arc<Guard>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let form = |Extension(csrf): Extension<Csrf>, Query(Next { next }): Query<Next>| async move {
            match csrf.has_session() {
                true => Redirect::to(local(&next)).into_response(),
                false => page(&csrf, local(&next), None).into_response(),
            }
        };
        let at_login = Arc::clone(&guard);
        let log_in = |Extension(csrf): Extension<Csrf>,
                      Extension(client): Extension<Client>,
                      headers: HeaderMap,
                      Form(fields): Form<Fields>| async move {
            log_in(&at_login, &csrf, client, &headers, &fields)
        };
        let log_out = |Extension(csrf): Extension<Csrf>,
                       headers: HeaderMap,
                       Form(fields): Form<LogoutFields>| async move {
            if !csrf.is(&fields.csrf) {
                return expired();
            }
            if let Some(id) = sessions::presented(&headers) {
                guard.sessions.close(&id);
            }
            with_cookie(Redirect::to(PATH).into_response(), &SessionId::removal())
        };
        Router::new()
            .route(PATH, get(form).post(log_in))
            .route("/logout", post(log_out))
    }
}

fn log_in(
    guard: &Guard,
    csrf: &Csrf,
    client: Client,
    headers: &HeaderMap,
    fields: &Fields,
) -> Response {
    if !csrf.is(&fields.csrf) {
        return expired();
    }
    let next = local(&fields.next);
    let access = guard.access.borrow().clone();
    let Some(token) = access.token() else {
        return Redirect::to(next).into_response();
    };
    match guard.is_token(token, &fields.token, client) {
        Ok(true) => {
            tracing::info!("status page: login from {client}");
            let id = guard.sessions.open(token);
            let cookie = id.cookie(origin::is_https(headers));
            with_cookie(Redirect::to(next).into_response(), &cookie)
        }
        Ok(false) => {
            let page = page(csrf, next, Some("This is not the token."));
            (StatusCode::UNAUTHORIZED, page).into_response()
        }
        Err(refusal) => {
            let message = format!("Please wait: {}.", refusal.reason);
            let page = page(csrf, next, Some(&message));
            let mut response = (refusal.status, page).into_response();
            if let Some(seconds) = refusal.retry_after {
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
    }
}

fn expired() -> Response {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "the form has expired; go back, reload the page and try again",
    )
    .into_response(false)
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Returns the logout form, which is on every page.
pub(super) fn logout_form(csrf: &Csrf) -> Markup {
    html! {
        form .logout method="post" action="/logout" {
            input type="hidden" name=(Csrf::FIELD) value=(csrf.token());
            button type="submit" { "Log out" }
        }
    }
}

fn page(csrf: &Csrf, next: &str, error: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { (document_head("Log in")) }
            body {
                main {
                    h1 { "sixgate" }
                    form method="post" action=(PATH) {
                        input type="hidden" name=(Csrf::FIELD) value=(csrf.token());
                        input type="hidden" name="next" value=(next);
                        @if let Some(error) = error {
                            p #login-error role="alert" { (error) }
                        }
                        // For password managers.
                        input type="text" name="username" value="sixgate" autocomplete="username" hidden;
                        p {
                            label for="token" { "Token" }
                            input #token type="password" name="token" required autofocus
                                autocomplete="current-password"
                                aria-describedby=[error.map(|_| "login-error")];
                        }
                        p { button type="submit" { "Log in" } }
                        p { "It is in the file that " code { "status.token_file" } " names." }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_login_no_other_site_follows() {
        let table = [
            ("/decisions?rule=no-ptr", "/decisions?rule=no-ptr"),
            ("/", "/"),
            ("", "/"),
            ("//example.org", "/"),
            ("/\\example.org", "/"),
            ("https://example.org/", "/"),
            ("javascript:alert(1)", "/"),
            ("/\t/example.org", "/"),
            ("/\r\nSet-Cookie: a=b", "/"),
        ];
        for (next, want) in table {
            assert_eq!(local(next), want, "{next:?}");
        }
    }
}
