//! The JSON API, `/api/v1/`. `openapi.json` describes it.

mod decisions;
mod explain;
mod problem;

pub(super) use problem::Problem;

use super::{
    State, Visitor,
    domain_verdict::{self, Verdict, VerdictError},
    overview::Overview,
};
use axum::{
    Json, Router,
    extract::{self, Path},
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};

/// The prefix of all paths.
const PREFIX: &str = "/api/v1";

/// The description of the API.
const OPENAPI: &str = include_str!("assets/openapi.json");

pub(super) fn routes() -> Router<State> {
    let routes = Router::new()
        .route("/status", get(status))
        .route("/decisions", get(decisions::list))
        .route("/decisions/{number}", get(decisions::detail))
        .route("/explain", explain::routes())
        .route("/opt-in/{domain}", get(opt_in))
        .route("/openapi.json", get(openapi));
    Router::new().nest(PREFIX, routes)
}

/// Returns whether errors of this path are JSON.
pub(super) fn is_within(uri: &Uri) -> bool {
    uri.path().starts_with("/api/")
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn status(extract::State(state): extract::State<State>) -> Json<Overview> {
    Json(Overview::new(&state).await)
}

async fn opt_in(
    extract::State(state): extract::State<State>,
    visitor: Visitor,
    domain: Result<Path<String>, extract::rejection::PathRejection>,
) -> Result<Json<Verdict>, Problem> {
    let Path(domain) = domain.map_err(|wrong| Problem::new(wrong.status(), wrong.body_text()))?;
    let answer = domain_verdict::look_up(&state, &domain, visitor.address).await;
    answer.map(Json).map_err(|error| match error {
        VerdictError::NoDomain(why) => Problem::new(
            StatusCode::BAD_REQUEST,
            format!("this is not a domain: {why}"),
        ),
        VerdictError::Busy => Problem::busy(),
        VerdictError::Failed => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "a defect, see the log")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// Compares the routes above with those of openapi.json.
    #[test]
    fn the_description_has_every_route_and_no_other() {
        let description: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(description["openapi"], "3.1.0");
        assert_eq!(description["servers"][0]["url"], PREFIX);
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let described = description["paths"].as_object().unwrap().keys();
        let described: BTreeSet<String> = described.cloned().collect();
        let source = include_str!("api.rs").split("#[cfg(test)]").next().unwrap();
        let routed = source.split(".route(\"").skip(1);
        let routed: BTreeSet<String> = routed
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn the_description_has_every_parameter() {
        use crate::status::{check, selection};
        let description: Value = serde_json::from_str(OPENAPI).unwrap();
        let table = [
            ("/decisions", selection::PARAMETERS.as_slice()),
            ("/explain", check::PARAMETERS.as_slice()),
        ];
        for (path, want) in table {
            let parameters = description["paths"][path]["get"]["parameters"].as_array();
            let names = parameters
                .unwrap()
                .iter()
                .map(|p| p["name"].as_str().unwrap());
            assert_eq!(names.collect::<Vec<_>>(), want, "{path}");
        }
    }
}
