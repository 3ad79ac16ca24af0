//! Prints the differences as input for nsupdate(1), for `--dry-run`.

use crate::{
    dns::primary::{self, Change, Primary},
    exit::{Exit, Failure},
    opt_in::mx_zone::Plan,
};
use std::io::{self, BufWriter, Write};

pub(super) fn print(primary: &Primary, plan: &Plan) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    write(primary, plan, &mut out)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Io, error))
}

fn write(primary: &Primary, plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    if plan.is_empty() {
        return writeln!(out, "; no difference");
    }
    let server = primary.server();
    writeln!(out, "server {} {}", server.host(), server.port())?;
    writeln!(out, "zone {}", primary.zone())?;
    for changes in [&plan.removals, &plan.corrections, &plan.additions] {
        for batch in primary::batches(changes) {
            batch
                .iter()
                .try_for_each(|change| conditions(primary, change, out))?;
            batch
                .iter()
                .try_for_each(|change| updates(primary, change, out))?;
            writeln!(out, "send")?;
        }
    }
    Ok(())
}

fn conditions(primary: &Primary, change: &Change, out: &mut impl Write) -> io::Result<()> {
    let (host, family) = (primary.host_name(&change.label), change.family.name());
    match &change.before {
        None => writeln!(out, "prereq nxrrset {host} {family}"),
        Some(before) => before
            .addresses
            .iter()
            .try_for_each(|address| writeln!(out, "prereq yxrrset {host} {family} {address}")),
    }
}

fn updates(primary: &Primary, change: &Change, out: &mut impl Write) -> io::Result<()> {
    let (host, family) = (primary.host_name(&change.label), change.family.name());
    if change.before.is_some() {
        writeln!(out, "update delete {host} {family}")?;
    }
    let Some(after) = &change.after else {
        return Ok(());
    };
    let ttl = after.ttl;
    after
        .addresses
        .iter()
        .try_for_each(|address| writeln!(out, "update add {host} {ttl} {family} {address}"))
}
