//! The certificates and the account that every MTA here has.

use super::{namespace::run, release::Release};
use std::{fs, io, path::Path};

/// Into `tls` below the directory: an authority, the server's certificate by
/// it, a client's by it (`trusted.pem`), and a client's by nobody
/// (`untrusted.pem`).
pub fn make_certificates(directory: &Path) -> io::Result<()> {
    let folder = directory.join("tls");
    fs::create_dir_all(&folder)?;
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let make = |name: &str, signed_by: &[&str]| {
        let (key, out) = (file(&format!("{name}.key")), file(&format!("{name}.crt")));
        let subject = format!("/CN={name}.sixgate.test");
        let options = [
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
        run("openssl", &[&options, signed_by].concat())?;
        let both = fs::read_to_string(&key)? + &fs::read_to_string(&out)?;
        fs::write(file(&format!("{name}.pem")), both)
    };
    make("ca", &[])?;
    let (ca, ca_key) = (file("ca.crt"), file("ca.key"));
    let by_ca = [
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ];
    make("server", &by_ca)?;
    make("trusted", &by_ca)?;
    make("untrusted", &[])
}

/// `alice` with the password `secret`, for AUTH PLAIN: a database that the user
/// may read, and the configuration for Cyrus SASL that names it.
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
