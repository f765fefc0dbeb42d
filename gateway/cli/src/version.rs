//! What `openclaw --version` says: the version, the source that it was built from, and what is in it.

use openclaw_channels::table::TABLE;
use openclaw_protocol::connect::PROTOCOL;

/// `X.Y.Z (COMMIT)`: the first line after the program's name, and all that `-V` says.
pub const SHORT: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("OPENCLAW_COMMIT"), ")");

/// The same, and below it one line for each fact of the build.
pub fn long() -> String {
    let channels: Vec<&str> = TABLE.iter().map(|channel| channel.id).collect();
    format!(
        "{SHORT}\ncommit:    {}\ntarget:    {}\nfeatures:  {}\nprotocol:  {PROTOCOL}\nchannels:  {}",
        env!("OPENCLAW_COMMIT"),
        env!("OPENCLAW_TARGET"),
        features().join(", "),
        channels.join(", "),
    )
}

/// What is built in and not on every machine.
fn features() -> Vec<&'static str> {
    let has_sandbox = cfg!(all(target_os = "linux", target_pointer_width = "64"));
    let all = [
        ("jemalloc", cfg!(target_os = "linux")),
        ("landlock", has_sandbox),
        ("seccomp", has_sandbox),
        ("tls-ring", true),
        ("mdns", cfg!(feature = "mdns")),
        ("debug-assertions", cfg!(debug_assertions)),
    ];
    all.into_iter().filter_map(|(name, is_in)| is_in.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_069_the_first_line_begins_with_the_version() {
        let text = long();
        assert_eq!(text.split([' ', '\n']).next(), Some(env!("CARGO_PKG_VERSION")));
        for fact in ["commit:", "target:", "features:", "protocol:", "channels:"] {
            assert!(text.lines().any(|line| line.starts_with(fact)), "{fact} in {text}");
        }
    }
}
