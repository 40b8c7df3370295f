//! The ledgers of all limits of a client: who may send how much of which.
//! It never decides: the rules are in `budget.lua`, which the store runs as one step, and in
//! `decide/joint/ledger`, which says the same.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock, time::Duration};

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

use super::{Down, Link, Scope, Script};
use crate::decide::joint::ledger::{Ask, Opening, Other, Told};

static SYNC: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("budget.lua")));

/// Longer wishes of others are not looked at.
const LONGEST: usize = 8 * 1024;
/// Replicas that are looked at, at most.
const MOST: usize = 1_000;

/// A replica's word on one limit.
#[derive(Debug, Clone)]
pub struct Word {
    /// Which limit, as a part of a key's name.
    pub ledger: String,
    /// What all replicas may send together.
    pub limit: u64,
    /// In so long.
    pub window: Duration,
    /// What it says and wants.
    pub ask: Ask,
}

/// What the store says to the words of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its clock, since 1970.
    pub now: Duration,
    /// How often it was written.
    pub version: u64,
    /// Caps may grow.
    pub whole: bool,
    /// For each word, in their order. `None`: a newer one came before it.
    pub told: Vec<Option<Told>>,
}

/// Whose words they are, and who hears of them.
#[derive(Debug, Clone, Copy)]
pub struct Speaker<'a> {
    /// The client.
    pub scope: &'a Scope,
    /// The replica.
    pub id: &'a str,
    /// The others are to look, too.
    pub tell: bool,
}

/// The channel on which replicas tell one another to look.
pub fn channel(scope: &Scope) -> String {
    scope.name("look")
}

/// Says all words at once.
///
/// # Errors
/// When the store is away, or says what nobody understands.
pub async fn sync(
    link: &Link,
    from: Speaker<'_>,
    opening: Opening,
    words: &[Word],
) -> Result<Answer, Down> {
    let names = words.iter().map(|word| from.scope.name(&word.ledger));
    let keys: Vec<String> = std::iter::once(from.scope.name("age")).chain(names).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let call = words.first().map_or(0, |word| word.ask.call);
    let flag = |is: bool| if is { b"1".to_vec() } else { b"0".to_vec() };
    let mut args: Vec<Vec<u8>> = vec![
        from.id.as_bytes().to_vec(),
        number(call),
        number(opening.seen),
        number(millis(opening.lease)),
        flag(opening.fresh),
        channel(from.scope).into_bytes(),
        flag(from.tell),
    ];
    for Word { limit, window, ask, .. } in words {
        let sent = sent(&ask.sent).into_bytes();
        args.extend([number(*limit), number(millis(*window)), number(ask.claim)]);
        args.extend([number(ask.want), number(ask.inside), sent]);
        args.extend([ask.wishes.clone(), flag(ask.leaves)]);
    }
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    link.run(&SYNC, &keys, &args).await
}

fn number(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// Longer, never shorter: a call counts until it has left the window.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn sent(sent: &[(Duration, u64)]) -> String {
    sent.iter().fold(String::new(), |mut text, (after, calls)| {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{}:{calls}", millis(*after));
        text
    })
}

impl FromRedisValue for Answer {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let Value::Array(fields) = value else { return Err("no list".into()) };
        let mut fields = fields.into_iter();
        let mut next = || fields.next().ok_or(ParsingError::from("too short"));
        let now: String = from_redis_value(next()?)?;
        let now = now.parse().map_err(|_| ParsingError::from("no time"))?;
        let (version, whole): (u64, u8) = (from_redis_value(next()?)?, from_redis_value(next()?)?);
        let told = fields.map(told).collect::<Result<_, _>>()?;
        Ok(Self { now: Duration::from_millis(now), version, whole: whole == 1, told })
    }
}

fn told(value: Value) -> Result<Option<Told>, ParsingError> {
    if matches!(value, Value::Nil | Value::Boolean(false)) {
        return Ok(None);
    }
    let (cap, others): (u64, Vec<Value>) = from_redis_value(value)?;
    let others = others.into_iter().take(MOST).map(|other| {
        let (name, lives, holds, wishes): (String, u8, u64, Vec<u8>) = from_redis_value(other)?;
        let wishes = if wishes.len() > LONGEST { Vec::new() } else { wishes };
        Ok((name, Other { lives: lives == 1, holds, wishes }))
    });
    Ok(Some(Told { cap, others: others.collect::<Result<BTreeMap<_, _>, ParsingError>>()? }))
}
