//! Beside those who ask for too much everybody else is served (S30): answers come soon, and there is a place for who
//! connects.

use super::{Expect, conn::Conn, facts::Facts, findings::Findings};
use crate::history::What;

/// Answered at once, whatever others ask for; of a run its acceptance.
const PROMPT: [&str; 8] =
    ["health", "status", "sessions.list", "chat.history", "chat.send", "agent", "system-presence", "models.list"];
/// A connection that cannot be made is excused by a fault, or an absence of the gateway, this long ago, in microseconds.
const AFTER: u64 = 2_000_000;

/// Checks it, where somebody is hostile.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    if expect.hostile.is_empty() {
        return;
    }
    let honest = |client: &str| !expect.hostile.iter().any(|h| h == client);
    let within = expect.fair_within_ms * 1000 + facts.stores;
    for c in conns.iter().filter(|c| honest(c.client) && c.hello.is_some()) {
        for r in c.requests.iter().filter(|r| PROMPT.contains(&r.method)) {
            let due = r.at.t + within;
            let due = due + facts.slow_disk_between(r.at.t, due);
            let answered = r.first.map_or(u64::MAX, |a| a.at.t);
            let open = c.until(facts) > due;
            if answered > due && open && !c.is_disturbed(facts, r.at.t, due) && !is_ending(facts, r.at.t, due) {
                let late =
                    r.first.map_or("not at all".to_owned(), |a| format!("after {} ms", (a.at.t - r.at.t) / 1000));
                let (name, method) = (c.name, r.method);
                out.broken(
                    "fairness",
                    r.at.i,
                    format!("{name}: {method} is answered {late} beside {}", others(expect)),
                );
            }
        }
    }
    for r in facts.history {
        let What::ConnectFailed { client, error } = &r.what else { continue };
        let from = r.t_us.saturating_sub(AFTER);
        let group = client.rsplit_once('-').map_or(client.as_str(), |(group, _)| group);
        let disturbed = facts.hitting(client, group).any(|f| f.from <= r.t_us && f.to.saturating_add(AFTER) >= from);
        if honest(client) && !disturbed && !is_ending(facts, from, r.t_us) {
            out.broken("fairness", r.i, format!("{client} finds no place beside {}: {error}", others(expect)));
        }
    }
}

/// The gateway is not there for all of this time.
fn is_ending(facts: &Facts, from: u64, to: u64) -> bool {
    let life = &facts.lives[facts.life(from)];
    let begins = life.from.saturating_add(AFTER) > from;
    begins || life.to <= to || life.stop.is_some_and(|stop| stop.t <= to) || facts.finish() <= to
}

fn others(expect: &Expect) -> String {
    expect.hostile.join(", ")
}
