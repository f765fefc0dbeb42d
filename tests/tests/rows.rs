//! The operator's manual, row by row: `docs/operations.md` names for each promise the test that keeps it, and says of the others
//! why no test on this machine can.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)] // looks at files from outside

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// The rows that are about an operator's day: the process, remote access, profiles, ports, services, checks.
const OPERATIONS: [RangeInclusive<u16>; 3] = [1..=24, 56..=98, 157..=226];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Row -> what the table says keeps it.
fn table() -> BTreeMap<u16, String> {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(row) = cells.first().and_then(|cell| cell.parse().ok()) else { continue };
        assert_eq!(cells.len(), 3, "row, promise, kept by: {line}");
        assert!(rows.insert(row, cells[2].to_owned()).is_none(), "row {row} stands twice");
    }
    rows
}

/// The rows that the name of a test gives: `row_062_163_the_label` is about 62 and 163.
fn rows_of(name: &str) -> BTreeSet<u16> {
    let Some(rest) = name.strip_prefix("row_") else { return BTreeSet::new() };
    rest.split('_').map_while(|word| if word.len() == 3 { word.parse().ok() } else { None }).collect()
}

/// Names of functions in files of Rust that are tests, without those that are ignored.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![root().join("gateway"), root().join("tests/tests"), root().join("sim/src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut attributes = String::new();
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[") {
                    attributes.push_str(line);
                } else {
                    let name =
                        line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
                    let is_test = attributes.contains("test") && !attributes.contains("ignore");
                    found.extend(name.filter(|_| is_test).map(str::to_owned));
                    attributes.clear();
                }
            }
        }
    }
    found
}

#[test]
fn every_operational_row_of_the_manual_has_a_test_or_a_reason() {
    let (table, tests) = (table(), tests());
    let mut wrong = Vec::new();
    for row in OPERATIONS.into_iter().flatten() {
        let Some(kept_by) = table.get(&row) else {
            wrong.push(format!("{row}: not in the table"));
            continue;
        };
        let named: Vec<&str> = kept_by.split('`').skip(1).step_by(2).collect();
        wrong.extend(named.iter().filter(|name| !tests.contains(**name)).map(|name| format!("{row}: no test {name}")));
        if named.is_empty() && !kept_by.starts_with("no test: ") {
            wrong.push(format!("{row}: neither a test nor `no test: why`"));
        }
    }
    for name in &tests {
        let absent = |row: &u16| !table.get(row).is_some_and(|kept_by| kept_by.contains(&format!("`{name}`")));
        let operational = rows_of(name).into_iter().filter(|row| OPERATIONS.iter().any(|rows| rows.contains(row)));
        wrong.extend(operational.filter(absent).map(|row| format!("{row}: the table does not name {name}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
