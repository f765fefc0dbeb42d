//! Which variables a caller may set for a command: names that are known to be harmless, never "all but the known bad
//! ones" (S27). A program can be made to run code by more variables than anybody can list.

use std::collections::BTreeMap;

/// Language, time zone, what a terminal can do, and no colours: how output looks.
pub const MAY_BE_SET: [&str; 13] = [
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
    "CI",
    "SOURCE_DATE_EPOCH",
];
/// The parts of `LC_*`.
const LOCALE: [&str; 13] = [
    "ALL",
    "ADDRESS",
    "COLLATE",
    "CTYPE",
    "IDENTIFICATION",
    "MEASUREMENT",
    "MESSAGES",
    "MONETARY",
    "NAME",
    "NUMERIC",
    "PAPER",
    "TELEPHONE",
    "TIME",
];
/// Characters of a value.
const MAX_VALUE: usize = 128;
/// Names that are told as left out.
const MAX_TOLD: usize = 64;

/// The variables that may be set, and the names of the others: those are left out, and whoever asked is told.
pub fn split(wanted: BTreeMap<String, String>) -> (BTreeMap<String, String>, Vec<String>) {
    let (kept, others): (BTreeMap<_, _>, BTreeMap<_, _>) = wanted.into_iter().partition(|(k, v)| may_set(k, v));
    let told = others.into_keys().take(MAX_TOLD).map(|name| name.escape_debug().take(64).collect());
    (kept, told.collect())
}

/// True for a harmless name with a harmless value: some programs take a path for a language or a time zone.
pub fn may_set(name: &str, value: &str) -> bool {
    let known = MAY_BE_SET.contains(&name) || name.strip_prefix("LC_").is_some_and(|part| LOCALE.contains(&part));
    let plain = |c: char| c.is_ascii_alphanumeric() || " _.,:;+@=<>-".contains(c) || (c == '/' && name == "TZ");
    let a_path = value.starts_with(['/', ':', '.']) || value.contains("..");
    known && !a_path && value.len() <= MAX_VALUE && value.chars().all(plain)
}

/// For people: what could not be set, and what can.
pub fn left_out(names: &[String]) -> Option<String> {
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    let known = MAY_BE_SET.join(", ");
    Some(format!("[left out of the environment: {names}; only {known} and LC_* may be set, to plain values]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name that ran code when it was tried, and its kin.
    #[test]
    fn s27_only_harmless_names_are_set() {
        let bad = "PATH HOME SHELL IFS ENV BASH_ENV SHELLOPTS PS4 PROMPT_COMMAND LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT \
            DYLD_INSERT_LIBRARIES NODE_OPTIONS NODE_PATH PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE \
            PYTHONWARNINGS PYTHONBREAKPOINT PERL5LIB PERL5OPT PERL5DB RUBYOPT RUBYLIB TAR_OPTIONS LESSOPEN LESSCLOSE \
            LESS PAGER MANPAGER EDITOR VISUAL BROWSER XDG_CONFIG_HOME XDG_DATA_DIRS GIT_SSH GIT_SSH_COMMAND \
            GIT_EXTERNAL_DIFF GIT_CONFIG_COUNT GLIBC_TUNABLES GCONV_PATH LOCPATH NLSPATH OPENSSL_CONF SSL_CERT_FILE \
            JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS CLASSPATH DOTNET_STARTUP_HOOKS ZDOTDIR MAKEFLAGS \
            MAKEFILES RUSTC_WRAPPER RUSTFLAGS CARGO_HOME LUA_INIT LUA_PATH PHPRC PHP_INI_SCAN_DIR SSH_ASKPASS \
            npm_config_node_options npm_config_script_shell http_proxy HTTPS_PROXY ALL_PROXY TERMINFO TERMCAP TMPDIR \
            OPENCLAW_GATEWAY_TOKEN EXEC_INVOCATION_ID LC_ lc_all lang LC_EVIL TZDIR LANG= LINES\u{0} LANG\u{200b}";
        for name in bad.split_whitespace().chain(["", " LANG", "LANG "]) {
            assert!(!may_set(name, "C"), "{name:?}");
        }
        for (name, value) in [
            ("LANG", "/tmp/x"),
            ("LANG", "../../tmp/x"),
            ("LC_ALL", "a/b"),
            ("LANGUAGE", "de:../x"),
            ("TZ", ":/etc/shadow"),
            ("TZ", "/etc/shadow"),
            ("TERM", "a\nb"),
            ("NO_COLOR", "$(id)"),
            ("LANG", &"x".repeat(129)),
        ] {
            assert!(!may_set(name, value), "{name}={value}");
        }
        for (name, value) in
            [("LANG", "de_DE.UTF-8"), ("LC_TIME", "C"), ("TZ", "Europe/Berlin"), ("TZ", "<+03>-3"), ("NO_COLOR", "")]
        {
            assert!(may_set(name, value), "{name}={value}");
        }
    }

    #[test]
    fn s27_what_is_left_out_is_named() {
        let wanted = [("LANG", "C"), ("LESSOPEN", "|sh"), ("X\u{1b}", "1")];
        let wanted = wanted.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let (kept, others) = split(wanted.into());
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), ["LANG"]);
        assert_eq!(others, ["LESSOPEN", "X\\u{1b}"]);
        assert!(left_out(&others).unwrap().contains("LESSOPEN, X\\u{1b}; only LANG") && left_out(&[]).is_none());
    }
}
