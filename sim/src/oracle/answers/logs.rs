//! `logs.tail` (nodes-config-lifecycle.md part B4, D24): whole lines from where the caller stopped, the newest ones, in their
//! order, within both bounds; and it says when some are missing. Judged where the log is that of [`crate::log_lines`].

use serde_json::Value;

use crate::{
    log_lines::{PIECE, WIDTH, line},
    oracle::{
        conn::{Answer, Conn},
        findings::Findings,
    },
};

/// Checks every answer.
pub fn check(conns: &[Conn], out: &mut Findings) {
    for c in conns {
        for r in c.requests.iter().filter(|r| r.method == "logs.tail") {
            let Some(answer) = r.first.filter(Answer::ok) else { continue };
            if let Some(why) = wrong(r.params, &answer.frame["payload"], c.life as u64) {
                out.broken("answers", answer.at.i, format!("{}: logs.tail {}: {why}", c.name, r.params));
            }
        }
    }
}

fn wrong(asked: &Value, tail: &Value, life: u64) -> Option<String> {
    let size = (life + 1) * PIECE;
    if tail["size"] != size {
        return Some(format!("`size` is {}, the file has {size} bytes", tail["size"]));
    }
    let number = |key: &str, default: u64| asked[key].as_u64().unwrap_or(default);
    let (limit, most) = (number("limit", 500), number("maxBytes", 250_000));
    let cursor = asked["cursor"].as_u64();
    let reset = cursor.is_some_and(|c| c > size);
    let from = cursor.filter(|_| !reset).unwrap_or(0);
    // Whole lines from the first that begins within the bound; one that is not finished is left for the next call.
    let start = from.max(size.saturating_sub(most)).div_ceil(WIDTH);
    let end = size / WIDTH;
    let first = start.max(end.saturating_sub(limit)).min(end);
    let due: Vec<String> = (first..end).map(|n| line(n + 1)).collect();
    let given: Vec<&str> = tail["lines"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if given != due {
        let ends = |list: &[&str]| format!("{} lines from {:?} to {:?}", list.len(), list.first(), list.last());
        let due: Vec<&str> = due.iter().map(String::as_str).collect();
        return Some(format!("gives {}, not {}", ends(&given), ends(&due)));
    }
    if tail["cursor"] != end * WIDTH {
        return Some(format!("`cursor` is {}, the last line ends at {}", tail["cursor"], end * WIDTH));
    }
    if tail["reset"] != reset {
        return Some(format!("`reset` is {}", tail["reset"]));
    }
    let missing = first > from.div_ceil(WIDTH);
    if tail["truncated"] != missing {
        return Some(format!("`truncated` is {}, its first line is number {}", tail["truncated"], first + 1));
    }
    let skipped = end.saturating_sub(start).saturating_sub(limit);
    let lost = tail["lost"].as_u64().unwrap_or(0);
    // Who goes on from a cursor is told of each line that he has missed.
    let told = if cursor.is_some() && !reset { lost == first.saturating_sub(from / WIDTH) } else { lost >= skipped };
    (!told).then(|| format!("`lost` is {lost}, its first line is number {}", first + 1))
}
