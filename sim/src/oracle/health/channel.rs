//! How receiving from Telegram goes, as the Bot API saw it, and what a row about the channel must say of it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    history::What,
    oracle::{
        facts::{Facts, Fault},
        telegram::Call,
    },
};

/// What the service has answered is known to the gateway, and what it shows is where it is read, by then, in microseconds.
const LAG: u64 = 1_000_000;
/// Twice the time of a poll: so long an answer counts as a connection, in microseconds.
const CONNECTED: u64 = 60_000_000;
/// What a stranger is told is no delivery of a message.
const PAIRING: &str = "This assistant answers only people";

/// The wall clock against the time of the run.
pub struct Wall(Option<u64>);

impl Wall {
    /// From the times that challenges carry; unknown where the clock jumps.
    pub fn of(facts: &Facts) -> Self {
        if facts.faults.iter().any(|f| f.kind == "clock_jump") {
            return Self(None);
        }
        let start = facts.history.iter().filter_map(|r| match &r.what {
            What::Received { frame, .. } if frame["event"] == "connect.challenge" => {
                frame["payload"]["ts"].as_u64()?.checked_sub(r.t_us / 1000)
            }
            _ => None,
        });
        // The one that was on its way for the shortest time.
        Self(start.max())
    }

    /// Times can be told.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// A time in milliseconds as one of the run in microseconds.
    pub fn time(&self, at: &Value) -> Option<u64> {
        Some(at.as_u64()?.saturating_sub(self.0?) * 1000)
    }
}

/// An answer to a call that receives.
struct Heard {
    began: u64,
    ended: u64,
    status: u16,
}

/// All of them.
pub struct Receiving<'a> {
    lives: Vec<Vec<Heard>>,
    /// Ends of good sends, by life.
    sent: Vec<Vec<u64>>,
    /// Times of updates of people who are let in.
    came: Vec<u64>,
    /// Anybody has written.
    first_came: Option<u64>,
    facts: &'a Facts<'a>,
}

/// What is surely so.
struct Now {
    running: bool,
    connected: Option<bool>,
    /// The status of the answer that went wrong; `None`: all is well.
    error: Option<u16>,
    /// End of the last good answer.
    ok: Option<u64>,
    /// The one that has ended it all.
    stopped: Option<u64>,
}

impl<'a> Receiving<'a> {
    /// Of all calls.
    pub fn of(calls: &[Call], unwelcome: &BTreeSet<i64>, facts: &'a Facts<'a>) -> Self {
        let mut lives: Vec<Vec<Heard>> = facts.lives.iter().map(|_| Vec::new()).collect();
        let mut sent: Vec<Vec<u64>> = facts.lives.iter().map(|_| Vec::new()).collect();
        for c in calls {
            let (life, Some((end, status))) = (facts.life(c.at.t), c.end) else { continue };
            // A probe makes the same calls as a start: only the very first one of a process is surely its own.
            let first = c.method == "getMe" && lives[life].is_empty() && facts.lives[life].from + LAG > c.at.t;
            if c.method == "getUpdates" || first {
                lives[life].push(Heard { began: c.at.t, ended: end.t, status });
            } else if c.is_send() && status == 200 {
                let pairing = c.params["text"].as_str().is_some_and(|t| t.starts_with(PAIRING));
                sent[life].push(if pairing { u64::MAX } else { end.t });
            }
        }
        let updates = || {
            facts.history.iter().filter_map(|r| match &r.what {
                What::Update { update_id, .. } => Some((r.t_us, *update_id)),
                _ => None,
            })
        };
        let mut seen = BTreeSet::new();
        let came = updates().filter(|(_, id)| seen.insert(*id) && !unwelcome.contains(id)).map(|(t, _)| t).collect();
        Self { lives, sent, came, first_came: updates().map(|(t, _)| t).min(), facts }
    }

