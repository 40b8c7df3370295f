//! One token for all replicas: what a replica does with what the store says of it.
//! It never waits for others without an end, and never trusts more than a serial that grows.

use std::time::Duration;

/// What has less to live is not worth taking over: it would end on the way.
const LEAST: Duration = Duration::from_secs(10);

/// Which of the shared tokens, in the order they were made; a fencing number. Zero: none.
pub type Serial = u64;

/// A token in the store that could be opened, and is what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offered {
    /// Its number.
    pub serial: Serial,
    /// Until it ends.
    pub left: Duration,
    /// From its mint to its end.
    pub life: Duration,
    /// A replica was refused with it.
    pub given_up: bool,
}

impl Offered {
    fn lasts(&self) -> bool {
        self.left >= LEAST.min(self.life / 4)
    }

    /// Its renewal is not due: that is never before half its life is over.
    fn is_young(&self) -> bool {
        self.left > self.life / 2
    }
}

/// What is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Something that nobody with our secret has put there, or that is no token for us.
    Unreadable,
    /// A token.
    Token(Offered),
}

/// The token that a replica signs with now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holding {
    /// It has none.
    Nothing,
    /// One that the others do not know.
    Private {
        /// Until it ends.
        left: Duration,
    },
    /// One that the store had, or has.
    Shared {
        /// Its number.
        serial: Serial,
    },
}

/// How a replica stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    /// What it has.
    pub holding: Holding,
    /// The newest one that a 401, a check or another replica has made it give up.
    pub given_up: Serial,
}

impl Held {
    /// Whether a token is to be taken over instead of one being made.
    fn replaced_by(&self, found: Found) -> bool {
        let Found::Token(offered) = found else { return false };
        let good = !offered.given_up && offered.serial > self.given_up && offered.lasts();
        good && match self.holding {
            Holding::Nothing => true,
            Holding::Private { left } => offered.left > left,
            Holding::Shared { serial } => offered.serial > serial,
        }
    }
}

/// What a replica does that needs no token now and looks at the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Watch {
    /// All is as it should be.
    Keep,
    /// Sign with the store's from now on.
    Adopt,
    /// The store has lost ours: put it there.
    Offer,
    /// The others do not know ours, and upstream has counted calls under it that they know nothing of:
    /// all are to have a new one.
    Share,
    /// Another replica was refused with ours: stop using it.
    LetGo(Serial),
}

/// What is in the store, against what we have.
pub fn watch(held: &Held, found: Found) -> Watch {
    let offered = match found {
        Found::Token(offered) => offered,
        Found::Nothing | Found::Unreadable => return offer(held),
    };
    match held.holding {
        // Replicas that went on alone meet again in the token that the first of them has published;
        // not in the one that they have replaced, or they would have to replace it again at once.
        Holding::Private { left }
            if !offered.given_up
                && offered.serial > held.given_up
                && offered.lasts()
                && (offered.is_young() || offered.left > left) =>
        {
            Watch::Adopt
        }
        Holding::Private { .. } => Watch::Share,
        Holding::Shared { serial } if offered.serial == serial => {
            // Each is given up once: one that was looked at since and found good stays.
            if offered.given_up && serial > held.given_up {
                Watch::LetGo(serial)
            } else {
                Watch::Keep
            }
        }
        Holding::Nothing | Holding::Shared { .. } if held.replaced_by(found) => Watch::Adopt,
        // A store that has failed over to a copy is behind.
        Holding::Shared { serial } if offered.serial < serial => offer(held),
        Holding::Nothing | Holding::Shared { .. } => Watch::Keep,
    }
}

fn offer(held: &Held) -> Watch {
    match held.holding {
        Holding::Nothing => Watch::Keep,
        // A doubtful one is nothing to offer.
        Holding::Shared { serial } if serial <= held.given_up => Watch::Keep,
        Holding::Private { .. } => Watch::Share,
        Holding::Shared { .. } => Watch::Offer,
    }
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Do {
    /// Look into the store.
    Read,
    /// Take the lock, which says what is in the store too.
    Take,
    /// Another has the lock: wait a moment, or for news.
    Wait,
    /// Ask for a token.
    Mint,
    /// Put the token there under this fence.
    Publish(Serial),
    /// Let go of the lock.
    Release(Serial),
    /// This is how it ended.
    End(End),
}

/// How a renewal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// With the token that was last found in the store.
    Adopted,
    /// With ours, which all know by this number.
    Published(Serial),
    /// With ours, which nobody else knows.
    Private,
    /// With ours. It was told to the others, and nobody knows whether they heard.
    Unheard,
    /// With none: the login gave none. Or, when none was needed: not now.
    Nothing,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// The store does not answer. It may have done what it was told all the same.
    Down,
    /// This is in the store.
    Found(Found),
    /// The lock is ours, and this is in the store.
    Taken(Serial, Found),
    /// Another has the lock, and this is in the store.
    Held(Found),
    /// The wait is over.
    Waited,
    /// There is a token.
    Minted,
    /// There is none.
    NotMinted,
    /// All have it.
    Published,
    /// Our fence is not the newest: this is in the store.
    Lost(Found),
    /// The lock is free, or another's.
    Released,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Reading,
    Taking,
    Waiting,
    Alone,
    Minting(Serial),
    Publishing(Serial),
    Releasing(End),
}

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Aim {
    /// A token is due, if need be one of its own.
    Renew,
    /// A token for all, or none.
    Share,
    /// The one at hand is for all.
    Offer,
}

