//! Which file of a crate uses which, read from its `use` declarations and paths: for tests of the architecture.
//!
//! Names are followed through re-exports to the file that has them, so that a module file that only re-exports its children
//! stands in nobody's way. What only tests use does not count. Paths that a macro makes are not seen; those written inside
//! a macro's brackets are.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, UseTree, visit::Visit};

/// The path of a module inside its crate: empty for the root.
type Module = Vec<String>;

/// One crate's files and who of them uses whom.
#[derive(Debug, Default)]
pub struct Uses {
    /// Arrows between files, by the paths of their modules (`a::b`; the root is empty): from the one that uses.
    pub arrows: BTreeMap<String, BTreeSet<String>>,
    /// Other crates, as a path names them, with the files that use them.
    pub crates: BTreeMap<String, BTreeSet<String>>,
}

/// What stands in one file.
#[derive(Default)]
struct File {
    /// Names that `use` brings in, with the path behind each; whoever is inside or below the module sees them.
    names: BTreeMap<String, Vec<String>>,
    /// Modules whose names are all brought in.
    globs: Vec<Vec<String>>,
    /// Names of its own items.
    items: BTreeSet<String>,
    /// Macros that it gives to the root of the crate.
    macros: BTreeSet<String>,
    /// All paths of two or more names, as written and made absolute where they say from where (`crate`, `self`, `super`).
    paths: Vec<Vec<String>>,
}

/// Reads the files of one crate: path below `src` (`a/b.rs`) and text of each.
///
/// # Panics
/// When a text is no Rust.
pub fn read(files: &BTreeMap<String, String>) -> Uses {
    let read: BTreeMap<Module, File> = files
        .iter()
        .map(|(path, text)| {
            let module = module_of(path);
            let parsed = syn::parse_file(text).unwrap_or_else(|e| panic!("{path}: {e}"));
            let mut reader = Reader { here: module.clone(), file: File::default() };
            reader.visit_file(&parsed);
            (module, reader.file)
        })
        .collect();
    let mut uses = Uses::default();
    for (module, file) in &read {
        let from = module.join("::");
        uses.arrows.entry(from.clone()).or_default();
        for path in &file.paths {
            match resolve(&read, module, path, 0) {
                Found::File(to) if to != *module => {
                    uses.arrows.entry(from.clone()).or_default().insert(to.join("::"));
                }
                Found::Crate(name) => {
                    uses.crates.entry(name).or_default().insert(from.clone());
                }
                Found::File(_) | Found::Module | Found::Nothing => {}
            }
        }
    }
    uses
}

impl Uses {
    /// Circles of files that are larger than one folder. A module and the files right below it are one folder: these may use
    /// each other. Files at the top of a crate may not, nor may a file and one two folders below it.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        strongly_connected(&self.arrows).into_iter().filter(|circle| !is_one_folder(circle)).collect()
    }

    /// Arrows to crates of the gateway that are not among `below` (names of packages): `file -> crate`.
    pub fn beyond(&self, below: &[&str]) -> Vec<String> {
        let is_below = |name: &str| below.iter().any(|package| package.replace('-', "_") == name);
        let above = self.crates.iter().filter(|(name, _)| !is_below(name));
        above.flat_map(|(name, files)| files.iter().map(move |file| format!("{file} -> {name}"))).collect()
    }
}

fn is_one_folder(circle: &BTreeSet<String>) -> bool {
    let folder = |file: &String| file.rsplit_once("::").map(|(folder, _)| folder.to_owned());
    let heads = circle.iter().cloned().chain(circle.iter().filter_map(folder));
    heads
        .into_iter()
        .any(|head| !head.is_empty() && circle.iter().all(|file| *file == head || folder(file).as_ref() == Some(&head)))
}

