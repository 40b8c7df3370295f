//! Signals for the command of `exec`.
//! It never takes up a signal that was ignored at the start, as by `nohup`: the command would get it.

use std::{fs::File, future::poll_fn, io, task::Poll};

use rustix::{
    process::{Pid, Signal, getpgrp, kill_process},
    termios::tcgetpgrp,
};
use tokio::{
    process::Child,
    signal::unix::{self, SignalKind, signal},
};

/// SIGTSTP and SIGCONT are not among them: the terminal stops and continues us with the command.
const FORWARDED: [Signal; 7] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// Those that are for the command.
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// From here on none of them ends us.
    pub(super) fn new() -> io::Result<Self> {
        let ignored = ignored();
        let heard = FORWARDED.into_iter().filter(|signal| !ignored.contains(signal));
        let listen = |which: Signal| Ok((which, signal(SignalKind::from_raw(which.as_raw()))?));
        heard.map(listen).collect::<io::Result<_>>().map(Self)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (which, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*which);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The next one that asks a program to end.
    pub(super) async fn asked_to_end(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM].contains(&signal) {
                return signal;
            }
        }
    }
}

/// Hands it on, unless the command has it already.
pub(super) fn pass(signal: Signal, child: &Child) {
    if by_terminal(signal) && in_foreground() {
        return;
    }
    // As long as it is not waited for, its id is nobody else's.
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::warn!(?signal, %error, "the signal could not be passed to the command");
    }
}

/// A terminal sends these to all processes in its foreground at once. Who sends one of them to us
/// alone while we are there is taken for the terminal: twice would be worse, as a second Ctrl-C
/// makes many programs give up what the first one let them finish.
fn by_terminal(signal: Signal) -> bool {
    [Signal::INT, Signal::QUIT, Signal::WINCH].contains(&signal)
}

fn in_foreground() -> bool {
    let terminal = File::open("/dev/tty");
    terminal.is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// As Linux tells; elsewhere none.
fn ignored() -> Vec<Signal> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    FORWARDED.into_iter().filter(|signal| mask >> (signal.as_raw() - 1) & 1 == 1).collect()
}
