//! What workers counted, as lines of the page.
//! It never writes a line for what cannot have happened: callers and families have theirs by use.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, LabelSetEncoder, MetricEncoder,
        NoLabelSet,
    },
    metrics::MetricType,
};

use super::{
    Counted, OfOrganisation, Tally,
    histogram::{Histogram, Sum},
    outcome::{Outcome, Told},
};

/// No caller can have this name: it begins with neither a letter nor a digit.
pub const UNNAMED: &str = "(unnamed)";

struct Labels<'a> {
    org: &'a OfOrganisation,
    own: &'a [(&'static str, &'a str)],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.org.encode(encoder)?;
        self.own.iter().try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

/// All of it.
pub fn write(all: &[Counted], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let text = "Requests by caller, how they ended and what the caller was told";
    counters(encoder, ("requests", text), all, by_caller)?;
    let text = "Requests by the family of their path and what the caller was told";
    counters(encoder, ("requests_by_family", text), all, by_family)?;
    let text = "Answers by their status";
    counters(encoder, ("responses", text), all, by_status)?;
    let text = "Errors of the gateway's own, by their code";
    counters(encoder, ("errors", text), all, by_code)?;
    let text = "Calls that were sent again with a renewed token";
    counters(encoder, ("replays", text), all, replays)?;
    let text = "From a request's head to its answer's last byte, by how it ended";
    let mut lines = histograms(encoder, ("request_duration_seconds", text))?;
    for counted in all {
        for (n, outcome) in Outcome::ALL.iter().enumerate() {
            let own = [("outcome", outcome.word())];
            let each = counted.tallies.iter().filter_map(|tally| tally.durations.get(n));
            line(&mut lines, &Labels { org: &counted.org, own: &own }, each)?;
        }
    }
    let text = "What calls waited for their turn";
    plain(encoder, ("queue_wait_seconds", text), all, |tally| &tally.queue)?;
    let text = "From the start of a call's last try to its answer's head";
    plain(encoder, ("upstream_seconds", text), all, |tally| &tally.upstream)?;
    let text = "How often a call was sent";
    plain(encoder, ("call_attempts", text), all, |tally| &tally.attempts)
}

/// A counter's lines of one organisation, written one by one.
type Write<'w> = &'w mut dyn FnMut(&[(&'static str, &str)], u64) -> fmt::Result;

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    (name, text): (&str, &str),
    all: &[Counted],
    lines: impl Fn(&Counted, Write<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut page = encoder.encode_descriptor(name, text, None, MetricType::Counter)?;
    for counted in all {
        lines(counted, &mut |own, count| {
            let labels = Labels { org: &counted.org, own };
            page.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)
        })?;
    }
    Ok(())
}

fn by_caller(counted: &Counted, write: Write<'_>) -> fmt::Result {
    let named = counted.names.all().enumerate().map(|(n, name)| (Some(n), name));
    for (number, caller) in named.chain([(None, UNNAMED)]) {
        for (n, outcome) in Outcome::ALL.into_iter().enumerate() {
            for (m, told) in Told::ALL.into_iter().enumerate() {
                let count = counted.sum(|tally| {
                    let ends = number.map_or(Some(&tally.unnamed), |number| tally.named(number));
                    ends?.get(n)?.get(m)
                });
                // These are there from the start: what begins to count at 1 has not grown, to
                // whoever asks by how much.
                let first = matches!(
                    (outcome, told),
                    (Outcome::Answered, Told::Good)
                        | (Outcome::Refused, Told::Wrong | Told::TooMany)
                        | (Outcome::Failed, Told::Trouble)
                );
                if first || count > 0 {
                    let (outcome, status) = (outcome.word(), told.word());
                    let labels = [("caller", caller), ("outcome", outcome), ("status", status)];
                    write(&labels, count)?;
                }
            }
        }
    }
    Ok(())
}

fn by_family(counted: &Counted, write: Write<'_>) -> fmt::Result {
    for (row, family) in counted.families.named() {
        for (n, told) in Told::ALL.into_iter().enumerate() {
            let count = counted.sum(|tally| tally.by_family.get(row.0)?.get(n));
            if count > 0 {
                write(&[("family", family), ("status", told.word())], count)?;
            }
        }
    }
    Ok(())
}

fn by_status(counted: &Counted, write: Write<'_>) -> fmt::Result {
    for status in 100..600 {
        let count = counted.sum(|tally| tally.statuses.get(status - 100));
        if count > 0 {
            write(&[("status", &status.to_string())], count)?;
        }
    }
    Ok(())
}

fn by_code(counted: &Counted, write: Write<'_>) -> fmt::Result {
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    for tally in &counted.tallies {
        let errors = tally.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.iter().for_each(|(code, count)| *codes.entry(code).or_default() += count);
    }
    codes.into_iter().try_for_each(|(code, count)| write(&[("code", code)], count))
}

fn replays(counted: &Counted, write: Write<'_>) -> fmt::Result {
    write(&[], counted.sum(|tally| Some(&tally.replays)))
}

fn histograms<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    (name, text): (&'e str, &str),
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(name, text, None, MetricType::Histogram)
}

fn plain(
    encoder: &mut DescriptorEncoder<'_>,
    of: (&str, &str),
    all: &[Counted],
    which: impl Fn(&Tally) -> &Histogram,
) -> fmt::Result {
    let mut lines = histograms(encoder, of)?;
    for counted in all {
        let each = counted.tallies.iter().map(|tally| which(tally));
        line(&mut lines, &Labels { org: &counted.org, own: &[] }, each)?;
    }
    Ok(())
}

fn line<'h>(
    lines: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    each: impl Iterator<Item = &'h Histogram>,
) -> fmt::Result {
    let Sum { total, count, ranges } = Sum::of(each);
    lines.encode_family(labels)?.encode_histogram::<NoLabelSet>(total, count, &ranges, None)
}

impl Counted {
    /// Of all workers.
    pub(super) fn sum<'t>(&'t self, which: impl Fn(&'t Tally) -> Option<&'t AtomicU64>) -> u64 {
        let each = self.tallies.iter().filter_map(|tally| which(tally));
        each.map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}