/// The module that a file below `src` is.
fn module_of(path: &str) -> Module {
    let mut parts: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

enum Found {
    /// A file of this crate has the name.
    File(Module),
    /// It is a module; nothing in it is named.
    Module,
    /// Another crate.
    Crate(String),
    /// A name of the language, or of this very file.
    Nothing,
}

/// Where the name at the end of `path` stands, seen from `here`. Absolute paths begin with `crate`.
fn resolve(files: &BTreeMap<Module, File>, here: &Module, path: &[String], depth: usize) -> Found {
    let Some((first, rest)) = path.split_first().filter(|_| depth < 16) else { return Found::Nothing };
    if first != "crate" {
        let child: Module = here.iter().chain([first]).cloned().collect();
        if files.contains_key(&child) {
            return absolute(files, &child, rest, depth);
        }
        let Some(behind) = files.get(here).and_then(|file| file.names.get(first)) else {
            let is_crate = first.starts_with("openclaw");
            return if is_crate { Found::Crate(first.clone()) } else { Found::Nothing };
        };
        // A name that was brought in, as the beginning of a longer path.
        let whole: Vec<String> = behind.iter().chain(rest).cloned().collect();
        let is_itself = whole.first() == Some(first);
        return if is_itself && whole.first().is_some_and(|name| name != "crate") {
            outside(&whole)
        } else {
            resolve(files, here, &whole, depth + 1)
        };
    }
    let mut module = Module::new();
    let mut rest = rest;
    while let Some((next, after)) = rest.split_first() {
        let child: Module = module.iter().chain([next]).cloned().collect();
        if !files.contains_key(&child) {
            break;
        }
        (module, rest) = (child, after);
    }
    absolute(files, &module, rest, depth)
}

fn outside(path: &[String]) -> Found {
    match path.first() {
        Some(name) if name.starts_with("openclaw") => Found::Crate(name.clone()),
        _ => Found::Nothing,
    }
}

/// `rest` inside of `module`.
fn absolute(files: &BTreeMap<Module, File>, module: &Module, rest: &[String], depth: usize) -> Found {
    let Some((name, after)) = rest.split_first() else { return Found::Module };
    let child: Module = module.iter().chain([name]).cloned().collect();
    if files.contains_key(&child) {
        return absolute(files, &child, after, depth + 1);
    }
    let Some(file) = files.get(module) else { return Found::Nothing };
    if file.items.contains(name) {
        return Found::File(module.clone());
    }
    let has_macro = |(there, file): (&Module, &File)| file.macros.contains(name).then(|| there.clone());
    if let Some(there) = files.iter().find_map(has_macro).filter(|_| module.is_empty()) {
        return Found::File(there);
    }
    if let Some(behind) = file.names.get(name) {
        let whole: Vec<String> = behind.iter().chain(after).cloned().collect();
        return match resolve(files, module, &whole, depth + 1) {
            // Brought in from another crate: whoever takes it here takes it from there.
            Found::Nothing => Found::Nothing,
            found => found,
        };
    }
    for glob in &file.globs {
        let whole: Vec<String> = glob.iter().chain(rest).cloned().collect();
        if let Found::File(there) = resolve(files, module, &whole, depth + 1)
            && files.get(&there).is_some_and(|file| file.items.contains(name))
        {
            return Found::File(there);
        }
    }
    Found::File(module.clone())
}

struct Reader {
    /// The module that is read now: the file's, or one inside of it.
    here: Module,
    file: File,
}

impl Reader {
    /// The path with `self` and `super` at its beginning replaced.
    fn absolute_path(&self, path: Vec<String>) -> Vec<String> {
        let mut module = self.here.clone();
        let ups = path.iter().take_while(|name| ["self", "super"].contains(&name.as_str())).count();
        if ups == 0 {
            return path;
        }
        for _ in path.iter().take(ups).filter(|name| *name == "super") {
            module.pop();
        }
        ["crate".to_owned()].into_iter().chain(module).chain(path.into_iter().skip(ups)).collect()
    }

    fn bring_in(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.bring_in(&with(path.ident.to_string()), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.bring_in(before, item)),
            UseTree::Glob(_) => {
                let path = self.absolute_path(before.to_vec());
                self.file.paths.push(with_star(&path));
                self.file.globs.push(path);
            }
            UseTree::Name(name) => self.name(before, &name.ident.to_string(), None),
            UseTree::Rename(rename) => {
                self.name(before, &rename.ident.to_string(), Some(rename.rename.to_string()));
            }
        }
    }

    /// `use before::name as other`.
    fn name(&mut self, before: &[String], name: &str, other: Option<String>) {
        let mut path = before.to_vec();
        if name != "self" {
            path.push(name.to_owned());
        }
        let called = other.or_else(|| path.last().cloned()).unwrap_or_default();
        let path = self.absolute_path(path);
        self.file.paths.push(path.clone());
        self.file.names.insert(called, path);
    }

    /// Paths inside a macro's brackets.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.take(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.take(std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.take(path);
    }

    fn take(&mut self, path: Vec<String>) {
        if path.len() > 1 {
            let path = self.absolute_path(path);
            self.file.paths.push(path);
        }
    }
}

/// Anything of that module: taken as its file's.
fn with_star(path: &[String]) -> Vec<String> {
    path.iter().cloned().chain(["*".to_owned()]).collect()
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            return;
        }
        if let Some(name) = name_of(item) {
            self.file.items.insert(name);
        }
        if let Item::Macro(item) = item
            && let Some(name) =
                item.ident.as_ref().filter(|_| item.attrs.iter().any(|a| a.path().is_ident("macro_export")))
        {
            self.file.macros.insert(name.to_string());
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // A module inside of a file is that file's; only what `super` means is another.
        self.here.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.here.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.bring_in(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.take(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, found: &'ast syn::Macro) {
        self.visit_path(&found.path);
        self.tokens(found.tokens.clone());
    }
}

/// `#[cfg(test)]`, also among other conditions.
fn is_for_tests(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg")
        && list.tokens.clone().into_iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "test"))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(i) => &i.ident,
        Item::Enum(i) => &i.ident,
        Item::Fn(i) => &i.sig.ident,
        Item::Static(i) => &i.ident,
        Item::Struct(i) => &i.ident,
        Item::Trait(i) => &i.ident,
        Item::Type(i) => &i.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Sets of files from each of which every other one of the set can be reached, of two files or more.
