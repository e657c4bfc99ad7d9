//! One way out of a session: a queue, and the write that is under way.

use std::{collections::VecDeque, future::pending, io};

use async_trait::async_trait;
use futures::future::BoxFuture;

/// What an item counts for beside its bytes, so that many small or empty ones are bounded too.
const ITEM_BYTES: usize = 64;

/// What a lane leads to.
#[async_trait]
pub(super) trait Outlet: Send {
    /// What it takes.
    type Item: Send;

    /// How many bytes an item holds.
    fn size(item: &Self::Item) -> usize;

    /// Writes an item, and waits while the other side does not keep up. `more` says that another one follows at once.
    async fn write(&mut self, item: Self::Item, more: bool) -> io::Result<()>;
}

/// Items on their way to an outlet, in order. What is written does not hold up what else its owner does.
pub(super) struct Lane<'a, O: Outlet> {
    /// Away while a write is under way, and after the lane was shut.
    outlet: Option<O>,
    write: Option<Write<'a, O>>,
    queue: VecDeque<O::Item>,
    bytes: usize,
}

struct Write<'a, O> {
    weight: usize,
    done: BoxFuture<'a, (O, io::Result<()>)>,
}

fn weight<O: Outlet>(item: &O::Item) -> usize {
    O::size(item) + ITEM_BYTES
}

impl<'a, O: Outlet + 'a> Lane<'a, O>
where
    O::Item: 'a,
{
    /// To this outlet. To none, it takes everything and keeps nothing.
    pub(super) fn new(outlet: Option<O>) -> Self {
        Self { outlet, write: None, queue: VecDeque::new(), bytes: 0 }
    }

    /// How many bytes are queued or being written, with something for each item.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is queued or being written.
    pub(super) fn is_idle(&self) -> bool {
        self.write.is_none() && self.queue.is_empty()
    }

    /// Puts an item at the end.
    pub(super) fn push(&mut self, item: O::Item) {
        if self.outlet.is_some() || self.write.is_some() {
            self.bytes += weight::<O>(&item);
            self.queue.push_back(item);
        }
    }

    /// Lets go of the outlet and of all that is queued.
    pub(super) fn shut(&mut self) {
        *self = Self::new(None);
    }

    /// Waits until one more item is written; for ever while there is none. Dropped, it goes on where it was.
    ///
    /// # Errors
    ///
    /// Those of the outlet; the lane is then shut.
    pub(super) async fn progress(&mut self) -> io::Result<()> {
        if self.write.is_none()
            && let Some(item) = self.queue.pop_front()
            && let Some(mut outlet) = self.outlet.take()
        {
            let (weight, more) = (weight::<O>(&item), !self.queue.is_empty());
            let done = Box::pin(async move {
                let written = outlet.write(item, more).await;
                (outlet, written)
            });
            self.write = Some(Write { weight, done });
        }
        let Some(write) = &mut self.write else { return pending().await };
        let (outlet, written) = write.done.as_mut().await;
        if written.is_err() {
            self.shut();
            return written;
        }
        self.bytes -= write.weight;
        self.outlet = Some(outlet);
        self.write = None;
        Ok(())
    }

    /// Waits until nothing is queued or being written any more.
    ///
    /// # Errors
    ///
    /// As in [`progress`](Self::progress).
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        while !self.is_idle() {
            self.progress().await?;
        }
        Ok(())
    }
}
