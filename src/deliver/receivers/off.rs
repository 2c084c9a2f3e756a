//! A receiver that is off: what still waits for it waits until it is on again, or is given up.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Accepted, Envelope, SendError, Sender};

pub(super) struct Off;

impl Sender for Off {
    fn send<'a>(&'a self, _: &'a Envelope) -> BoxFuture<'a, Result<Accepted, SendError>> {
        let detail = "the receiver is off, since its address is empty".to_owned();
        async { Err(SendError::Destination { detail }) }.boxed()
    }
}
