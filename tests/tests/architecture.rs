//! The house keeps its shape: arrows only point down, between crates and between the files of each, every room is there, the
//! seams are not walked around.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)] // looks at files from outside

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tests::uses;

const FOUNDATION: [&str; 3] = ["openclaw-protocol", "openclaw-platform", "openclaw-config"];

/// What each crate may depend on. `None`: anything, since it only composes.
fn allowed(package: &str) -> Option<Vec<&'static str>> {
    let below = match package {
        // httpdate is a stand-in for a crate below hyper; it knows nothing of this house.
        "openclaw-protocol" | "openclaw-platform" | "openclaw-config" | "httpdate" => vec![],
        "openclaw-channels" | "openclaw-agent" | "openclaw-browser" => FOUNDATION.to_vec(),
        "openclaw-store" | "openclaw-service" => vec!["openclaw-platform"],
        "openclaw-server" => {
            [&FOUNDATION[..], &["openclaw-store", "openclaw-channels", "openclaw-agent", "openclaw-browser"]].concat()
        }
        "openclaw-node" => [&FOUNDATION[..], &["openclaw-agent", "openclaw-client"]].concat(),
        "openclaw-client" | "fakes" => vec!["openclaw-protocol", "openclaw-platform"],
        "openclaw" | "sim" | "tests" | "benches" => return None,
        other => panic!("{other} has no place in the house yet: give it one in the design and in this test"),
    };
    Some(below)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What cargo says about the packages of the workspace.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Workspace packages with their dependencies inside the workspace: (package, dependency, kind).
fn arrows() -> (BTreeSet<String>, Vec<(String, String, String)>) {
    let packages = packages();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let names: BTreeSet<String> = packages.iter().map(name).collect();
    let mut arrows = Vec::new();
    for package in &packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            if names.contains(&name(dependency)) {
                let kind = dependency["kind"].as_str().unwrap_or("normal");
                arrows.push((name(package), name(dependency), kind.to_owned()));
            }
        }
    }
    (names, arrows)
}

#[test]
fn no_crate_depends_upwards() {
    let (names, arrows) = arrows();
    let mut wrong = Vec::new();
    let rules: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), allowed(name))).collect();
    for (package, dependency, kind) in &arrows {
        let Some(below) = &rules[package] else { continue };
        let fine = match kind.as_str() {
            // Tests may use what stands beside them, but not the gateway as a whole.
            "dev" => package == "openclaw-server" || !["openclaw-server", "openclaw"].contains(&dependency.as_str()),
            _ => below.contains(&dependency.as_str()),
        };
        if !fine {
            wrong.push(format!("{package} -> {dependency} ({kind})"));
        }
    }
    assert!(wrong.is_empty(), "arrows that point up or sideways: {wrong:#?}");
    // The rules are only worth something if there are arrows to judge.
    assert!(arrows.iter().any(|(from, to, _)| from == "openclaw-server" && to == "openclaw-agent"), "{arrows:?}");
}

#[test]
fn every_room_is_there() {
    let rooms = ROOMS;
    let folders = rooms
        .iter()
        .map(|room| format!("gateway/{room}"))
        .chain(["sim", "fakes", "benches", "fuzz", "tests", "tests/interleavings"].map(str::to_owned));
    for folder in folders {
        assert!(root().join(&folder).join("Cargo.toml").is_file(), "{folder} is not there");
    }
    assert!(root().join("scenarios").is_dir(), "scenarios is not there");
}

/// `unsafe_code = "forbid"` holds for a crate only if it takes the workspace's lints.
#[test]
fn no_crate_may_use_unsafe_code() {
    for workspace in ["Cargo.toml", "fuzz/Cargo.toml", "tests/interleavings/Cargo.toml"] {
        assert!(fs::read_to_string(root().join(workspace)).unwrap().contains("\nunsafe_code = \"forbid\"\n"));
    }
    for package in packages() {
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("\n[lints]\nworkspace = true\n"), "{} has lints of its own", package["name"]);
    }
}

