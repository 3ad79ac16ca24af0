//! The check of a sender: `sixgate explain` as a form.
//!
//! A link may fill in the form; only submitting it queries the DNS. A pasted message is kept in
//! memory until the result is available.

use super::{bad_request, busy, decisions::link, error, layout, overview::duration, unreadable};
use crate::{
    commands::explain::{Report, VerdictReport},
    policy::Rule,
    status::{
        Csrf, State, Visitor, advice,
        check::{self, CheckError, MAX_MESSAGE, PARAMETERS, Question, check_recipients},
        parameters::{BadRequest, Pairs, Parameters},
        visible::visible,
    },
};
use axum::{
    extract::{
        self, Multipart, Query,
        multipart::{MultipartError, MultipartRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use maud::{Markup, PreEscaped, html};

const PATH: &str = "/check";

pub(super) fn routes() -> MethodRouter<State> {
    get(form).post(submit)
}

async fn form(visitor: Visitor, Query(pairs): Query<Pairs>) -> Response {
    match Parameters::new(pairs, &PARAMETERS) {
        Ok(parameters) => layout(
            &visitor,
            PATH,
            "Check a sender",
            &fields(&visitor, &parameters),
        )
        .into_response(),
        Err(error) => bad_request(&visitor, PATH, &error),
    }
}

fn fields(visitor: &Visitor, given: &Parameters) -> Markup {
    let value = |name: &str| visible(given.all(name).next().unwrap_or_default());
    let to = given.all("to").collect::<Vec<_>>().join("\n");
    html! {
        p {
            "What would be decided about a message, and why: the same as "
            code { "sixgate explain" }
            ", with fresh answers of the DNS. Nothing is sent to anybody else, and a pasted message is not kept."
        }
        form.fields method="post" action=(PATH) enctype="multipart/form-data" {
            input type="hidden" name=(Csrf::FIELD) value=(visitor.csrf.token());
            div {
                label for="client" { "Client " span.hint { "its IP address (required)" } }
                input id="client" name="client" required maxlength="50" value=(value("client")) autocomplete="off" spellcheck="false";
            }
            div {
                label for="helo" { "HELO " span.hint { "the name it gives" } }
                input id="helo" name="helo" maxlength="255" value=(value("helo")) autocomplete="off" spellcheck="false";
            }
            div {
                label for="from" { "Sender " span.hint { "empty for a bounce" } }
                input id="from" name="from" maxlength="320" value=(value("from")) autocomplete="off" spellcheck="false";
            }
            div.wide {
                label for="to" { "Recipients " span.hint { "one per line, 10 at most; none: as if the domain had opted in" } }
                textarea id="to" name="to" rows="2" spellcheck="false" { (visible(&to)) }
            }
            div.wide {
                label for="message" { "Message " span.hint { "with its header, for DKIM; 10 MiB at most" } }
                textarea id="message" name="message" rows="8" spellcheck="false" {}
            }
            div {
                label for="certificate" { "Certificate " span.hint { "verified, with this common name" } }
                input id="certificate" name="certificate" maxlength="255" value=(value("certificate")) autocomplete="off" spellcheck="false";
            }
            div.check {
                input id="authenticated" name="authenticated" type="checkbox" value="yes" checked[value("authenticated") == "yes"];
                " " label for="authenticated" { "The client has authenticated" }
            }
            div { button type="submit" { "Check" } }
        }
    }
}

/// The values of a submitted form.
struct Submitted {
    parameters: Parameters,
    message: Option<Vec<u8>>,
    csrf: String,
}

async fn read(mut form: Multipart) -> Result<Result<Submitted, BadRequest>, MultipartError> {
    let (mut pairs, mut message, mut csrf) = (Vec::new(), None, String::new());
    let mut recipients = 0;
    while let Some(field) = form.next_field().await? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "message" => message = Some(Vec::from(field.bytes().await?)),
            Csrf::FIELD => csrf = field.text().await?,
            // One per line, counted before they are copied: a pair takes far more memory than
            // a short line.
            "to" => {
                let text = field.text().await?;
                let lines = || text.lines().filter(|line| !line.trim().is_empty());
                recipients += lines().count();
                if let Err(wrong) = check_recipients(recipients) {
                    return Ok(Err(wrong));
                }
                pairs.extend(lines().map(|line| (name.clone(), line.to_owned())));
            }
            _ => pairs.push((name, field.text().await?)),
        }
    }
    if message
        .as_ref()
        .is_some_and(|message| message.len() > MAX_MESSAGE)
    {
        return Ok(Err(BadRequest(
            "the message is longer than 10 MiB".to_owned(),
        )));
    }
    let parameters = Parameters::new(pairs, &PARAMETERS);
    Ok(parameters.map(|parameters| Submitted {
        parameters,
        message,
        csrf,
    }))
}

async fn submit(
    extract::State(state): extract::State<State>,
    visitor: Visitor,
    form: Result<Multipart, MultipartRejection>,
) -> Response {
    let form = match form {
        Ok(form) => form,
        Err(wrong) => return unreadable(&visitor, PATH, wrong.status(), &wrong.body_text()),
    };
    let Some(slot) = state.0.checks.begin(visitor.address) else {
        return busy(&visitor, PATH);
    };
    let submitted = match read(form).await {
        Ok(Ok(submitted)) => submitted,
        Ok(Err(wrong)) => return bad_request(&visitor, PATH, &wrong),
        Err(wrong) => {
            let text = match wrong.status() {
                StatusCode::PAYLOAD_TOO_LARGE => "The message is longer than 10 MiB.".to_owned(),
                _ => wrong.body_text(),
            };
            return unreadable(&visitor, PATH, wrong.status(), &text);
        }
    };
    if !visitor.csrf.is(&submitted.csrf) {
        let text = "The form is too old, or another page has sent it. Load it again.";
        return error(
            &visitor,
            PATH,
            StatusCode::FORBIDDEN,
            "Form not accepted",
            text,
        );
    }
    let has_message = submitted
        .message
        .as_ref()
        .is_some_and(|message| !message.is_empty());
    let parameters = submitted.parameters;
    let question = match Question::new(&parameters, submitted.message) {
        Ok(question) => question,
        Err(wrong) => {
            let content = html! {
                p.error role="alert" { (visible(&wrong.to_string())) }
                (fields(&visitor, &parameters))
            };
            let page = layout(&visitor, PATH, "Check a sender", &content);
            return (StatusCode::BAD_REQUEST, page).into_response();
        }
    };
    match check::check(&state, question, slot).await {
        Ok(report) => {
            let content = html! {
                (result(&report, &parameters, has_message))
                h2 { "Check again" }
                (fields(&visitor, &parameters))
            };
            layout(&visitor, PATH, "Result of the check", &content).into_response()
        }
        Err(CheckError::TooLate) => {
            let deadline = duration(check::DEADLINE.as_secs());
            let text = format!("The check took longer than {deadline}.");
            error(
                &visitor,
                PATH,
                StatusCode::GATEWAY_TIMEOUT,
                "No result",
                &text,
            )
        }
        Err(CheckError::Failed(text)) => error(
            &visitor,
            PATH,
            StatusCode::SERVICE_UNAVAILABLE,
            "No result",
            &text,
        ),
    }
}

fn result(report: &Report, parameters: &Parameters, has_message: bool) -> Markup {
    let refusals: Vec<Rule> = refusals(report);
    html! {
        section aria-labelledby="verdict" {
            h2 #verdict { "Verdict" }
            dl {
                @for (address, of_recipient) in report.recipients() {
                    dt { (visible(address)) } dd { (verdict(of_recipient)) }
                }
                dt { "Message" } dd { (verdict(report.verdict())) }
            }
        }
        section aria-labelledby="details" {
            h2 #details { "Details" }
            pre tabindex="0" { (visible(&report.to_string())) }
            @if !has_message {
                p { a href=(json_link(parameters)) { "This check as JSON" } " (a link that checks again)" }
            }
        }
        @for rule in refusals {
            @if let Some(section) = advice::section(rule) {
                section.replies aria-label={ "What the sender should do: " (rule) } {
                    p.notice { "For the sender: what follows is the page " a href=(advice::PATH) { (advice::TITLE) } }
                    (PreEscaped(section))
                }
            }
        }
    }
}

/// Returns the rules that refuse a recipient or the message, each once.
fn refusals(report: &Report) -> Vec<Rule> {
    let of_recipients = report.recipients().map(|(_, verdict)| verdict);
    let verdicts: Vec<&VerdictReport> = of_recipients.chain([report.verdict()]).collect();
    let refuses = |rule: &Rule| {
        (verdicts.iter()).any(|verdict| verdict.action != "accept" && verdict.rule == rule.name())
    };
    Rule::ALL.into_iter().filter(refuses).collect()
}

fn verdict(verdict: &VerdictReport) -> Markup {
    html! {
        span class=(verdict.action) { (verdict.action) } " by " (verdict.rule) " at " (verdict.stage)
        @if let Some(reason) = verdict.observed_by { ", only logged because of " (reason.setting()) }
        @if let Some(reply) = &verdict.reply { br; (visible(reply)) }
    }
}

fn json_link(parameters: &Parameters) -> String {
    let mut given = Vec::new();
    for name in PARAMETERS {
        given.extend(parameters.all(name).map(|value| (name, value)));
    }
    link("/api/v1/explain", &given)
}
