//! Errors as problem details (RFC 9457).

use crate::status::parameters::BadRequest;
use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use serde_json::json;

/// Why a request failed.
#[derive(Debug)]
pub(in crate::status) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    /// Creates a problem. Its title is the reason phrase of the status.
    pub(in crate::status) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, detail }
    }

    /// Creates the problem of a client that has a check in progress, or while there are too
    /// many.
    pub(super) fn busy() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "a check of yours, or too many of others, are in progress",
        )
    }
}

impl From<BadRequest> for Problem {
    fn from(error: BadRequest) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.0)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, detail } = self;
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
        });
        let media_type = (CONTENT_TYPE, "application/problem+json");
        let mut response = (status, [media_type], body.to_string()).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = HeaderValue::from_static("5");
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}
