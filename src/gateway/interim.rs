//! Informational answers (1xx) on their way from upstream to an HTTP/1.1 caller.
//! It never carries a final answer: those go through hyper.
//!
//! hyper's server cannot send 1xx. The connection's own I/O layer can, between two of hyper's
//! writes, so a 103 that upstream sends is not lost (RFC 9110 section 15.2).

use std::{
    io::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use atomic_waker::AtomicWaker;
use http::{HeaderMap, StatusCode};

use super::recover::reflected::conceal_in;
use crate::token::Token;

/// A bound against an upstream that sends nothing else.
const MAX_WAITING: usize = 16 * 1024;

/// One connection's interim answers.
#[derive(Debug, Default)]
pub struct Interim {
    waiting: AtomicBool,
    bytes: Mutex<Vec<u8>>,
    /// The connection, which writes them.
    connection: AtomicWaker,
}

/// The way there from a call that was signed with this token.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// The caller's connection.
    pub to: &'a Interim,
    /// What no answer may say.
    pub token: &'a Token,
}

impl Before<'_> {
    /// As [`Interim::push`], without the token.
    pub fn push(&self, status: StatusCode, fields: &HeaderMap) {
        let mut fields = fields.clone();
        conceal_in(&mut fields, self.token);
        self.to.push(status, &fields);
    }
}

impl Interim {
    /// Upstream sent one, its hop-by-hop fields are gone. 100 is ours to send, 101 ends the exchange.
    pub fn push(&self, status: StatusCode, fields: &HeaderMap) {
        if status.as_u16() <= 101 {
            return;
        }
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() > MAX_WAITING {
            return;
        }
        // Writing to a vector cannot fail.
        let reason = status.canonical_reason().unwrap_or_default();
        let _ = write!(bytes, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
        for (name, value) in fields {
            let _ = write!(bytes, "{name}: ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        self.waiting.store(true, Ordering::Release);
        self.wake();
    }

    /// The connection's task, in case that it moved.
    pub fn watch(&self, connection: &Waker) {
        self.connection.register(connection);
    }

    /// Wakes the connection: there is something to write, or to find out about itself.
    pub fn wake(&self) {
        self.connection.wake();
    }

    /// What waits to be written, if anything. One load when nothing does.
    pub fn take(&self) -> Option<Vec<u8>> {
        if !self.waiting.load(Ordering::Relaxed) || !self.waiting.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut *bytes))
    }
}
