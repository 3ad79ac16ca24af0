//! The list of decisions with its filters, and the page of one decision.

use super::{bad_request, error, layout, or_dash, overview::time, unreadable};
use crate::{
    policy::{Ptr, Rule, Stage},
    status::{
        State, Visitor, advice,
        history::{Entry, Page},
        parameters::Pairs,
        selection::Selection,
        visible::visible,
    },
    telemetry::Action,
};
use axum::{
    extract::{self, Path, Query, rejection::PathRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, PreEscaped, html};

const PATH: &str = "/decisions";

/// Decisions on one page.
const SIZE: usize = 50;

pub(super) async fn list(
    extract::State(state): extract::State<State>,
    visitor: Visitor,
    Query(pairs): Query<Pairs>,
) -> Response {
    let selection = match Selection::new(pairs) {
        Ok(selection) => selection,
        Err(error) => return bad_request(&visitor, PATH, &error),
    };
    let history = &state.0.history;
    if history.capacity() == 0 {
        let content = html! {
            p.notice { "No decisions are kept: " code { "status.history" } " is 0." }
        };
        return layout(&visitor, PATH, "Decisions", &content).into_response();
    }
    let size = selection.limit.unwrap_or(SIZE);
    let page = history.search(&selection.filter, selection.before, size);
    let content = html! {
        (filters(&selection))
        (table(&selection, &page))
    };
    layout(&visitor, PATH, "Decisions", &content).into_response()
}

fn filters(selection: &Selection) -> Markup {
    let given = |name| selection.given(name);
    html! {
        form.fields method="get" action=(PATH) role="search" aria-label="Filter decisions" {
            div {
                label for="action" { "Action" }
                select id="action" name="action" {
                    option value="" { "any" }
                    @for action in Action::ALL {
                        option value=(action) selected[given("action") == action.name()] { (action) }
                    }
                }
            }
            div {
                label for="rule" { "Rule" }
                select id="rule" name="rule" {
                    option value="" { "any" }
                    @for rule in Rule::ALL {
                        option value=(rule) selected[given("rule") == rule.name()] { (rule) }
                    }
                }
            }
            @for (name, label, hint) in [
                ("client", "Client", "address, network or host name"),
                ("sender_domain", "Sender's domain", "and those below it"),
                ("recipient_domain", "Recipient's domain", "and those below it"),
                ("queue_id", "Queue id", "as in the mail log"),
            ] {
                div {
                    label for=(name) { (label) " " span.hint { (hint) } }
                    input id=(name) name=(name) value=(visible(given(name))) maxlength="255" autocomplete="off" spellcheck="false";
                }
            }
            div { button type="submit" { "Filter" } }
            @if !selection.is_empty() {
                p { a href=(PATH) { "Show all" } }
            }
        }
    }
}

fn table(selection: &Selection, page: &Page) -> Markup {
    html! {
        @if page.entries.is_empty() {
            p role="status" { "No decision that is kept meets these conditions." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Decisions" {
                table {
                    caption { "The newest first" }
                    thead {
                        tr {
                            th scope="col" { "Time" }
                            th scope="col" { "Action" }
                            th scope="col" { "Rule" }
                            th scope="col" { "Client" }
                            th scope="col" { "Sender" }
                            th scope="col" { "Recipient" }
                            th scope="col" { "Queue id" }
                        }
                    }
                    tbody {
                        @for entry in &page.entries {
                            tr {
                                td.time { a href={ (PATH) "/" (entry.number) } { (time(entry.time)) } }
                                td { (action(entry)) }
                                td { (entry.rule) }
                                td { (client(entry)) }
                                td { (sender(entry)) }
                                td { (recipients(entry)) }
                                td { (or_dash(entry.queue_id())) }
                            }
                        }
                    }
                }
            }
        }
        @if selection.before.is_some() || page.next.is_some() {
            nav.pages aria-label="Older and newer decisions" {
                @if selection.before.is_some() {
                    a href=(place(selection, None)) { "Newest" }
                }
                @if let Some(next) = page.next {
                    a href=(place(selection, Some(next))) rel="next" { "Older" }
                }
            }
        }
    }
}

/// The same filters at another place.
fn place(selection: &Selection, before: Option<u64>) -> String {
    let parameters = selection.for_page(before);
    let parameters: Vec<_> = parameters.iter().map(|(n, v)| (*n, v.as_str())).collect();
    link(PATH, &parameters)
}

fn action(entry: &Entry) -> Markup {
    html! {
        span class=(entry.action) { (entry.action) }
        @if entry.observed_by.is_some() { " " span.faint { "(observed)" } }
    }
}

fn client(entry: &Entry) -> Markup {
    html! {
        (entry.client)
        @if let Some(name) = entry.client_name().filter(|name| *name != "unknown") {
            br;
            span.faint { (name) }
        }
    }
}

fn sender(entry: &Entry) -> Markup {
    html! {
        @match (entry.sender(), has_envelope(entry)) {
            ("", false) => (or_dash(None)),
            ("", true) => "<>",
            (sender, _) => (sender),
        }
    }
}

/// Whether sender and recipients are known: not of mail that is not checked.
fn has_envelope(entry: &Entry) -> bool {
    entry.recipients > 0 || entry.recipient().is_some()
}

fn recipients(entry: &Entry) -> Markup {
    let domains: Vec<&str> = entry.recipient_domains().collect();
    html! {
        @match entry.recipient() {
            Some(recipient) => (recipient),
            None => {
                @if domains.is_empty() { (or_dash(None)) }
                (domains.join(", "))
                @if entry.more_recipient_domains { ", ..." }
            }
        }
    }
}

pub(super) async fn detail(
    extract::State(state): extract::State<State>,
    visitor: Visitor,
    number: Result<Path<String>, PathRejection>,
) -> Response {
    let Path(number) = match number {
        Ok(number) => number,
        Err(wrong) => return unreadable(&visitor, PATH, wrong.status(), &wrong.body_text()),
    };
    let found = number
        .parse()
        .ok()
        .and_then(|number| state.0.history.get(number));
    let Some(entry) = found else {
        let text = "There is no such decision, or newer ones have taken its place.";
        return error(
            &visitor,
            PATH,
            StatusCode::NOT_FOUND,
            "Decision not found",
            text,
        );
    };
    let content = html! {
        p { (summary(&entry)) }
        @if entry.is_cut() {
            p.notice { "Something was too long to keep and is cut off (" code { "..." } ")." }
        }
        div.columns {
            section aria-labelledby="decision" {
                h2 #decision { "Decision" }
                (decision(&entry))
            }
            section aria-labelledby="message" {
                h2 #message { "Message" }
                (message(&entry))
            }
            section aria-labelledby="found" {
                h2 #found { "What was found" }
                (findings(&entry))
            }
        }
        section aria-labelledby="links" {
            h2 #links { "See also" }
            ul {
                @if let Some(ip) = entry.client.ip() {
                    li { a href={ (PATH) "?client=" (ip) } { "Decisions about " (ip) } }
                }
                @if let Some(domain) = entry.sender_domain() {
                    li { a href=(link(PATH, &[("sender_domain", domain)])) { "Decisions about mail from " (domain) } }
                }
                @if entry.client.ip().is_some() && has_envelope(&entry) {
                    li { a href=(check_link(&entry)) { "Check this sender now" } }
                }
                @for domain in entry.recipient_domains() {
                    li { a href=(link("/opt-in", &[("domain", domain)])) { "Opt-in of " (domain) } }
                }
                li { a href={ "/api/v1/decisions/" (entry.number) } { "This decision as JSON" } }
            }
        }
        @if entry.action != Action::Accept {
            @if let Some(section) = advice::section(entry.rule) {
                section.replies aria-label="What the sender should do" {
                    p.notice { "For the sender: what follows is the page " a href=(advice::PATH) { (advice::TITLE) } }
                    (PreEscaped(section))
                }
            }
        }
    };
    layout(&visitor, PATH, "Decision", &content).into_response()
}

/// What happened, as a sentence.
fn summary(entry: &Entry) -> Markup {
    let what = match entry.recipient() {
        Some(_) => "The recipient",
        None if entry.stage == Stage::Connect => "The connection",
        None => "The message",
    };
    let outcome = match (entry.action, entry.is_refused) {
        (Action::Accept, _) => "was accepted",
        (Action::Defer, true) => "was deferred",
        (Action::Reject, true) => "was rejected",
        (Action::Defer, false) => "would have been deferred",
        (Action::Reject, false) => "would have been rejected",
    };
    html! {
        (what) " " strong { (outcome) } ": " (why(entry)) "."
        @if let Some(reason) = entry.observed_by {
            " Because of " code { (reason.setting()) } " it was only logged."
        }
        @if let Some(seconds) = entry.deferred_for {
            " The sender had been deferred for " (super::overview::duration(seconds.into())) " and was given up."
        }
    }
}

/// Why the rule has matched.
fn why(entry: &Entry) -> &'static str {
    match entry.rule {
        Rule::Local => "the client is not on the Internet",
        Rule::Ipv4 => "the client has IPv4, which is not checked",
        Rule::ExemptNetwork => "the client is in an exempt network",
        Rule::ExemptAuthenticated => "the client has authenticated",
        Rule::ExemptTls => "the client's certificate exempts it",
        Rule::NotOptedIn => "the recipient's domain takes no mail over IPv6",
        Rule::OptInTemperror => "the opt-in of the recipient's domain could not be found out",
        Rule::NoPtr => "the client's address has no reverse DNS",
        Rule::PtrTemperror => "the reverse DNS of the client could not be looked up",
        Rule::PtrUnconfirmed => "no name of the client has its address",
        Rule::SpfPass => "SPF passes",
        Rule::KnownForwarder => "the client is a known forwarder",
        Rule::DkimPass => "a DKIM signature passes",
        Rule::AuthTemperror => {
            "neither SPF nor DKIM passes, and one of them could not be looked up"
        }
        Rule::Unauthenticated if entry.is_signed => "neither SPF nor a DKIM signature passes",
        Rule::Unauthenticated => "SPF does not pass, and the message is not signed",
    }
}

