//! What came of a hunt, as tables for the README.

use std::{collections::BTreeMap, fmt::Write as _};

use super::Tried;

/// Each bug; the share found by place; the survivors, with what they would need.
pub fn table(tried: &[Tried]) -> String {
    let mut text = String::from("| bug | what is wrong | seeds to find | found by |\n| --- | --- | --- | --- |\n");
    for t in tried {
        let seeds = match (&t.error, t.median()) {
            (Some(error), _) => format!("not tried: {}", error.lines().next().unwrap_or_default()),
            (None, Some(median)) => median.to_string(),
            (None, None) => "**not found**".to_owned(),
        };
        let mut oracles: Vec<_> =
            t.trials.iter().flatten().flat_map(|f| &f.oracles).map(|o| format!("`{o}`")).collect();
        oracles.sort();
        oracles.dedup();
        let _ = writeln!(text, "| `{}` | {} | {seeds} | {} |", t.name, cell(&t.what), oracles.join(", "));
    }
    text += "\n| place | bugs | within 1 seed | within 3 | found | share |\n| --- | --- | --- | --- | --- | --- |\n";
    let mut places: BTreeMap<&str, Vec<&Tried>> = BTreeMap::new();
    for t in tried.iter().filter(|t| t.counts()) {
        places.entry(&t.place).or_default().push(t);
        places.entry("~ all").or_default().push(t);
    }
    for (place, all) in &places {
        let within = |n: u64| all.iter().filter(|t| t.median().is_some_and(|m| m <= n)).count();
        let (found, of) = (within(u64::MAX), all.len());
        let share = found * 100 / of.max(1);
        let place = place.trim_start_matches("~ ");
        let _ = writeln!(text, "| {place} | {of} | {} | {} | {found} | {share} % |", within(1), within(3));
    }
    let survivors: Vec<_> = tried.iter().filter(|t| t.error.is_none() && t.median().is_none()).collect();
    if !survivors.is_empty() {
        text += "\nNot found:\n\n| bug | place | what it would need |\n| --- | --- | --- |\n";
    }
    for t in survivors {
        let needs = match (&t.harmless, t.reached, t.changed) {
            (Some(why), _, _) => format!("nothing, it cannot matter: {why}"),
            (None, 0, _) => "a scenario that comes by its place".to_owned(),
            (None, reached, 0) => format!("a history in which it shows ({reached} runs came by its place)"),
            (None, _, changed) => format!("an oracle that judges what it changes ({changed} histories)"),
        };
        let _ = writeln!(text, "| `{}` | {} | {needs} |", t.name, t.place);
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::{super::Find, *};

    fn tried(name: &str, seeds: Option<u64>, reached: u64, changed: u64, harmless: Option<&str>) -> Tried {
        let oracles = vec!["seq".to_owned()];
        let find = seeds.map(|seeds| Find { seeds, scenario: "x".into(), oracles });
        let harmless = harmless.map(str::to_owned);
        let (name, what, place) = (name.to_owned(), "a | b".to_owned(), "server/ws".to_owned());
        Tried { name, what, place, trials: vec![find], reached, changed, error: None, harmless }
    }

    #[test]
    fn survivors_say_what_they_need_and_harmless_ones_do_not_count() {
        let all = [
            tried("found", Some(2), 1, 1, None),
            tried("unreached", None, 0, 0, None),
            tried("unseen", None, 3, 0, None),
            tried("unjudged", None, 3, 2, None),
            tried("equal", None, 3, 0, Some("both are the same number")),
        ];
        let text = table(&all);
        for line in [
            "| `found` | a \\| b | 2 | `seq` |",
            "| server/ws | 4 | 0 | 1 | 1 | 25 % |",
            "| all | 4 | 0 | 1 | 1 | 25 % |",
            "| `unreached` | server/ws | a scenario that comes by its place |",
            "| `unseen` | server/ws | a history in which it shows (3 runs came by its place) |",
            "| `unjudged` | server/ws | an oracle that judges what it changes (2 histories) |",
            "| `equal` | server/ws | nothing, it cannot matter: both are the same number |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
