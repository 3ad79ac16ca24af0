//! Runs futures that never have to wait.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Returns the result of a future that is ready at once.
///
/// # Panics
/// If it is not ready. With a zone in memory, nothing has to wait.
pub fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a lookup in memory is pending"),
    }
}
