//! `sixgate exempt add` and `remove`: change the managed list and print the outcome
//! for each entry.

use super::{requests, warnings};
use crate::{
    cli::{ExemptAdd, ExemptRemove},
    commands::{
        opt_in::in_redis,
        outcomes::{Outcome, print_outcomes},
    },
    config::Config,
    exempt::{
        display::{ended, ends},
        entry::{Entry, show},
        managed::{self, Addition, Removal},
        redis,
    },
    exit::Failure,
};
use ipnet::Ipv6Net;
use jiff::Zoned;

/// Adds entries, or changes the ends and comments of existing ones.
pub(super) fn add(arguments: &ExemptAdd) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let requests = requests::to_add(arguments)?;
    let entries = requests.iter().map(|r| (r.entry, r.comment.as_deref()));
    let entries: Vec<_> = entries.collect();
    let additions: Vec<Addition> = match config.opt_in.redis.managed {
        true => in_redis(async || redis::add(&config.opt_in.redis, &entries).await)?,
        false => managed::edit(&config.exempt_file, |list| {
            let add = |(entry, comment): &(Entry, Option<&str>)| list.add(entry, *comment);
            entries.iter().map(add).collect()
        })?,
    };
    let now = Zoned::now();
    let outcomes = requests.iter().zip(&additions);
    print_outcomes(outcomes.map(|(request, addition)| added(&request.entry, addition, &now)))?;
    let networks: Vec<Ipv6Net> = requests.iter().map(|r| r.entry.network).collect();
    warnings::print(&config, &networks)
}

/// Removes entries, and warns if other entries still exempt the networks.
pub(super) fn remove(arguments: &ExemptRemove) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    let networks = requests::to_remove(&arguments.entries)?;
    let removals: Vec<Removal> = match config.opt_in.redis.managed {
        true => in_redis(async || redis::remove(&config.opt_in.redis, &networks).await)?,
        false => managed::edit(&config.exempt_file, |list| {
            networks
                .iter()
                .map(|network| list.remove(network))
                .collect()
        })?,
    };
    let outcomes = networks.iter().zip(&removals);
    print_outcomes(outcomes.map(|(network, removal)| Outcome {
        entry: show(network),
        word: match removal {
            Removal::Removed => "removed",
            Removal::NotThere => "not listed",
        },
        details: String::new(),
    }))?;
    warnings::print_still_exempt(&config, &networks)
}

fn added(entry: &Entry, addition: &Addition, now: &Zoned) -> Outcome {
    let end = ends(entry, now);
    let (word, details) = match addition {
        Addition::Added => ("added", format!(", {end}")),
        Addition::AlreadyThere(comment) if comment.is_empty() => {
            ("listed already", format!(", {end}"))
        }
        Addition::AlreadyThere(comment) => ("listed already", format!(", {end} ({comment})")),
        Addition::Changed(before) if before.until == entry.until => ("changed", format!(", {end}")),
        Addition::Changed(before) => {
            let before = ends(before, now);
            ("changed", format!(", {end}; it was {before}"))
        }
        Addition::Renewed(before) => match before.until {
            Some(time) => ("renewed", format!(", {end}; it had {}", ended(time, now))),
            None => ("renewed", format!(", {end}")),
        },
    };
    Outcome {
        entry: show(&entry.network),
        word,
        details,
    }
}
