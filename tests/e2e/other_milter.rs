//! Another milter on the same port, which edits every message.

use indymilter::{Actions, Callbacks, Config, ContextActions, EomActions, EomContext, Status};
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
};
use tokio::{net::UnixListener, runtime};

/// Its socket, for the mail server in that folder.
pub fn socket(directory: &Path) -> PathBuf {
    directory.join("other-milter.sock")
}

/// Starts it; it stops with the process.
pub fn start(directory: &Path) -> io::Result<()> {
    let socket = socket(directory);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _context = runtime.enter();
        UnixListener::bind(&socket)?
    };
    // The MTA's user has to reach it.
    fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
    let callbacks = Callbacks::<()>::new().on_eom(|context| Box::pin(edit(context)));
    let config = Config {
        actions: Actions::ADD_HEADER | Actions::CHANGE_HEADER,
        ..Config::default()
    };
    thread::spawn(move || {
        let never = std::future::pending::<()>();
        runtime.block_on(indymilter::run(listener, callbacks, config, never))
    });
    Ok(())
}

async fn edit(context: &mut EomContext<()>) -> Status {
    match edit_header(&context.actions).await {
        Ok(()) => Status::Continue,
        Err(_) => Status::Tempfail,
    }
}

/// Changes a signed field, deletes the topmost result, and adds one of its own and one with
/// sixgate's authserv-id.
async fn edit_header(actions: &EomActions) -> Result<(), indymilter::ActionError> {
    const RESULTS: &str = "Authentication-Results";
    actions
        .change_header("Subject", 1, Some("Changed by another milter"))
        .await?;
    actions.change_header(RESULTS, 1, None::<String>).await?;
    for value in [
        "other.sixgate.test; x-other=pass",
        "mx.sixgate.test; x-other=pass",
    ] {
        actions.insert_header(0, RESULTS, value).await?;
    }
    actions.add_header("X-Other-Milter", "was here").await
}
