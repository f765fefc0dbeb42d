//! Small mistakes made by rule: those of cargo-mutants, and a statement that is forgotten.

use std::ops::Range;

use syn::{
    BinOp, Block, Expr, ExprBinary, ExprCall, ExprIf, ExprMethodCall, ExprUnary, Stmt, UnOp,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use super::functions::Function;

/// A mistake in one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// What was done, in words.
    pub what: String,
    /// Which bytes of the file.
    pub at: Range<usize>,
    /// What stands there instead.
    pub with: String,
}

/// All mistakes that the rules can make in a function of a file.
pub(super) fn mistakes(text: &str, function: &Function) -> Vec<Mistake> {
    let body = &text[function.body.clone()];
    let Ok(block) = syn::parse_str::<Block>(body) else { return vec![] };
    let mut finder = Finder { text: body, base: function.body.start, found: Vec::new() };
    finder.visit_block(&block);
    let mut found = finder.found;
    for value in values(&function.returns) {
        if body.trim_matches(['{', '}', ' ', '\n']) != *value {
            let what = format!("gives {} at once", if value.is_empty() { "nothing" } else { value });
            found.push(Mistake { what, at: function.body.clone(), with: format!("{{ {value} }}") });
        }
    }
    found
}

/// What a function of this type can give without having done anything.
fn values(returns: &str) -> &'static [&'static str] {
    match returns {
        "" => &[""],
        "bool" => &["true", "false"],
        "String" => &["String::new()"],
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => &["0", "1"],
        t if t.starts_with("Option<") => &["None"],
        t if t.starts_with("Vec<") => &["vec![]"],
        t if t.starts_with("Result<(),") || t == "io::Result<()>" => &["Ok(())"],
        t if t.starts_with("Result<bool,") => &["Ok(true)", "Ok(false)"],
        _ => &[],
    }
}

struct Finder<'a> {
    text: &'a str,
    base: usize,
    found: Vec<Mistake>,
}

impl Finder<'_> {
    fn add(&mut self, what: String, at: Range<usize>, with: String) {
        self.found.push(Mistake { what, at: self.base + at.start..self.base + at.end, with });
    }

    fn words(&self, at: &Range<usize>) -> String {
        let text = self.text.get(at.clone()).unwrap_or_default();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(60).collect()
    }
}

/// What an operator is mistaken for.
fn instead(op: &BinOp) -> Option<&'static str> {
    Some(match op {
        BinOp::Eq(_) => "!=",
        BinOp::Ne(_) => "==",
        BinOp::Lt(_) => "<=",
        BinOp::Le(_) => "<",
        BinOp::Gt(_) => ">=",
        BinOp::Ge(_) => ">",
        BinOp::And(_) => "||",
        BinOp::Or(_) => "&&",
        BinOp::Add(_) => "-",
        BinOp::Sub(_) => "+",
        BinOp::AddAssign(_) => "-=",
        BinOp::SubAssign(_) => "+=",
        _ => return None,
    })
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_binary(&mut self, e: &'ast ExprBinary) {
        // `let` within a chain of conditions cannot be joined by anything else.
        let is_chain = matches!(e.op, BinOp::And(_)) && self.words(&e.span().byte_range()).contains("let ");
        if let Some(with) = instead(&e.op).filter(|_| !is_chain) {
            let at = e.op.span().byte_range();
            let whole = self.words(&e.span().byte_range());
            self.add(format!("{} is {with} in `{whole}`", self.words(&at)), at, with.to_owned());
        }
        visit::visit_expr_binary(self, e);
    }

    fn visit_expr_unary(&mut self, e: &'ast ExprUnary) {
        if let UnOp::Not(not) = &e.op {
            let whole = self.words(&e.span().byte_range());
            self.add(format!("no `!` in `{whole}`"), not.span().byte_range(), String::new());
        }
        visit::visit_expr_unary(self, e);
    }

    fn visit_expr_if(&mut self, e: &'ast ExprIf) {
        if !self.words(&e.cond.span().byte_range()).contains("let ") {
            let at = e.cond.span().byte_range();
            for with in ["true", "false"] {
                self.add(format!("`if {}` is {with}", self.words(&at)), at.clone(), with.to_owned());
            }
        }
        visit::visit_expr_if(self, e);
    }

    fn visit_stmt(&mut self, s: &'ast Stmt) {
        let is_call = |e: &Expr| match e {
            Expr::Await(a) => matches!(*a.base, Expr::Call(ExprCall { .. }) | Expr::MethodCall(ExprMethodCall { .. })),
            Expr::Try(_) | Expr::Call(_) | Expr::MethodCall(_) | Expr::Assign(_) => true,
            Expr::Binary(b) => matches!(b.op, BinOp::AddAssign(_) | BinOp::SubAssign(_)),
            _ => false,
        };
        if let Stmt::Expr(e, Some(_)) = s
            && is_call(e)
        {
            let at = s.span().byte_range();
            self.add(format!("`{}` is forgotten", self.words(&at)), at, String::new());
        }
        visit::visit_stmt(self, s);
    }

    /// A mistake within a macro's words would have to be parsed by the macro.
    fn visit_macro(&mut self, _: &'ast syn::Macro) {}
}

#[cfg(test)]
mod tests {
    use super::{super::functions::functions, *};

    fn made(text: &str) -> Vec<String> {
        let functions = functions(text).unwrap();
        let apply = |m: Mistake| {
            let mut mutated = text.to_owned();
            mutated.replace_range(m.at, &m.with);
            syn::parse_file(&mutated).unwrap();
            mutated
        };
        functions.iter().flat_map(|f| mistakes(text, f)).map(apply).collect()
    }

    #[test]
    fn each_rule_makes_its_mistake() {
        let made = made("fn a(x: u8) -> bool { log(x); if x < 3 && !b() { x += 1; } c() }");
        let expected = |part: &str| assert!(made.iter().any(|m| m.contains(part)), "{part}: {made:#?}");
        for part in ["x <= 3", "3 || !", "&& b()", "if true {", "if false {", "{  if x", "x -= 1", "{  }", "{ true }"] {
            expected(part);
        }
        assert_eq!(made.len(), 10, "{made:#?}");
    }

    #[test]
    fn what_cannot_be_meant_is_left_out() {
        assert!(made("fn a() { m!(1 < 2); let b = c; }").len() == 1);
        let chain = made("fn a() -> T { if let Some(x) = y && x > 1 { z } else { w } }");
        assert_eq!(chain.len(), 1, "{chain:#?}");
    }
}
