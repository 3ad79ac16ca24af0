//! The opt-in page: whether a domain accepts mail over IPv6, and which source decides.

use super::{bad_request, busy, error, layout};
use crate::status::{
    State, Visitor,
    domain_verdict::{self, Verdict, VerdictError},
    parameters::{Pairs, Parameters},
    visible::visible,
};
use axum::{
    extract::{self, Query},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};

const PATH: &str = "/opt-in";

pub(super) async fn page(
    extract::State(state): extract::State<State>,
    visitor: Visitor,
    Query(pairs): Query<Pairs>,
) -> Response {
    let parameters = Parameters::new(pairs, &["domain"]);
    let domain = match parameters
        .as_ref()
        .map(|parameters| parameters.get("domain"))
    {
        Ok(Ok(domain)) => domain,
        Ok(Err(wrong)) => return bad_request(&visitor, PATH, &wrong),
        Err(wrong) => return bad_request(&visitor, PATH, wrong),
    };
    let (status, result) = match domain {
        None => (StatusCode::OK, html! {}),
        Some(text) => match domain_verdict::look_up(&state, text, visitor.address).await {
            Ok(found) => (StatusCode::OK, verdict(&found)),
            Err(VerdictError::NoDomain(why)) => (
                StatusCode::BAD_REQUEST,
                html! { p.error role="alert" { (visible(text)) " is not a domain: " (why) } },
            ),
            Err(VerdictError::Busy) => return busy(&visitor, PATH),
            Err(VerdictError::Failed) => {
                let text = "Asking has failed: a defect, see the log.";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return error(&visitor, PATH, status, "No result", text);
            }
        },
    };
    let content = html! {
        p { "Whether a recipient's domain takes mail over IPv6, and which source says so." }
        form.fields method="get" action=(PATH) {
            div {
                label for="domain" { "Domain" }
                input id="domain" name="domain" required maxlength="255" value=(visible(domain.unwrap_or_default())) autocomplete="off" spellcheck="false";
            }
            div { button type="submit" { "Look up" } }
        }
        (result)
    };
    (status, layout(&visitor, PATH, "Opt-in", &content)).into_response()
}

fn verdict(found: &Verdict) -> Markup {
    let class = match found.verdict {
        "yes" => "ok",
        "no" => "problem",
        _ => "warning",
    };
    html! {
        section aria-labelledby="answer" role="status" {
            h2 #answer { (found.domain) }
            dl {
                dt { "Takes mail over IPv6" } dd { span class=(class) { (found.verdict) } }
                dt { "Source" } dd { (found.source) }
                @if let Some(entry) = &found.entry { dt { "Entry" } dd { (entry) } }
                @if let Some(file) = &found.file {
                    dt { "File" }
                    dd { (visible(file)) @if let Some(line) = found.line { ", line " (line) } }
                }
                dt { "Why" } dd { (visible(&found.reason)) }
            }
            p { a href={ "/api/v1/opt-in/" (found.domain) } { "This answer as JSON" } }
        }
        p {
            "To change it: " code { "sixgate opt-in add " (found.domain) } " or "
            code { "sixgate opt-in deny " (found.domain) } " on the host."
        }
    }
}
