//! A call that several callers want: who stands in line for it, and in whose turn it goes out.
//! It never goes out in two turns at once, and nobody counts on a turn that is overdue.
//!
//! One place in line does for all who are content with it. Whoever could go sooner, or cannot wait
//! so long, stands in line on its own terms beside it, and the first whose turn comes sends the call.

use std::time::{Duration, Instant};

/// A call whose turn has come is on its way within this long: who waits for nothing waits for that,
/// and who counts on a turn counts on it no longer.
pub const MOMENT: Duration = Duration::from_millis(250);

/// A place in line for the call, by when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u32);

/// What a caller knows of its own chances.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// When it would leave alone.
    pub turn: Instant,
    /// Until when it waits.
    pub deadline: Instant,
    /// It takes a place of its own for being sooner, not only for want of another one.
    pub eager: bool,
}

/// What a caller without a place does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It waits for the answer: the call is on its way.
    Sent,
    /// It counts on a turn of somebody else's, for so long.
    Wait(Instant),
    /// It takes a place of its own.
    Stand(Place),
}

/// Whose call an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// It went out in one's own turn.
    Own,
    /// It went out for somebody who has left.
    Left,
    /// Somebody else's.
    Others,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    place: Place,
    /// When its turn comes; `None` while nobody else is to count on it.
    turn: Option<Instant>,
    /// Whoever took it has left.
    left: bool,
}

/// One such call.
#[derive(Debug)]
pub struct Course {
    places: u32,
    line: Vec<Standing>,
    sender: Option<Standing>,
}

impl Course {
    /// The first caller's place: its turn may be at once.
    pub const FIRST: Place = Place(0);

    /// Begun `now`.
    pub fn new(now: Instant) -> Self {
        let first = Standing { place: Self::FIRST, turn: Some(now), left: false };
        Self { places: 1, line: vec![first], sender: None }
    }

    /// It is on its way.
    pub fn sent(&self) -> bool {
        self.sender.is_some()
    }

    /// The first turn to come in time for one who waits until `deadline`.
    pub fn soon(&self, now: Instant, deadline: Instant) -> Option<Instant> {
        if now >= deadline + MOMENT {
            return None;
        }
        let due = |turn: &Instant| *turn <= deadline.max(now) && now < *turn + MOMENT;
        self.line.iter().filter_map(|standing| standing.turn).filter(due).min()
    }

    /// What a caller does `now` that has no place.
    pub fn next(&mut self, now: Instant, terms: Terms) -> Next {
        if self.sent() {
            return Next::Sent;
        }
        let Terms { turn, deadline, eager } = terms;
        if let Some(first) = self.soon(now, deadline)
            && !(eager && turn < first)
        {
            return Next::Wait(first + MOMENT);
        }
        let place = Place(self.places);
        self.places += 1;
        // One that may be refused in a moment must not be waited for.
        let turn = Some(turn).filter(|turn| now < deadline && *turn <= deadline);
        self.line.push(Standing { place, turn, left: false });
        Next::Stand(place)
    }

    /// When a place's turn comes, better known. Whether others counted on an earlier one.
    pub fn expect(&mut self, place: Place, turn: Instant, deadline: Instant) -> bool {
        let Some(own) = self.line.iter_mut().find(|own| own.place == place) else { return false };
        let before = own.turn;
        // Who waits for nothing goes all the same if its turn is now.
        own.turn = Some(turn).filter(|turn| *turn < deadline + MOMENT);
        before.is_some_and(|before| own.turn.is_none_or(|turn| turn > before))
    }

    /// A turn has come: the call leaves, unless it has left in another one.
    pub fn leaves(&mut self, place: Place) -> bool {
        if let Some(sender) = &self.sender {
            return sender.place == place;
        }
        let Some(own) = self.take(place) else { return false };
        self.sender = Some(own);
        // The others hear of it, and go.
        self.line.clear();
        true
    }

    /// It must go once more, and stands in line again.
    pub fn returns(&mut self, place: Place, turn: Instant) {
        if let Some(sender) = self.sender.take_if(|sender| sender.place == place) {
            self.line.push(Standing { turn: Some(turn), ..sender });
        }
    }

    /// A place is given up. Whether others have to look for another one.
    pub fn quits(&mut self, place: Place) -> bool {
        if self.sender.take_if(|sender| sender.place == place).is_some() {
            return true;
        }
        let Some(Standing { turn: Some(turn), .. }) = self.take(place) else { return false };
        self.line.iter().filter_map(|other| other.turn).all(|other| turn < other)
    }

    /// Whoever took a place has left; it stays for the others.
    pub fn left(&mut self, place: Place) {
        let all = self.line.iter_mut().chain(&mut self.sender);
        all.filter(|own| own.place == place).for_each(|own| own.left = true);
    }

    /// The call went out in another turn.
    pub fn over(&self, place: Place) -> bool {
        let stands = |own: &Standing| own.place == place;
        !self.line.iter().chain(&self.sender).any(stands)
    }

    /// Whose call it was, once it has an answer. One of those who remain stands in for one who left.
    pub fn claim(&mut self, place: Option<Place>) -> Share {
        match &mut self.sender {
            Some(sender) if Some(sender.place) == place => Share::Own,
            Some(sender) if sender.left => {
                sender.left = false;
                Share::Left
            }
            Some(_) | None => Share::Others,
        }
    }