fn decision(entry: &Entry) -> Markup {
    html! {
        dl {
            dt { "Time" } dd { (time(entry.time)) }
            dt { "Action" } dd { (action(entry)) }
            dt { "Rule" } dd { (entry.rule) }
            dt { "Stage" } dd { (entry.stage) }
            @if let Some(reply) = entry.reply() {
                dt { "Reply" }
                dd {
                    (reply)
                    @for line in entry.reply_details() { br; (line) }
                }
            }
            @if let Some(reason) = entry.observed_by {
                dt { "Observed by" } dd { (reason) }
            }
            @if let Some(certificate) = entry.certificate() {
                dt { "Certificate" } dd { (certificate) }
            }
            @if let Some((network, comment)) = entry.exempt_entry() {
                dt { "Exempt entry" } dd { (network) @if !comment.is_empty() { " (" (comment) ")" } }
            }
            dt { "Waited" } dd { (entry.waited_ms) " ms" }
        }
    }
}

fn message(entry: &Entry) -> Markup {
    html! {
        dl {
            dt { "Queue id" } dd { (or_dash(entry.queue_id())) }
            dt { "Client" } dd { (entry.client) }
            @if let Some(address) = entry.seen_as {
                dt { "Seen as" } dd { (address) }
            }
            dt { "Name" } dd { (or_dash(entry.client_name())) }
            dt { "HELO" } dd { (or_dash(entry.helo())) }
            dt { "Sender" } dd { (sender(entry)) }
            dt { "Recipient" } dd { (recipients(entry)) }
            dt { "Recipients" } dd { (entry.recipients) }
        }
    }
}

