//! The private keys of signers. They are files, because the zone is written before the
//! messages are signed.

use crate::{arguments::Algorithm, signer::Key};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::KeyPair,
    signature::Ed25519KeyPair,
};
use std::{fs, io, path::Path};

const RSA: &str = "rsa.pkcs8";
const ED25519: &str = "ed25519.pkcs8";

/// Generates both keys and prints their records (RFC 6376 section 3.6.1).
pub fn make(directory: &Path) -> io::Result<()> {
    for (file, kind, key) in [
        (RSA, "rsa", Key::rsa()),
        (ED25519, "ed25519", Key::ed25519()),
    ] {
        fs::write(directory.join(file), private(&key)?)?;
        println!("v=DKIM1; k={kind}; p={}", key.public());
    }
    Ok(())
}

fn private(key: &Key) -> io::Result<Vec<u8>> {
    Ok(match key {
        Key::Rsa(pair) => {
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(io::Error::other)?;
            der.as_ref().to_vec()
        }
        Key::Ed25519(pair) => pair.to_pkcs8().map_err(io::Error::other)?.as_ref().to_vec(),
    })
}

pub fn read(directory: &Path, algorithm: Algorithm) -> io::Result<Key> {
    Ok(match algorithm {
        Algorithm::Rsa => {
            let der = fs::read(directory.join(RSA))?;
            Key::Rsa(KeyPair::from_pkcs8(&der).map_err(io::Error::other)?)
        }
        Algorithm::Ed25519 => {
            let der = fs::read(directory.join(ED25519))?;
            Key::Ed25519(Ed25519KeyPair::from_pkcs8(&der).map_err(io::Error::other)?)
        }
    })
}
