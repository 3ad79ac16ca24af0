//! Atomic edits of a hash: reads fields, lets the caller decide, and writes with a script
//! unless a field has changed in the meantime.

use super::{Change, MARKER, RedisClient, RedisFailure, connection::Server};
use futures_util::FutureExt as _;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// The maximum number of fields per atomic edit, during which Redis is blocked.
const AT_ONCE: usize = 100_000;

/// The maximum number of attempts while others change the same fields.
const ATTEMPTS: usize = 50;

/// The maximum number of fields that a notice names; more are reported as [`ALL`].
const NAMED: usize = 100;

/// The number of fields read at a time.
const COUNT: usize = 5000;

/// The notice for a change of many fields.
pub(super) const ALL: &str = "*";

/// A script that writes if each field still has the value that was read. Returns 0 if a
/// field has changed, 1 after writing, and 2 if it also created the hash. ARGV: the
/// channel, the notice, and for each field its name, the value read and the new value,
/// where `-` is no value and `+` precedes a value. Lua can pass only some thousand
/// arguments to a command.
const SCRIPT: &str = "\
local exists = redis.call('EXISTS', KEYS[1])
local count = (#ARGV - 2) / 3
local STEP = 1000
for first = 1, count, STEP do
  local last = math.min(first + STEP - 1, count)
  local fields = {}
  for i = first, last do fields[#fields + 1] = ARGV[3 * i] end
  local values = redis.call('HMGET', KEYS[1], unpack(fields))
  for i = first, last do
    local value = values[i - first + 1]
    value = value and '+' .. value or '-'
    if value ~= ARGV[3 * i + 1] then return 0 end
  end
end
for first = 1, count, STEP do
  local set, removed = {}, {}
  for i = first, math.min(first + STEP - 1, count) do
    local value = ARGV[3 * i + 2]
    if value == '-' then
      removed[#removed + 1] = ARGV[3 * i]
    else
      set[#set + 1] = ARGV[3 * i]
      set[#set + 1] = string.sub(value, 2)
    end
  end
  if #set > 0 then redis.call('HSET', KEYS[1], unpack(set)) end
  if #removed > 0 then redis.call('HDEL', KEYS[1], unpack(removed)) end
end
redis.call('HSETNX', KEYS[1], '#', 'Edited by sixgate. This field shows that an empty list is not lost.')
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 2 - exists
";

impl RedisClient {
    /// Edits fields of a hash. `decide` gets the index of a field and its value, and may
    /// be called again if others edit the hash concurrently. Up to 100,000 fields are
    /// changed atomically; more are changed in parts. Followers receive the names of the
    /// changed fields. A repeated field is decided once, with its first index. Returns
    /// whether the hash is new.
    ///
    /// # Errors
    /// Fails if no server accepts the edit. Completed parts are kept.
    pub async fn edit(
        &self,
        key: &str,
        fields: &[String],
        decide: impl FnMut(usize, Option<&str>) -> Change + Send,
    ) -> Result<bool, RedisFailure> {
        let decide = Mutex::new(decide);
        let mut is_new = false;
        for (part, fields) in fields.chunks(AT_ONCE).enumerate() {
            let decide = |index: usize, value: Option<&str>| {
                let mut decide = decide.lock().unwrap_or_else(PoisonError::into_inner);
                decide(part * AT_ONCE + index, value)
            };
            is_new |= self
                .try_servers(&|server| edit_part(server, key, fields, &decide).boxed())
                .await?;
        }
        Ok(is_new)
    }
}

async fn edit_part(
    server: &Server,
    key: &str,
    fields: &[String],
    decide: &(impl Fn(usize, Option<&str>) -> Change + Sync),
) -> Result<bool, RedisFailure> {
    for _ in 0..ATTEMPTS {
        let found = read(server, key, fields).await?;
        let mut script = redis::cmd("EVAL");
        let mut changed = BTreeMap::new();
        for (index, (field, value)) in fields.iter().zip(&found).enumerate() {
            let text = value.as_deref().map(String::from_utf8_lossy);
            if changed.contains_key(field) {
                continue;
            }
            let new = match (decide(index, text.as_deref()), value) {
                (Change::Keep, _) | (Change::Remove, None) => continue,
                (Change::Set(new), Some(old)) if new.as_bytes() == old => continue,
                (Change::Set(new), _) => Some(new),
                (Change::Remove, Some(_)) => None,
            };
            changed.insert(field, (marked(value.as_deref()), marked(new.as_deref())));
        }
        if changed.is_empty() {
            return Ok(false);
        }
        script.arg(SCRIPT).arg(1).arg(key).arg(channel(key));
        script.arg(notice(changed.keys().map(|field| field.as_str())));
        for (field, (old, new)) in &changed {
            script.arg(field.as_str()).arg(old).arg(new);
        }
        match server.query::<u8>(&script).await? {
            0 => {}
            done => return Ok(done == 2),
        }
    }
    Err(RedisFailure::refused(
        "others change the same entries all the time; try again",
    ))
}

async fn read(
    server: &Server,
    key: &str,
    fields: &[String],
) -> Result<Vec<Option<Vec<u8>>>, RedisFailure> {
    let mut command = redis::cmd("HMGET");
    command.arg(key).arg(fields);
    let values: Vec<Option<Vec<u8>>> = server.query(&command).await?;
    match values.len() == fields.len() {
        true => Ok(values),
        false => Err(RedisFailure::refused("its answer has another length")),
    }
}

fn marked(value: Option<impl AsRef<[u8]>>) -> Vec<u8> {
    match value {
        Some(value) => [b"+", value.as_ref()].concat(),
        None => b"-".to_vec(),
    }
}

/// Returns the channel on which changes of a hash are published.
pub(super) fn channel(key: &str) -> String {
    format!("{key}:changed")
}

/// Returns the names of the fields, or [`ALL`] for many.
fn notice<'a>(fields: impl ExactSizeIterator<Item = &'a str>) -> String {
    match fields.len() <= NAMED {
        true => fields.collect::<Vec<_>>().join("\n"),
        false => ALL.to_owned(),
    }
}

/// Reads a hash in parts. Redis may return a field more than once.
pub(super) async fn scan(
    server: &Server,
    key: &str,
) -> Result<Option<Vec<(String, String)>>, RedisFailure> {
    let mut all = BTreeMap::new();
    let mut exists = false;
    let mut cursor = 0_u64;
    loop {
        let mut command = redis::cmd("HSCAN");
        command.arg(key).arg(cursor).arg("COUNT").arg(COUNT);
        let (next, part): (u64, Vec<Vec<u8>>) = server.query(&command).await?;
        let mut part = part.into_iter();
        while let (Some(field), Some(value)) = (part.next(), part.next()) {
            exists = true;
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            if !field.starts_with(MARKER.as_bytes()) {
                all.insert(text(field), text(value));
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(exists.then(|| all.into_iter().collect()));
        }
    }
}
