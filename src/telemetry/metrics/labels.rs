//! What the metrics are told apart by.
//! It never has a label whose values a caller chooses.

use std::{fmt, sync::Arc};

use prometheus_client::encoding::{
    EncodeLabel as _, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder,
};

/// Which organisation; the first one's metrics have no label for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OfOrganisation(pub(super) Option<Arc<str>>);

impl EncodeLabelSet for OfOrganisation {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => ("org", &**name).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}

/// Which token: its client's id, as configured, and its number from 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OfToken {
    /// The client id.
    pub client: String,
    /// The token's number, counted over all clients.
    pub token: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TokenOf {
    #[prometheus(flatten)]
    pub(super) org: OfOrganisation,
    pub(super) client: String,
    pub(super) token: u32,
}

/// Which token, by its number alone: limits know no clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfNumber {
    #[prometheus(flatten)]
    pub(super) org: OfOrganisation,
    pub(super) token: u32,
}

/// How a mint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "they are the labels' words")]
pub enum MintOutcome {
    /// There is a new token.
    minted,
    /// There is a new token: another replica asked for it.
    adopted,
    /// Unreachable, slow, garbage.
    transient,
    /// 429, or Genesys's 400 "rate limit exceeded".
    throttled,
    /// The credentials are refused.
    permanent,
}

/// How a check of a token ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "they are the labels' words")]
pub enum CheckOutcome {
    /// It is good.
    active,
    /// It is dead, and replaced.
    inactive,
    /// The check failed; nothing follows.
    unknown,
    /// The budget had no place for it.
    skipped,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Mint {
    #[prometheus(flatten)]
    pub(super) org: OfOrganisation,
    pub(super) client: String,
    pub(super) token: u32,
    pub(super) outcome: MintOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Verification {
    #[prometheus(flatten)]
    pub(super) org: OfOrganisation,
    pub(super) client: String,
    pub(super) token: u32,
    pub(super) outcome: CheckOutcome,
}

/// Which of a client's two secrets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSecret {
    #[prometheus(flatten)]
    pub(super) org: OfOrganisation,
    pub(super) client: String,
    pub(super) secret: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfClient {
    #[prometheus(flatten)]
    pub(super) org: OfOrganisation,
    pub(super) client: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfReason {
    #[prometheus(flatten)]
    pub(super) org: OfOrganisation,
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfState {
    #[prometheus(flatten)]
    pub(super) org: OfOrganisation,
    pub(super) state: &'static str,
}

/// How a call was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "they are the labels' words")]
pub enum SavedBy {
    /// By an answer that was kept.
    cached,
    /// By a call that another caller's had begun.
    coalesced,
}

impl SavedBy {
    /// As the label says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::cached => "cached",
            Self::coalesced => "coalesced",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Saved {
    #[prometheus(flatten)]
    pub(super) org: OfOrganisation,
    pub(super) how: SavedBy,
}