    /// What is so during the whole of a window; `None` where that is open.
    fn now(&self, life: usize, (from, to): (u64, u64)) -> Option<Now> {
        let lived = &self.facts.lives[life];
        if from < lived.from || to >= lived.to || lived.stop.is_some_and(|m| m.t <= to) {
            return None;
        }
        let heard = &self.lives[life];
        let known = |h: &&Heard| h.ended + LAG <= from;
        let last = heard.iter().filter(known).max_by_key(|h| h.ended)?;
        let open = heard.iter().any(|h| h.ended + LAG > from && h.ended <= to);
        // Only the latest one says how it is, and only if the one before it is over.
        let good = heard.iter().filter(known).filter(|h| h.status == 200).max_by_key(|h| h.ended);
        let since = good.map_or(last.began, |g| g.began.min(last.began));
        let disturbs = |kind: &str| matches!(kind, "disk" | "bit_flip" | "lost_write" | "config_edit");
        let disturbed = self.facts.faults.iter().any(|f| {
            let link = f.is_network() && f.is_telegram();
            (link && f.from <= to && f.to.saturating_add(LAG) >= since) || (disturbs(f.kind) && f.from <= to)
        });
        if open || disturbed || matches!(last.status, 0 | 444 | 499) {
            return None;
        }
        let ended = heard.iter().filter(known).find(|h| matches!(h.status, 401 | 404)).map(|h| h.ended);
        let running = ended.is_none();
        let ok = good.map(|g| g.ended);
        let connected = match ok {
            _ if !running => Some(false),
            Some(ok) if to.saturating_sub(ok) < CONNECTED => Some(true),
            Some(ok) if from.saturating_sub(ok) <= CONNECTED + LAG => None,
            _ => Some(false),
        };
        Some(Now { running, connected, error: (last.status != 200).then_some(last.status), ok, stopped: ended })
    }

    /// Nothing comes in, during the whole of a window; `None` where that is open, as it is in the first minute of a life.
    pub fn is_dead(&self, life: usize, (from, to): (u64, u64)) -> Option<bool> {
        let now = self.now(life, (from, to))?;
        let is_young = from <= self.facts.lives[life].from + CONNECTED + LAG;
        match (now.error, now.connected) {
            (Some(_), _) => Some(true),
            (None, Some(false)) if !is_young => Some(true),
            (None, Some(true)) => Some(false),
            _ => None,
        }
    }

    /// Times without any news about receiving, longer than `least`.
    pub fn steady(&self, life: usize, least: u64) -> Vec<(u64, u64)> {
        let heard = &self.lives[life];
        let lived = &self.facts.lives[life];
        let end = lived.to.min(lived.stop.map_or(u64::MAX, |m| m.t)).min(self.facts.end);
        let mut out = Vec::new();
        for (n, h) in heard.iter().enumerate() {
            let next = heard.get(n + 1).map_or(end, |n| n.ended.min(end)).saturating_sub(1);
            let from = h.ended + LAG;
            if next > from + least {
                // As soon as it must have been told, and as late as it is still so.
                out.push((from, from + least));
                out.push((from, next));
            }
        }
        out
    }

    /// What was told last is not so any more.
    pub fn is_old(&self, row: &Value, life: usize, window: (u64, u64)) -> Option<String> {
        let now = self.now(life, window)?;
        basics(row, &now)
    }

    /// The line about it that people read is another one.
    pub fn is_other_line(&self, line: &str, life: usize, window: (u64, u64)) -> Option<String> {
        let now = self.now(life, window)?;
        let right = match now.error {
            Some(status) => line.contains(&status.to_string()),
            None => now.connected.is_none_or(|c| (line == "connected") == c),
        };
        (!right).then(|| format!("the line about Telegram is {line:?}; the service answered {}", last(&now)))
    }

    /// What is wrong with a row about the account that was made within a window.
    pub fn differs(&self, row: &Value, life: usize, window: (u64, u64), wall: &Wall) -> Option<String> {
        if !row.is_object() {
            return None;
        }
        let now = self.now(life, window);
        if let Some(why) = now.as_ref().and_then(|now| basics(row, now)) {
            return Some(why);
        }
        if row["enabled"] != true || row["configured"] != true || row["mode"] != "polling" {
            return Some("a bot that polls is not enabled, configured and polling".into());
        }
        if row["connected"] == true && row["running"] != true {
            return Some("connected without running".into());
        }
        let about = |key: &str, due: Option<u64>| {
            let shown = wall.time(&row[key]);
            let same = match (shown, due) {
                (Some(a), Some(b)) => a.abs_diff(b) <= LAG,
                (a, b) => a.is_none() && b.is_none(),
            };
            (wall.0.is_some() && !same).then(|| {
                let ms = |t: Option<u64>| t.map(|t| t / 1000);
                format!("`{key}` is {:?} ms after the start of the run, not {:?}", ms(shown), ms(due))
            })
        };
        if let Some(now) = &now {
            let why = about("lastOkAt", now.ok).or_else(|| about("lastStopAt", now.stopped));
            if why.is_some() {
                return why;
            }
            let began = wall.time(&row["lastStartAt"]);
            let lived = self.facts.lives[life].from;
            if wall.0.is_some() && began.is_none_or(|at| at + LAG < lived || at > lived + 10 * LAG) {
                return Some(format!("`lastStartAt` is {began:?}, its process began at {lived}"));
            }
        }
        self.traffic(row, life, window, wall, &about)
    }