/// Clippy holds most of the list; this is what it cannot hold (see clippy.toml).
#[test]
fn no_unbiased_select_in_the_gateway() {
    let mut wrong = Vec::new();
    let mut searched = 0;
    let mut folders = vec![root().join("gateway"), root().join("fakes"), root().join("sim")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // The one place that wraps it.
            if path.ends_with("gateway/platform") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                searched += 1;
                let text = fs::read_to_string(&path).unwrap();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                for line in code.filter(|line| unbiased(line)) {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(searched > 20, "searched {searched} files only");
    assert!(wrong.is_empty(), "use openclaw_platform::select!: {wrong:#?}");
}

/// The gateway as a whole is put together in one file and started by another; whoever else works in it, a service or the handler of a
/// method, is given the few handles that it uses.
#[test]
fn no_service_knows_the_whole() {
    let seeing = ["gateway.rs", "serve.rs"];
    let mut wrong = Vec::new();
    let all = sources("gateway/server");
    for (path, text) in &all {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let is_test = path.ends_with("tests.rs");
        let may = seeing.contains(&path.as_str()) || is_test;
        if names_the_whole(code) && !may {
            wrong.push(path.clone());
        }
        if code.contains("impl Gateway") && path != "gateway.rs" {
            wrong.push(format!("{path} adds to it"));
        }
    }
    assert!(wrong.is_empty(), "give it what it uses (Deps): {wrong:#?}");
    assert!(
        all["gateway.rs"].contains("impl Gateway") && names_the_whole(&all["serve.rs"]),
        "{seeing:?} are others now"
    );
}

/// The domain does not know who asked: no file of it uses what serves connections, nor a library that does, nor the wire's error.
/// Its errors are its own, and `wire_error.rs` with its folder says how the wire tells them.
#[test]
fn the_domain_knows_no_transport() {
    let transport = [
        "browser",
        "dispatch",
        "failure",
        "gateway",
        "http",
        "lingering",
        "methods",
        "request_path",
        "serve",
        "wire_error",
        "ws",
    ];
    let libraries = ["axum", "hyper", "hyper_util", "tokio_tungstenite", "tungstenite", "tower_service"];
    let uses = uses_of("server");
    let is_transport = |file: &str| transport.contains(&file.split("::").next().unwrap_or_default());
    let domain = |file: &&String| !file.is_empty() && !is_transport(file) && !file.ends_with("::tests");
    let mut wrong = Vec::new();
    let mut serving = 0;
    for (path, text) in sources("gateway/server") {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let used = libraries.iter().filter(|library| code.contains(&format!("{library}::")));
        let room = path.split(['/', '.']).next().unwrap_or_default();
        serving += usize::from(is_transport(room));
        wrong.extend(used.filter(|_| !is_transport(room)).map(|library| format!("{path} uses {library}")));
        if names_the_wires_error(&text) && !is_transport(room) {
            wrong.push(format!("{path} makes an error of the wire: give it one of its own"));
        }
    }
    for (from, to) in uses.arrows.iter().filter(|(from, _)| domain(from)) {
        wrong.extend(to.iter().filter(|to| is_transport(to)).map(|to| format!("{from} -> {to}")));
    }
    assert!(uses.arrows.keys().filter(domain).count() > 50, "{uses:?}");
    assert!(serving > 20, "{serving} files only that serve connections");
    assert!(wrong.is_empty(), "an arrow that points up: {wrong:#?}");
}

fn names_the_wires_error(text: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().any(|line| ["ErrorShape", "ErrorCode", "protocol::error"].iter().any(|name| line.contains(name)))
}

/// A channel is a folder and a row of the table (`gateway/channels/src/table.rs`): no other code names one.
#[test]
fn nothing_names_a_channel_but_its_folder_and_the_table() {
    let ids = channel_ids();
    let folders = ids.iter().map(|id| format!("channels/src/{id}"));
    let at_home: Vec<String> =
        folders.chain(["channels/src/table.rs", "channels/src/lib.rs"].map(str::to_owned)).collect();
    let excused = [
        ("config/src/channels.rs", "the file's sections have types"),
        ("config/src/telegram.rs", "its section"),
        ("config/src/telegram/group_tools.rs", "rules of its section"),
        ("config/src/check.rs", "the rules of its section"),
        ("config/src/legacy.rs", "where older keys moved"),
        ("config/src/lib.rs", "the module of its section"),
        ("config/src/normal.rs", "other shapes of its section"),
        ("cli/src/commands/doctor/people.rs", "judges the lists of people in its section"),
        ("cli/src/onboard/args.rs", "the flags of its token"),
        ("server/src/tools/own.rs", "an example among the words that a model reads"),
    ];
    let mut naming = BTreeSet::new();
    for room in ROOMS {
        for (path, text) in sources(&format!("gateway/{room}")) {
            if !path.ends_with("tests.rs") && names_a_channel(&text, &ids) {
                naming.insert(format!("{room}/src/{path}"));
            }
        }
    }
    let is_home = |path: &&String| at_home.iter().any(|home| path.starts_with(home.as_str()));
    assert!(naming.iter().filter(is_home).count() > 5, "{naming:?}");
    let others: BTreeSet<_> = naming.iter().filter(|path| !is_home(path)).map(String::as_str).collect();
    assert_eq!(others, excused.iter().map(|(path, _)| *path).collect());
}

fn channel_ids() -> Vec<&'static str> {
    openclaw_channels::table::TABLE.iter().map(|factory| factory.id).collect()
}

fn names_a_channel(text: &str, ids: &[&str]) -> bool {
    let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default().to_lowercase());
    lines.into_iter().any(|line| ids.iter().any(|id| line.contains(id)))
}

