//! All bugs in one tree: each body that one of them changes stands there once for each, and which is run is chosen when
//! the program starts (`chosen.rs`).

use std::{collections::BTreeMap, fmt::Write as _, ops::Range};

use super::functions::{Swapped, functions};

/// Bodies by file and by the place of their function in it: the number of the bug, and the body.
#[derive(Debug, Default)]
pub(super) struct Bodies(BTreeMap<String, BTreeMap<usize, Vec<(u32, String)>>>);

/// A file in which bugs can be switched on.
pub(super) struct Switched {
    pub file: String,
    pub text: String,
    /// Lines of each body, from 1, with its bug.
    lines: Vec<(Range<usize>, u32)>,
}

impl Bodies {
    pub fn add(&mut self, file: &str, bug: u32, swapped: Swapped) {
        let of_file = self.0.entry(file.to_owned()).or_default();
        for (n, body) in swapped {
            of_file.entry(n).or_default().push((bug, body));
        }
    }

    pub fn remove(&mut self, bug: u32) {
        self.0.values_mut().flat_map(BTreeMap::values_mut).for_each(|bodies| bodies.retain(|(n, _)| *n != bug));
    }

    /// The files with all bodies in them; `original` gives a file as it is.
    pub fn switched(&self, original: impl Fn(&str) -> Result<String, String>) -> Result<Vec<Switched>, String> {
        let one = |(file, bodies): (&String, _)| switch(file, &original(file)?, bodies);
        self.0.iter().map(one).collect()
    }
}

fn switch(file: &str, original: &str, bodies: &BTreeMap<usize, Vec<(u32, String)>>) -> Result<Switched, String> {
    let (mut text, mut lines, mut at) = (String::new(), Vec::new(), 0);
    for (n, function) in functions(original)?.iter().enumerate() {
        let others = bodies.get(&n).filter(|others| !others.is_empty());
        let Some(others) = others else { continue };
        text += &original[at..function.body.start];
        text += "{\n";
        for (bug, body) in others {
            let first = text.lines().count() + 1;
            let _ = writeln!(text, "if mutant_chosen::is({bug}) {body} else");
            lines.push((first..text.lines().count() + 1, *bug));
        }
        let _ = write!(text, "{} }}", &original[function.body.clone()]);
        at = function.body.end;
    }
    text += &original[at..];
    Ok(Switched { file: file.to_owned(), text, lines })
}

impl Switched {
    /// The bug whose body has this line.
    pub fn bug_at(&self, line: usize) -> Option<u32> {
        self.lines.iter().find(|(lines, _)| lines.contains(&line)).map(|(_, bug)| *bug)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_body_stands_on_lines_of_its_own() {
        let mut bodies = Bodies::default();
        bodies.add("x.rs", 7, vec![(1, "{ 2 }".to_owned())]);
        bodies.add("x.rs", 8, vec![(1, "{\n 3 }".to_owned())]);
        bodies.add("x.rs", 9, vec![(0, "{ 4 }".to_owned())]);
        bodies.remove(9);
        let original = "fn a() -> u8 { 0 }\nfn b() -> u8 { 1 }\n";
        let switched = bodies.switched(|_| Ok(original.to_owned())).unwrap();
        let expected = "fn a() -> u8 { 0 }\nfn b() -> u8 {\nif mutant_chosen::is(7) { 2 } else\n\
                        if mutant_chosen::is(8) {\n 3 } else\n{ 1 } }\n";
        assert_eq!(switched[0].text, expected);
        let at = |line| switched[0].bug_at(line);
        assert_eq!([at(1), at(2), at(3), at(4), at(5), at(6)], [None, None, Some(7), Some(8), Some(8), None]);
        syn::parse_file(&switched[0].text).unwrap();
    }
}
