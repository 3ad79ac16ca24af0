//! `sixgate opt-in add`, `deny` and `remove`: change the managed list and print
//! the outcome for each entry.

use super::{
    after_removal,
    requests::{self, Request},
    sync_dns::{self, OptOut},
    warnings,
};
use crate::{
    address::Domain,
    cli::{OptInAdd, OptInDeny, OptInEdit, OptInRemove},
    commands::{
        self,
        outcomes::{Outcome, print, print_outcomes},
    },
    config::Config,
    exit::{Exit, Failure},
    opt_in::{
        entry::{Entry, Scope},
        managed::{self, Addition, Removal},
        pending::Action,
        redis,
    },
    redis_client::RedisFailure,
};
use anyhow::anyhow;
use std::fmt;

/// Adds entries. Existing ones are not changed.
pub(super) fn add(arguments: &OptInAdd) -> Result<(), Failure> {
    let requests = requests::read(&arguments.edit.entries)?;
    write(
        &arguments.edit,
        requests,
        arguments.comment.as_deref(),
        arguments.force,
    )
}

/// Adds entries that opt the domains out.
pub(super) fn deny(arguments: &OptInDeny) -> Result<(), Failure> {
    let requests = requests::deny(requests::read(&arguments.edit.entries)?)?;
    write(
        &arguments.edit,
        requests,
        arguments.comment.as_deref(),
        arguments.force,
    )
}

fn write(
    arguments: &OptInEdit,
    requests: Vec<Request>,
    comment: Option<&str>,
    force: bool,
) -> Result<(), Failure> {
    let config = Config::load(&arguments.config.path)?;
    if !force {
        requests::check_dots(&requests)?;
    }
    let comment = |request: &'_ Request| comment.unwrap_or(&request.comment).to_owned();
    if arguments.sync_dns {
        let (opt_ins, opt_outs): (Vec<Request>, Vec<Request>) = requests
            .into_iter()
            .partition(|request| request.entry.opted_in);
        let opt_outs = opt_outs
            .iter()
            .map(|request| OptOut::new(&request.entry, Action::Deny, &comment(request)));
        let opt_outs: Vec<OptOut> = opt_outs.collect::<Result<_, _>>()?;
        return sync_dns::edit(&config, arguments, &opt_ins, &opt_outs, || {
            let comments = opt_ins.iter().map(comment).collect();
            add_and_report(&config, &opt_ins, comments)
        });
    }
    let comments = requests.iter().map(comment).collect();
    add_and_report(&config, &requests, comments)?;
    let entries = requests.iter().map(|request| request.entry.clone());
    warnings::exchangers(&config, arguments, entries.collect())
}

fn add_and_report(
    config: &Config,
    requests: &[Request],
    comments: Vec<String>,
) -> Result<(), Failure> {
    let entries = requests.iter().map(|request| &request.entry);
    let entries: Vec<_> = entries.zip(comments.iter().map(String::as_str)).collect();
    let additions = add_entries(config, &entries)?;
    let outcomes = requests.iter().zip(&additions);
    print_outcomes(outcomes.map(|(request, addition)| addition_outcome(&request.entry, addition)))?;
    let opted_in = requests.iter().filter(|request| request.entry.opted_in);
    let opted_in: Vec<Domain> = opted_in
        .filter(|request| request.entry.scope == Scope::Itself)
        .map(|request| request.entry.domain.clone())
        .collect();
    sync_dns::cancel(&config.opt_in.managed_file, &opted_in)
}

