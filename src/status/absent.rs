//! The status page in a build without the cargo feature `status`. The configuration rejects
//! `status.listen` then, so there is nothing to serve.

use crate::{
    config::{Config, ConfigError},
    dns::Dns,
    milter::drain::Drain,
    server::{
        handover::{Accepting, Passable},
        inherited::Inherited,
    },
    snapshot::Snapshot,
};
use std::{io, path::Path, sync::Arc};
use tokio::sync::watch;

/// Who may see the page.
#[derive(Debug)]
pub struct Access;

impl Access {
    /// Reads nothing.
    ///
    /// # Errors
    /// Never.
    pub fn open(_file: &Path, _config: &Config) -> Result<Self, ConfigError> {
        Ok(Self)
    }
}

/// The status page, which is off.
#[derive(Debug)]
pub struct Page;

impl Page {
    /// Opens nothing.
    ///
    /// # Errors
    /// Never.
    pub async fn open(_: &Config, _: Access, _: &mut Inherited) -> io::Result<Self> {
        Ok(Self)
    }

    /// No sockets.
    pub fn passable(&mut self) -> Passable {
        Passable::default()
    }

    /// Records nothing.
    pub fn reloads(&self) -> Reloads {
        Reloads
    }

    /// Serves nothing.
    pub fn serve(
        &mut self,
        _file: &Path,
        _current: watch::Receiver<Arc<Snapshot<Dns>>>,
        _drain: Arc<Drain>,
        _accepting: watch::Receiver<Accepting>,
    ) {
    }

    /// Ends nothing.
    pub async fn finish(self) {}
}

/// Takes what the page would say about reloads.
#[derive(Clone, Debug)]
pub struct Reloads;

impl Reloads {
    /// Does nothing.
    pub fn set_access(&self, _access: Access) {}

    /// Does nothing.
    pub fn record<E>(&self, _result: &Result<(), E>) {}
}
