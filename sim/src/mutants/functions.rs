//! The functions of a source file, and what a patch changes in them: a bug that lies within bodies can be switched on and
//! off in one program.

use std::ops::Range;

use syn::{
    Attribute, ImplItem, ImplItemFn, Item, ItemFn, ItemImpl, ItemMod, ItemTrait, ReturnType, Signature, TraitItem,
    Type, spanned::Spanned as _,
};

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    /// `module::Type::name`, as far as it stands in the file.
    pub path: String,
    /// The body with its braces, in bytes of the file.
    pub body: Range<usize>,
    /// Two bodies can stand beside each other in it: it is not `const`, and does not return `impl Trait`, whose type is
    /// that of one body.
    pub takes_both: bool,
    /// What it returns, as text; empty for nothing.
    pub returns: String,
}

/// All functions of a file that are no tests and do not stand within another one, in their order.
///
/// # Errors
/// When it is no Rust.
pub(super) fn functions(text: &str) -> Result<Vec<Function>, String> {
    let file = syn::parse_file(text).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    items(&file.items, "", text, &mut out);
    Ok(out)
}

fn items(list: &[Item], path: &str, text: &str, out: &mut Vec<Function>) {
    for item in list {
        match item {
            Item::Fn(ItemFn { attrs, sig, block, .. }) if !is_test(attrs) => {
                out.push(function(path, sig, block.span().byte_range(), text));
            }
            Item::Impl(ItemImpl { attrs, items, self_ty, .. }) if !is_test(attrs) => {
                let path = join(path, &name_of(self_ty));
                for item in items {
                    if let ImplItem::Fn(ImplItemFn { attrs, sig, block, .. }) = item
                        && !is_test(attrs)
                    {
                        out.push(function(&path, sig, block.span().byte_range(), text));
                    }
                }
            }
            Item::Trait(ItemTrait { attrs, items, ident, .. }) if !is_test(attrs) => {
                let path = join(path, &ident.to_string());
                for item in items {
                    if let TraitItem::Fn(f) = item
                        && let Some(block) = &f.default
                    {
                        out.push(function(&path, &f.sig, block.span().byte_range(), text));
                    }
                }
            }
            Item::Mod(ItemMod { attrs, ident, content: Some((_, inner)), .. }) if !is_test(attrs) => {
                items(inner, &join(path, &ident.to_string()), text, out);
            }
            _ => {}
        }
    }
}

fn function(path: &str, sig: &Signature, body: Range<usize>, text: &str) -> Function {
    let returns = match &sig.output {
        ReturnType::Default => String::new(),
        ReturnType::Type(_, ty) => text[ty.span().byte_range()].to_owned(),
    };
    let takes_both = sig.constness.is_none() && !returns.contains("impl ");
    Function { path: join(path, &sig.ident.to_string()), body, takes_both, returns }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") }
}

/// The last name of a type.
fn name_of(ty: &Type) -> String {
    match ty {
        Type::Path(p) => p.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default(),
        _ => String::new(),
    }
}

fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|a| {
        let is = |name: &str| a.path().segments.last().is_some_and(|s| s.ident == name);
        is("test") || is("cfg") && a.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

/// Bodies that differ between two versions of a file: the place of the function in the first one, and the other body.
pub(super) type Swapped = Vec<(usize, String)>;

/// What differs between two versions of a file.
///
/// # Errors
/// When something else differs as well, so that the second version has to be built by itself.
pub(super) fn swapped(original: &str, mutated: &str) -> Result<Swapped, String> {
    let (before, after) = (functions(original)?, functions(mutated)?);
    if without(original, &before) != without(mutated, &after) {
        return Err("it changes more than bodies of functions".into());
    }
    let mut out = Vec::new();
    for (n, (a, b)) in before.iter().zip(&after).enumerate() {
        let body = &mutated[b.body.clone()];
        if original[a.body.clone()] != *body {
            if !a.takes_both {
                return Err(format!("{} cannot hold two bodies", a.path));
            }
            out.push((n, body.to_owned()));
        }
    }
    Ok(out)
}

/// The file without its bodies.
fn without(text: &str, functions: &[Function]) -> String {
    let mut out = String::new();
    let mut at = 0;
    for f in functions {
        out += &text[at..f.body.start];
        at = f.body.end;
    }
    out + &text[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "use x::y;\nstruct S;\nimpl S {\n    fn a(&self) -> u32 { 1 }\n    const fn b() {}\n}\n\
                        fn c() -> impl Iterator<Item = u8> { [1].into_iter() }\n#[cfg(test)]\nmod tests { fn d() {} }\n\
                        mod m { pub async fn e() { f().await } }\n";

    #[test]
    fn functions_are_found_by_their_names() {
        let found = functions(FILE).unwrap();
        let names: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.takes_both, f.returns.as_str())).collect();
        let iterator = "impl Iterator<Item = u8>";
        assert_eq!(names, [("S::a", true, "u32"), ("S::b", false, ""), ("c", false, iterator), ("m::e", true, "")]);
        assert_eq!(&FILE[found[3].body.clone()], "{ f().await }");
    }

    #[test]
    fn only_bodies_may_differ() {
        let changed = |from: &str, to: &str| swapped(FILE, &FILE.replace(from, to));
        assert_eq!(changed("{ 1 }", "{ 2 }").unwrap(), [(0, "{ 2 }".to_owned())]);
        assert_eq!(changed("f().await", "g().await").unwrap(), [(3, "{ g().await }".to_owned())]);
        assert!(changed("u32", "u64").is_err());
        assert!(changed("x::y", "x::z").is_err());
        assert!(changed("[1]", "[2]").unwrap_err().contains("two bodies"));
        assert!(swapped(FILE, FILE).unwrap().is_empty());
    }
}
