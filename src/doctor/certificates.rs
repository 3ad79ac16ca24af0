//! Exemptions by client certificate: checks that the MTA requests certificates, and that
//! it trusts no public CA, because then `exempt.tls: verified` exempts anyone.

use super::finding::{Check, Finding};
use crate::{config::Config, policy::ExemptTls};
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

/// The settings for client certificates of an MTA or of one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientCertificates {
    /// The file with the settings, such as `/etc/postfix/main.cf`.
    pub(super) place: String,
    /// Whether clients are asked for a certificate.
    pub(super) is_asked_for: bool,
    /// The setting that determines this, such as `smtpd_tls_ask_ccert = yes`.
    pub(super) because: String,
    /// The settings that name trusted CAs, each with its file or directory.
    pub(super) authorities: Vec<(String, PathBuf)>,
    /// The setting that adds the system's CAs, if there is one.
    pub(super) system_authorities: Option<String>,
    /// How to make the MTA request certificates.
    pub(super) how_to_ask: &'static str,
}

/// Compares `exempt.tls` and `exempt.certificates` with the certificates that the MTAs
/// request and trust.
pub(super) fn check(config: &Config, mtas: &[ClientCertificates]) -> Vec<Finding> {
    let by_name = !config.policy.exempt_certificates.is_empty();
    let by_trust = config.policy.exempt_tls == ExemptTls::Verified;
    if !by_name && !by_trust {
        let seen = match config.policy.exempt_tls {
            ExemptTls::Any => "exempt.tls: any exempts clients with or without a certificate",
            ExemptTls::None | ExemptTls::Verified => "no client is exempt because of a certificate",
        };
        return vec![Finding::ok(Check::Certificates, seen)];
    }
    if mtas.is_empty() {
        let seen = "unknown which certificates the MTA trusts, because no MTA was found";
        return vec![Finding::ok(Check::Certificates, seen)];
    }
    let findings = mtas.iter().map(|mta| match by_trust {
        true => exempt_by_trust(mta),
        false => exempt_by_name(mta),
    });
    findings.collect()
}

fn exempt_by_trust(mta: &ClientCertificates) -> Finding {
    let place = &mta.place;
    if !mta.is_asked_for {
        return no_effect(mta, "exempt.tls: verified");
    }
    match mta.public_authorities() {
        Ok(Some(public)) => Finding::warning(
            Check::Certificates,
            format!(
                "exempt.tls: verified exempts anyone with a certificate of a public CA: {place} \
                 asks clients for one ({}) and trusts {public}",
                mta.because
            ),
            "set exempt.tls: none and list the certificates of partners in exempt.certificates, or \
             make the MTA trust only your own CA",
        ),
        Ok(None) => Finding::ok(
            Check::Certificates,
            format!("exempt.tls: verified: {place} trusts no known public CA"),
        ),
        Err((path, error)) => Finding::warning(
            Check::Certificates,
            format!(
                "exempt.tls: verified: unknown whether {place} trusts a public CA: {}: {error}",
                path.display()
            ),
            "run doctor as root, or list the certificates of partners in exempt.certificates",
        ),
    }
}

fn exempt_by_name(mta: &ClientCertificates) -> Finding {
    let place = &mta.place;
    if !mta.is_asked_for || (mta.authorities.is_empty() && mta.system_authorities.is_none()) {
        return no_effect(mta, "exempt.certificates");
    }
    Finding::ok(
        Check::Certificates,
        format!(
            "exempt.certificates: {place} asks for certificates ({})",
            mta.because
        ),
    )
}

fn no_effect(mta: &ClientCertificates, key: &str) -> Finding {
    let place = &mta.place;
    let why = match mta.is_asked_for {
        false => format!("does not ask clients for a certificate ({})", mta.because),
        true => "has no trusted CA".to_owned(),
    };
    Finding::warning(
        Check::Certificates,
        format!("{key} has no effect: {place} {why}"),
        mta.how_to_ask,
    )
}

/// The number of trusted CAs from which they are assumed to be public. A site has fewer of
/// its own.
const MIN_PUBLIC: usize = 20;

/// The public CAs as single files, on Debian and its derivatives. The system's bundle
/// can't be used instead, because it may also contain the site's own CA.
const PUBLIC_CAS: &str = "/usr/share/ca-certificates/mozilla";

impl ClientCertificates {
    /// Describes the public CAs that the MTA trusts; `None` if there are none.
    ///
    /// # Errors
    /// Returns the first file or directory that can't be read.
    fn public_authorities(&self) -> Result<Option<String>, (PathBuf, io::Error)> {
        if let Some(setting) = &self.system_authorities {
            return Ok(Some(format!("the system's CAs ({setting})")));
        }
        let public = certificates_below(Path::new(PUBLIC_CAS)).unwrap_or_default();
        for (setting, path) in &self.authorities {
            let trusted = certificates_at(path).map_err(|error| (path.clone(), error))?;
            if trusted.len() >= MIN_PUBLIC || trusted.intersection(&public).next().is_some() {
                let number = trusted.len();
                let noun = if number == 1 { "CA" } else { "CAs" };
                return Ok(Some(format!("{number} {noun} ({setting})")));
            }
        }
        Ok(None)
    }
}