fn strongly_connected(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reach = |from: &str| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(next) = left.pop() {
            for to in arrows.get(&next).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    left.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = arrows.keys().map(|file| (file, reach(file))).collect();
    let mut found: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (file, there) in &reached {
        let back = there.iter().filter(|other| reached.get(other).is_some_and(|there| there.contains(*file)));
        let circle: BTreeSet<String> = back.cloned().collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(files: &[(&str, &str)]) -> Uses {
        read(&files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    fn arrows(files: &[(&str, &str)], from: &str) -> Vec<String> {
        uses(files).arrows[from].iter().cloned().collect()
    }

    #[test]
    fn paths_are_read_wherever_they_stand() {
        let there = ("b.rs", "pub struct B; pub fn f() {}");
        for text in [
            "use crate::b::B;",
            "use crate::{b::{self}}; fn g() { b::f() }",
            "use super::b as c; fn g() { c::f() }",
            "fn g(b: crate::b::B) {}",
            "fn g() { println!(\"{}\", crate::b::f()); }",
            "mod inner { fn g() { super::super::b::f() } }",
            "use crate::b::*;",
        ] {
            assert_eq!(arrows(&[("lib.rs", "mod a; mod b;"), ("a.rs", text), there], "a"), ["b"], "{text}");
        }
        for text in
            ["// use crate::b::B;", "#[cfg(test)] mod tests { use crate::b::B; }", "use std::b::B;", "use crate::b;"]
        {
            assert_eq!(arrows(&[("lib.rs", "mod a; mod b;"), ("a.rs", text), there], "a"), [""; 0], "{text}");
        }
    }

    #[test]
    fn names_are_followed_to_the_file_that_has_them() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use b::B;"),
            ("a.rs", "use crate::{B, b::C, b}; fn g() { b::d::D; b::E; }"),
            ("b.rs", "pub mod c; pub mod d; pub use c::*; pub use self::d::E; pub struct B;"),
            ("b/c.rs", "pub struct C; #[macro_export] macro_rules! words { () => {} }"),
            ("b/d.rs", "pub struct D; pub struct E;"),
        ];
        assert_eq!(arrows(&files, "a"), ["b", "b::c", "b::d"]);
        assert_eq!(arrows(&files, ""), ["b"]);
        let with_macro = [files[0], ("a.rs", "use crate::words;"), files[2], files[3], files[4]];
        assert_eq!(arrows(&with_macro, "a"), ["b::c"]);
    }

    #[test]
    fn other_crates_are_seen() {
        let found =
            uses(&[("lib.rs", "mod a;"), ("a.rs", "use openclaw_platform::Clock; fn g() { openclaw_server::run() }")]);
        assert_eq!(found.crates.keys().collect::<Vec<_>>(), ["openclaw_platform", "openclaw_server"]);
        assert_eq!(found.beyond(&["openclaw-platform"]), ["a -> openclaw_server"]);
        assert!(found.beyond(&["openclaw-platform", "openclaw-server"]).is_empty());
        let tests = uses(&[("lib.rs", "#[cfg(test)] mod tests { use openclaw_server::run; }")]);
        assert!(tests.crates.is_empty(), "{tests:?}");
    }

    #[test]
    fn circles_larger_than_a_folder_are_found() {
        let root = ("lib.rs", "mod a; mod b;");
        let one = ("a.rs", "use crate::b::B; pub struct A;");
        assert!(uses(&[root, one, ("b.rs", "pub struct B;")]).circles().is_empty());
        let both = uses(&[root, one, ("b.rs", "use crate::a::A; pub struct B;")]).circles();
        assert_eq!(both, [["a", "b"].map(str::to_owned).into()]);
        // By way of a third one, and of the root.
        let far = [("a.rs", "use crate::Root; pub struct A;"), ("lib.rs", "mod a; use a::A; pub struct Root;")];
        assert_eq!(uses(&far).circles(), [["", "a"].map(str::to_owned).into()]);
        // A folder and its head are one thing; two folders are not.
        let folder = [
            ("lib.rs", "mod a;"),
            ("a.rs", "mod b; mod c; use b::B; pub struct A;"),
            ("a/b.rs", "use super::{A, c::C}; pub struct B;"),
            ("a/c.rs", "use super::b::B; pub struct C;"),
        ];
        assert!(uses(&folder).circles().is_empty());
        let deeper = ("a/b/d.rs", "use crate::a::A; pub struct D;");
        let below = ("a/b.rs", "mod d; use super::{A, c::C}; use d::D; pub struct B;");
        let larger = uses(&[folder[0], folder[1], below, folder[3], deeper]).circles();
        assert_eq!(larger, [["a", "a::b", "a::b::d", "a::c"].map(str::to_owned).into()]);
    }
}
