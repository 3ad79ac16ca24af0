//! The overview page.

use super::{chart::chart, layout};
use crate::{
    status::{
        State, Visitor,
        overview::{Overview, RuleCounts},
        visible::visible,
    },
    telemetry::Action,
};
use axum::extract;
use jiff::{Timestamp, tz::TimeZone};
use maud::{Markup, html};

pub(super) async fn page(extract::State(state): extract::State<State>, visitor: Visitor) -> Markup {
    let overview = Overview::new(&state).await;
    let content = html! {
        p.faint #refreshed {}
        div #live { (live(&overview)) }
    };
    layout(&visitor, "/", "Overview", &content)
}

/// Renders the part of the page that the script replaces.
fn live(overview: &Overview) -> Markup {
    html! {
        @if overview.mode == "observe" {
            p.notice { "Mode is " strong { "observe" } ": decisions are logged and nothing is refused." }
        }
        @if overview.stopping {
            p.notice { "The process is about to end: it takes no new mail." }
        }
        div.columns {
            section aria-labelledby="process" {
                h2 #process { "Process" }
                dl {
                    dt { "Version" } dd { (overview.version) }
                    dt { "Mode" } dd { (overview.mode) }
                    dt { "Running for" } dd { (duration(overview.uptime_seconds)) ", since " (time(overview.started)) }
                    dt { "Configuration" } dd { (overview.configuration.file) ", read " (time(overview.configuration.loaded)) }
                    dt { "Reloads" } dd {
                        (times(overview.configuration.reloads))
                        @if let Some(reload) = &overview.configuration.last_reload {
                            ", the last one " (time(reload.time)) ": "
                            @match &reload.error {
                                None => span.ok { "ok" },
                                Some(error) => span.problem { (visible(error)) },
                            }
                        }
                    }
                    dt { "Connections" } dd {
                        (overview.connections.open) " of at most " (overview.connections.limit) " milter connections, "
                        (overview.connections.in_transaction) " with a message in progress"
                    }
                    dt { "Refused" } dd {
                        (overview.connections.refused_over_limit) " connections over the limit, "
                        (overview.connections.refused_strangers) " not in allow_peers"
                    }
                    dt { "History" } dd {
                        (overview.history.kept) " of at most " (overview.history.capacity) " decisions"
                        @if overview.history.lost > 0 { ", " (overview.history.lost) " lost" }
                    }
                }
            }
            section aria-label="Health" {
                h2 { "DNS servers" }
                (dns(overview))
                h2 { "Opt-in sources" }
                (sources(overview))
                @if let Some(error) = &overview.exempt.error {
                    p.error { "Exempt networks: " (visible(error)) }
                }
            }
        }
        section aria-labelledby="decided" {
            h2 #decided { "Decisions about checked mail" }
            div.columns {
                div { (chart("hour", "Last hour, by minute", "minute", &overview.decisions.hour)) }
                div { (chart("day", "Last day, by quarter of an hour", "quarter", &overview.decisions.day)) }
            }
        }
        section aria-labelledby="rules" {
            h2 #rules { "By rule" }
            (rules(&overview.decisions.rules))
        }
    }
}

fn dns(overview: &Overview) -> Markup {
    html! {
        @if let Some(error) = &overview.dns.error {
            p.error { (visible(error)) }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="DNS servers" {
                table {
                    caption { "Each was asked within the last 10 seconds" }
                    thead { tr { th scope="col" { "Server" } th scope="col" { "State" } th.number scope="col" { "ms" } } }
                    tbody {
                        @for server in &overview.dns.servers {
                            tr {
                                th scope="row" { (server.address) }
                                td {
                                    @match &server.error {
                                        None => span.ok { "answers" },
                                        Some(error) => span.problem { (visible(error)) },
                                    }
                                    @if !server.edns { ", without EDNS" }
                                }
                                td.number { (format!("{:.1}", server.milliseconds)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn sources(overview: &Overview) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Opt-in sources" {
            table {
                caption { "In the order in which they are asked; when each was read or has answered last" }
                thead {
                    tr {
                        th scope="col" { "Source" }
                        th.number scope="col" { "Domains" }
                        th scope="col" { "State" }
                    }
                }
                tbody {
                    @for source in &overview.opt_in {
                        tr {
                            th scope="row" { (source.source) }
                            td.number { (source.domains) }
                            td {
                                @match (&source.error, source.age_seconds) {
                                    (Some(error), _) => span.problem { (visible(error)) },
                                    (None, Some(age)) => { span.ok { "ok" } ", " (duration(age)) " ago" },
                                    (None, None) if source.source == "domains" => "in the configuration",
                                    (None, None) => span.faint { "not asked yet" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rules(rules: &[RuleCounts]) -> Markup {
    let checked = rules
        .iter()
        .filter(|counts| counts.rule.applies_to_checked_mail());
    let highest = checked.map(|counts| counts.day).max().unwrap_or_default();
    html! {
        @if rules.is_empty() {
            p { "Nothing was decided yet." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Decisions by rule" {
                table {
                    caption { "Recipients and messages; where a whole connection is not checked, connections" }
                    thead {
                        tr {
                            th scope="col" { "Rule" }
                            th scope="col" { "Action" }
                            th.number scope="col" { "Last hour" }
                            th.number scope="col" { "Last day" }
                            td {}
                            th.number scope="col" { "Since the start" }
                        }
                    }
                    tbody {
                        @for counts in rules {
                            @let (rule, action) = (counts.rule.name(), counts.action.name());
                            tr {
                                th scope="row" {
                                    @if counts.rule.applies_to_checked_mail() {
                                        a href={ "/decisions?rule=" (rule) "&action=" (action) } { (rule) }
                                    } @else {
                                        (rule) " " span.faint { "(not checked)" }
                                    }
                                }
                                td class=(action) { (action) }
                                td.number { (counts.hour) }
                                td.number { (counts.day) }
                                td { (bar(counts, highest)) }
                                td.number { (counts.total) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Renders the share of a rule in the last day as a bar, beside the number.
fn bar(counts: &RuleCounts, highest: u64) -> Markup {
    let width = u128::from(counts.day) * 100 / u128::from(highest.max(1));
    let class = match counts.action {
        Action::Accept => "a",
        Action::Defer => "d",
        Action::Reject => "r",
    };
    html! {
        @if counts.rule.applies_to_checked_mail() && width > 0 {
            svg.bar viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
                rect class=(class) width=(width) height="10" {}
            }
        }
    }
}

fn times(number: u64) -> String {
    match number {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        number => format!("{number} times"),
    }
}

/// Formats a time in the host's time zone.
pub(super) fn time(time: Timestamp) -> Markup {
    let zoned = time.to_zoned(TimeZone::system());
    html! {
        time datetime=(time) { (zoned.strftime("%Y-%m-%d %H:%M:%S")) }
    }
}

/// Formats a duration by its two largest units.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