/// Returns the certificates in a file, or in the files of a directory (`CApath`).
fn certificates_at(path: &Path) -> io::Result<HashSet<String>> {
    match path.is_dir() {
        true => certificates_below(path),
        false => Ok(certificates_in(&fs::read(path)?)),
    }
}

fn certificates_below(folder: &Path) -> io::Result<HashSet<String>> {
    let mut certificates = HashSet::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        // Removing a CA leaves a dangling link behind.
        if let Ok(bytes) = fs::read(&file) {
            certificates.extend(certificates_in(&bytes));
        }
    }
    Ok(certificates)
}

/// Returns the Base64 of each PEM certificate.
fn certificates_in(bytes: &[u8]) -> HashSet<String> {
    let text = String::from_utf8_lossy(bytes);
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = blocks.filter_map(|block| block.split("-----END").next());
    bodies
        .map(|body| body.split_whitespace().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn pem(number: usize) -> String {
        format!("text\n-----BEGIN CERTIFICATE-----\nAAAA\n{number:04}\n-----END CERTIFICATE-----\n")
    }

    fn mta(file: &Path) -> ClientCertificates {
        ClientCertificates {
            place: "main.cf".to_owned(),
            is_asked_for: true,
            because: "smtpd_tls_ask_ccert = yes".to_owned(),
            authorities: vec![("smtpd_tls_CAfile".to_owned(), file.to_owned())],
            system_authorities: None,
            how_to_ask: "ask",
        }
    }

    #[test]
    fn many_authorities_are_public_and_a_few_of_the_sites_own_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        for (number, want) in [
            (0, None),
            (1, None),
            (MIN_PUBLIC - 1, None),
            (MIN_PUBLIC, Some("20 CAs")),
        ] {
            fs::write(&file, (0..number).map(pem).collect::<String>()).unwrap();
            for path in [&file, &folder.path().to_owned()] {
                let public = mta(path).public_authorities().unwrap();
                let seen = public.as_deref().and_then(|text| text.split(" (").next());
                assert_eq!(seen, want, "{number}");
            }
        }
        assert!(mta(Path::new("/nonexistent")).public_authorities().is_err());
    }

    #[test]
    fn a_finding_depends_on_what_exempts_and_on_what_is_asked_for() {
        let named = "exempt: {certificates: [mx.partner.example]}";
        let verified = "exempt: {tls: verified}";
        let both = "exempt: {tls: verified, certificates: [mx.partner.example]}";
        let folder = tempfile::tempdir().unwrap();
        let (own, public) = (folder.path().join("own"), folder.path().join("public"));
        fs::write(&own, pem(1)).unwrap();
        fs::write(&public, (0..MIN_PUBLIC).map(pem).collect::<String>()).unwrap();
        let silent = ClientCertificates {
            is_asked_for: false,
            ..mta(&public)
        };
        let without_ca = ClientCertificates {
            authorities: Vec::new(),
            ..mta(&own)
        };
        let system = ClientCertificates {
            system_authorities: Some("tls_append_default_CA = yes".to_owned()),
            ..mta(&own)
        };
        let unreadable = mta(Path::new("/nonexistent"));
        let table = [
            // configuration, MTA, level, words
            (
                "",
                &mta(&public),
                Level::Ok,
                "no client is exempt because of a certificate",
            ),
            (
                "exempt: {tls: any}",
                &mta(&public),
                Level::Ok,
                "with or without",
            ),
            (
                verified,
                &mta(&public),
                Level::Warning,
                "anyone with a certificate",
            ),
            (verified, &system, Level::Warning, "the system's CAs"),
            (verified, &unreadable, Level::Warning, "unknown whether"),
            (verified, &mta(&own), Level::Ok, "no known public CA"),
            (verified, &silent, Level::Warning, "no effect"),
            (
                both,
                &mta(&public),
                Level::Warning,
                "anyone with a certificate",
            ),
            (named, &mta(&public), Level::Ok, "asks for certificates"),
            (
                named,
                &silent,
                Level::Warning,
                "no effect: main.cf does not ask clients for a",
            ),
            (
                named,
                &without_ca,
                Level::Warning,
                "no effect: main.cf has no trusted CA",
            ),
        ];
        for (yaml, mta, level, words) in table {
            let config = Config::parse(yaml, "milter.yaml").unwrap();
            let findings = check(&config, std::slice::from_ref(mta));
            let [finding] = findings.as_slice() else {
                panic!("{yaml}: {findings:?}");
            };
            assert_eq!(finding.level, level, "{yaml}: {finding:?}");
            assert!(finding.seen.contains(words), "{yaml}: {finding:?}");
        }
    }
}
