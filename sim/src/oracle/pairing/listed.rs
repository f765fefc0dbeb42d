//! `device.pair.list`: who waits, who was let in as what, and when each was seen last.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Asked, Change, Kind, SLACK, TTL};
use crate::oracle::{
    conn::{Answer, Conn, Request},
    facts::Facts,
    findings::Findings,
    health::Wall,
    sheet::Need,
};

/// The time of a connection is known to be that of its hello-ok, give or take, in microseconds.
const NEAR: u64 = 1_500_000;

fn rows<'a>(list: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    list[key].as_array().into_iter().flatten()
}

fn has(list: &Value, text: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|v| v == text))
}

/// Judges each list; `decided`: somebody has asked to decide this request by then.
pub fn check(
    conns: &[Conn],
    changes: &[Change],
    asked: &[Asked],
    decided: &dyn Fn(&str, u64) -> bool,
    facts: &Facts,
    out: &mut Findings,
) {
    let wall = Wall::of(facts);
    dates(conns, &wall, out);
    for c in conns {
        for r in c.requests.iter().filter(|r| r.method == "device.pair.list") {
            let Some(answer) = r.first.filter(Answer::ok) else { continue };
            let list = &answer.frame["payload"];
            let (from, to) = (r.at.t, answer.at.t);
            let mut say = |why: String| out.broken("device_list", answer.at.i, format!("{}: {why}", c.name));
            let newest = |key: &str, at: &str| {
                let times: Vec<_> = rows(list, key).map(|r| r[at].as_u64()).collect();
                times.windows(2).all(|w| w[0] >= w[1])
            };
            if !newest("pending", "ts") || !newest("paired", "approvedAtMs") {
                say("device.pair.list is not newest first".into());
            }
            let own = c.hello.as_ref().map_or(&Value::Null, |h| &h.params["device"]["id"]);
            let alone = own.is_string() && !c.sees(Need::Admin);
            let foreign = rows(list, "pending").chain(rows(list, "paired")).find(|row| row["deviceId"] != *own);
            if let Some(row) = foreign.filter(|_| alone) {
                say(format!("a device that decides about itself alone is shown {}", row["deviceId"]));
            }
            for row in rows(list, "paired") {
                let device = row["deviceId"].as_str().unwrap_or_default();
                if let Some(why) = beyond(row, device, changes, to) {
                    say(format!("device.pair.list shows {device} {why}"));
                }
                if let Some(why) = seen(row, device, conns, facts, c.life, (r.at.i, to), &wall) {
                    say(format!("device.pair.list shows {device} {why}"));
                }
            }
            for change in changes.iter().filter(|x| x.sure && x.to < from && !(alone && own != x.device)) {
                if let Some(why) = missing(change, changes, list, to) {
                    say(format!("device.pair.list shows {} {why}", change.device));
                }
            }
            let waits = |a: &&Asked| {
                let there = a.life == c.life && a.to < from && a.until > to && to + SLACK < a.from + TTL;
                there && !decided(a.id, to) && !(alone && own != a.ask.device)
            };
            for a in asked.iter().filter(waits) {
                let role = if a.ask.rights.node { "node" } else { "operator" };
                let row = rows(list, "pending").find(|row| row["requestId"] == a.id);
                let fits = |row: &Value| {
                    let scopes = row["scopes"].as_array().map_or(0, Vec::len);
                    row["deviceId"] == a.ask.device
                        && row["role"] == role
                        && scopes == a.ask.rights.scopes.len()
                        && a.ask.rights.scopes.iter().all(|s| has(&row["scopes"], s))
                };
                if !row.is_some_and(fits) {
                    say(format!("the request {:?} of {} waits, and is not listed as what it is", a.id, a.ask.device));
                }
            }
        }
    }
}

/// A role or scope that no approval gave.
fn beyond(row: &Value, device: &str, changes: &[Change], to: u64) -> Option<String> {
    let granted = |role: Option<&str>, scope: Option<&str>| {
        let mine = |x: &&Change| x.device == device && role.is_none_or(|r| r == x.role) && x.from <= to;
        changes.iter().filter(mine).any(|x| x.grants(scope))
    };
    let texts = |key: &str| rows(row, key).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    if let Some(role) = texts("roles").iter().find(|role| !granted(Some(role), None)) {
        return Some(format!("as {role}, which no approval granted"));
    }
    if let Some(scope) = texts("scopes").iter().find(|scope| !granted(None, Some(scope))) {
        return Some(format!("with {scope}, which no approval granted"));
    }
    let mut tokens = rows(row, "tokens").flat_map(|t| rows(t, "scopes").map(move |s| (&t["role"], s)));
    let wrong = tokens.find(|(role, scope)| !granted(role.as_str(), scope.as_str()));
    wrong.map(|(role, scope)| format!("with a token as {role} for {scope}, which no approval granted"))
}

/// Somebody was surely let in as this, and nobody has changed it since.
fn missing(change: &Change, changes: &[Change], list: &Value, to: u64) -> Option<String> {
    let scopes = match &change.what {
        Kind::Grant(scopes) | Kind::Silent(scopes) => scopes,
        _ => return None,
    };
    let other = |x: &Change| !std::ptr::eq(x, change) && x.device == change.device && x.role == change.role;
    if changes.iter().any(|x| other(x) && x.from <= to && !matches!(x.what, Kind::Grant(_) | Kind::Silent(_))) {
        return None;
    }
    let Some(row) = rows(list, "paired").find(|row| row["deviceId"] == change.device) else {
        return Some("not at all, though it was let in".into());
    };
    let token = rows(row, "tokens").find(|t| t["role"] == change.role);
    // Each token is made for exactly what was asked for with it.
    let newer = changes.iter().any(|x| other(x) && x.to > change.from && x.from <= to);
    let whole = has(&row["roles"], change.role)
        && scopes.iter().all(|s| has(&row["scopes"], s))
        && token.is_some_and(|t| t["revokedAtMs"].is_null() && (newer || scopes.iter().all(|s| has(&t["scopes"], s))));
    (!whole).then(|| format!("as {}, but it was let in as {} with {scopes:?}", row["roles"], change.role))
}

