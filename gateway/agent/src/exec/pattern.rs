//! Patterns of the allowlist: `*` and `?` within one part of a path, `**` over any number of parts.

/// True when the absolute path `path` fits `pattern`. A pattern without a `/` fits nothing: a bare name could be any
/// file that happens to come first in PATH. `~/` stands for `home`.
pub fn matches(pattern: &str, path: &str, home: Option<&str>) -> bool {
    let pattern = pattern.trim();
    let expanded = match (pattern.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => format!("{}/{rest}", home.trim_end_matches('/')),
        (Some(_), None) => return false,
        (None, _) => pattern.to_owned(),
    };
    if !expanded.starts_with('/') {
        return false;
    }
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    fits(&parts(&expanded), &parts(path), |pattern, part| pattern == "**" || glob(pattern, part))
}

/// Why `pattern` fits no path at all, whatever is installed (F49); `None` when it may fit one.
pub fn never_matches(pattern: &str) -> Option<&'static str> {
    let pattern = pattern.trim();
    let rest = pattern.strip_prefix("~/").or_else(|| pattern.strip_prefix('/'));
    let Some(rest) = rest else {
        return Some("it has to be the path of a program, beginning with / or ~/");
    };
    let parts: Vec<&str> = rest.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Some("paths of programs have no empty parts and do not end with /");
    }
    parts.iter().any(|part| matches!(*part, "." | "..")).then_some("paths of programs have no `.` and `..`")
}

/// True when it stands for one path only.
pub fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?'])
}

/// The directory that every path fitting `pattern` is below, as far as it has no `*` and `?`, and the rest. Programs are
/// looked at after all links, so a pattern has to be as well: `/bin` is often a link to `/usr/bin`.
pub fn fixed_directory(pattern: &str) -> Option<(&str, &str)> {
    let wild = pattern.find(['*', '?']).unwrap_or(pattern.len());
    let end = pattern.get(..wild)?.rfind('/')?;
    Some((pattern.get(..end.max(1))?, pattern.get(end..)?.trim_start_matches('/')))
}

/// Two lists, in which `**` on the left stands for any number of items on the right; no backtracking beyond the last
/// `**`, so the time is at most the product of the lengths.
fn fits(pattern: &[String], items: &[String], one: impl Fn(&str, &str) -> bool) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while i < items.len() {
        match pattern.get(p) {
            Some(any) if any == "**" => {
                retry = Some((p, i));
                p += 1;
            }
            Some(part) if one(part, &items[i]) => {
                p += 1;
                i += 1;
            }
            _ => match retry {
                Some((at, from)) => {
                    retry = Some((at, from + 1));
                    p = at + 1;
                    i = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|rest| rest == "**")
}

/// The same within one part, for `*` and `?`.
fn glob(pattern: &str, text: &str) -> bool {
    let chars = |s: &str| s.chars().map(String::from).collect::<Vec<_>>();
    let pattern: Vec<String> = chars(pattern).into_iter().map(|c| if c == "*" { "**".into() } else { c }).collect();
    fits(&pattern, &chars(text), |p, c| p == "?" || p == c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_stars() {
        let fits = |pattern: &str, path: &str| matches(pattern, path, Some("/home/u"));
        for (pattern, path) in [
            ("/usr/bin/ls", "/usr/bin/ls"),
            ("/usr/bin/*", "/usr/bin/ls"),
            ("/usr/*/l?", "/usr/bin/ls"),
            ("/opt/**", "/opt/a/b/c"),
            ("/opt/**/bin/x*y", "/opt/a/b/bin/xzzy"),
            ("~/bin/*", "/home/u/bin/tool"),
            ("/**", "/a"),
        ] {
            assert!(fits(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("ls", "/usr/bin/ls"),
            ("*", "/usr/bin/ls"),
            ("/usr/bin/ls", "/usr/bin/lsx"),
            ("/usr/bin/*", "/usr/bin/x/ls"),
            ("/usr/bin", "/usr/bin/ls"),
            ("~/bin/*", "/home/other/bin/tool"),
            ("", "/x"),
        ] {
            assert!(!fits(pattern, path), "{pattern} {path}");
        }
        assert!(!matches("~/x", "/x", None));
    }

    #[test]
    fn the_fixed_part_of_a_pattern() {
        for (pattern, parts) in [
            ("/bin/ls", Some(("/bin", "ls"))),
            ("/ls", Some(("/", "ls"))),
            ("/usr/b*/x", Some(("/usr", "b*/x"))),
            ("/**", Some(("/", "**"))),
            ("/usr/lib/**/x", Some(("/usr/lib", "**/x"))),
            ("ls", None),
        ] {
            assert_eq!(fixed_directory(pattern), parts, "{pattern}");
        }
    }

    /// A hostile pattern costs no more than the product of the lengths (S21).
    #[test]
    fn s21_many_stars_are_not_exponential() {
        let pattern = format!("/{}b", "*a".repeat(200));
        assert!(!matches(&pattern, &format!("/{}", "a".repeat(2000)), None));
    }
}
