//! The parts of a long message: what arrived is not said again (F06), none is left out, and none overtakes another. One whose fate
//! is open is not sent again by itself (D49).

use super::{Piece, Sending, is_renewed};
use crate::oracle::{Expect, facts::Facts, findings::Findings, telegram::is_doubtful};

/// Checks one message.
pub fn check(sending: &Sending, pieces: &[Piece], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let key = sending.whose.1;
    // What goes out in one piece is judged by `idempotency` and `letters`.
    if pieces.iter().all(|p| p.to - p.from == sending.bare.len()) {
        return;
    }
    // Where a group has moved to is known from the first part that was taken there.
    let followed = pieces.iter().position(|p| p.call.before.is_some() && p.call.status() == 200);
    let back = |p: &&Piece| p.call.before.is_none();
    if let Some(p) = followed.and_then(|n| pieces[n + 1..].iter().find(back)) {
        let text =
            format!("a part of the send {key} goes to where its group was before, though one has arrived where it is");
        out.broken("parts", p.call.at.i, text);
        return;
    }
    // How far it has come.
    let mut done: Vec<&Piece> = Vec::new();
    for p in pieces {
        let again = || expect.resends || is_renewed(sending, p.call.at.t, facts);
        let before = done.iter().rev().find(|d| d.from < p.to && p.from < d.to);
        if let Some(before) = before {
            let doubtful = is_doubtful(before.call, facts);
            if !again() || !doubtful {
                let at = before.call.at.i;
                let text = format!("a part of the send {key} is sent again (first in record {at})");
                out.broken("parts", p.call.at.i, text);
                return;
            }
        }
        let reached = done.iter().map(|d| d.to).max().unwrap_or(0);
        let last = pieces.iter().take_while(|o| o.call.at.i < p.call.at.i).last();
        // A call may have been lost on its way, as the process or the link ended.
        let hidden = || {
            let since = last.map_or(sending.asked[0].t, |o| o.call.at.t);
            facts.ended_between(since, p.call.at.t) || facts.faults.iter().any(|f| f.is_telegram() && f.is_network())
        };
        if p.from > reached && !hidden() {
            let text = format!("a part of the send {key} goes out before the one in front of it has arrived");
            out.broken("parts", p.call.at.i, text);
            return;
        }
        if p.call.status() == 200 || is_doubtful(p.call, facts) {
            done.push(p);
        }
    }
    let Some(told) = sending.answers.iter().find(|a| a.ok()) else { return };
    let arrived = pieces.iter().filter(|p| p.call.status() == 200 && p.call.at.i < told.at.i);
    let covered = arrived.fold(0, |to, p| if p.from <= to { to.max(p.to) } else { to });
    if !pieces.is_empty() && covered < sending.bare.len() {
        let text =
            format!("the send {key} is told as sent when {covered} of {} letters have arrived", sending.bare.len());
        out.broken("parts", told.at.i, text);
    }
}
