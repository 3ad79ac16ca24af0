//! `sixgate explain`: GET for links, POST for checks with a message.

use super::Problem;
use crate::{
    commands::explain::Report,
    status::{
        State, Visitor,
        check::{self, CheckError, MAX_MESSAGE, PARAMETERS, Question},
        parameters::{Pairs, Parameters},
    },
};
use axum::{
    Json,
    extract::{
        self, FromRequest, Query, Request,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    routing::{MethodRouter, get},
};
use serde::Deserialize;

pub(super) fn routes() -> MethodRouter<State> {
    get(by_link).post(by_message)
}

async fn by_link(
    extract::State(state): extract::State<State>,
    visitor: Visitor,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<Report>, Problem> {
    let Query(pairs) = pairs.map_err(|wrong| Problem::new(wrong.status(), wrong.body_text()))?;
    check::check_recipients(pairs.iter().filter(|(name, _)| name == "to").count())?;
    let question = Question::new(&Parameters::new(pairs, &PARAMETERS)?, None)?;
    let slot = state.0.checks.begin(visitor.address);
    let slot = slot.ok_or_else(Problem::busy)?;
    explain(&state, question, slot).await
}

/// The parameters of a check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    client: String,
    helo: Option<String>,
    from: Option<String>,
    #[serde(default)]
    to: Vec<String>,
    #[serde(default)]
    authenticated: bool,
    certificate: Option<String>,
    message: Option<String>,
}

async fn by_message(
    extract::State(state): extract::State<State>,
    visitor: Visitor,
    request: Request,
) -> Result<Json<Report>, Problem> {
    // Before the body is read, to limit how many bodies are in memory.
    let slot = state.0.checks.begin(visitor.address);
    let slot = slot.ok_or_else(Problem::busy)?;
    let body: Result<Json<Body>, JsonRejection> = Json::from_request(request, &state).await;
    let Json(body) = body.map_err(|wrong| Problem::new(wrong.status(), wrong.body_text()))?;
    let message = body.message.map(String::into_bytes);
    if message
        .as_ref()
        .is_some_and(|message| message.len() > MAX_MESSAGE)
    {
        let text = "the message is longer than 10 MiB";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    check::check_recipients(body.to.len())?;
    let authenticated = body.authenticated.then(|| "yes".to_owned());
    let optional = [
        ("client", Some(body.client)),
        ("helo", body.helo),
        ("from", body.from),
        ("certificate", body.certificate),
        ("authenticated", authenticated),
    ];
    let given = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let to = body.to.into_iter().map(|to| ("to".to_owned(), to));
    let parameters = Parameters::new(given.chain(to), &PARAMETERS)?;
    explain(&state, Question::new(&parameters, message)?, slot).await
}

async fn explain(
    state: &State,
    question: Question,
    slot: check::Slot,
) -> Result<Json<Report>, Problem> {
    let report = check::check(state, question, slot).await;
    report.map(Json).map_err(|error| match error {
        CheckError::TooLate => {
            let seconds = check::DEADLINE.as_secs();
            let text = format!("the check took longer than {seconds} seconds");
            Problem::new(StatusCode::GATEWAY_TIMEOUT, text)
        }
        CheckError::Failed(text) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, text),
    })
}
