//! Who came in by the shared secret and holds no other credential goes when that is another one (D15 for what devices hold): every
//! connection of every secret before, however many there were, and none of the new one.

use super::{conn::Conn, facts::Facts, findings::Findings};

/// A changed file is read and put in force within this time, in microseconds.
const READ: u64 = 7_000_000;

/// Checks each edit of the configuration that changes the secret.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    for f in facts.faults.iter().filter(|f| f.kind == "config_edit") {
        let Some(secret) = f.json["text"].as_str().and_then(secret) else { continue };
        let until = f.from + READ;
        let disturbed = facts.faults.iter().any(|o| {
            (o.kind == "disk" || o.kind == "disk_slow") && o.from <= until && o.to.saturating_add(READ) >= f.from
        });
        let edited = facts.faults.iter().any(|o| o.kind == "config_edit" && o.from > f.from && o.from <= until);
        if disturbed || edited || facts.ended_between(f.from, until) || until > facts.finish() {
            continue;
        }
        for c in conns.iter().filter(|c| c.is_ready_at(f.from)) {
            let Some(hello) = &c.hello else { continue };
            let shown = hello.params["auth"]["token"].as_str();
            let by_secret = hello.params["device"].is_null() && shown.is_some();
            if !by_secret || c.is_disturbed(facts, f.from, until) {
                continue;
            }
            let gone = c.closed.is_some_and(|end| end.at.t <= until);
            if shown != Some(&secret[..]) && !gone {
                let text = format!("{}: stays, though the secret that it came in by is another one by now", c.name);
                out.broken("revocation", f_record(facts, f.from), text);
            }
            let told = c.closed.filter(|end| end.reason == "credential rotated");
            if let Some(end) = told.filter(|end| shown == Some(&secret[..]) && end.at.t > f.from && end.at.t <= until) {
                let text = format!("{}: is closed because of a secret that it does not hold any more", c.name);
                out.broken("revocation", end.at.i, text);
            }
        }
    }
}

/// The first record at this time.
fn f_record(facts: &Facts, t: u64) -> Option<u64> {
    facts.history.iter().find(|r| r.t_us >= t).map(|r| r.i)
}

/// The shared token of a configuration; `None` for one that is none.
fn secret(text: &str) -> Option<String> {
    crate::plan::config_of(text).ok()?;
    let value = openclaw_config::read_value(text).ok()?;
    value["gateway"]["auth"]["token"].as_str().map(str::to_owned)
}
