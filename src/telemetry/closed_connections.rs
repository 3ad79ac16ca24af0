//! Tells why a milter connection was closed on its MTA: a broken frame, or too
//! long a silence.
//!
//! The protocol library knows, but says so at trace level alone and goes on
//! without a word to us. This layer listens for that event and says it as a
//! warning. It sees no other event.

use tokio::runtime::Handle;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::Context, registry::LookupSpan};

/// Where the library says it, and how the text begins.
const TARGET: &str = "indymilter::session";
const BEGINNING: &str = "error in session while processing commands: ";

pub(super) struct ClosedConnections;

impl ClosedConnections {
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(self) -> impl Layer<S> {
        self.with_filter(filter_fn(may_tell))
    }
}

/// The events that come with each command have fields besides their text; not
/// even these are looked at.
fn may_tell(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && metadata.target() == TARGET
        && *metadata.level() == Level::TRACE
        && metadata.fields().len() == 1
}

impl<S: Subscriber> Layer<S> for ClosedConnections {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let reason = text.0.strip_prefix(BEGINNING).and_then(reason);
        if let (Some(reason), Ok(runtime)) = (reason, Handle::try_current()) {
            // An event within an event would upset the filters.
            runtime.spawn(async move { tracing::warn!("a milter connection is closed: {reason}") });
        }
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _field: &Field, value: &dyn std::fmt::Debug) {
        self.0 = format!("{value:?}");
    }
}

/// For people; `None` if there is nothing to tell.
fn reason(error: &str) -> Option<String> {
    match error.strip_prefix("I/O error: ").unwrap_or(error) {
        "milter shut down" => None,
        "deadline has elapsed" | "timed out" => {
            Some("the MTA was silent, or did not read, for limits.idle_timeout".to_owned())
        }
        "invalid data" => Some("the MTA sent a frame of more than 1 MiB".to_owned()),
        // Sendmail leaves like this when its client does.
        gone if ["early eof", "reset by peer", "Broken pipe"]
            .iter()
            .any(|end| gone.contains(end)) =>
        {
            None
        }
        broken => Some(format!("the MTA broke the milter protocol: {broken}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_mta_did_wrong_is_told_and_its_leaving_is_not() {
        let table = [
            ("milter shut down", None),
            ("I/O error: early eof", None),
            ("I/O error: Connection reset by peer (os error 104)", None),
            (
                "I/O error: deadline has elapsed",
                Some("limits.idle_timeout"),
            ),
            ("I/O error: invalid data", Some("1 MiB")),
            (
                "unknown command: b'x'",
                Some("protocol: unknown command: b'x'"),
            ),
        ];
        for (error, want) in table {
            let told = reason(error);
            match want {
                Some(want) => assert!(told.is_some_and(|told| told.contains(want)), "{error}"),
                None => assert_eq!(told, None, "{error}"),
            }
        }
    }
}