/// Removes entries, and prints what applies to each domain afterwards.
pub(super) fn remove(arguments: &OptInRemove) -> Result<(), Failure> {
    let config = Config::load(&arguments.edit.config.path)?;
    let requests = requests::read(&arguments.edit.entries)?;
    if arguments.edit.sync_dns {
        let (opt_ins, opt_outs): (Vec<Request>, Vec<Request>) = requests
            .into_iter()
            .partition(|request| !request.entry.opted_in);
        let opt_outs = opt_outs
            .iter()
            .map(|request| OptOut::new(&request.entry, Action::Remove, ""));
        let opt_outs: Vec<OptOut> = opt_outs.collect::<Result<_, _>>()?;
        return sync_dns::edit(&config, &arguments.edit, &opt_ins, &opt_outs, || {
            remove_and_report(&config, &opt_ins).map(|_| ())
        });
    }
    let removals = remove_and_report(&config, &requests)?;
    let done = requests.iter().zip(removals);
    let removed = done.filter(|(_, removal)| *removal == Removal::Removed);
    // Removing an entry is checked like adding the opposite one.
    let opposites = removed.map(|(request, _)| request.entry.opposite());
    warnings::exchangers(&config, &arguments.edit, opposites.collect())
}

fn remove_and_report(config: &Config, requests: &[Request]) -> Result<Vec<Removal>, Failure> {
    let entries: Vec<&Entry> = requests.iter().map(|request| &request.entry).collect();
    let removals = remove_entries(config, &entries)?;
    let done = requests.iter().zip(&removals);
    print_outcomes(done.map(|(request, removal)| removal_outcome(&request.entry, *removal)))?;
    let entries: Vec<Entry> = entries.into_iter().cloned().collect();
    print(&after_removal::describe(config, &entries))?;
    Ok(removals)
}

/// Adds entries with their comments to the managed list, which may be in Redis.
pub(super) fn add_entries(
    config: &Config,
    entries: &[(&Entry, &str)],
) -> Result<Vec<Addition>, Failure> {
    match config.opt_in.redis.managed {
        true => in_redis::<_, RedisFailure>(async || {
            let (additions, is_new) = redis::edit::add(&config.opt_in.redis, entries).await?;
            if is_new {
                let key = &config.opt_in.redis.key;
                eprintln!(
                    "warning: the hash {key} did not exist and was created; a domain without an \
                     entry in it now counts as not listed, no longer as unknown"
                );
            }
            Ok(additions)
        }),
        false => Ok(managed::edit(&config.opt_in.managed_file, |list| {
            let add = |(entry, comment): &(&Entry, &str)| list.add(entry, comment);
            entries.iter().map(add).collect()
        })?),
    }
}

/// Removes entries from the managed list, which may be in Redis.
pub(super) fn remove_entries(config: &Config, entries: &[&Entry]) -> Result<Vec<Removal>, Failure> {
    match config.opt_in.redis.managed {
        true => in_redis(async || {
            let entries: Vec<_> = entries.iter().map(|entry| (*entry, "")).collect();
            redis::edit::remove(&config.opt_in.redis, &entries).await
        }),
        false => Ok(managed::edit(&config.opt_in.managed_file, |list| {
            entries.iter().map(|entry| list.remove(entry)).collect()
        })?),
    }
}

/// Runs an operation in Redis to its end.
pub(in crate::commands) fn in_redis<T, E: fmt::Display>(
    operation: impl AsyncFnOnce() -> Result<T, E>,
) -> Result<T, Failure> {
    let runtime = commands::runtime()?;
    let answer = runtime.block_on(operation());
    answer.map_err(|failure| {
        let complaint = anyhow!("opt_in.redis: {failure}");
        Failure::new(Exit::Unavailable, complaint)
    })
}

fn addition_outcome(entry: &Entry, addition: &Addition) -> Outcome {
    let (word, details) = match addition {
        Addition::Added => ("added", String::new()),
        Addition::AlreadyThere(comment) if comment.is_empty() => ("listed already", String::new()),
        Addition::AlreadyThere(comment) => ("listed already", format!(" ({comment})")),
        Addition::Turned => ("changed", format!(" from {}", entry.opposite())),
    };
    Outcome {
        entry: entry.to_string(),
        word,
        details,
    }
}

fn removal_outcome(entry: &Entry, removal: Removal) -> Outcome {
    let (word, details) = match removal {
        Removal::Removed => ("removed", String::new()),
        Removal::NotThere => ("not listed", String::new()),
        Removal::ContraryIsThere => ("not listed", format!(", but {} is", entry.opposite())),
    };
    Outcome {
        entry: entry.to_string(),
        word,
        details,
    }
}
