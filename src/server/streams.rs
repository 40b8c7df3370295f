//! Where HTTP/2 streams run: tracked, so that a drain ends after their last lines, and each with a
//! clock for a caller that opens no window for its answer.
//! It never cuts a stream that waits for upstream: that has a clock of its own.
//!
//! hyper asks for more of a body when there is window for what it has, so it is around hyper's own
//! task that somebody can notice when it does not ask.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio_util::task::TaskTracker;

use super::answer_body::{Said, said};
use crate::upstream::deadline::{Deadline, Deadlines};

/// Spawns them.
#[derive(Debug, Clone)]
pub struct Streams {
    tasks: TaskTracker,
    deadlines: Arc<Deadlines>,
    patience: Duration,
}

impl Streams {
    /// Tracked by `tasks`; each ends when its caller takes nothing of its answer for `patience`.
    pub fn new(tasks: TaskTracker, deadlines: Arc<Deadlines>, patience: Duration) -> Self {
        Self { tasks, deadlines, patience }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.tasks.spawn(Watched {
            stream,
            deadlines: Arc::clone(&self.deadlines),
            patience: self.patience,
            stuck: None,
        });
    }
}

pin_project! {
    /// A stream, without an allocation of its own.
    struct Watched<F> {
        #[pin]
        stream: F,
        deadlines: Arc<Deadlines>,
        patience: Duration,
        // Since hyper was last given something that it has no window for.
        stuck: Option<Deadline>,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // What was said to another stream is not for this one.
        said();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match said() {
            Said::Waits => *this.stuck = None,
            Said::Gave => match this.stuck {
                Some(deadline) => deadline.restart(*this.patience),
                None => *this.stuck = Some(this.deadlines.after(*this.patience)),
            },
            Said::Nothing | Said::Held => {}
        }
        // Dropped, it is reset.
        this.stuck.as_mut().map_or(Poll::Pending, |deadline| deadline.poll_passed(cx))
    }
}
