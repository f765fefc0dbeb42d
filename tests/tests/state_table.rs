//! `docs/state.md` names everything that the gateway keeps: compared with the code, in both directions.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)] // looks at files from outside

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The gateway's own sources, without its tests, by path from the root.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root().join("gateway")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let inside = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            left.extend(inside.filter(|path| !path.ends_with("tests")));
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
            found.insert(name, code);
        }
    }
    assert!(found.len() > 100, "{} files only", found.len());
    found
}

/// A row: what is kept, by whom, where, its bound, what makes it go, what a restart does to it.
type Row = Vec<String>;

fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| line.starts_with("| ")).skip(2);
    lines.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands in back-quotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names of the database's tables.
fn tables(sources: &BTreeMap<String, String>) -> BTreeSet<String> {
    let names = |text: &String| {
        let after = text.split("TableDefinition::new(\"").skip(1);
        after.filter_map(|rest| rest.split('"').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    sources.values().flat_map(names).collect()
}

/// True for the field of a struct that is kept behind a lock of threads; not for what only orders tasks (`Mutex<()>`).
fn is_kept(line: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with("//")
        || line.contains("fn ")
        || line.contains("let ")
        || line.contains('=')
        || line.contains("Mutex<()>")
    {
        return false;
    }
    let is_field = line.contains(": ") || line.contains("struct ");
    is_field && ["Mutex<", "RwLock<"].iter().any(|lock| line.contains(lock)) && !line.contains("tokio::sync::")
}

#[test]
fn every_table_of_the_database_has_a_row() {
    let rows = rows(&fs::read_to_string(root().join("docs/state.md")).unwrap());
    let stored = rows.iter().filter(|row| row[2].starts_with("database"));
    let told: BTreeSet<String> = stored.filter_map(|row| quoted(&row[0]).next().map(str::to_owned)).collect();
    let tables = tables(&sources());
    assert!(tables.len() > 10, "{tables:?}");
    assert_eq!(tables, told, "left: tables in the code; right: rows of docs/state.md that live in the database");
}

#[test]
fn every_row_has_an_owner_that_is_there() {
    let text = fs::read_to_string(root().join("docs/state.md")).unwrap();
    let files = ["gateway/server/src/limits.rs", "gateway/store/src/store/limits.rs"];
    let limits = files.map(|file| fs::read_to_string(root().join(file)).unwrap()).concat();
    let mut wrong = Vec::new();
    for row in rows(&text) {
        assert_eq!(row.len(), 6, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let missing = quoted(&row[1]).filter(|owner| !root().join(owner).is_file());
        wrong.extend(missing.map(|owner| format!("{}: {owner} is not there", row[0])));
        if quoted(&row[1]).next().is_none() {
            wrong.push(format!("{}: no owner", row[0]));
        }
        let names = row[3..].iter().flat_map(|cell| quoted(cell)).filter(|name| is_constant(name));
        let unknown = names.filter(|name| !limits.contains(&format!("pub const {name}:")));
        wrong.extend(unknown.map(|name| format!("{}: there is no limit {name}", row[0])));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn is_constant(name: &str) -> bool {
    name.len() > 3 && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

#[test]
fn what_is_kept_behind_a_lock_has_a_row() {
    let rows = rows(&fs::read_to_string(root().join("docs/state.md")).unwrap());
    let owners: BTreeSet<&str> = rows.iter().flat_map(|row| quoted(&row[1])).collect();
    let sources = sources();
    let kept = sources.iter().filter(|(_, code)| code.lines().any(is_kept)).map(|(path, _)| path.as_str());
    // The storage of tests; two seams, which keep nothing of the gateway's.
    let kept: Vec<&str> = kept.filter(|path| !path.starts_with("gateway/platform/src/s")).collect();
    assert!(kept.len() > 20, "{kept:?}");
    let without: Vec<&str> = kept.into_iter().filter(|path| !owners.contains(path)).collect();
    assert!(without.is_empty(), "these keep something, and docs/state.md does not name them: {without:#?}");
}

#[test]
fn the_search_finds_what_it_looks_for() {
    for line in [
        "    waiting: Arc<Mutex<Vec<u8>>>,",
        "pub struct Cache(Mutex<Cached>);",
        "    pub db: RwLock<Option<Database>>,",
    ] {
        assert!(is_kept(line), "{line}");
    }
    for line in [
        "    writing: tokio::sync::Mutex<()>,",
        "    fn lock(m: &Mutex<u8>) {",
        "    // a: Mutex<u8>",
        "let a: Mutex<u8> = b;",
    ] {
        assert!(!is_kept(line), "{line}");
    }
    let code = "const A: Records = TableDefinition::new(\"a\");\nconst B: Lines = TableDefinition::new(\"b_c\");";
    assert_eq!(tables(&[("x.rs".to_owned(), code.to_owned())].into()), ["a", "b_c"].map(str::to_owned).into());
    let table = "| state | owner |\n| --- | --- |\n| `a`: all | `x.rs`, `y.rs` |\n";
    assert_eq!(rows(table), [["`a`: all", "`x.rs`, `y.rs`"].map(str::to_owned)]);
    assert_eq!(quoted("`x.rs`, `y.rs`").collect::<Vec<_>>(), ["x.rs", "y.rs"]);
    assert!(is_constant("INBOX_SEEN") && !is_constant("maxEntries"));
}