fn findings(entry: &Entry) -> Markup {
    html! {
        dl {
            dt { "Opt-in" }
            dd {
                @match entry.opt_in {
                    Some(source) => { "decided by " (source) },
                    None => (or_dash(None)),
                }
            }
            dt { "Reverse DNS" }
            dd {
                (or_dash(entry.ptr.map(Ptr::name)))
                @for name in entry.ptr_names() { br; (name) }
            }
            dt { "SPF" }
            dd {
                @match entry.spf {
                    Some((result, identity)) => {
                        (result) " (" (identity)
                        @if let Some(domain) = entry.spf_domain() { " " (domain) }
                        ")"
                        @if let Some(reason) = entry.spf_reason() { br; (reason) }
                    }
                    None => (or_dash(None)),
                }
            }
            dt { "DKIM" }
            dd {
                (or_dash(entry.dkim_result()))
                @for signature in entry.signatures() {
                    br;
                    (signature.result) ": d=" (signature.domain) " s=" (signature.selector)
                    @if !signature.reason.is_empty() { " (" (signature.reason) ")" }
                }
            }
            @if let Some(forwarder) = entry.forwarder() {
                dt { "Forwarder" } dd { (forwarder) }
            }
        }
    }
}

/// The form of the check, filled in.
fn check_link(entry: &Entry) -> String {
    let ip = entry
        .client
        .ip()
        .map(|ip| ip.to_string())
        .unwrap_or_default();
    let domains: Vec<&str> = entry.recipient_domains().collect();
    let to = match entry.recipient() {
        Some(recipient) => recipient.to_owned(),
        None => domains
            .iter()
            .map(|domain| format!("postmaster@{domain}\n"))
            .collect(),
    };
    let parameters = [
        ("client", ip.as_str()),
        ("helo", entry.helo().unwrap_or_default()),
        ("from", entry.sender()),
        ("to", to.trim_end()),
    ];
    link("/check", &parameters)
}

/// A link with parameters, without those that are empty.
pub(super) fn link(path: &str, parameters: &[(&str, &str)]) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    let given = given
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    match given.collect::<Vec<_>>().join("&") {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}
