//! The order of requests on one connection: those that wait for a place begin in the order in which they came (F58), so that reads
//! that need no disk are answered in it.

use super::{conn::Conn, findings::Findings};

/// Answered out of memory, at once when they begin.
const AT_ONCE: [&str; 5] = ["node.list", "node.pair.list", "exec.approval.list", "last-heartbeat", "system-presence"];

/// Checks each connection.
pub fn check(conns: &[Conn], out: &mut Findings) {
    for c in conns {
        let mut last: Option<(u64, &str)> = None;
        // Several requests may share an id: which one is answered nobody can say.
        let mut ids: Vec<&str> = c.requests.iter().map(|r| r.id.as_str()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|w| w[0] == w[1]) {
            continue;
        }
        for r in c.requests.iter().filter(|r| AT_ONCE.contains(&r.method)) {
            let Some(answer) = r.first.filter(super::conn::Answer::ok) else { continue };
            if let Some((before, id)) = last.filter(|(before, _)| answer.at.i < *before) {
                let text = format!("{}: {} {:?} is answered before {id:?}, which came first", c.name, r.method, r.id);
                out.broken("responses", before, text);
            }
            last = last.filter(|(before, _)| *before > answer.at.i).or(Some((answer.at.i, &r.id)));
        }
    }
}
