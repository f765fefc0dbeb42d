//! Every input that is there, once through its target, on any toolchain: what libFuzzer needs a nightly one for is to look
//! for new ones.

use std::{fs, path::Path};

use openclaw_fuzz::targets::TARGETS;

/// The files of a directory; none when it is not there.
fn inputs(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![] };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a directory can be read").path()).collect();
    paths.sort();
    paths
}

/// Seeds are in the repository, the corpus is what fuzzing on this machine has found.
#[test]
fn every_seed_and_every_input_found_before_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, run) in TARGETS {
        let seeds = inputs(&root.join("seeds").join(name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let found = inputs(&root.join("corpus").join(name));
        println!("{name}: {} seeds, {} found before", seeds.len(), found.len());
        // Printed before each, so that the last line of a failure names the input.
        for path in seeds.iter().chain(&found) {
            println!("{}", path.display());
            run(&fs::read(path).expect("an input can be read"));
        }
    }
}

/// Short inputs, and those that end in the middle of something.
#[test]
fn every_beginning_of_a_seed_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, run) in TARGETS {
        run(&[]);
        for path in inputs(&root.join("seeds").join(name)) {
            let input = fs::read(&path).expect("an input can be read");
            for parts in 1..4 {
                println!("{}, {parts} quarters", path.display());
                run(&input[..input.len() * parts / 4]);
            }
        }
    }
}

/// Each has a program for libFuzzer, and the other way round.
#[test]
fn every_target_has_its_program() {
    let manifest = include_str!("../Cargo.toml");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} has no [[bin]]");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
