//! Files that hold a password or token, such as `opt_in.sql.password_file`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};
#[cfg(any(feature = "redis", feature = "sql"))]
use tokio::task::spawn_blocking;

/// Reads the password, the first line. Called for each connection, so that a new password
/// needs no reload.
///
/// # Errors
/// Fails if the file can't be read or its first line is empty. The error text does not
/// contain the password.
#[cfg(any(feature = "redis", feature = "sql"))]
pub(crate) async fn read(file: &Path) -> Result<String, String> {
    let owned = file.to_owned();
    let read = spawn_blocking(move || read_blocking(&owned, "password")).await;
    read.unwrap_or_else(|error| {
        let name = located(file);
        Err(format!(
            "the password file {} can't be read: {error}",
            name.display()
        ))
    })
}

/// Reads the first line. `kind` names the content in errors.
///
/// # Errors
/// Fails if the file can't be read or its first line is empty. The error text does not
/// contain the password.
pub(crate) fn read_blocking(file: &Path, kind: &str) -> Result<String, String> {
    let file = located(file);
    let name = file.display();
    let text = fs::read_to_string(&file)
        .map_err(|error| format!("the {kind} file {name} can't be read: {error}"))?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        Some(_) | None => Err(format!("the {kind} file {name} has an empty first line")),
    }
}

/// Resolves the name of a systemd credential.
fn located(file: &Path) -> PathBuf {
    match file.strip_prefix("$CREDENTIALS_DIRECTORY") {
        Ok(name) => Path::new(&env::var_os("CREDENTIALS_DIRECTORY").unwrap_or_default()).join(name),
        Err(_) => file.to_owned(),
    }
}
