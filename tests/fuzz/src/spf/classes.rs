//! The classes of differences, each with one explanation, which the traces and reasons of both
//! programs show.

use super::{Case, is_ipv4, result};
use sixgate::spf::{Outcome, SpfResult, Step, Trace};
use viaspf::{
    ErrorCause, QueryResult, SpfResultCause,
    trace::{TraceEvent, Tracepoint},
};

/// Both sides of a difference.
struct Difference<'a> {
    case: &'a Case,
    ours: &'a Outcome,
    trace: &'a Trace,
    theirs: &'a QueryResult,
}

type Class = (&'static str, fn(&Difference<'_>) -> bool);

/// The first class that matches is counted.
const CLASSES: &[Class] = &[
    (
        "4.6.4: %{p} counts as a lookup term in sixgate, not in viaspf",
        |d| d.reason("more than 10 terms") && d.expands("%{p"),
    ),
    (
        "4.6.4: more than 10 mail exchangers are an error before the first lookup",
        |d| d.ours.result == SpfResult::PermError && d.has_more_than_10_exchangers(),
    ),
    (
        "7.2: %{c}, %{r} and %{t} outside explanations are syntax errors in sixgate",
        |d| d.reason("macro that is for explanations alone"),
    ),
    (
        "4.8: include of an invalid domain name is a permerror in sixgate, no match in viaspf",
        |d| d.reason("leads to no domain name"),
    ),
    ("5: viaspf treats the prefix /0 as the longest", |d| {
        d.matches_by_zero_prefix()
    }),
    (
        "4.6.4: a host with addresses of only the other family is void in viaspf",
        |d| d.their_error(ErrorCause::VoidLookupLimitExceeded) && d.has_recounted(),
    ),
    (
        "4.6.4: in sixgate, the lookup of the other family failed",
        |d| {
            d.their_error(ErrorCause::VoidLookupLimitExceeded)
                && d.ours.result == SpfResult::TempError
                && d.ours
                    .reason
                    .contains("unknown whether more than 2 lookups are void")
        },
    ),
    (
        "4.6.4: viaspf counts the PTR lookups of one client again each time",
        |d| d.their_error(ErrorCause::VoidLookupLimitExceeded) && d.their_ptr_lookups() > 1,
    ),
    ("7.3: viaspf treats consecutive delimiters as one", |d| {
        d.expands_to_empty_label()
    }),
    (
        "12: viaspf rejects a macro that keeps more than 255 parts",
        |d| d.they_cannot_parse().is_some_and(keeps_more_than_255),
    ),
    (
        "6: viaspf rejects a modifier whose name begins like a mechanism",
        |d| {
            d.they_cannot_parse()
                .is_some_and(has_modifier_like_mechanism)
        },
    ),
    (
        "4.8: viaspf does not look up labels that begin or end with a hyphen",
        |d| d.their_names_are_invalid() && d.names_hyphen_at_label_end(),
    ),
];

/// Returns the class of a difference, or `None` if it is unexplained.
pub(super) fn class(
    case: &Case,
    ours: &Outcome,
    trace: &Trace,
    theirs: &QueryResult,
) -> Option<&'static str> {
    let difference = Difference {
        case,
        ours,
        trace,
        theirs,
    };
    let mut classes = CLASSES.iter();
    let (name, _) = classes.find(|(_, fits)| fits(&difference))?;
    Some(name)
}

