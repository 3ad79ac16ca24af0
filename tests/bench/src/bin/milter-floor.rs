//! The floor: like milter-noop, with a minimal codec, a task for each connection and a
//! buffered read. No milter in Rust can cost less.
//!
//! `milter-floor SOCKET [gate]`, as for milter-noop.

use std::{env, io};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

/// NODATA, NOUNKNOWN, HDR_LEADSPC, and a reply only to the end of a message.
const SILENT: u32 =
    0x200 | 0x100 | 0x10_0000 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x80 | 0x4_0000 | 0x8_0000;

/// NODATA, NOUNKNOWN, SKIP, HDR_LEADSPC, and no reply to HELO, header fields and the end of
/// headers.
const GATE: u32 = 0x200 | 0x100 | 0x400 | 0x10_0000 | 0x2000 | 0x80 | 0x4_0000;

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let listener = UnixListener::bind(arguments.next().unwrap_or_default())?;
    let (options, answered): (u32, &'static [u8]) = match arguments.next().as_deref() {
        Some("gate") => (GATE, b"CMRBE"),
        _ => (SILENT, b"E"),
    };
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, options, answered));
    }
}

async fn serve(mut stream: UnixStream, options: u32, answered: &[u8]) -> io::Result<()> {
    let mut incoming = Vec::with_capacity(8192);
    let mut out = Vec::new();
    while stream.read_buf(&mut incoming).await? > 0 {
        let mut done = 0;
        while let Some((letter, length)) = frame(&incoming[done..]) {
            done += length;
            match letter {
                b'O' => negotiation(&mut out, options),
                b'Q' => return Ok(()),
                letter if answered.contains(&letter) => out.extend_from_slice(b"\0\0\0\x01c"),
                _ => {}
            }
        }
        incoming.drain(..done);
        if !out.is_empty() {
            stream.write_all(&out).await?;
            out.clear();
        }
    }
    Ok(())
}

/// Returns the letter of the first frame, and the length of the frame.
fn frame(bytes: &[u8]) -> Option<(u8, usize)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    let frame = rest.get(..length)?;
    Some((*frame.first()?, 4 + length))
}

fn negotiation(out: &mut Vec<u8>, options: u32) {
    out.extend_from_slice(&13_u32.to_be_bytes());
    out.push(b'O');
    for word in [6, 0, options] {
        out.extend_from_slice(&word.to_be_bytes());
    }
}
