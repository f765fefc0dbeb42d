//! Two traces side by side: where they part, and what each has more of.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    history::{Record, What},
    runner::Divergence,
    trace::{self, Trace},
};

/// What differs between `a` and `b`, as text for a terminal.
pub fn diff(a: &Trace, b: &Trace) -> String {
    let mut text = String::new();
    let name = |t: &Trace| {
        let Trace { header, records, .. } = t;
        let commit = header.commit.as_deref().map(|c| format!(", commit {c}")).unwrap_or_default();
        format!("{} seed {}{commit}: {} records", header.scenario, header.seed, records.len())
    };
    let _ = writeln!(text, "A  {}\nB  {}", name(a), name(b));
    if a.header.plan != b.header.plan {
        text.push_str("The plans differ.\n");
    }
    let lines = |t: &Trace| t.records.iter().fold(String::new(), |all, r| all + &trace::line(r) + "\n");
    match Divergence::between(&lines(a), &lines(b)) {
        None => text.push_str("The histories are equal.\n"),
        Some(parting) => {
            let _ = writeln!(text, "\nThe histories part at record {} (1 is A, 2 is B):\n{parting}", parting.at);
            text.push_str(&counts(a, b));
        }
    }
    text.push_str(&verdicts(a, b));
    text
}

/// Kinds of records, and of frames in them, that do not occur equally often.
fn counts(a: &Trace, b: &Trace) -> String {
    let mut all: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for r in &a.records {
        all.entry(kind(r)).or_default().0 += 1;
    }
    for r in &b.records {
        all.entry(kind(r)).or_default().1 += 1;
    }
    let differing: Vec<_> = all.iter().filter(|(_, (x, y))| x != y).collect();
    let same = all.len() - differing.len();
    let wide = differing.iter().map(|(k, _)| k.len()).max().unwrap_or(0).max(4);
    let mut text = String::new();
    if !differing.is_empty() {
        let _ = writeln!(text, "\n{:<wide$}  {:>8}  {:>8}  {:>8}", "kind", "A", "B", "B - A");
    }
    for (kind, (x, y)) in differing {
        let _ = writeln!(text, "{kind:<wide$}  {x:>8}  {y:>8}  {:>+8}", *y as i64 - *x as i64);
    }
    let _ = writeln!(text, "{same} kinds occur equally often in both");
    text
}

fn kind(r: &Record) -> String {
    let frame = |way: &str, [form, event, method, error]: [&serde_json::Value; 4]| {
        let what = match (form.as_str(), event.as_str(), method.as_str(), error["code"].as_str()) {
            (Some("event"), Some(event), ..) => format!("event {event}"),
            (Some("req"), _, Some(method), _) => format!("req {method}"),
            (Some("res"), .., Some(code)) => format!("res error {code}"),
            (Some("res"), ..) => "res ok".into(),
            _ => "no frame".into(),
        };
        format!("{way} {what}")
    };
    match &r.what {
        What::Opened { .. } => "opened".into(),
        What::Received { frame: f, .. } => frame("received", ["type", "event", "method", "error"].map(|key| &f[key])),
        What::Sent { frame: f, .. } => frame("sent", ["type", "event", "method", "error"].map(|key| &f[key])),
        What::Closed { code, by_client, .. } => {
            let who = if *by_client { "by the client" } else { "by the gateway" };
            code.map_or_else(|| format!("closed {who} without a code"), |c| format!("closed {c} {who}"))
        }
        What::ConnectFailed { .. } => "connect failed".into(),
        What::Reading { on, .. } => format!("reading {}", if *on { "on" } else { "off" }),
        What::Told { what, .. } => {
            let named = what.as_object().and_then(|o| o.keys().next());
            format!("told {}", named.map_or("", String::as_str))
        }
        What::Fault { on, fault, .. } => {
            format!("fault {} {}", fault["kind"].as_str().unwrap_or("?"), if *on { "begins" } else { "ends" })
        }
        What::Process { event } => format!("process {event}"),
        What::Telegram { method, status: None, .. } => format!("telegram {method}"),
        What::Telegram { method, status: Some(s), .. } => format!("telegram {method} answered {s}"),
        What::Elsewhere { account, method, .. } => format!("telegram {method} of {account}"),
        What::Update { .. } => "telegram update".into(),
        What::Model { .. } => "model request".into(),
        What::Given { .. } => "model given".into(),
        What::Terms { model, .. } => format!("model terms {model}"),
        What::Stored { .. } => "stored".into(),
        What::Begun { .. } => "begun".into(),
        What::Left { .. } => "left".into(),
        What::Archived { .. } => "archived".into(),
        What::Kept { .. } => "kept".into(),
        What::Fetched { from, .. } => format!("fetched from {from}"),
        What::Probe { name, .. } => format!("probe {name}"),
        What::Panic { .. } => "panic".into(),
        What::Gauge { name, .. } => format!("gauge {name}"),
        What::Command { argv } => format!("command {}", argv.first().map_or("", String::as_str)),
        What::Log { .. } => "log line".into(),
        What::Note { .. } => "note".into(),
    }
}

fn verdicts(a: &Trace, b: &Trace) -> String {
    let mut text = String::new();
    let broken = |t: &Trace| {
        let list = t.footer.iter().flat_map(|f| &f.violated);
        list.map(|v| (v.oracle.clone(), v.detail.clone())).collect::<BTreeMap<_, _>>()
    };
    let (x, y) = (broken(a), broken(b));
    let mut only = |name: &str, mine: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
        for (oracle, detail) in mine.iter().filter(|(o, _)| !other.contains_key(*o)) {
            let _ = writeln!(text, "violated in {name} only: {oracle}: {detail}");
        }
    };
    only("A", &x, &y);
    only("B", &y, &x);
    for oracle in x.keys().filter(|o| y.contains_key(*o)) {
        let _ = writeln!(text, "violated in both: {oracle}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        runner::Violation,
        trace::{Footer, Header, SCHEMA},
    };

    fn trace(ticks: u64, violated: &[&str]) -> Trace {
        let records: Vec<Record> = (0..ticks)
            .map(|i| Record {
                i,
                t_us: i,
                host: "clients".into(),
                what: What::Received {
                    conn: "a/1".into(),
                    frame: json!({ "type": "event", "event": "tick", "seq": i }).into(),
                },
            })
            .collect();
        let violation = |o: &&str| Violation { oracle: (*o).to_owned(), at: None, detail: "why".into() };
        let footer = Footer { violated: violated.iter().map(violation).collect(), ..Footer::of(&records, 0, &[]) };
        let header = Header { schema: SCHEMA, scenario: "s".into(), plan: "p".into(), seed: 1, commit: None };
        Trace { header, records, footer: Some(footer) }
    }

    #[test]
    fn equal_histories_are_equal() {
        assert!(diff(&trace(3, &[]), &trace(3, &[])).ends_with("The histories are equal.\n"));
    }

    #[test]
    fn the_parting_the_counts_and_the_verdicts_are_told() {
        let text = diff(&trace(30, &["seq"]), &trace(32, &["ticks"]));
        assert!(text.contains("part at record 30"), "{text}");
        assert!(text.contains("(nothing more)"), "{text}");
        assert!(text.contains("received event tick        30        32        +2"), "{text}");
        assert!(text.contains("violated in A only: seq: why\nviolated in B only: ticks: why"), "{text}");
        // Twenty records of context, not all of them.
        assert_eq!(text.matches("    {\"i\":").count(), 20, "{text}");
    }
}
