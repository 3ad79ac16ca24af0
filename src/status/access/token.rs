//! The token of `status.token_file`.

use crate::{
    address::Domain,
    config::{Config, ConfigError},
    password_file,
};
use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use std::{path::Path, sync::Arc};

/// The minimum length of the token, in characters: 16 random characters of Base64 are 96 bits.
const MIN_LENGTH: usize = 16;

/// The configured access to the page.
#[derive(Clone, Debug)]
pub struct Access {
    token: Option<Token>,
    host_names: Arc<[Domain]>,
}

impl Access {
    /// Reads the token. `file` is the configuration file, for error messages.
    ///
    /// # Errors
    /// If the token file can't be read, or the token is too short.
    pub fn open(file: &Path, config: &Config) -> Result<Self, ConfigError> {
        let token_file = config.status.token_file.as_deref();
        let token = match token_file.filter(|_| config.status.is_on()) {
            Some(token_file) => Some(Token::read(token_file).map_err(|complaint| {
                Config::section_error(file, "status", "token_file", &complaint)
            })?),
            None => None,
        };
        Ok(Self {
            token,
            host_names: config.status.host_names.as_slice().into(),
        })
    }

    /// Returns whether clients have to present a token.
    pub(in crate::status) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(super) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    pub(super) fn host_names(&self) -> &[Domain] {
        &self.host_names
    }
}

/// The SHA-256 of the token, so that a comparison takes the same time for every value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token([u8; 32]);

impl Token {
    fn read(file: &Path) -> Result<Self, String> {
        let token = password_file::read_blocking(file, "token")?;
        let token = token.trim();
        match token.chars().count() {
            0..MIN_LENGTH => Err(format!(
                "the token in {} is shorter than {MIN_LENGTH} characters; make one with openssl \
                 rand -base64 32",
                file.display()
            )),
            _ => Ok(Self::of(token)),
        }
    }

    fn of(text: &str) -> Self {
        Self(sha256(text.as_bytes()))
    }

    /// Returns whether this is the token.
    pub(super) fn is(&self, presented: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(presented.trim()).0).is_ok()
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn token(text: &str) -> Token {
        Token::of(text)
    }

    #[test]
    fn a_token_is_compared_as_a_whole() {
        let right = token("0123456789abcdef");
        assert!(right.is("0123456789abcdef"));
        assert!(right.is(" 0123456789abcdef\n"));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789ABCDEF",
        ] {
            assert!(!right.is(wrong), "{wrong}");
        }
    }
}
