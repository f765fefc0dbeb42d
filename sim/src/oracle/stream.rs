//! The stream of events of one connection, and of all of them together: numbers, gaps, versions, ticks (D10, D11, F01,
//! F02, F03; protocol-core.md sections 6, 10).

use super::{
    Expect,
    conn::{Conn, Event},
    facts::Facts,
    findings::Findings,
    sheet,
};

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    for c in conns.iter().filter(|c| c.hello.is_some()) {
        numbers(c, conns, facts, expect, out);
        versions(c, facts, expect, out);
        ticks(c, facts, expect, out);
    }
    fan_out(conns, facts, expect, out);
}

/// `seq` from 1 without holes, except for what a slow reader has lost.
fn numbers(c: &Conn, conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let name = c.name;
    let mut last: Option<(u64, &Event)> = None;
    for e in &c.events {
        let Some(seq) = e.seq else {
            out.broken("seq", e.at.i, format!("{name}: a {} event without seq", e.name));
            continue;
        };
        let expected = last.map_or(1, |(n, _)| n + 1);
        if seq < expected {
            out.broken("seq", e.at.i, format!("{name}: seq {seq} after {}", expected - 1));
        } else if seq > expected && !c.may_lag(facts, e.at.t) && !has_backlog(c, e, expect) {
            let text = format!("{name}: seq {seq}, expected {expected}, though it has read all the time");
            out.broken("seq", e.at.i, text);
        } else if seq > expected {
            let lost = seq - expected;
            if let Some(why) = loss(c, conns, facts, last.map(|(_, e)| e), e, lost) {
                out.broken("seq", e.at.i, format!("{name}: {lost} numbers are missing before seq {seq}, but {why}"));
            }
        }
        last = Some((seq, e));
    }
    // Of the others `fan_out` speaks.
    let slow = c.has_gap() || c.may_lag(facts, facts.end);
    if let Some((at, why)) = uncounted(c, conns, facts).filter(|_| slow) {
        out.broken("seq", at, format!("{name}: {why}"));
    }
}

/// Events that a connection lost without a number, over its whole life: a newer presence may take the place of an older
/// one and so overtake others, so only the sums can be compared.
fn uncounted(c: &Conn, conns: &[Conn], facts: &Facts) -> Option<(u64, String)> {
    let others: Vec<&Event> = c.events.iter().filter(|e| e.name != "presence").collect();
    let (first, last) = (others.first()?, others.last()?);
    let witness = conns.iter().find(|w| is_witness(w, c, facts) && w.is_ready_at(first.at.t))?;
    let from = position(witness, first, 0)?;
    let to =
        others.iter().try_fold(from, |at, e| first_from(witness, e, at).or((e.at.i != last.at.i).then_some(at)))?;
    let published = witness.events[from..=to].iter().filter(|e| e.name != "presence").count() as u64;
    let withheld = (last.seq? + 1)
        .checked_sub(first.seq? + c.events.iter().filter(|e| e.seq >= first.seq && e.seq <= last.seq).count() as u64)?;
    let got = others.len() as u64;
    (published > got + withheld).then(|| {
        let who = witness.name;
        (last.at.i, format!("{who} saw {published} events, it got {got} and {withheld} numbers are missing"))
    })
}

/// So much came before it that newer presence may have replaced older, and droppable events may have been withheld.
fn has_backlog(c: &Conn, e: &Event, expect: &Expect) -> bool {
    c.is_flooded(e.at.t, 2_000_000, expect.max_buffered_bytes / 2)
}

/// What is wrong with a loss of `lost` events between two events, judged by a connection that lost nothing.
fn loss(c: &Conn, conns: &[Conn], facts: &Facts, before: Option<&Event>, after: &Event, lost: u64) -> Option<String> {
    // A presence may be newer than its place; of those the sums speak.
    let before = before.filter(|before| before.name != "presence" && after.name != "presence")?;
    let witness = conns.iter().find(|w| is_witness(w, c, facts) && w.is_ready_at(before.at.t.min(after.at.t)))?;
    let from = position(witness, before, 0)?;
    let to = position(witness, after, from + 1)?;
    let between = &witness.events[from + 1..to];
    let droppable = between.iter().filter(|e| e.is_droppable()).count() as u64;
    let presence = between.iter().filter(|e| e.name == "presence").count() as u64;
    let published = between.len() as u64;
    if lost > published {
        return Some(format!("{} saw only {published} events there", witness.name));
    }
    // A newer presence may take the place and number of one that was not sent: that is no loss.
    if lost + presence < published {
        return Some(format!(
            "{} saw {published} events there: {} are lost without a number",
            witness.name,
            published - lost
        ));
    }
    (lost > droppable).then(|| format!("only {droppable} of the events there may be withheld"))
}

