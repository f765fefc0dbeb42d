//! The programs with the bugs in them: one for all that can be switched on, one for each of the others.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    functions::{Swapped, swapped},
    mutant::{Change, Mutant},
    switch::{Bodies, Switched},
    tree::{Broken, Tree},
};

/// A build is tried so often, each time without the bugs that the compiler did not take.
const BUILDS: usize = 8;

/// Where a bug is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In [`Planted::program`], under this number.
    Switch(u32),
    /// In a program of its own.
    Alone(PathBuf),
    /// Nowhere, and why.
    Nowhere(String),
}

/// Programs.
#[derive(Debug)]
pub(super) struct Planted {
    /// The one with switches; without a number it is as sound as the tree.
    pub program: PathBuf,
    /// Of each bug.
    pub places: Vec<Place>,
}

impl Planted {
    pub fn build(tree: &Tree, mutants: &[Mutant], together: bool, told: &impl Fn(&str)) -> Result<Self, String> {
        tree.refresh()?;
        let mut bodies = Bodies::default();
        // Why a bug is not in the common program.
        let mut apart: BTreeMap<u32, String> = BTreeMap::new();
        for (number, mutant) in (1..).zip(mutants) {
            match swaps(tree, mutant) {
                Ok(swaps) => swaps.into_iter().for_each(|(file, swapped)| bodies.add(&file, number, swapped)),
                Err(why) => _ = apart.insert(number, why),
            }
        }
        let program = Self::together(tree, &mut bodies, &mut apart, told)?;
        let mut places = Vec::new();
        for (number, mutant) in (1..).zip(mutants) {
            let place = match (apart.get(&number), &mutant.change) {
                (None, _) => Place::Switch(number),
                (Some(why), Change::Edit { .. }) => Place::Nowhere(why.clone()),
                (Some(why), Change::Patch(_)) if together => Place::Nowhere(format!("left out: {why}")),
                (Some(why), Change::Patch(patch)) => {
                    told(&format!("{} is built alone: {why}", mutant.name));
                    let program = tree.refresh().and_then(|()| tree.apply(patch));
                    let program = program.and_then(|()| tree.build(&mutant.name).map_err(|b| b.error));
                    program.map_or_else(Place::Nowhere, Place::Alone)
                }
            };
            places.push(place);
        }
        Ok(Self { program, places })
    }

    fn together(
        tree: &Tree,
        bodies: &mut Bodies,
        apart: &mut BTreeMap<u32, String>,
        told: &impl Fn(&str),
    ) -> Result<PathBuf, String> {
        let mut error = String::new();
        for _ in 0..BUILDS {
            let switched = bodies.switched(|file| tree.original(file))?;
            plant(tree, &switched)?;
            let broken: Broken = match tree.build("all") {
                Ok(program) => return Ok(program),
                Err(broken) => broken,
            };
            let bug_at = |(file, line): &(String, usize)| {
                switched.iter().find(|s| s.file == *file).and_then(|s| s.bug_at(*line))
            };
            let refused: Vec<u32> = broken.places.iter().filter_map(bug_at).collect();
            if refused.is_empty() {
                return Err(broken.error);
            }
            told(&format!("the compiler does not take {} of them", refused.len()));
            for bug in refused {
                bodies.remove(bug);
                apart.insert(bug, broken.error.clone());
            }
            error = broken.error;
        }
        Err(error)
    }
}

/// The bodies that a bug changes, by file.
fn swaps(tree: &Tree, mutant: &Mutant) -> Result<Vec<(String, Swapped)>, String> {
    let files = match &mutant.change {
        Change::Patch(patch) => tree.patched(patch)?,
        Change::Edit { at, with } => {
            let mut text = tree.original(&mutant.file)?;
            text.replace_range(at.clone(), with);
            vec![(mutant.file.clone(), text)]
        }
    };
    files
        .into_iter()
        .map(|(file, text)| {
            let swapped = swapped(&tree.original(&file)?, &text)?;
            Ok((file, swapped))
        })
        .collect()
}

/// Writes the switched files, and what they switch with.
fn plant(tree: &Tree, switched: &[Switched]) -> Result<(), String> {
    const CRATE: &str = "mutant-chosen";
    tree.write(&format!("{CRATE}/src/lib.rs"), include_str!("chosen.rs"))?;
    let manifest = format!("[package]\nname = \"{CRATE}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    tree.write(&format!("{CRATE}/Cargo.toml"), &manifest)?;
    for file in switched {
        tree.write(&file.file, &file.text)?;
        let folder = file.file.split("/src/").next().unwrap_or_default();
        let manifest = format!("{folder}/Cargo.toml");
        let up = "../".repeat(folder.split('/').count());
        let needed = format!("[dependencies]\n{CRATE} = {{ path = \"{up}{CRATE}\" }}\n");
        tree.write(&manifest, &tree.original(&manifest)?.replacen("[dependencies]\n", &needed, 1))?;
    }
    Ok(())
}
