//! Edits the hash of `opt_in.redis`, which replaces the managed file. It keeps comments
//! and dates: the value of an entry is the text that follows the domain in a list file.

use super::{field, opted_in};
use crate::{
    config,
    list_file::edit::today,
    opt_in::{
        entry::Entry,
        managed::{Addition, Removal},
    },
    redis_client::{Change, RedisClient, RedisFailure},
};
use std::{collections::HashMap, time::Duration};

/// The timeout of an edit for each server, and the additional time per entry.
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_PER_ENTRY: Duration = Duration::from_micros(200);

/// Adds entries with their dates and comments, which may be empty. Existing entries are
/// not changed. Also returns whether the hash is new.
///
/// # Errors
/// Fails if no server accepts the edit.
pub async fn add(
    config: &config::Redis,
    entries: &[(&Entry, &str)],
) -> Result<(Vec<Addition>, bool), RedisFailure> {
    let today = today();
    let edited = edit(config, entries, |(entry, comment), old| {
        let addition = match old.map(opted_in) {
            None => Addition::Added,
            Some(Some((listed, comment))) if listed == entry.opted_in => {
                return (Change::Keep, Addition::AlreadyThere(comment.to_owned()));
            }
            Some(_contrary) => Addition::Turned,
        };
        (Change::Set(value(entry, &today, comment)), addition)
    });
    let again = |(_, comment): &(&Entry, &str), first: &Addition| match first {
        Addition::AlreadyThere(_) => first.clone(),
        Addition::Added | Addition::Turned => {
            let comment = format!("{today} {}", in_one_line(comment));
            Addition::AlreadyThere(comment.trim().to_owned())
        }
    };
    let edited = edited.await?;
    let is_new = edited.is_new;
    Ok((edited.outcomes(entries, again), is_new))
}

/// Removes entries.
///
/// # Errors
/// Fails if no server accepts the edit.
pub async fn remove(
    config: &config::Redis,
    entries: &[(&Entry, &str)],
) -> Result<Vec<Removal>, RedisFailure> {
    let edited = edit(config, entries, |(entry, _), old| match old.map(opted_in) {
        None => (Change::Keep, Removal::NotThere),
        Some(Some((listed, _))) if listed != entry.opted_in => {
            (Change::Keep, Removal::ContraryIsThere)
        }
        Some(_) => (Change::Remove, Removal::Removed),
    });
    let again = |_: &(&Entry, &str), first: &Removal| match first {
        Removal::Removed => Removal::NotThere,
        Removal::NotThere | Removal::ContraryIsThere => *first,
    };
    Ok(edited.await?.outcomes(entries, again))
}

/// Returns the entries of the hash with their comments, sorted by domain, and one line
/// about each invalid field. `None` if there is no such hash.
///
/// # Errors
/// Fails if no server answers.
pub async fn list(config: &config::Redis) -> Result<Option<Listing>, RedisFailure> {
    let client = RedisClient::new(config).with_timeout(TIMEOUT * 6);
    let Some(fields) = client.hash(&config.key).await? else {
        return Ok(None);
    };
    let mut listing = Listing::default();
    for (field, value) in fields {
        let entry = field.parse::<Entry>();
        match (entry, opted_in(&value)) {
            (Ok(entry), Some((opted_in, comment))) if entry.opted_in => {
                let entry = Entry { opted_in, ..entry };
                // The daemon only looks up the canonical spelling.
                match super::field(&entry) == field {
                    true => listing.entries.push((entry, comment.to_owned())),
                    false => listing.wrong.push(format!(
                        "{field:?} is never found; write {}",
                        super::field(&entry)
                    )),
                }
            }
            (Ok(entry), None) if entry.opted_in => {
                let start: String = value.chars().take(60).collect();
                listing.wrong.push(format!(
                    "{start:?} of {field} is not allowed here; write yes or no"
                ));
            }
            (Ok(entry), _) => listing.wrong.push(format!(
                "{field:?} is never found; write {} with the value no",
                super::field(&entry)
            )),
            (Err(error), _) => listing.wrong.push(error.to_string()),
        }
    }
    Ok(Some(listing))
}

/// The content of a hash.
#[derive(Debug, Default)]
pub struct Listing {
    /// The entries with their comments.
    pub entries: Vec<(Entry, String)>,
    /// One line about each invalid field.
    pub wrong: Vec<String>,
}

fn value(entry: &Entry, today: &str, comment: &str) -> String {
    let word = if entry.opted_in { "yes" } else { "no" };
    let value = format!("{word}  # {today} {}", in_one_line(comment));
    value.trim_end().to_owned()
}

fn in_one_line(comment: &str) -> String {
    let comment = comment.replace(char::is_control, " ");
    comment.trim().to_owned()
}

/// The outcomes for the entries, each once.
struct Edited<T> {
    is_new: bool,
    by_field: HashMap<String, usize>,
    outcomes: Vec<T>,
}

impl<T: Clone> Edited<T> {
    /// Returns the outcome for each entry; a repeated entry has the outcome that `again`
    /// returns.
    fn outcomes<E>(self, entries: &[(&Entry, E)], again: impl Fn(&(&Entry, E), &T) -> T) -> Vec<T> {
        let mut seen = vec![false; self.outcomes.len()];
        let outcome = |named: &(&Entry, E)| {
            let index = *self.by_field.get(&field(named.0))?;
            let first = self.outcomes.get(index)?;
            Some(match std::mem::replace(seen.get_mut(index)?, true) {
                true => again(named, first),
                false => first.clone(),
            })
        };
        entries.iter().filter_map(outcome).collect()
    }
}

async fn edit<T: Send>(
    config: &config::Redis,
    entries: &[(&Entry, &str)],
    decide: impl Fn((&Entry, &str), Option<&str>) -> (Change, T) + Sync,
) -> Result<Edited<T>, RedisFailure> {
    let mut by_field = HashMap::with_capacity(entries.len());
    let mut fields = Vec::with_capacity(entries.len());
    let mut named = Vec::with_capacity(entries.len());
    for entry in entries {
        let field = field(entry.0);
        by_field.entry(field.clone()).or_insert_with(|| {
            fields.push(field);
            named.push(*entry);
            fields.len() - 1
        });
    }
    let count = u32::try_from(fields.len()).unwrap_or(u32::MAX);
    let timeout = TIMEOUT.saturating_add(TIMEOUT_PER_ENTRY.saturating_mul(count));
    let client = RedisClient::new(config).with_timeout(timeout);
    let mut outcomes: Vec<Option<T>> = Vec::new();
    outcomes.resize_with(fields.len(), || None);
    let note = |index: usize, old: Option<&str>| {
        let (change, outcome) = decide(named[index], old);
        outcomes[index] = Some(outcome);
        change
    };
    let is_new = client.edit(&config.key, &fields, note).await?;
    Ok(Edited {
        is_new,
        by_field,
        outcomes: outcomes.into_iter().flatten().collect(),
    })
}