/// One renewal, step by step: at most one token is asked for, and only under the lock while the store
/// answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Renewal {
    aim: Aim,
    held: Held,
    stage: Stage,
}

impl Renewal {
    /// A new token is due.
    pub fn new(held: Held) -> (Self, Do) {
        (Self { aim: Aim::Renew, held, stage: Stage::Reading }, Do::Read)
    }

    /// The token at hand is to be known to all.
    pub fn offer(held: Held) -> (Self, Do) {
        (Self { aim: Aim::Offer, held, stage: Stage::Taking }, Do::Take)
    }

    /// All are to have one, and nobody is in need of it.
    pub fn share(held: Held) -> (Self, Do) {
        (Self { aim: Aim::Share, held, stage: Stage::Taking }, Do::Take)
    }

    /// The lock that is ours.
    pub fn fence(&self) -> Option<Serial> {
        match self.stage {
            Stage::Minting(fence) | Stage::Publishing(fence) => Some(fence),
            Stage::Reading
            | Stage::Taking
            | Stage::Waiting
            | Stage::Alone
            | Stage::Releasing(_) => None,
        }
    }

    /// What follows. `patient`: the locks of others may still be waited for.
    pub fn after(&mut self, seen: Seen, patient: bool) -> Do {
        match (self.stage, seen) {
            (Stage::Reading, Seen::Found(found)) if self.takes(found) => Do::End(End::Adopted),
            (Stage::Reading, Seen::Found(_)) | (Stage::Waiting, _) => self.enter(Stage::Taking),
            (Stage::Taking, Seen::Taken(fence, found)) => {
                if self.takes(found) {
                    return self.release(fence, End::Adopted);
                }
                match self.aim {
                    Aim::Renew | Aim::Share => self.enter(Stage::Minting(fence)),
                    Aim::Offer => self.enter(Stage::Publishing(fence)),
                }
            }
            (Stage::Taking, Seen::Held(found)) if self.takes(found) => Do::End(End::Adopted),
            (Stage::Taking, Seen::Held(_)) => match self.aim {
                Aim::Renew if patient => self.enter(Stage::Waiting),
                // Longer than any lease: that lock is nobody's.
                Aim::Renew => self.enter(Stage::Alone),
                Aim::Share | Aim::Offer => Do::End(End::Nothing),
            },
            (Stage::Minting(fence), Seen::Minted) => self.enter(Stage::Publishing(fence)),
            (Stage::Minting(fence), _) => self.release(fence, End::Nothing),
            (Stage::Alone, Seen::Minted) => Do::End(End::Private),
            (Stage::Alone, _) => Do::End(End::Nothing),
            (Stage::Publishing(fence), Seen::Published) => Do::End(End::Published(fence)),
            (Stage::Publishing(_), Seen::Lost(found)) if self.wants(found) => Do::End(End::Adopted),
            // Refused: it is in nobody's hands.
            (Stage::Publishing(_), Seen::Lost(_)) => Do::End(End::Private),
            (Stage::Publishing(_), _) => Do::End(End::Unheard),
            (Stage::Releasing(end), _) => Do::End(end),
            // The store is down: nobody is waited for.
            (Stage::Reading | Stage::Taking, _) => match self.aim {
                Aim::Renew => self.enter(Stage::Alone),
                Aim::Share | Aim::Offer => Do::End(End::Nothing),
            },
        }
    }

    fn takes(&self, found: Found) -> bool {
        match self.aim {
            Aim::Renew => self.held.replaced_by(found),
            Aim::Share | Aim::Offer => watch(&self.held, found) == Watch::Adopt,
        }
    }

    /// A newer one is there although ours is fresh.
    fn wants(&self, found: Found) -> bool {
        let held = Held { holding: Holding::Nothing, ..self.held };
        held.replaced_by(found)
    }

    fn release(&mut self, fence: Serial, end: End) -> Do {
        self.stage = Stage::Releasing(end);
        Do::Release(fence)
    }

    fn enter(&mut self, stage: Stage) -> Do {
        self.stage = stage;
        match stage {
            Stage::Reading => Do::Read,
            Stage::Taking => Do::Take,
            Stage::Waiting => Do::Wait,
            Stage::Alone | Stage::Minting(_) => Do::Mint,
            Stage::Publishing(fence) => Do::Publish(fence),
            Stage::Releasing(end) => Do::End(end),
        }
    }
}

#[cfg(test)]
mod tests;
