//! Charts of decisions: stacked bars as inline SVG, and the same numbers as a table.

use crate::status::overview::Intervals;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use maud::{Markup, html};

const WIDTH: usize = 720;
const HEIGHT: usize = 160;
/// The size of the labels of the axes.
const LEFT: usize = 64;
const BELOW: usize = 26;
const ABOVE: usize = 14;

/// Renders a chart with its title. `id` is the prefix of the IDs in it.
pub(super) fn chart(id: &str, title: &str, unit: &str, intervals: &Intervals) -> Markup {
    let size = intervals.accept.len();
    let total =
        |place: usize| intervals.accept[place] + intervals.defer[place] + intervals.reject[place];
    let highest = (0..size).map(total).max().unwrap_or_default().max(1);
    let sums =
        [&intervals.accept, &intervals.defer, &intervals.reject].map(|s| s.iter().sum::<u64>());
    let description = format!(
        "{} accepted, {} deferred and {} rejected; at most {highest} per {unit}.",
        sums[0], sums[1], sums[2]
    );
    let room = HEIGHT - BELOW - ABOVE;
    let height = |count: u64| share(count, highest, room);
    let x = |place: usize| LEFT + place * (WIDTH - LEFT) / size;
    let bottom = HEIGHT - BELOW;
    html! {
        h3 { (title) }
        svg.chart role="img" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } aria-labelledby={ (id) "-title " (id) "-description" } {
            title id={ (id) "-title" } { (title) }
            desc id={ (id) "-description" } { (description) }
            line.axis x1=(LEFT) x2=(WIDTH) y1=(bottom) y2=(bottom) {}
            line.axis x1=(LEFT) x2=(WIDTH) y1=(ABOVE) y2=(ABOVE) {}
            text x=(LEFT - 6) y=(ABOVE + 4) text-anchor="end" { (highest) }
            text x=(LEFT - 6) y=(bottom) text-anchor="end" { "0" }
            @for place in 0..size {
                @let width = (x(place + 1) - x(place)).saturating_sub(1).max(1);
                @let accept = height(intervals.accept[place]);
                @let defer = height(intervals.defer[place]);
                @let reject = height(intervals.reject[place]);
                @for (class, from, tall) in [("a", 0, accept), ("d", accept, defer), ("r", accept + defer, reject)] {
                    @if tall > 0 {
                        // Three parts of at least a pixel may be higher than the chart.
                        @let y = bottom.saturating_sub(from + tall);
                        rect class=(class) x=(x(place)) y=(y) width=(width) height=(tall) {}
                    }
                }
            }
            @for quarter in 0..4 {
                @let place = quarter * size / 4;
                text x=(x(place)) y=(HEIGHT - 5) { (clock(intervals, place)) }
            }
            text x=(WIDTH) y=(HEIGHT - 5) text-anchor="end" { "now" }
        }
        ul.legend {
            @for (class, name, sum) in [("a", "accepted", sums[0]), ("d", "deferred", sums[1]), ("r", "rejected", sums[2])] {
                li {
                    svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(class) width="10" height="10" {} }
                    (name) ": " (sum)
                }
            }
        }
        details {
            summary { "The numbers of this chart" }
            div.scroll tabindex="0" role="region" aria-label={ "Numbers: " (title) } {
                table {
                    caption { (title) ", without the " (unit) "s in which there was none" }
                    thead {
                        tr {
                            th scope="col" { "From" }
                            th.number scope="col" { "Accepted" }
                            th.number scope="col" { "Deferred" }
                            th.number scope="col" { "Rejected" }
                        }
                    }
                    tbody {
                        @for place in (0..size).filter(|place| total(*place) > 0) {
                            tr {
                                th scope="row" { (clock(intervals, place)) }
                                td.number { (intervals.accept[place]) }
                                td.number { (intervals.defer[place]) }
                                td.number { (intervals.reject[place]) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the height of the bar of a number, at least 1 pixel unless the number is 0.
fn share(count: u64, highest: u64, room: usize) -> usize {
    let tall = u128::from(count) * room as u128 / u128::from(highest);
    let tall = usize::try_from(tall).unwrap_or(room).min(room);
    if count > 0 { tall.max(1) } else { 0 }
}

fn clock(intervals: &Intervals, place: usize) -> String {
    let interval =
        SignedDuration::from_secs(i64::try_from(intervals.interval_seconds).unwrap_or(0));
    let start: Timestamp = intervals.start + interval * i32::try_from(place).unwrap_or(0);
    start
        .to_zoned(TimeZone::system())
        .strftime("%H:%M")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(accept: [u64; 3], defer: [u64; 3], reject: [u64; 3]) -> Intervals {
        Intervals {
            start: Timestamp::UNIX_EPOCH,
            interval_seconds: 60,
            accept: accept.into(),
            defer: defer.into(),
            reject: reject.into(),
        }
    }

    #[test]
    fn a_chart_has_the_numbers_in_its_description_and_a_bar_for_each() {
        let intervals = intervals([0, 90, 3], [0, 9, 0], [0, 1, 0]);
        let html = chart("hour", "Last hour", "minute", &intervals).into_string();
        assert!(
            html.contains("93 accepted, 9 deferred and 1 rejected; at most 100 per minute.</desc>")
        );
        assert_eq!(html.matches("<rect class=\"a\" x=").count(), 2);
        assert_eq!(html.matches("<rect class=\"d\" x=").count(), 1);
        assert_eq!(html.matches("<rect class=\"r\" x=").count(), 1);
        assert_eq!(html.matches("<tr>").count(), 3, "a head and two rows");
    }

    #[test]
    fn a_chart_of_nothing_and_one_of_very_much_are_charts() {
        let nothing = chart("x", "x", "minute", &intervals([0; 3], [0; 3], [0; 3]));
        assert!(nothing.into_string().contains("0 accepted"));
        let much = intervals([u64::MAX / 4; 3], [1; 3], [u64::MAX / 4; 3]);
        let html = chart("x", "x", "minute", &much).into_string();
        assert!(html.contains("<rect class=\"d\""));
    }
}
