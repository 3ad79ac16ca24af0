//! Files that hold a password, such as `opt_in.sql.password_file`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};
use tokio::task::spawn_blocking;

/// Reads the password: the first line. It is read for each connection, so that a new
/// password needs no reload.
///
/// # Errors
/// When the file can't be read or its first line is empty. The text has no password.
pub(crate) async fn read(file: &Path) -> Result<String, String> {
    let file = located(file);
    let name = file.display().to_string();
    let text = spawn_blocking(move || fs::read_to_string(file)).await;
    let text = match text {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            return Err(format!("the password file {name} can't be read: {error}"));
        }
        Err(error) => return Err(format!("the password file {name} can't be read: {error}")),
    };
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        Some(_) | None => Err(format!("the password file {name} has an empty first line")),
    }
}

/// Resolves the name of a systemd credential.
fn located(file: &Path) -> PathBuf {
    match file.strip_prefix("$CREDENTIALS_DIRECTORY") {
        Ok(name) => Path::new(&env::var_os("CREDENTIALS_DIRECTORY").unwrap_or_default()).join(name),
        Err(_) => file.to_owned(),
    }
}
