//! The admin listener, as those use it who run the gateway.

use genesys_proxy::admin::status::Status;

use super::{Gateway, openapi::follows, patience::until};

impl Gateway {
    /// `/api/status`, which is what its description says.
    pub async fn status(&self) -> Status {
        let page = self.admin("/api/status").await;
        follows("Status", &page);
        serde_json::from_str(&page).unwrap()
    }

    /// Waits until so many calls wait for a turn.
    pub async fn until_waiting(&self, calls: u32) {
        until("a line", async || self.gauge("calls_waiting").await == calls).await;
    }
}
