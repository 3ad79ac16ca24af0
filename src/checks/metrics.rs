//! Records results and durations of checks in the metrics.

use crate::{
    dkim,
    forwarder::Identified,
    opt_in,
    policy::Confirmation,
    ptr::Reverse,
    spf,
    telemetry::metrics::{self, HeloSpf},
};
use std::time::Duration;

pub(super) fn opt_in(answer: &opt_in::Answer, took: Duration) {
    let series = &metrics::get().checks.opt_in;
    series.result(answer.opt_in);
    series.took(took);
}

pub(super) fn ptr(reverse: &Reverse, took: Duration) {
    let series = &metrics::get().checks.ptr;
    series.result(reverse.result);
    series.took(took);
}

pub(super) fn confirmation(confirmation: &Confirmation, took: Duration) {
    let series = &metrics::get().checks.confirmation;
    series.result(*confirmation);
    series.took(took);
}

pub(super) fn spf(outcome: &spf::Outcome, took: Duration) {
    let series = &metrics::get().checks.spf;
    series.result(outcome.result);
    series.took(took);
}

pub(super) fn helo_spf(outcome: &spf::Outcome, took: Duration) {
    let series = &metrics::get().checks.helo_spf;
    series.result(HeloSpf(outcome.result));
    series.took(took);
}

pub(super) fn forwarder(identified: &Identified, took: Duration) {
    let series = &metrics::get().checks.forwarder;
    series.result(identified.result);
    series.took(took);
}

/// Records only the duration: the DKIM result is recorded at the end of the message.
pub(super) fn keys(_keys: &dkim::Keys, took: Duration) {
    metrics::get().checks.dkim.took(took);
}
