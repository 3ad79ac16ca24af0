//! The pages: HTML made on the server, without external resources, usable without scripts.
//!
//! maud escapes every value. What peers chose was made printable ASCII when it was
//! recorded; what people typed passes through [`visible`].

mod chart;
mod check;
mod decisions;
mod opt_in;
mod overview;

use super::{
    State, Visitor, advice, document_head::document_head, parameters::BadRequest, visible::visible,
};
use axum::{
    Router,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/", get(overview::page))
        .route("/decisions", get(decisions::list))
        .route("/decisions/{number}", get(decisions::detail))
        .route("/check", check::routes())
        .route("/opt-in", get(opt_in::page))
        .route(advice::PATH, get(replies))
        .route(
            "/assets/style.css",
            file("text/css; charset=utf-8", include_str!("assets/style.css")),
        )
        .route(
            "/assets/refresh.js",
            file(
                "text/javascript; charset=utf-8",
                include_str!("assets/refresh.js"),
            ),
        )
        .route(
            "/assets/icon.svg",
            file("image/svg+xml", include_str!("assets/icon.svg")),
        )
}

fn file(media_type: &'static str, content: &'static str) -> MethodRouter<State> {
    get(async move || ([(header::CONTENT_TYPE, media_type)], content))
}

/// The pages that the navigation leads to.
const PAGES: [(&str, &str); 4] = [
    ("/", "Overview"),
    ("/decisions", "Decisions"),
    ("/check", "Check"),
    ("/opt-in", "Opt-in"),
];

/// A whole page. `path` is that of the page in the navigation that it belongs to.
pub(super) fn layout(visitor: &Visitor, path: &str, title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (document_head(title))
                script src="/assets/refresh.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    p.name { "sixgate" }
                    nav aria-label="Pages" {
                        ul {
                            @for (to, name) in PAGES {
                                li {
                                    a href=(to) aria-current=[(to == path).then_some("page")] { (name) }
                                }
                            }
                        }
                    }
                    @if let Some(form) = visitor.csrf.logout_form() { (form) }
                }
                main id="main" tabindex="-1" {
                    h1 { (title) }
                    (content)
                }
                footer {
                    p {
                        "sixgate " (env!("CARGO_PKG_VERSION")) ". This page only shows: nothing can be changed here. "
                        a href="/api/v1/openapi.json" { "API" }
                    }
                }
            }
        }
    }
}

/// Returns a page that says what is wrong with a request.
pub(super) fn error(
    visitor: &Visitor,
    path: &str,
    status: StatusCode,
    title: &str,
    text: &str,
) -> Response {
    let content = html! {
        p.error role="alert" { (visible(text)) }
    };
    (status, layout(visitor, path, title, &content)).into_response()
}

/// Returns the page for a client that has a check in progress, or while there are too many.
fn busy(visitor: &Visitor, path: &str) -> Response {
    let text = "A check of yours, or too many of others, are in progress. Try again in a moment.";
    let response = error(visitor, path, StatusCode::TOO_MANY_REQUESTS, "Busy", text);
    ([(header::RETRY_AFTER, "5")], response).into_response()
}

/// Returns the page for a request that could not be read, with the text of axum.
fn unreadable(visitor: &Visitor, path: &str, status: StatusCode, text: &str) -> Response {
    error(visitor, path, status, "This request can't be read", text)
}

fn bad_request(visitor: &Visitor, path: &str, error: &BadRequest) -> Response {
    let status = StatusCode::BAD_REQUEST;
    let title = "This request is not understood";
    self::error(visitor, path, status, title, &error.to_string())
}

/// The answer to a path that does not exist.
pub(super) fn not_found(visitor: &Visitor, uri: &Uri) -> Response {
    let text = format!("There is no page {}.", uri.path());
    error(visitor, "", StatusCode::NOT_FOUND, "Not found", &text)
}

async fn replies(visitor: Visitor) -> Markup {
    let content = html! {
        div.replies { (PreEscaped(advice::page())) }
    };
    layout(&visitor, "", advice::TITLE, &content)
}

/// A text that is missing is shown as a dash, which a screen reader says as a word.
fn or_dash(text: Option<&str>) -> Markup {
    html! {
        @match text {
            Some(text) => (text),
            None => span.faint aria-label="none" role="img" { "-" },
        }
    }
}
