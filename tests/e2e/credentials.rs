//! The certificates and the account of every MTA in the tests.

use super::{namespace::run, release::Release};
use std::{fs, io, path::Path};

/// Certificates of clients: file, common name and issuer.
const CLIENTS: [(&str, &str, &str); 8] = [
    ("trusted", "trusted.sixgate.test", "ca"),
    ("partner", "mx.partner.example", "ca"),
    ("partner-in-capitals", "MX.Partner.EXAMPLE", "ca"),
    ("branch", "relay1.branch.example", "ca"),
    ("too-deep", "a.relay1.branch.example", "ca"),
    ("wildcard", "*.branch.example", "ca"),
    ("impostor", "mx.partner.example", "other-ca"),
    ("self-signed", "mx.partner.example", ""),
];

/// Creates in the folder `tls` two CAs, the server's certificate from the first, which the
/// MTA trusts, and those of clients.
pub fn make_certificates(directory: &Path) -> io::Result<()> {
    let folder = directory.join("tls");
    fs::create_dir_all(&folder)?;
    make_certificate(&folder, "ca", "ca.sixgate.test", "")?;
    make_certificate(&folder, "other-ca", "ca.elsewhere.example", "")?;
    make_certificate(&folder, "server", "server.sixgate.test", "ca")?;
    for (name, common_name, issuer) in CLIENTS {
        make_certificate(&folder, name, common_name, issuer)?;
    }
    Ok(())
}

/// `NAME.key`, `NAME.crt` and both in `NAME.pem`. Without an issuer it is self-signed.
fn make_certificate(folder: &Path, name: &str, common_name: &str, issuer: &str) -> io::Result<()> {
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (key, out) = (file(&format!("{name}.key")), file(&format!("{name}.crt")));
    let subject = format!("/O=Partner AG/CN={common_name}");
    let mut options = vec![
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        &subject,
        "-keyout",
        &key,
        "-out",
        &out,
    ];
    let (ca, ca_key) = (
        file(&format!("{issuer}.crt")),
        file(&format!("{issuer}.key")),
    );
    if !issuer.is_empty() {
        options.extend(["-CA", &ca, "-CAkey", &ca_key]);
        options.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    run("openssl", &options)?;
    let both = fs::read_to_string(&key)? + &fs::read_to_string(&out)?;
    fs::write(file(&format!("{name}.pem")), both)
}

/// `alice` with the password `secret`, for AUTH PLAIN: a database that the user may read,
/// and the Cyrus SASL configuration for it.
pub fn make_account(
    release: Release,
    database: &Path,
    user: &str,
    configuration: &Path,
) -> io::Result<()> {
    let text = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\nmech_list: PLAIN\n",
        database.display()
    );
    fs::write(configuration, text)?;
    let database = database.to_string_lossy();
    let set = format!("printf secret | saslpasswd2 -p -c -f '{database}' -u mx.sixgate.test alice");
    run("sh", &["-c", &set])?;
    release.run("chown", &[user, &database])
}
