//! Charts as inline SVG. Bars scale to the available width; labels are HTML next to them,
//! so that they stay readable on a phone.

use super::Escaped;
use crate::report::{
    counts::Counts,
    page::{grouped, local},
    summary::{Fates, Summary},
};
use jiff::{Timestamp, tz::TimeZone};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The intervals per bar of the timeline in seconds, with their names, and the maximum
/// period for each.
const BARS: [(i64, &str, i64); 4] = [
    (HOUR, "an hour", 3 * DAY),
    (6 * HOUR, "six hours", 21 * DAY),
    (DAY, "a day", 120 * DAY),
    (7 * DAY, "a week", i64::MAX),
];

/// A part of a bar: its CSS class and its length.
type Part = (&'static str, u64);

fn parts(counts: &Counts) -> [Part; 4] {
    [
        ("accepted", counts.accepted),
        ("deferred", counts.deferred),
        ("rejected", counts.rejected),
        ("observed", counts.would_refuse()),
    ]
}

/// Draws the decisions over time.
pub(super) fn over_time(out: &mut String, summary: &Summary, zone: &TimeZone) -> fmt::Result {
    let (Some(first), Some(last)) = (summary.hours.first(), summary.hours.last()) else {
        return Ok(());
    };
    let span = last.begin.as_second() - first.begin.as_second();
    let (width, name, _) = *BARS.iter().find(|bar| span <= bar.2).unwrap_or(&BARS[3]);
    let bars = bars(summary, zone, width);
    let highest = bars.values().map(Counts::total).max().unwrap_or(0).max(1);
    writeln!(
        out,
        "<figure><figcaption>Decisions over time, {name} a bar</figcaption>"
    )?;
    writeln!(
        out,
        "<p class=\"axis\"><span>{}</span></p>",
        grouped(highest)
    )?;
    columns(out, &bars, width, highest)?;
    writeln!(
        out,
        "<p class=\"axis\"><span>{}</span><span>{}</span></p>",
        bar_begin(bars.keys().next().copied().unwrap_or(0), width),
        bar_begin(bars.keys().next_back().copied().unwrap_or(0) + 1, width)
    )?;
    legend(out, &parts(&summary.totals))?;
    writeln!(out, "</figure>")
}

/// Groups the hours into bars by local time, so that days begin at midnight.
fn bars(summary: &Summary, zone: &TimeZone, width: i64) -> BTreeMap<i64, Counts> {
    let mut bars: BTreeMap<i64, Counts> = BTreeMap::new();
    for hour in &summary.hours {
        let offset = i64::from(zone.to_offset(hour.begin).seconds());
        let bar = (hour.begin.as_second() + offset).div_euclid(width);
        bars.entry(bar).or_default().merge(&hour.counts);
    }
    bars
}

/// Formats the begin of a bar. Bars count local time, so it is formatted as UTC.
fn bar_begin(bar: i64, width: i64) -> String {
    let begin = Timestamp::from_second(bar * width).unwrap_or_default();
    local(begin, &TimeZone::UTC)
}

fn columns(
    out: &mut String,
    bars: &BTreeMap<i64, Counts>,
    width: i64,
    highest: u64,
) -> fmt::Result {
    let first = bars.keys().next().copied().unwrap_or(0);
    let last = bars.keys().next_back().copied().unwrap_or(0);
    writeln!(
        out,
        "<svg class=\"columns\" viewBox=\"0 0 {} 1000\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Decisions over time\">",
        (last - first + 1) * 10
    )?;
    for (bar, counts) in bars {
        let begin = bar_begin(*bar, width);
        column(out, (bar - first) * 10, &begin, counts, highest)?;
    }
    writeln!(out, "</svg>")
}

fn column(out: &mut String, x: i64, begin: &str, counts: &Counts, highest: u64) -> fmt::Result {
    let mut bottom = 1000.0;
    writeln!(
        out,
        "<g><title>{begin}{}</title>",
        Description(&parts(counts))
    )?;
    for (class, count) in parts(counts).into_iter().filter(|part| part.1 > 0) {
        let height = count as f64 * 1000.0 / highest as f64;
        bottom -= height;
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{bottom:.1}\" width=\"9\" height=\"{height:.1}\"/>"
        )?;
    }
    writeln!(out, "</g>")
}

/// Draws the decisions by rule.
pub(super) fn rules(out: &mut String, summary: &Summary) -> fmt::Result {
    let checked = || summary.rules.iter().filter(|row| !row.is_not_checked());
    let Some(longest) = checked().map(|row| row.counts.total()).max() else {
        return Ok(());
    };
    writeln!(
        out,
        "<figure><figcaption>Decisions by rule</figcaption><dl class=\"bars\">"
    )?;
    for row in checked() {
        let total = grouped(row.counts.total());
        write!(out, "<dt>{}</dt><dd>", Escaped(row.rule))?;
        bar(out, &parts(&row.counts), longest)?;
        writeln!(out, "<span>{total}</span></dd>")?;
    }
    writeln!(out, "</dl></figure>")
}

/// Draws the outcome of deferred mail.
pub(super) fn fates(out: &mut String, summary: &Summary) -> fmt::Result {
    let total = &summary.returns.total;
    if total.mails == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "<figure><figcaption>Outcome of {} deferred messages</figcaption>",
        grouped(total.mails)
    )?;
    bar(out, &fate_parts(total), total.mails)?;
    legend(out, &fate_parts(total))?;
    writeln!(out, "</figure>")
}

fn fate_parts(fates: &Fates) -> [Part; 6] {
    [
        ("ipv4", fates.ipv4),
        ("ipv6", fates.ipv6),
        ("elsewhere", fates.ipv4_refused),
        ("retrying", fates.retrying),
        ("gone", fates.gone),
        ("recent", fates.waiting),
    ]
}

/// Draws a horizontal bar, scaled to `longest`.
fn bar(out: &mut String, parts: &[Part], longest: u64) -> fmt::Result {
    write!(
        out,
        "<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{description}\"><title>{description}</title>",
        description = Description(parts)
    )?;
    let mut left = 0.0;
    for (class, count) in parts.iter().filter(|part| part.1 > 0) {
        let width = *count as f64 * 1000.0 / longest.max(1) as f64;
        write!(
            out,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"0\" width=\"{width:.1}\" height=\"10\"/>"
        )?;
        left += width;
    }
    write!(out, "</svg>")
}

fn legend(out: &mut String, parts: &[Part]) -> fmt::Result {
    write!(out, "<ul class=\"legend\">")?;
    for (class, count) in parts.iter().filter(|part| part.1 > 0) {
        write!(
            out,
            "<li class=\"{class}\">{} {}</li>",
            meaning(class),
            grouped(*count)
        )?;
    }
    writeln!(out, "</ul>")
}

fn meaning(class: &str) -> &str {
    match class {
        "observed" => "observe mode would have refused",
        "ipv4" => "came over IPv4",
        "ipv6" => "passed over IPv6 later",
        "elsewhere" => "refused over IPv4 by other rules",
        "retrying" => "tried again in vain",
        "gone" => "not seen again",
        "recent" => "too recent to tell",
        class => class,
    }
}

/// The description of the parts in words.
struct Description<'a>(&'a [Part]);

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0.iter())
            .filter(|part| part.1 > 0)
            .try_for_each(|(class, count)| write!(f, ", {} {}", meaning(class), grouped(*count)))
    }
}