    /// By when the gateway knows what the service has answered at `t`: what holds up the line between them holds that up.
    fn known_by(&self, t: u64) -> u64 {
        let holds = |f: &&Fault| f.target == "telegram" && f.is_slow() && f.from <= t + LAG && f.to + LAG >= t;
        let held = self.facts.faults.iter().filter(|f| f.to < u64::MAX).filter(holds).map(|f| f.to);
        held.fold(t, u64::max) + LAG
    }

    /// When something came in and went out last.
    fn traffic(
        &self,
        row: &Value,
        life: usize,
        (from, to): (u64, u64),
        wall: &Wall,
        about: &dyn Fn(&str, Option<u64>) -> Option<String>,
    ) -> Option<String> {
        let lived = &self.facts.lives[life];
        wall.0?;
        if from < lived.from || to >= lived.to {
            return None;
        }
        let sent = &self.sent[life];
        // An account that begins anew counts from then on.
        let anew = self.facts.history.iter().filter_map(|r| match &r.what {
            What::Probe { name, .. } if name == "reload.a_channel_began_anew" && r.t_us <= to => Some(r.t_us),
            _ => None,
        });
        let anew = anew.max().unwrap_or(0);
        let is_anew = anew > 0 && anew + LAG > from;
        let open = is_anew || sent.iter().any(|t| *t == u64::MAX || (self.known_by(*t) > from && *t <= to));
        if !open {
            let last = sent.iter().copied().filter(|t| self.known_by(*t) <= from && *t > anew).max();
            if let Some(why) = about("lastOutboundAt", last) {
                return Some(why);
            }
        }
        let inbound = wall.time(&row["lastInboundAt"]);
        match inbound {
            Some(at)
                if self.first_came.is_none_or(|first| at + LAG < first) || at > to + LAG || at + LAG < lived.from =>
            {
                Some(format!("`lastInboundAt` is {} ms after the start of the run, when nothing came", at / 1000))
            }
            _ => {
                // What somebody wrote in this life, and a poll has brought since; it came when it was stored.
                let stored = |h: &&Heard| h.ended + LAG + self.facts.slow_disk_between(h.ended, from) <= from;
                let polls = || self.lives[life].iter().filter(|h| h.status == 200).filter(stored);
                let calm = self.now(life, (from, to)).is_some();
                let due = self.came.iter().filter(|t| **t > lived.from + LAG && polls().any(|h| h.ended >= **t + LAG));
                let due = due.max().filter(|_| calm)?;
                inbound.is_none_or(|at| at + LAG < *due).then(|| {
                    format!(
                        "`lastInboundAt` is {:?} ms after the start of the run, a message came at {}",
                        inbound.map(|t| t / 1000),
                        due / 1000
                    )
                })
            }
        }
    }

    /// A probe asks the service, and shows what that has said.
    pub fn probe(&self, row: &Value, calls: &[Call], (from, to): (u64, u64)) -> Option<String> {
        if !row.is_object() {
            return None;
        }
        let asked = ["getMe", "getWebhookInfo"];
        let during = || calls.iter().filter(|c| (from..=to).contains(&c.at.t) && asked.contains(&c.method));
        let well = asked.iter().all(|method| during().any(|c| c.method == *method && c.status() == 200));
        let ill = during().any(|c| c.status() != 200);
        let link =
            self.facts.faults.iter().any(|f| f.is_telegram() && f.from <= to && f.to.saturating_add(CONNECTED) >= from);
        let ok = row["probe"]["ok"] == true;
        if (ok && !well) || (!ok && !ill && !link) {
            let said: Vec<String> = during().map(|c| format!("{} {}", c.method, c.status())).collect();
            return Some(format!("the probe says {}, the service said {said:?}", row["probe"]));
        }
        (!row["lastProbeAt"].is_u64()).then(|| "a probe without its time".into())
    }
}

fn last(now: &Now) -> String {
    format!("{} last, and well {:?} ms after the start of the run", now.error.unwrap_or(200), now.ok.map(|t| t / 1000))
}

/// Running, connected, its error.
fn basics(row: &Value, now: &Now) -> Option<String> {
    if row["running"] != now.running {
        return Some(format!("`running` is {}; the service answered {}", row["running"], last(now)));
    }
    let shown = row["lastError"].as_str();
    let fits = match now.error {
        Some(status) => shown.is_some_and(|e| e.contains(&status.to_string())),
        None => shown.is_none(),
    };
    if !fits {
        return Some(format!("`lastError` is {}; the service answered {}", row["lastError"], last(now)));
    }
    let wrong = now.connected.is_some_and(|c| row["connected"] != c);
    wrong.then(|| format!("`connected` is {}; the service answered {}", row["connected"], last(now)))
}