impl Difference<'_> {
    fn reason(&self, text: &str) -> bool {
        self.ours.result == SpfResult::PermError && self.ours.reason.contains(text)
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.trace.steps().iter().map(|(_, step)| step)
    }

    fn has_more_than_10_exchangers(&self) -> bool {
        self.steps().any(|step| match step {
            Step::Question {
                rtype: "MX",
                outcome,
                ..
            } => outcome.split(", ").count() > 10,
            _ => false,
        })
    }

    /// Returns whether a lookup that counted as void turned out not to be void.
    fn has_recounted(&self) -> bool {
        self.steps().any(|step| match step {
            Step::Note(note) => note.ends_with(" was not void"),
            _ => false,
        })
    }

    /// Returns whether an evaluated term contains this text, such as a macro.
    fn expands(&self, spec: &str) -> bool {
        self.steps().any(|step| match step {
            Step::Term { term, .. } => term.to_ascii_lowercase().contains(spec),
            _ => false,
        })
    }

    fn expands_to_empty_label(&self) -> bool {
        let empty = |step: &Step| match step {
            Step::Expanded { name, .. } => name.contains("..") || name.starts_with('.'),
            _ => false,
        };
        self.steps().any(empty)
    }

    /// Returns whether a term matched whose prefix length for the client's family is 0.
    fn matches_by_zero_prefix(&self) -> bool {
        let mut zero = false;
        self.steps().any(|step| match step {
            Step::Term { term, .. } => {
                zero = self.has_zero_prefix(term);
                false
            }
            Step::Matched(_) => std::mem::take(&mut zero),
            _ => false,
        })
    }

    fn has_zero_prefix(&self, term: &str) -> bool {
        let term = term.trim_start_matches(['-', '~', '?']);
        if is_ipv4(self.case.client) {
            let term = term.split("//").next().unwrap_or_default();
            !term.starts_with("ip6:") && term.ends_with("/0")
        } else {
            term.ends_with("//0") || term.starts_with("ip6:") && term.ends_with("/0")
        }
    }

    /// Returns the record in which viaspf found a syntax error.
    fn they_cannot_parse(&self) -> Option<&str> {
        let mut events = self.theirs.trace.iter().flat_map(|trace| &trace.events);
        events.find_map(|event| match &event.tracepoint {
            Tracepoint::InvalidSpfRecordSyntax(text) => Some(text.as_str()),
            _ => None,
        })
    }

    fn names_hyphen_at_label_end(&self) -> bool {
        let odd = |word: &str| {
            word.split('.')
                .any(|l| l.starts_with('-') || l.ends_with('-'))
        };
        let texts = self.steps().map(ToString::to_string);
        texts
            .into_iter()
            .any(|text| text.split([' ', ':']).any(odd))
    }

    /// Returns whether viaspf found a name invalid and continued without a match.
    fn their_names_are_invalid(&self) -> bool {
        let mut expanding = false;
        let mut events = self.theirs.trace.iter().flat_map(|trace| &trace.events);
        events.any(|event| match event.tracepoint {
            Tracepoint::ExpandDomainSpec(_) => {
                expanding = true;
                false
            }
            Tracepoint::TargetName(_) => {
                expanding = false;
                false
            }
            Tracepoint::MechanismNoMatch | Tracepoint::InvalidRedirectTargetName => expanding,
            _ => false,
        })
    }

    fn their_error(&self, cause: ErrorCause) -> bool {
        result(self.theirs) == SpfResult::PermError
            && self.theirs.cause == Some(SpfResultCause::Error(cause))
    }

    fn their_ptr_lookups(&self) -> usize {
        let trace = self.theirs.trace.as_ref();
        let ptr = |event: &&TraceEvent| matches!(event.tracepoint, Tracepoint::LookupPtr(_));
        trace.map_or(0, |trace| trace.events.iter().filter(ptr).count())
    }
}

fn keeps_more_than_255(record: &str) -> bool {
    record.split("%{").skip(1).any(|rest| {
        let digits = rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
        rest.get(1..=digits).and_then(|n| n.parse::<u64>().ok()) > Some(255)
    })
}

fn has_modifier_like_mechanism(record: &str) -> bool {
    record.split(' ').any(|term| {
        let name = term.split(['=', ':', '/', '%']).next().unwrap_or_default();
        let modifier = term[name.len()..].starts_with('=');
        let name = name.to_ascii_lowercase();
        modifier
            && ["a", "mx", "ptr", "all"]
                .iter()
                .any(|m| name.starts_with(m))
    })
}
