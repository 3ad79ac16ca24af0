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

/// Access control, which has nothing to protect.
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

    /// Returns no sockets.
    pub fn passable(&mut self) -> Passable {
        Passable::default()
    }

    /// Returns a recorder that records nothing.
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

    /// Returns at once.
    pub async fn finish(self) {}
}

/// Discards the outcome of reloads.
#[derive(Clone, Debug)]
pub struct Reloads;

impl Reloads {
    /// Does nothing.
    pub fn set_access(&self, _access: Access) {}

    /// Does nothing.
    pub fn record<E>(&self, _result: &Result<(), E>) {}
}
