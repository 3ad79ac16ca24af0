//! `sixgate opt-in add`, `deny` and `remove`: change the managed list and print
//! the outcome for each entry.

use super::{
    afterwards,
    requests::{self, Request},
    warnings,
};
use crate::{
    cli::{OptInAdd, OptInDeny, OptInEdit, OptInRemove},
    commands::outcomes::{Outcome, print, tell},
    config::Config,
    exit::{Exit, Failure},
    opt_in::{
        entry::Entry,
        managed::{self, Addition, Removal},
        redis,
    },
    redis_client::RedisFailure,
};
use anyhow::anyhow;

/// Adds entries. Those that are there already stay as they are.
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
    let additions = match config.opt_in.redis.managed {
        true => in_redis(async || {
            let comments: Vec<String> = requests.iter().map(comment).collect();
            let entries = requests.iter().map(|request| &request.entry);
            let entries: Vec<_> = entries.zip(comments.iter().map(String::as_str)).collect();
            let (additions, is_new) = redis::edit::add(&config.opt_in.redis, &entries).await?;
            if is_new {
                let key = &config.opt_in.redis.key;
                eprintln!(
                    "warning: there was no hash {key}; it has these entries only, and other \
                     domains are no longer unknown but not listed"
                );
            }
            Ok(additions)
        })?,
        false => managed::edit(&config.opt_in.managed_file, |list| {
            let add = |request: &Request| list.add(&request.entry, &comment(request));
            requests.iter().map(add).collect::<Vec<Addition>>()
        })?,
    };
    let told = requests.iter().zip(&additions);
    tell(told.map(|(request, addition)| told_addition(&request.entry, addition)))?;
    let entries = requests.iter().map(|request| request.entry.clone());
    warnings::exchangers(&config, arguments, entries.collect())
}

/// Removes entries, and prints what applies to each domain afterwards.
pub(super) fn remove(arguments: &OptInRemove) -> Result<(), Failure> {
    let config = Config::load(&arguments.edit.config.path)?;
    let requests = requests::read(&arguments.edit.entries)?;
    let removals = match config.opt_in.redis.managed {
        true => in_redis(async || {
            let entries: Vec<_> = requests.iter().map(|r| (&r.entry, "")).collect();
            redis::edit::remove(&config.opt_in.redis, &entries).await
        })?,
        false => managed::edit(&config.opt_in.managed_file, |list| {
            let remove = |request: &Request| list.remove(&request.entry);
            requests.iter().map(remove).collect::<Vec<Removal>>()
        })?,
    };
    let done = requests.iter().zip(removals);
    tell(
        done.clone()
            .map(|(request, removal)| told_removal(&request.entry, removal)),
    )?;
    let entries: Vec<Entry> = requests.iter().map(|r| r.entry.clone()).collect();
    print(&afterwards::describe(&config, &entries))?;
    let removed = done.filter(|(_, removal)| *removal == Removal::Removed);
    // What is no longer opted in is as if its contrary had been added.
    let contraries = removed.map(|(request, _)| request.entry.contrary());
    warnings::exchangers(&config, &arguments.edit, contraries.collect())
}

/// Waits for Redis.
pub(super) fn in_redis<T>(
    ask: impl AsyncFnOnce() -> Result<T, RedisFailure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Os, error))?;
    let answer = runtime.block_on(ask());
    answer.map_err(|failure| {
        let complaint = anyhow!("opt_in.redis: {failure}");
        Failure::new(Exit::Unavailable, complaint)
    })
}

fn told_addition(entry: &Entry, addition: &Addition) -> Outcome {
    let (word, details) = match addition {
        Addition::Added => ("added", String::new()),
        Addition::AlreadyThere(comment) if comment.is_empty() => ("listed already", String::new()),
        Addition::AlreadyThere(comment) => ("listed already", format!(" ({comment})")),
        Addition::Turned => ("changed", format!(" from {}", entry.contrary())),
    };
    Outcome {
        entry: entry.to_string(),
        word,
        details,
    }
}

fn told_removal(entry: &Entry, removal: Removal) -> Outcome {
    let (word, details) = match removal {
        Removal::Removed => ("removed", String::new()),
        Removal::NotThere => ("not listed", String::new()),
        Removal::ContraryIsThere => ("not listed", format!(", but {} is", entry.contrary())),
    };
    Outcome {
        entry: entry.to_string(),
        word,
        details,
    }
}
