//! The messages that mutations start from: those of the public vectors in the folder
//! `SIXGATE_VECTORS`, and an empty one.

use crate::{message::Message, signed, zone::Zone};
use serde_json::Value;
use std::{env, fs, path::Path};

/// A message and the keys in the DNS.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) message: Message,
    pub(super) zone: Zone,
}

/// Words that mutations insert into bodies.
pub(super) const BODY_WORDS: &[&str] = &[
    "\r\n", "\r", "\n", " ", "\t", " \r\n", "\r\n\r\n", "a", "\0", "\u{c}", " \t",
];

/// The maximum size of a public message. Larger ones take time and show nothing new.
const LONGEST: u64 = 16_384;

pub(super) fn load() -> Vec<Seed> {
    let mut seeds = match env::var_os("SIXGATE_VECTORS") {
        Some(folder) => vectors(&Path::new(&folder).join("dkim")),
        None => Vec::new(),
    };
    println!("{} public messages among the seeds", seeds.len());
    seeds.push(Seed {
        message: Message::default(),
        zone: signed::zone(),
    });
    seeds
}

fn vectors(folder: &Path) -> Vec<Seed> {
    let zone = zone(&read_json(&folder.join("zone.json")));
    let manifest = read_json(&folder.join("manifest.json"));
    let files = manifest.as_array().into_iter().flatten();
    let paths = files.filter_map(|entry| Some(folder.join(entry["file"].as_str()?)));
    let short = |path: &std::path::PathBuf| {
        fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LONGEST)
    };
    let seed = |path| {
        Some(Seed {
            message: Message::parse(&fs::read(path).ok()?),
            zone: zone.clone(),
        })
    };
    paths.filter(short).filter_map(seed).collect()
}

fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn zone(json: &Value) -> Zone {
    let mut zone = signed::zone();
    for (name, records) in json.as_object().into_iter().flatten() {
        for record in records.as_array().into_iter().flatten() {
            if record[0] == "TXT" {
                zone.add_txt(name, text(&record[1]));
            }
        }
    }
    zone
}

fn text(value: &Value) -> String {
    match value.as_array() {
        Some(strings) => strings.iter().filter_map(Value::as_str).collect(),
        None => value.as_str().unwrap_or_default().to_owned(),
    }
}