    fn take(&mut self, place: Place) -> Option<Standing> {
        let at = self.line.iter().position(|own| own.place == place)?;
        Some(self.line.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::t0;

    const MINUTE: Duration = Duration::from_secs(60);

    fn begun(first: Duration) -> (Course, Instant) {
        let now = t0();
        let mut course = Course::new(now);
        course.expect(Course::FIRST, now + first, now + 10 * MINUTE);
        (course, now)
    }

    fn terms(turn: Instant, deadline: Instant) -> Terms {
        Terms { turn, deadline, eager: true }
    }

    fn stand(next: Next) -> Place {
        match next {
            Next::Stand(place) => place,
            Next::Sent | Next::Wait(_) => panic!("{next:?}"),
        }
    }

    #[test]
    fn who_could_go_sooner_or_cannot_wait_so_long_stands_for_itself_and_nobody_else_does() {
        let (mut course, now) = begun(MINUTE);
        let (soon, late) = (now + MINUTE, now + 10 * MINUTE);
        let waits = Next::Wait(soon + MOMENT);
        assert_eq!(course.next(now, terms(soon, late)), waits, "as soon");
        assert_eq!(course.next(now, terms(late, late)), waits);
        assert_eq!(course.next(now, Terms { eager: false, ..terms(now, late) }), waits);
        // They are refused in a moment, so nobody counts on them.
        for deadline in [now, now + MINUTE / 2] {
            let hasty = stand(course.next(now, terms(late, deadline)));
            assert_eq!(course.next(now, terms(late, late)), waits);
            assert!(!course.quits(hasty));
        }
        // Others count on the soonest.
        let sooner = stand(course.next(now, terms(now + MINUTE / 2, late)));
        assert_eq!(course.next(now, terms(soon, late)), Next::Wait(now + MINUTE / 2 + MOMENT));
        assert!(course.leaves(sooner) && !course.leaves(Course::FIRST));
        assert!(course.over(Course::FIRST) && !course.over(sooner));
        assert_eq!(course.next(now, terms(now, late)), Next::Sent);
    }

    #[test]
    fn a_turn_that_is_overdue_is_counted_on_no_longer_and_one_at_a_time_stands_in() {
        let (mut course, begun) = begun(MINUTE);
        let (now, late) = (begun + MINUTE + MOMENT, begun + 10 * MINUTE);
        stand(course.next(now, terms(now + MINUTE, late)));
        for _ in 0..100 {
            let next = course.next(now, terms(now + MINUTE, late));
            assert_eq!(next, Next::Wait(now + MINUTE + MOMENT));
        }
    }

    #[test]
    fn who_waits_for_nothing_counts_on_a_turn_that_is_now_and_on_no_other() {
        let now = t0();
        let mut course = Course::new(now);
        assert_eq!(course.next(now, terms(now + MINUTE, now)), Next::Wait(now + MOMENT));
        assert!(course.expect(Course::FIRST, now + MINUTE, now + 10 * MINUTE), "others are told");
        stand(course.next(now, terms(now + MINUTE, now)));
        // However often the turn is put off.
        let later = now + MOMENT;
        course.expect(Course::FIRST, later, now + 10 * MINUTE);
        assert_eq!(course.soon(later, now), None);
    }

    #[test]
    fn whoever_counted_on_a_place_that_is_given_up_looks_again() {
        let (mut course, now) = begun(MINUTE);
        let second = stand(course.next(now, terms(now + MINUTE / 2, now + MINUTE)));
        assert!(!course.quits(Course::FIRST), "nobody counted on it");
        assert!(course.quits(second) && !course.quits(second));
        let third = stand(course.next(now, terms(now + MINUTE, now + MINUTE)));
        assert!(course.leaves(third));
        assert!(course.quits(third), "after it had left, too");
        assert!(!course.sent());
    }

    #[test]
    fn a_call_that_must_go_once_more_is_in_line_for_everybody_again() {
        let (mut course, now) = begun(MINUTE);
        assert!(course.leaves(Course::FIRST) && course.leaves(Course::FIRST));
        course.returns(Course::FIRST, now + MINUTE);
        assert!(!course.sent() && !course.over(Course::FIRST));
        let other = stand(course.next(now, terms(now, now + MINUTE)));
        assert!(course.leaves(other) && !course.leaves(Course::FIRST));
    }

    #[test]
    fn a_call_is_one_callers_and_of_one_who_left_one_others() {
        let (mut course, now) = begun(MINUTE);
        let other = stand(course.next(now, terms(now, now + MINUTE)));
        assert!(course.leaves(other));
        assert_eq!(course.claim(Some(Course::FIRST)), Share::Others);
        assert_eq!(course.claim(Some(other)), Share::Own);
        course.left(other);
        assert_eq!(course.claim(None), Share::Left);
        assert_eq!(course.claim(Some(Course::FIRST)), Share::Others, "only one");
        // It may leave before its turn comes.
        let (mut course, _) = begun(MINUTE);
        course.left(Course::FIRST);
        assert!(course.leaves(Course::FIRST));
        assert_eq!(course.claim(None), Share::Left);
    }
}