fn names_the_whole(code: &str) -> bool {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let ways = ["gateway::Gateway", "&Gateway", "<Gateway"];
    let names = |line: &str, way: &str| {
        let ends =
            |at: usize| !line[at + way.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        line.match_indices(way).any(|(at, _)| ends(at))
    };
    lines.into_iter().any(|line| ways.iter().any(|way| names(line, way)))
}

/// The outside world has no database in it, and the database no library but one: it sits on blocks of a file.
#[test]
fn the_platform_knows_no_database() {
    let uses = |package: &str| {
        let found = packages().into_iter().find(|p| p["name"] == package).unwrap();
        found["dependencies"].as_array().unwrap().iter().any(|d| d["name"] == "redb")
    };
    assert!(uses("openclaw-store") && !uses("openclaw-platform"));
}

/// Runs know neither who listens to them nor what waits for their end: both are traits that others implement.
#[test]
fn runs_know_neither_their_listeners_nor_who_waits_for_them() {
    let uses = uses_of("server");
    let of_runs = |file: &&String| file.starts_with("runs::") && !file.ends_with("::tests");
    let others = ["hub", "outbox", "channels::inbox", "inbound", "methods"];
    let is_other = |to: &&String| others.iter().any(|other| *to == other || to.starts_with(&format!("{other}::")));
    let wrong: Vec<_> = uses
        .arrows
        .iter()
        .filter(|(from, _)| of_runs(from))
        .flat_map(|(from, to)| to.iter().filter(is_other).map(move |to| format!("{from} -> {to}")))
        .collect();
    assert!(uses.arrows["runs::emitter"].contains("events"), "{uses:?}");
    assert!(wrong.is_empty(), "hand it in as Events or AtEnd: {wrong:#?}");
}

/// A lock that somebody panicked under is taken all the same, in one way that says why: `openclaw_platform::sync`.
#[test]
fn locks_are_taken_in_one_way() {
    // Two crates that cannot see the platform, and the one place.
    let own = ["gateway/protocol/src/schema.rs", "gateway/config/src/mask.rs", "gateway/platform/src/sync.rs"];
    let mut wrong = Vec::new();
    for room in ROOMS {
        let folder = format!("gateway/{room}");
        for (path, text) in sources(&folder) {
            let name = format!("{folder}/src/{path}");
            // Its file is being written anew.
            let is_left = name == "gateway/server/src/sessions/store.rs";
            if !own.contains(&name.as_str()) && !is_left && takes_poison(&text) {
                wrong.push(name);
            }
        }
    }
    assert!(wrong.is_empty(), "use LockExt: {wrong:#?}");
    assert!(own.iter().all(|name| takes_poison(&fs::read_to_string(root().join(name)).unwrap())));
}

fn takes_poison(text: &str) -> bool {
    let code: String = text.split_whitespace().collect();
    [".lock()", ".read()", ".write()"].iter().any(|lock| code.contains(&format!("{lock}.unwrap_or_else(")))
}

fn unbiased(line: &str) -> bool {
    ["tokio::select", "futures_util::select", "futures::select"]
        .iter()
        .any(|name| line.find(name).is_some_and(|at| !line[at + name.len()..].starts_with("_biased")))
}

#[test]
fn the_search_finds_what_it_looks_for() {
    assert!(unbiased("    tokio::select! {") && unbiased("use futures_util::select;"));
    assert!(
        names_the_whole("fn f(gateway: &Gateway) {}") && !names_the_whole("// &Gateway\nfn f(nodes: &GatewayNodes)")
    );
    assert!(takes_poison("m.lock()\n    .unwrap_or_else(PoisonError::into_inner)") && !takes_poison("m.locked()"));
    assert!(names_the_wires_error("use openclaw_protocol::{error::ErrorShape, wire::Json};"));
    assert!(
        names_the_wires_error("use openclaw_protocol::error as e;") && !names_the_wires_error("/// No `ErrorShape`.")
    );
    let names = |text| names_a_channel(text, &channel_ids());
    assert!(names("if id == \"telegram\" {") && names("use x::WhatsApp;"));
    assert!(!names("a(); // telegram") && !names("a();\n#[cfg(test)]\nmod t { \"telegram\" }"));
    assert!(!unbiased("openclaw_platform::select! {") && !unbiased("futures_util::select_biased! {"));
}

/// The sources of a crate by path below `src`.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let src = root().join(folder).join("src");
    let mut found = BTreeMap::new();
    let mut left = vec![src.clone()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    found
}

/// The crates of the gateway, from the bottom up: what a file may use of others is what `allowed` says of its crate.
const ROOMS: [&str; 12] = [
    "protocol", "platform", "store", "config", "channels", "agent", "browser", "server", "client", "node", "service",
    "cli",
];

fn uses_of(room: &str) -> uses::Uses {
    uses::read(&sources(&format!("gateway/{room}")))
}

#[test]
fn no_circle_of_files_is_larger_than_a_folder() {
    let mut wrong = Vec::new();
    for room in ROOMS {
        let uses = uses_of(room);
        assert!(uses.arrows.values().map(BTreeSet::len).sum::<usize>() > 2, "{room}: {uses:?}");
        wrong.extend(uses.circles().into_iter().map(|circle| (room, circle)));
    }
    assert!(wrong.is_empty(), "files that use each other, by way of others too: {wrong:#?}");
}

#[test]
fn no_file_uses_a_crate_above_its_own() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    // The program composes all of them.
    for room in ROOMS.into_iter().filter(|room| *room != "cli") {
        let Some(below) = allowed(&format!("openclaw-{room}")) else { continue };
        let uses = uses_of(room);
        seen += uses.crates.len();
        wrong.extend(uses.beyond(&below).into_iter().map(|arrow| format!("gateway/{room}: {arrow}")));
    }
    assert!(wrong.is_empty(), "arrows that point up or sideways: {wrong:#?}");
    assert!(seen > 10, "{seen} arrows between crates only");
}