/// Lost nothing, saw the same kinds of events in the same life.
fn is_witness(w: &Conn, c: &Conn, facts: &Facts) -> bool {
    w.name != c.name && w.life == c.life && same_view(w, c) && !w.has_gap() && !w.may_lag(facts, facts.end)
}

fn same_view(a: &Conn, b: &Conn) -> bool {
    let kinds = [sheet::Need::Read, sheet::Need::Pairing, sheet::Need::Approvals];
    // A device without the admin scope is shown the pairing of its own key only (S06).
    let own = |c: &Conn| {
        let hello =
            c.hello.as_ref().filter(|h| h.rights.meet(sheet::Need::Pairing) && !h.rights.meet(sheet::Need::Admin))?;
        hello.params["device"]["id"].as_str().map(str::to_owned)
    };
    if own(a) != own(b) {
        return false;
    }
    // Nodes are sent events of their own.
    let node = a.sees(sheet::Need::Node) || b.sees(sheet::Need::Node);
    !node && a.hello.is_some() && b.hello.is_some() && kinds.iter().all(|n| a.sees(*n) == b.sees(*n))
}

fn is_same(a: &Event, b: &Event) -> bool {
    // What went to many is often the same value.
    a.name == b.name && a.version == b.version && (std::ptr::eq(a.payload, b.payload) || a.payload == b.payload)
}

/// Where the other connection saw this event. After the wall clock went back the same tick comes twice: the nearer one.
fn position(w: &Conn, e: &Event, from: usize) -> Option<usize> {
    let same = w.events.iter().enumerate().skip(from).filter(|(_, x)| is_same(x, e));
    same.min_by_key(|(_, x)| x.at.t.abs_diff(e.at.t)).map(|(n, _)| n)
}

/// Where the other connection saw it first after something that came before it: of the same ticks that come twice after the wall
/// clock went back, a client that read late may have the earlier one.
fn first_from(w: &Conn, e: &Event, from: usize) -> Option<usize> {
    w.events.iter().enumerate().skip(from).find(|(_, x)| is_same(x, e)).map(|(n, _)| n)
}

/// Who may see the same gets the same, in the same order: nothing is forgotten without a gap, nothing comes twice.
fn fan_out(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    // Of the others nothing can be said: they have lost something, or may have.
    let steady: Vec<&Conn> =
        conns.iter().filter(|c| c.hello.is_some() && !c.has_gap() && !c.may_lag(facts, facts.end)).collect();
    for (n, c) in steady.iter().enumerate() {
        // The longest-lived earlier or later neighbour with the same view.
        let others = steady.iter().enumerate().filter(|(m, w)| *m != n && w.life == c.life && same_view(w, c));
        let Some((_, w)) = others.max_by_key(|(m, w)| (w.events.len(), usize::MAX - m)) else { continue };
        if let Some((at, why)) = differs(c, w, facts, expect) {
            out.broken("fan_out", at, format!("{}: {why}, unlike {}", c.name, w.name));
        }
    }
}

fn differs(c: &Conn, w: &Conn, facts: &Facts, expect: &Expect) -> Option<(u64, String)> {
    // What came before the other one was let in, or after it had gone, it was not shown, though a tick after a clock that went back may look the same.
    let since = w.hello.as_ref().map_or(0, |h| h.at.i);
    let events = &c.events[c.events.iter().take_while(|e| e.at.i < since).count()..];
    let first = events.first().filter(|first| w.closed.is_none_or(|end| end.at.i > first.at.i))?;
    // Neither lags: what is the same and came much earlier or later is another event that looks the same.
    let near = |at: &usize| w.events[*at].at.t.abs_diff(first.at.t) <= super::facts::TAIL;
    let Some(start) = position(w, first, 0).filter(near) else {
        // Comparable only where the other one was surely there before and after.
        let from = w.hello.as_ref().map_or(u64::MAX, |h| h.at.t) + super::facts::TAIL;
        let within =
            !has_backlog(c, first, expect) && first.at.t > from && first.at.t + super::facts::TAIL < w.until(facts);
        return within.then(|| (first.at.i, format!("was shown a {} event that nobody else saw", first.name)));
    };
    for (mine, theirs) in events.iter().zip(&w.events[start..]) {
        if !is_same(mine, theirs) {
            if has_backlog(c, mine, expect) || has_backlog(w, theirs, expect) {
                return None;
            }
            let text =
                format!("got {} (seq {:?}) where {} (seq {:?}) was due", mine.name, mine.seq, theirs.name, theirs.seq);
            return Some((mine.at.i, text));
        }
    }
    None
}

