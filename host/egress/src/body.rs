//! The body of a response, bounded in size and time while it streams.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::AbortHandle,
    time::{Sleep, sleep_until},
};

use crate::{Failure, metrics::Record};

/// A streamed response's body. It holds the request's place among those in flight until it ends, fails, is dropped or
/// has had its time.
pub struct ResponseBody {
    slot: Arc<Slot>,
    /// When the whole request must be over. Beside the slot, so that who waits is woken whoever empties it.
    deadline: Pin<Box<Sleep>>,
    /// Whether the end or a failure has been told.
    over: bool,
}

/// What a body holds; `None` once it has ended, failed or had its time.
struct Slot(Mutex<Option<Open>>);

struct Open {
    incoming: Incoming,
    bounds: Bounds,
    received: u64,
    /// When the next piece must have come, while one is waited for: a slow reader costs the peer no time.
    idle: Option<Pin<Box<Sleep>>>,
    record: Record,
    /// Empties the slot at the deadline.
    releaser: Option<AbortHandle>,
    _permit: OwnedSemaphorePermit,
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) between_bytes: Option<Duration>,
}

impl Bounds {
    fn too_large(self) -> Failure {
        Failure::TooLarge(u32::try_from(self.bytes).unwrap_or(u32::MAX))
    }
}

impl ResponseBody {
    /// Fails at once if the peer announces more than the bound.
    pub(crate) fn new(
        incoming: Incoming,
        bounds: Bounds,
        deadline: Pin<Box<Sleep>>,
        mut record: Record,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, Failure> {
        if incoming.size_hint().lower() > bounds.bytes {
            record.failed(&bounds.too_large());
            return Err(bounds.too_large());
        }
        record.answered();
        let body = Open { incoming, bounds, received: 0, idle: None, record, releaser: None, _permit: permit };
        let open = (!body.incoming.is_end_stream()).then_some(body);
        let over = open.is_none();
        Ok(Self { slot: Arc::new(Slot(Mutex::new(open))), deadline, over })
    }

    /// Gives the request's place back at the deadline although nobody reads: a guest may keep a response for as long as
    /// its instance lives.
    pub(crate) fn release_at_deadline(self) -> Self {
        if let Some(open) = &mut *self.slot.lock() {
            let (slot, deadline) = (Arc::downgrade(&self.slot), self.deadline.deadline());
            let release = tokio::spawn(async move {
                sleep_until(deadline).await;
                if let Some(slot) = slot.upgrade() {
                    slot.fail(&Failure::Timeout);
                }
            });
            open.releaser = Some(release.abort_handle());
        }
        self
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let received = self.slot.lock().as_ref().map(|open| open.received);
        f.debug_struct("ResponseBody").field("received", &received).finish_non_exhaustive()
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, failure: &Failure) {
        let open = self.lock().take();
        if let Some(mut open) = open {
            open.record.failed(failure);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(releaser) = &self.releaser {
            releaser.abort();
        }
    }
}

impl Open {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            let Some(time) = self.bounds.between_bytes else { return Poll::Pending };
            let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
            ready!(idle.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Failure::Timeout)));
        };
        self.idle = None;
        let Some(frame) = next else { return Poll::Ready(None) };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                return Poll::Ready(Some(Err(Failure::from_chain(&error, |why| {
                    Failure::Protocol(format!("the response ended early: {why}"))
                }))));
            }
        };
        if let Some(data) = frame.data_ref() {
            self.received = self.received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if self.received > self.bounds.bytes {
                return Poll::Ready(Some(Err(self.bounds.too_large())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let in_time = self.deadline.as_mut().poll(cx).is_pending();
        let (next, is_last) = match &mut *self.slot.lock() {
            Some(open) if in_time => (ready!(open.poll(cx)), open.incoming.is_end_stream()),
            _ => (Some(Err(Failure::Timeout)), true),
        };
        match &next {
            Some(Ok(_)) if !is_last => {}
            Some(Ok(_)) | None => {
                self.over = true;
                drop(self.slot.lock().take());
            }
            Some(Err(failure)) => {
                self.over = true;
                self.slot.fail(failure);
            }
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        if self.over {
            return SizeHint::with_exact(0);
        }
        self.slot.lock().as_ref().map_or_else(SizeHint::default, |open| open.incoming.size_hint())
    }
}
