//! What an operator asks of a token by hand.
//! It never waits for what it begins, and never leaves calls without a token that they could have.

use tokio::time::Instant;

use super::Tokens;

impl Tokens {
    /// The next one is asked for now; the one in use stays until it is there.
    pub fn refresh(&self) {
        self.freshness().renew(Instant::now().into_std());
        self.nudge.notify_one();
    }

    /// As after a 401 that is to be believed: it is given up, here and at the other replicas, and the
    /// next one is asked for. If none can be had it is looked at, and used again if it is good. Whether
    /// there was one.
    pub fn invalidate(&self) -> bool {
        let mut freshness = self.freshness();
        let current = self.current.load_full();
        let token = current.filter(|token| freshness.doubted(token.generation));
        if let Some(token) = &token {
            self.give_up(token);
            self.suspect.store(self.current.swap(None));
        }
        freshness.renew(Instant::now().into_std());
        drop(freshness);
        self.nudge.notify_one();
        token.is_some()
    }
}
