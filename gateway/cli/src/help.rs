//! What `openclaw help` says: the commands by what people do with them, and examples. The texts of the commands themselves stand
//! in the grammar.

use clap::{Command, CommandFactory as _};

use crate::grammar::Cli;

/// Commands by what people do. What is in no group stands at the end, so that nothing is hidden by being forgotten here.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Begin", &["onboard", "setup", "import", "doctor"]),
    ("Run and watch the gateway", &["gateway", "status", "health", "logs", "backup"]),
    ("Talk", &["agent", "message", "channels", "pairing", "delivery", "sessions"]),
    ("Let in and allow", &["devices", "nodes", "node", "approvals"]),
    ("Change and look closer", &["config", "system", "protocol", "completions"]),
];

/// Examples by command, each with what it does.
const EXAMPLES: [(&[&str], &str); 9] = [
    (
        &[],
        "openclaw onboard                       set up step by step\n\
         openclaw gateway                       run the gateway here\n\
         openclaw agent --message hi            say something to the agent\n\
         openclaw help gateway                  more about one command\n\
         openclaw --dev gateway                 try it without touching your own setup",
    ),
    (
        &["onboard"],
        "openclaw onboard                                                   asks for what is missing\n\
         openclaw onboard --non-interactive --accept-risk                   a token and the built-in model, no questions\n\
         openclaw onboard --non-interactive --accept-risk --provider anthropic --api-key-file key.txt --install-daemon\n\
         openclaw --profile rescue onboard                                  a second gateway of its own",
    ),
    (
        &["gateway"],
        "openclaw gateway                       run it until stopped\n\
         openclaw gateway --port 19000 -v       on another port, with everything it does on the console\n\
         openclaw gateway --force               end what has the port first\n\
         openclaw gateway install               have the system keep it running\n\
         openclaw gateway status --json         for scripts\n\
         openclaw gateway call health           one method, its answer as JSON",
    ),
    (&["agent"], "openclaw agent --message hi\nopenclaw agent --message 'and now?' --session-id ID --json"),
    (
        &["config"],
        "openclaw config get gateway.port\n\
         openclaw config set gateway.port 19000\n\
         openclaw config validate",
    ),
    (&["message"], "openclaw message send --target 42 --message hi --media photo.jpg"),
    (&["logs"], "openclaw logs --follow\nopenclaw logs --limit 50 --json"),
    (&["devices"], "openclaw devices list\nopenclaw devices approve ID"),
    (&["completions"], "openclaw completions bash > ~/.local/share/bash-completion/completions/openclaw"),
];

/// The grammar with its help.
pub fn command() -> Command {
    let mut command = Cli::command();
    let groups = groups(&command);
    for (path, examples) in EXAMPLES {
        let text = format!("Examples:\n{}", indented(examples));
        command = match path {
            [] => {
                let end = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                command.after_help(format!("{text}\n\n{end}"))
            }
            [name, ..] => command.mut_subcommand(*name, |sub| sub.after_help(text)),
        };
    }
    let head = "{about-with-newline}\n{usage-heading} {usage}";
    let template = format!("{head}\n\n{groups}Options:\n{{options}}{{after-help}}");
    command.help_template(template)
}

fn groups(command: &Command) -> String {
    let shown = |name: &&str| command.find_subcommand(name).filter(|sub| !sub.is_hide_set());
    let placed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let all = command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(Command::get_name);
    let others: Vec<&str> = all.filter(|name| !placed.contains(name)).collect();
    let groups = GROUPS.iter().map(|(title, names)| (*title, names.to_vec())).chain([("More", others)]);
    let groups = groups.map(|(title, names)| (title, names.iter().filter_map(shown).map(row).collect::<String>()));
    let shown: Vec<String> =
        groups.filter(|(_, rows)| !rows.is_empty()).map(|(title, rows)| format!("{title}:\n{rows}\n")).collect();
    shown.concat()
}

/// The command's name and the first sentence of what it does.
fn row(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let first = about.split(['\n', ';']).next().unwrap_or_default();
    let first = first.split_once(": ").map_or(first, |(before, _)| before);
    format!("  {:<12} {first}\n", command.get_name())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(words: &[&str]) -> String {
        let line = ["openclaw"].iter().chain(words);
        command().try_get_matches_from(line).unwrap_err().to_string()
    }

    #[test]
    fn every_command_stands_in_the_help_once_and_has_a_group() {
        let text = help(&["--help"]);
        let commands = command();
        for sub in commands.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let rows = text.lines().filter(|line| line.trim_start().split(' ').next() == Some(sub.get_name()));
            assert_eq!(rows.filter(|line| line.starts_with("  ")).count(), 1, "{} in {text}", sub.get_name());
        }
        assert!(text.contains("Begin:") && text.contains("Examples:") && text.contains("Exit codes:"), "{text}");
        assert!(!text.contains("sandbox-exec"), "{text}");
        assert!(text.find("Begin:").unwrap() < text.find("Run and watch").unwrap(), "what comes first stands first");
    }

    #[test]
    fn help_is_a_command_too() {
        assert_eq!(help(&["help"]), help(&["--help"]));
        assert!(help(&["help", "gateway"]).contains("--allow-unconfigured"));
        assert!(help(&["help", "gateway", "call"]).contains("--params"));
    }

    #[test]
    fn examples_are_real_command_lines() {
        for (_, text) in EXAMPLES {
            for line in text.lines() {
                // What it does stands after two spaces, where a shell sends it after a `>`.
                let line = line.split("  ").next().unwrap_or_default().split(" >").next().unwrap_or_default();
                let words = shell_words::split(line).unwrap();
                if words.get(1).is_some_and(|word| word == "help") {
                    continue;
                }
                command().try_get_matches_from(&words).unwrap_or_else(|e| panic!("{line}: {e}"));
            }
        }
    }

    #[test]
    fn a_mistyped_command_names_the_nearest() {
        for (line, nearest) in
            [(&["gatewya"][..], "'gateway'"), (&["gateway", "instal"], "'install'"), (&["onbaord"], "'onboard'")]
        {
            let error = command().try_get_matches_from(["openclaw"].iter().chain(line)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
            assert!(error.to_string().contains(nearest), "{line:?}: {error}");
        }
    }
}
