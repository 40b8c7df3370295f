//! The budgets of an organisation, shared with its other replicas through the store.
//! It never shares what upstream counts apart: each client's tokens are in books of their own.

use std::sync::Arc;

use super::organisation::Common;
use crate::{
    config::Config,
    gateway::admit::{
        Admission,
        joint::books::{InStore, Names},
    },
    store::{Link, ReplicaId},
    telemetry::callers,
    token::issuer::Login,
};

/// Meets the other replicas, client by client.
pub(super) fn meet(
    (config, callers, logins): (&Config, callers::Names, &[Arc<Login>]),
    admission: &Arc<Admission>,
    link: &Arc<Link>,
    common: &Common,
) {
    let each = config.oauth.tokens as usize;
    let names = Names { callers, families: config.rate_limit.families.clone() };
    // Two organisations of one gateway may have one client: each has a part of its own.
    let replica = ReplicaId::random();
    for (number, login) in logins.iter().enumerate() {
        let lanes = number * each..(number + 1) * each;
        let books = InStore::new(link, login, replica.as_str(), lanes, names.clone());
        admission.meet(books, &common.runtime, common.stop.clone());
    }
}
