//! What both clients need. Arguments: see ../../../README.md.

use std::env;

/// The command line, and the message that it names.
pub struct Arguments {
    pub socket: String,
    pub version: u32,
    pub actions: u32,
    pub protocol: u32,
    pub sender: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Arguments {
    /// # Panics
    /// If they are not as the README has them.
    pub fn read() -> Self {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [socket, version, actions, protocol, sender, file] = &arguments[..] else {
            panic!("usage: SOCKET VERSION ACTIONS PROTOCOL SENDER FILE");
        };
        let number = |text: &String| text.parse().expect("a number");
        let text = std::fs::read_to_string(file).expect("a message");
        let (header, body) = text.split_once("\r\n\r\n").expect("a body");
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in header.split("\r\n") {
            match fields.last_mut() {
                Some((_, value)) if line.starts_with([' ', '\t']) => {
                    value.push('\n');
                    value.push_str(line);
                }
                _ => {
                    let (name, value) = line.split_once(':').expect("a field");
                    fields.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        Self {
            socket: socket.clone(),
            version: number(version),
            actions: number(actions),
            protocol: number(protocol),
            sender: sender.clone(),
            fields,
            body: body.as_bytes().to_vec(),
        }
    }
}

pub fn without_space(value: &str, keeps_space: bool) -> &str {
    match value.strip_prefix(' ') {
        Some(rest) if !keeps_space => rest,
        _ => value,
    }
}

pub fn one_line(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}