/// When it was seen last.
fn seen(
    row: &Value,
    device: &str,
    conns: &[Conn],
    facts: &Facts,
    life: usize,
    (asked, to): (u64, u64),
    wall: &Wall,
) -> Option<String> {
    let mine = || {
        let of = |c: &&Conn| c.opening.is_some_and(|(_, f)| f["params"]["device"]["id"] == device);
        conns.iter().filter(of)
    };
    let hellos = |from: usize| {
        let own = mine().filter(move |c| (from..=life).contains(&c.life)).filter_map(|c| c.hello.as_ref());
        own.filter(move |h| h.at.i < asked).map(|h| h.at.t).max()
    };
    // What a process knew when it was stopped in good order the next one knows.
    let disk = facts.faults.iter().any(|f| f.kind == "disk");
    let kept = (0..=life)
        .rev()
        .take_while(|n| *n == life || (facts.lives[*n].stop.is_some() && !facts.lives[*n].crashed && !disk));
    let last = hellos(kept.last().unwrap_or(life))?;
    let shown = wall.time(&row["lastSeenAtMs"]);
    if !wall.is_known() {
        return None;
    }
    // Whoever came later may have been let in as well.
    let later =
        mine().any(|c| c.opened.t + NEAR > last && c.opened.t <= to && c.hello.as_ref().is_none_or(|h| h.at.t > last));
    let old = shown.is_none_or(|t| t + NEAR < last);
    let new = shown.is_some_and(|t| t > last + NEAR && !later);
    (old || new).then(|| format!("as seen last at {:?} ms, it came at {}", shown.map(|t| t / 1000), last / 1000))
}

/// The dates of a device and of its tokens: when it was paired first and when a role first had a token never change; when that was
/// replaced or taken away is what whoever did it was told.
fn dates(conns: &[Conn], wall: &Wall, out: &mut Findings) {
    let all = || conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let mut lists: Vec<_> =
        all().filter(|(_, r)| r.method == "device.pair.list").filter_map(|(c, r)| Some((c, r.at, r.first?))).collect();
    lists.sort_by_key(|(_, _, a)| a.at.i);
    let removed =
        |device: &Value| all().any(|(_, r)| r.method == "device.pair.remove" && r.params["deviceId"] == *device);
    let mut known: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (c, asked, answer) in &lists {
        for row in rows(&answer.frame["payload"], "paired").filter(|row| !removed(&row["deviceId"])) {
            let device = row["deviceId"].as_str().unwrap_or_default();
            let mut say = |why: String| {
                out.broken("device_list", answer.at.i, format!("{}: device.pair.list shows {device} {why}", c.name));
            };
            let tokens = rows(row, "tokens").map(|t| (t["role"].as_str().unwrap_or_default(), &t["createdAtMs"]));
            for (role, made) in std::iter::once(("", &row["createdAtMs"])).chain(tokens) {
                let made = made.as_u64().unwrap_or(0);
                let first = *known.entry((device.to_owned(), role.to_owned())).or_insert(made);
                if first != made {
                    say(format!("{role} as made at {made}, before it was {first}"));
                }
            }
            for token in rows(row, "tokens") {
                let role = token["role"].as_str().unwrap_or_default();
                let about = |r: &Request| r.params["deviceId"] == device && r.params["role"] == role;
                for (method, key) in [("device.token.rotate", "rotatedAtMs"), ("device.token.revoke", "revokedAtMs")] {
                    // The last one before it, unless something else came after that.
                    let done = all().map(|(_, r)| r).filter(|r| r.method == method && about(r));
                    let Some((at, told)) = done
                        .filter(|r| r.first.is_some_and(|a| a.ok() && a.at.i < asked.i))
                        .filter_map(|r| Some((r.at, &r.first?.frame["payload"][key])))
                        .max_by_key(|(at, _)| at.i)
                    else {
                        continue;
                    };
                    let later = all().any(|(_, r)| {
                        let changes = r.method.starts_with("device.token.") || r.method == "device.pair.approve";
                        changes && r.at.i != at.i && r.first.is_none_or(|a| a.at.i > at.i) && r.at.i < answer.at.i
                    });
                    // It may have had a new one as it came.
                    let came = conns.iter().any(|o| {
                        o.opening.is_some_and(|(sent, f)| {
                            f["params"]["device"]["id"] == device
                                && sent.i < answer.at.i
                                && o.hello.as_ref().map_or(o.refusal.is_none(), |h| h.at.i > at.i)
                        })
                    });
                    if !later && !came && token[key] != *told {
                        say(format!("{role} with {key} {}, which was told as {told}", token[key]));
                    }
                }
                let date = |key: &str| token[key].as_u64();
                let order = ["rotatedAtMs", "revokedAtMs", "lastUsedAtMs"];
                let early = order.into_iter().find(|key| date(key) < date("createdAtMs") && date(key).is_some());
                if let Some(key) = early.filter(|_| wall.is_known()) {
                    say(format!("{role} with {key} before it was made"));
                }
            }
        }
    }
}
