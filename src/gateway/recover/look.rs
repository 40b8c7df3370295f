//! A look at the token before a body goes out that cannot be sent twice.
//! It never holds a call up for longer than one HEAD takes.

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode};
use tokio::time::Instant;

use super::{Call, discard, family};
use crate::{
    decide::{asked::Asked, freshness::Verdict},
    gateway::{
        Gateway,
        admit::Permit,
        credential::{self, Head},
        forward::forward,
    },
    token::Token,
    upstream::replay::{Attempt, Replay},
};

/// A body that cannot be replayed goes out only if the token worked this recently.
const PROOF_LASTS: Duration = Duration::from_secs(60);
/// Looks at the token for one request: at the one at hand, and at its successor.
const MAX_LOOKS: u32 = 2;

/// What a look at the token found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    /// It works, just now.
    Alive,
    /// It is being replaced.
    Dead,
    /// The look told nothing.
    Unknown,
}

/// The token must be looked at before this call goes out under it.
pub(super) fn unproved(call: &Call, token: &Token, looks: u32) -> bool {
    call.body.too_large() && !token.worked_within(PROOF_LASTS) && looks < MAX_LOOKS
}

impl Gateway {
    /// A body that cannot be sent twice meets as few 401s as can be: a HEAD finds them first. It is
    /// a call like any other, so it takes a place in the budget; without one, the upload decides.
    pub(super) async fn look(&self, token: &Arc<Token>, permit: &Permit, looks: u32) -> Look {
        const PROBE: &str = "/api/v2/tokens/me";
        let now = Instant::now();
        let spot = permit.spot();
        if !self.shared.admission.visit_now(spot, now) {
            return Look::Unknown;
        }
        let Ok(lease) = self.api.lease(None).await else { return Look::Unknown };
        let Ok(probe) = Request::head(PROBE).body(()) else { return Look::Unknown };
        let (parts, ()) = probe.into_parts();
        let head = Head::new(parts, &Asked::default(), &credential::new_request_id(), None);
        let Ok(signed) =
            head.sign(&token.authorization, None, Attempt::empty(), (&self.api, lease))
        else {
            return Look::Unknown;
        };
        let patience = self.patient(self.shared.config.upstream.response_timeout);
        let Ok(answer) = forward(signed, None, &Replay::empty(), patience).await else {
            return Look::Unknown;
        };
        let status = answer.parts.status;
        discard(answer).await;
        if status != StatusCode::UNAUTHORIZED {
            token.worked(Instant::now());
            return Look::Alive;
        }
        if looks == MAX_LOOKS && !self.shared.tokens.several() {
            // The renewed token is refused too: renewing again would go on for ever.
            self.shared.tokens.of(spot.lane).fruitless(token, family(&head));
            return Look::Unknown;
        }
        match self.rejected(token, permit, &head) {
            Verdict::Renew => Look::Dead,
            Verdict::PassOn => Look::Unknown,
        }
    }
}
