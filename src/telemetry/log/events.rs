//! Formats all log lines other than decisions: the events of tracing.

use super::{
    super::{
        decision_fields::Fields,
        escape::{Style, escape},
    },
    LOG,
    frame::LogRecord,
    limit::Limit,
};
use std::fmt::Debug;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// The maximum length of a message, in bytes after escaping.
const MAX_MESSAGE: usize = 2000;

/// The limit of library lines. hickory warns about every DNS answer that does not match
/// its query, which anybody can send.
static LIBRARIES: Limit = Limit::warnings();

pub(super) struct Events;

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let metadata = event.metadata();
        if is_limited(metadata) && LIBRARIES.admit(message.line()).is_none() {
            return;
        }
        if let Some(log) = LOG.get() {
            log.write(*metadata.level(), &message);
        }
    }
}

/// Returns whether a line is from a library and would be logged at the default level.
/// Debug and trace lines are only logged on request, and not limited.
fn is_limited(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("sixgate") && *metadata.level() <= Level::INFO
}

/// A message and its fields.
#[derive(Debug, Default)]
pub(super) struct Message {
    text: String,
    fields: Vec<(&'static str, String)>,
}

impl Message {
    pub(super) fn new(text: String) -> Self {
        Self {
            text,
            fields: Vec::new(),
        }
    }

    fn line(&self) -> String {
        let mut line = self.text.clone();
        for (name, value) in &self.fields {
            line.extend([" ", name, "=", value]);
        }
        line
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.text = value,
            name => self.fields.push((name, value)),
        }
    }
}

impl LogRecord for Message {
    fn text(&self, line: &mut String) {
        escape(line, Style::Message, MAX_MESSAGE, &self.text);
        for (name, value) in &self.fields {
            line.push(' ');
            line.push_str(name);
            line.push('=');
            escape(line, Style::Message, MAX_MESSAGE, value);
        }
    }

    fn fields(&self, fields: &mut impl Fields) {
        fields.text("event", Some("message"));
        fields.long_text("message", MAX_MESSAGE, Some(&self.text));
        for (name, value) in &self.fields {
            fields.long_text(name, MAX_MESSAGE, Some(value));
        }
    }
}
