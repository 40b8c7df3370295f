//! Limits and terms that a reload changes.
//! It never forgets what has left: that counts under the new limit.

use std::sync::Arc;

use super::Admission;
use crate::{config::RateLimit, decide::callers::Granted};

impl Admission {
    /// From now on callers are granted this. What waits has been asked for under what was.
    pub fn regrant(&self, callers: Granted) {
        self.state().regrant(&callers);
        self.callers.store(Arc::new(callers));
        self.wake.notify_one();
    }

    /// From now on each token allows this, and so many may wait. Places that lie at desks come back first.
    pub fn retune(&self, limit: &RateLimit) {
        self.recall();
        self.state().retune(limit.requests_per_minute, limit.max_queue);
        self.wake.notify_one();
    }
}
