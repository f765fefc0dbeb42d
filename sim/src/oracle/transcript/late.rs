//! What ends of processes and slow lines do to runs: some are lost, some begin anew, some requests come late.

use super::{
    Judge, Session, goes_on,
    inputs::Said,
    said_last,
    walk::{Turn, words},
};
use crate::{history::parts::Part, oracle::facts::Fault};

/// What a slow link holds has arrived by then, in microseconds.
const LINGERS: u64 = 5_000_000;
/// What every line of the world takes at most beside, in microseconds.
const JITTER: u64 = 100_000;

impl Judge<'_> {
    /// What a run is given that the end of a process took with it and that is begun anew: the words that it began with, at
    /// the same place, and nothing of what came of them. First what was stored of runs that were waiting behind it and have
    /// ended with their process: a client's, which are not begun anew; then what is its own.
    pub(super) fn begun_anew<'p>(
        &self,
        key: &str,
        session: &Session,
        parts: &'p [Part],
        at: u64,
    ) -> Option<(&'p [Part], &'p [Part])> {
        let turn = session.turn.as_ref()?;
        let all = parts.strip_prefix(&session.base[..])?;
        let end = self.lost(self.sent(turn.began), at)?;
        let is_told = self.inputs.ended_between(&turn.inputs, self.sent(turn.at.1), end);
        let said = |p: &Part| matches!(p, Part::User(_) | Part::Image(_));
        // What a stop left in the inbox is begun anew together with what has come since.
        let is_left = self.facts.lives.iter().any(|l| l.to == end && l.cut_off && !l.crashed)
            && turn.inputs.iter().all(|n| self.inputs.all[*n].message.is_some());
        let same = |own: &[Part]| {
            let (now, then): (Vec<&Part>, Vec<&Part>) = (words(own).collect(), words(&turn.own).collect());
            !own.is_empty() && (now == then || is_left && now.starts_with(&then))
        };
        let ended = |p: &Part| {
            let Part::User(text) = p else { return false };
            matches!(self.inputs.what(text, key), Said::Here(all) if all.iter().all(|n| {
                let input = &self.inputs.all[*n];
                input.message.is_none() && input.at.t < end && !turn.inputs.contains(n)
            }))
        };
        let from = (0..all.len()).find(|from| !ended(&all[*from]) || same(&all[*from..]))?;
        let (waited, own) = all.split_at(from);
        (all.iter().all(said) && same(own) && !is_told && all != turn.own).then_some((waited, own))
    }

    /// A request that a slow link delivers after what came later in its session: its run has been ended since. What was known
    /// before it can have been sent is in it.
    pub(super) fn is_overtaken(&self, session: &Session, key: &str, parts: &[Part], at: u64) -> bool {
        let sent = self.sent(at);
        let least = session.lengths.iter().rev().find(|(t, _)| *t <= sent).map_or(0, |(_, n)| *n);
        let own = session.turn.as_ref().map_or(&[][..], |t| &t.own);
        let known = || session.base.iter().chain(own);
        let all = session.base.len() + own.len();
        let is_old = parts.len() < all || session.turn.is_none() && parts.len() == all;
        let is_beginning = || parts.iter().zip(known()).all(|(a, b)| a == b);
        // Two lines: what the run was asked that a message has ended comes a moment after what the next one is asked.
        let just_asked = session.turn.as_ref().is_some_and(|turn| turn.at.1 + JITTER >= at);
        if just_asked && (session.base.len() + 1..all).contains(&parts.len()) && is_beginning() {
            return true;
        }
        if sent == at || parts.len() < least {
            return false;
        }
        if is_old && is_beginning() {
            return true;
        }
        // The process that sent it has ended, and the next one has asked: it begins or continues the last turn of the first.
        let mut lives = self.facts.lives.iter().rev().skip_while(|l| l.from > at);
        let (Some(now), Some(old)) = (lives.next(), lives.next()) else { return false };
        if old.to.saturating_add(self.lingers(old.to)) < at {
            return false;
        }
        let tail = said_last(parts);
        let said_before = || self.said(key, &parts[tail..]).iter().all(|n| self.inputs.all[*n].at.t < old.to);
        let is_next = session.turn.as_ref().is_some_and(|turn| turn.at.1 >= now.from);
        let begins = is_old && is_next && said_before() && parts[..tail].iter().zip(known()).all(|(a, b)| a == b);
        let continues = |(base, turn): &(Vec<Part>, Turn)| turn.at.1 <= old.to && goes_on(base, turn, parts).is_some();
        begins || session.before.as_ref().is_some_and(continues)
    }

    /// How long what was on its way to the model then may take, in microseconds: a delay takes its time and no longer.
    fn lingers(&self, then: u64) -> u64 {
        let slow = self.facts.faults.iter().filter(|f| f.target == "model" && f.is_slow());
        let near = slow.filter(|f| f.from <= then && f.to.saturating_add(LINGERS) >= then);
        let delay =
            |f: &Fault| f.json["delay_ms"].as_u64().filter(|_| f.kind == "latency").map(|ms| ms * 1000 + JITTER);
        near.map(|f| delay(f).unwrap_or(LINGERS)).max().unwrap_or(LINGERS)
    }

    /// When a request was sent at the earliest that came to the model at `at`.
    pub(super) fn sent(&self, at: u64) -> u64 {
        let slow = |f: &Fault| f.target == "model" && f.is_slow() && f.from <= at && f.to.saturating_add(LINGERS) >= at;
        if self.facts.faults.iter().any(slow) { at.saturating_sub(LINGERS) } else { at }
    }

    /// The first end of a process in this time that may have taken a run with it: a crash, or a stop that waited no longer.
    pub(super) fn lost(&self, from: u64, to: u64) -> Option<u64> {
        let disk = |t: u64| self.facts.faults.iter().any(|f| f.kind == "disk" && f.from <= t && f.to >= from);
        let mut ends = self.facts.lives.iter().filter(|l| l.to >= from && l.to <= to);
        ends.find(|l| l.crashed || l.cut_off || disk(l.to)).map(|l| l.to)
    }
}