/// The snapshot and the first event fit together, versions grow by one with every presence event.
fn versions(c: &Conn, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    let name = c.name;
    let snapshot = &hello.payload["snapshot"];
    let at = |key: &str| snapshot["stateVersion"][key].as_u64();
    let (Some(presence), Some(health)) = (at("presence"), at("health")) else {
        out.broken("snapshot", hello.at.i, format!("{name}: a snapshot without stateVersion"));
        return;
    };
    if let Some(key) = hello.presence_key().filter(|_| hello.is_shown()) {
        let key = key.to_lowercase();
        let list = snapshot["presence"].as_array();
        let is_me = |e: &&serde_json::Value| {
            ["instanceId", "deviceId"].iter().any(|k| e[*k].as_str().is_some_and(|s| s.to_lowercase() == key))
        };
        if list.is_none_or(|l| !l.iter().filter(is_me).any(|e| e["reason"] == "connect")) {
            out.broken("snapshot", hello.at.i, format!("{name}: the snapshot does not show the client itself"));
        }
    }
    let mut lagged = false;
    let (mut last, mut first, mut seq) = ((presence, health), true, 0);
    for e in &c.events {
        lagged |= e.seq != Some(seq + 1) || c.may_lag(facts, e.at.t);
        seq = e.seq.unwrap_or(seq);
        let Some(version) = e.version else { continue };
        let oracle = if first { "snapshot" } else { "versions" };
        let since = if first { "the snapshot" } else { "the last event" };
        if version.0 < last.0 || version.1 < last.1 {
            out.broken(oracle, e.at.i, format!("{name}: stateVersion {version:?} after {last:?} in {since}"));
        } else if e.name == "presence" && version.0 == last.0 {
            out.broken(oracle, e.at.i, format!("{name}: presence {} repeats what was in {since}", version.0));
        } else if e.name == "presence" && version.0 > last.0 + 1 && !lagged && !has_backlog(c, e, expect) {
            out.broken(
                oracle,
                e.at.i,
                format!("{name}: presence {} after {} in {since}: a change is missing", version.0, last.0),
            );
        } else if e.name == "health" && version.1 == last.1 {
            out.broken(oracle, e.at.i, format!("{name}: health {} repeats what was in {since}", version.1));
        }
        (last, first) = (version, false);
    }
}

/// A tick at least every interval while the client can read, and not twice as often.
fn ticks(c: &Conn, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    let name = c.name;
    let interval = expect.tick_interval_ms * 1000;
    let slack = 2_000_000 + interval / 10;
    let life = &facts.lives[c.life];
    // Nothing is promised while the gateway stops.
    let until = c.until(facts).min(life.to).min(life.stop.map_or(u64::MAX, |m| m.t));
    let mut last = (hello.at, false);
    for e in c.events.iter().filter(|e| e.name == "tick" && e.at.t <= until) {
        let gap = e.at.t.saturating_sub(last.0.t);
        let quiet = !c.is_disturbed(facts, last.0.t, e.at.t);
        // Where more waits than it has room for, a client is shown no tick, and sees that a number is missing (F01).
        let all = c.events.windows(2).filter(|w| w[0].at.i >= last.0.i && w[1].at.i <= e.at.i);
        let withheld =
            all.filter_map(|w| w[0].seq.zip(w[1].seq)).any(|(before, after)| after > before.saturating_add(1));
        if quiet && !withheld && gap > interval + slack {
            out.broken("ticks", e.at.i, format!("{name}: {} ms without a tick", gap / 1000));
        }
        if quiet && last.1 && gap < interval / 2 {
            out.broken("ticks", e.at.i, format!("{name}: two ticks within {} ms", gap / 1000));
        }
        last = (e.at, true);
    }
    if until > last.0.t + interval + slack && !c.is_disturbed(facts, last.0.t, until) {
        out.broken("ticks", last.0.i, format!("{name}: no tick for {} ms after this", (until - last.0.t) / 1000));
    }
}
