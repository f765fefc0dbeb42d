//! What is cited is explained: ids of promises and decisions (F05, S25, D10) resolve in `docs/promises.md` and
//! `docs/decisions.md`, and what a row names as its keeper is there.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)] // looks at files from outside

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Where ids may be cited.
const PLACES: [&str; 11] = [
    "gateway",
    "sim",
    "fakes",
    "benches",
    "fuzz",
    "tests",
    "scenarios",
    "docs",
    "README.md",
    "SECURITY.md",
    "Cargo.toml",
];
const EXPLAINED_IN: [&str; 2] = ["docs/promises.md", "docs/decisions.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text of the repository, by its path from the root.
fn texts() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left: Vec<PathBuf> = PLACES.iter().map(|place| root().join(place)).collect();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let inside = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            left.extend(inside.filter(|path| !path.ends_with("target") && !path.ends_with("corpus")));
        } else if path.extension().is_some_and(|e| ["rs", "md", "toml", "patch", "sh"].iter().any(|kind| e == *kind)) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    found
}

/// The ids in `text`: a capital F, S or D with two digits (a D also with one), as a word of its own, or as what the name of a
/// test begins with.
fn cited(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.flat_map(|word| [id(word, true), function(word)]).flatten().collect()
}

fn id(word: &str, is_capital: bool) -> Option<String> {
    let kind = word.chars().next()?;
    let digits = word.get(1..)?;
    let fits = if is_capital { "FSD" } else { "fsd" }.contains(kind)
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.len() == 2 || (digits.len() == 1 && kind == 'D'));
    let digits = if kind.eq_ignore_ascii_case(&'d') { digits.trim_start_matches('0') } else { digits };
    fits.then(|| format!("{}{digits}", kind.to_ascii_uppercase()))
}

/// The id at the beginning of a name like `f05_nothing_is_lost`.
fn function(word: &str) -> Option<String> {
    id(word.split_once('_')?.0, false)
}

/// The rows of a document: id and the cells after it.
fn rows(text: &str) -> BTreeMap<String, Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let tables = text.lines().filter(|line| line.starts_with("| ")).map(cells);
    tables.filter_map(|cells| Some((id(cells.first()?, true)?, cells[1..].to_vec()))).collect()
}

/// What of a row's keepers is not there. `names` are the words of all tests and scenarios.
fn missing(id: &str, keepers: &str, texts: &BTreeMap<String, String>) -> Vec<String> {
    let quoted: Vec<&str> = keepers.split('`').skip(1).step_by(2).collect();
    let is_there = |name: &str| {
        if name.contains('.') || name.contains('/') {
            let path = name.trim_end_matches('/');
            return root().join(path).exists();
        }
        let function = format!("fn {name}(");
        texts.iter().any(|(path, text)| path.strip_suffix(".rs").is_some() && text.contains(&function))
    };
    let mut wrong: Vec<String> = quoted.iter().filter(|name| !is_there(name)).map(|&n| format!("{id}: {n}")).collect();
    // `a.rs`, `b.rs` s17_*: each of the files has tests of that name.
    if let Some(prefix) = keepers.split([' ', ',', ';']).find_map(|word| word.strip_suffix('*')) {
        let number = format!("{}{:02}_", id[..1].to_lowercase(), id[1..].parse::<u8>().unwrap());
        if !prefix.contains(number.trim_end_matches('_')) {
            wrong.push(format!("{id}: {prefix}* are the tests of another row"));
        }
        for file in quoted.iter().filter(|name| name.strip_suffix(".rs").is_some()) {
            let has_it = texts.get(*file).is_some_and(|text| text.contains(&number));
            if !has_it {
                wrong.push(format!("{id}: {file} has no test {number}*"));
            }
        }
    }
    if quoted.is_empty() && !keepers.contains("not claimed yet") {
        wrong.push(format!("{id}: nothing keeps it"));
    }
    wrong
}

#[test]
fn every_id_that_is_cited_is_explained() {
    let texts = texts();
    let explained: BTreeSet<String> = EXPLAINED_IN.iter().flat_map(|name| rows(&texts[*name]).into_keys()).collect();
    assert!(explained.len() > 80, "{} rows only", explained.len());
    let mut wrong = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| !path.ends_with("citations.rs")) {
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).and_then(function);
        wrong.extend(
            cited(text).into_iter().chain(name).filter(|id| !explained.contains(id)).map(|id| format!("{path}: {id}")),
        );
    }
    assert!(wrong.is_empty(), "cited, and explained nowhere: {wrong:#?}");
}

#[test]
fn what_keeps_a_promise_is_there() {
    let texts = texts();
    let mut wrong = Vec::new();
    for name in EXPLAINED_IN {
        for (id, cells) in rows(&texts[name]) {
            assert_eq!(cells.len(), 2, "{name}: {id}");
            assert!(cells[0].len() > 20, "{name}: {id} says nothing");
            wrong.extend(missing(&id, &cells[1], &texts));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Both ways: what is there and what is not.
#[test]
fn the_search_finds_what_it_looks_for() {
    let found = cited("// Bounded (F04, D5). S17: not S171, xF05, 0xF06 nor F7; fn s38_links_are_not_followed() {}");
    assert_eq!(found, ["D5", "F04", "S17", "S38"].map(str::to_owned).into());
    let table = "| row | promise | kept by |\n| --- | --- | --- |\n| F04 | It ends | `f04_it_ends` |\n";
    assert_eq!(rows(table), [("F04".to_owned(), vec!["It ends".to_owned(), "`f04_it_ends`".to_owned()])].into());
    let file = ("a/b.rs".to_owned(), "    fn f04_it_ends() {}".to_owned());
    let texts: BTreeMap<String, String> = [file].into();
    assert!(missing("F04", "`f04_it_ends`", &texts).is_empty());
    assert_eq!(missing("F04", "`f04_it_never_ends`", &texts), ["F04: f04_it_never_ends"]);
    assert_eq!(missing("F04", "`scenarios/f04_nowhere.toml`", &texts), ["F04: scenarios/f04_nowhere.toml"]);
    assert_eq!(missing("F04", "people", &texts), ["F04: nothing keeps it"]);
    let other = "`tests/tests/citations.rs` s17_*";
    assert_eq!(missing("S18", other, &texts).len(), 2, "another row's tests, and a file without any");
}
