//! `browser ...`: the browser control of a running gateway (docs/browser.md).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use openclaw_platform::tls::Fingerprint;
use serde_json::{Value, json};

use crate::{
    args::{ConnectionArgs, ReadArgs},
    client::call_once,
    failure::Failure,
    output,
    session::Session,
};

/// `browser ...`
#[derive(Debug, Args)]
pub struct BrowserArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: BrowserCommand,
    /// The browser profile; the default one when absent
    #[arg(long, global = true, value_name = "NAME")]
    pub browser_profile: Option<String>,
    /// The gateway's address, ws://HOST:PORT or wss://HOST:PORT (default: as for every command)
    #[arg(long, global = true)]
    pub url: Option<String>,
    /// The only certificate that is taken there (default: as for every command)
    #[arg(long, global = true, value_name = "SHA256")]
    pub tls_fingerprint: Option<Fingerprint>,
    /// Its token (default: as for every command)
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// Its token is in this file
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Its password (default: as for every command)
    #[arg(long, global = true)]
    pub password: Option<String>,
    /// Its password is in this file
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,
    /// Give up after this many milliseconds
    #[arg(long, global = true, default_value_t = 60_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout: u64,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum BrowserCommand {
    /// Show whether it runs, its ports and its program
    Status,
    /// Start it
    Start,
    /// End it; its profile stays
    Stop,
    /// List profiles with their DevTools ports
    Profiles,
    /// Make a profile
    CreateProfile {
        /// Letters, digits and dashes
        name: String,
    },
    /// Take a profile away
    DeleteProfile {
        /// Its name
        name: String,
    },
    /// List open tabs
    Tabs,
    /// Open an address in a new tab; starts the browser where it does not run
    Open {
        /// http, https or about:blank
        #[arg(value_name = "URL")]
        address: String,
    },
    /// Go to an address in a tab
    Navigate {
        /// http, https or about:blank
        #[arg(value_name = "URL")]
        address: String,
        /// The tab; the one that was used last when absent
        #[arg(long, value_name = "ID")]
        target_id: Option<String>,
    },
    /// Show a tab
    Focus {
        /// The tab (see `browser tabs`)
        target_id: String,
    },
    /// Close a tab
    Close {
        /// The tab (see `browser tabs`)
        target_id: String,
    },
    /// Print a page as text, with refs for `act`
    Snapshot {
        /// The tab; the one that was used last when absent
        #[arg(long, value_name = "ID")]
        target_id: Option<String>,
        /// Only what can be used
        #[arg(long)]
        interactive: bool,
        /// At most so many characters
        #[arg(long, value_name = "N")]
        max_chars: Option<u32>,
    },
    /// Take a picture; prints the file, which lies on the gateway's machine
    Screenshot {
        /// The tab; the one that was used last when absent
        #[arg(long, value_name = "ID")]
        target_id: Option<String>,
        /// The whole page
        #[arg(long)]
        full_page: bool,
        /// Only this element of the last snapshot
        #[arg(long, value_name = "REF")]
        r#ref: Option<String>,
    },
    /// Do something in a page: click REF, type REF TEXT, press KEY, wait TEXT, or JSON as in docs/browser.md
    Act {
        /// click, type, press, hover, wait, evaluate, or a JSON object
        what: String,
        /// Its arguments
        arguments: Vec<String>,
        /// The tab; the one that was used last when absent
        #[arg(long, value_name = "ID")]
        target_id: Option<String>,
    },
}

/// Runs one of them.
///
/// # Errors
/// Usage: an action that is none. Runtime: the gateway's reason.
pub async fn run(session: &Session, args: &BrowserArgs) -> Result<(), Failure> {
    let (method, path, body) = request(&args.command)?;
    let answer = ask(session, args, method, &path, body).await?;
    if session.out.json {
        return output::json(&answer);
    }
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    match &args.command {
        BrowserCommand::Status | BrowserCommand::Start => output::rows(status(&answer)),
        BrowserCommand::Profiles => output::rows(profiles(&answer)),
        BrowserCommand::Tabs => {
            let tabs = answer["tabs"].as_array().map(Vec::as_slice).unwrap_or_default();
            if tabs.is_empty() {
                return output::line("There is no tab.");
            }
            let told = |tab: &Value, name: &str| tab[name].as_str().unwrap_or_default().to_owned();
            output::rows(
                tabs.iter()
                    .map(|tab| format!("{}  {}  {}", told(tab, "targetId"), told(tab, "url"), told(tab, "title"))),
            )
        }
        BrowserCommand::Snapshot { .. } => {
            output::line(format!("{}  {}  {}", text("targetId"), text("url"), text("title")))?;
            output::text(text("snapshot").trim_end())?;
            if answer["truncated"] == true {
                output::note("there is more: --max-chars");
            }
            Ok(())
        }
        BrowserCommand::Screenshot { .. } => {
            output::line(format!("{} ({} x {})", text("path"), answer["width"], answer["height"]))
        }
        BrowserCommand::Stop => {
            output::line(if answer["stopped"] == true { "The browser has ended." } else { "It was not running." })
        }
        BrowserCommand::Open { .. } | BrowserCommand::Navigate { .. } => {
            output::line(format!("{}  {}  {}", text("targetId"), text("url"), text("title")))
        }
        BrowserCommand::CreateProfile { .. } => {
            output::line(format!("{} has the DevTools port {}.", text("profile"), answer["cdpPort"]))
        }
        BrowserCommand::Act { .. } if !answer["result"].is_null() => output::json(&answer["result"]),
        _ => output::line("Done."),
    }
}

async fn ask(session: &Session, args: &BrowserArgs, method: &str, path: &str, body: Value) -> Result<Value, Failure> {
    let connection = ConnectionArgs {
        url: args.url.clone(),
        tls_fingerprint: args.tls_fingerprint,
        token: args.token.clone(),
        token_file: args.token_file.clone(),
        password: args.password.clone(),
        password_file: args.password_file.clone(),
    };
    let read = ReadArgs { connection, timeout: args.timeout };
    let mut params = json!({ "method": method, "path": path });
    let is_look = method == "GET";
    if let Some(profile) = &args.browser_profile {
        params["profile"] = json!(profile);
    }
    if !body.is_null() {
        params[if is_look { "query" } else { "body" }] = body;
    }
    call_once(session, &read, "browser.request", params).await
}

/// How the control is asked.
fn request(command: &BrowserCommand) -> Result<(&'static str, String, Value), Failure> {
    let set = |pairs: Vec<(&str, Value)>| -> Value {
        pairs.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let (method, path, body) = match command {
        BrowserCommand::Status => ("GET", "/", Value::Null),
        BrowserCommand::Start => ("POST", "/start", Value::Null),
        BrowserCommand::Stop => ("POST", "/stop", Value::Null),
        BrowserCommand::Profiles => ("GET", "/profiles", Value::Null),
        BrowserCommand::CreateProfile { name } => ("POST", "/profiles/create", json!({ "name": name })),
        BrowserCommand::DeleteProfile { name } => return Ok(("DELETE", format!("/profiles/{name}"), Value::Null)),
        BrowserCommand::Tabs => ("GET", "/tabs", Value::Null),
        BrowserCommand::Open { address } => ("POST", "/tabs/open", json!({ "url": address })),
        BrowserCommand::Navigate { address, target_id } => {
            ("POST", "/navigate", set(vec![("url", json!(address)), ("targetId", json!(target_id))]))
        }
        BrowserCommand::Focus { target_id } => ("POST", "/tabs/focus", json!({ "targetId": target_id })),
        BrowserCommand::Close { target_id } => return Ok(("DELETE", format!("/tabs/{target_id}"), Value::Null)),
        BrowserCommand::Snapshot { target_id, interactive, max_chars } => (
            "GET",
            "/snapshot",
            set(vec![
                ("targetId", json!(target_id)),
                ("interactive", json!(interactive)),
                ("maxChars", json!(max_chars)),
            ]),
        ),
        BrowserCommand::Screenshot { target_id, full_page, r#ref } => (
            "POST",
            "/screenshot",
            set(vec![("targetId", json!(target_id)), ("fullPage", json!(full_page)), ("ref", json!(r#ref))]),
        ),
        BrowserCommand::Act { what, arguments, target_id } => {
            let mut body = act(what, arguments)?;
            if let Some(id) = target_id {
                body["targetId"] = json!(id);
            }
            ("POST", "/act", body)
        }
    };
    Ok((method, path.to_owned(), body))
}

fn act(what: &str, arguments: &[String]) -> Result<Value, Failure> {
    let wrong = |text: &str| Failure::Usage(format!("browser act: {text}"));
    if what.trim_start().starts_with('{') {
        let parsed: Value = serde_json::from_str(what).map_err(|e| wrong(&format!("this is no JSON: {e}")))?;
        return if parsed.is_object() { Ok(parsed) } else { Err(wrong("expected an object")) };
    }
    let given: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match (what, given.as_slice()) {
        ("click" | "hover", [r#ref]) => json!({ "kind": what, "ref": r#ref }),
        ("type", [r#ref, text]) => json!({ "kind": "type", "ref": r#ref, "text": text }),
        ("press", [key]) => json!({ "kind": "press", "key": key }),
        ("wait", [text]) => json!({ "kind": "wait", "text": text }),
        ("evaluate", [code]) => json!({ "kind": "evaluate", "fn": code }),
        _ => {
            let text =
                "expected click REF, hover REF, type REF TEXT, press KEY, wait TEXT, evaluate CODE, or a JSON object";
            return Err(wrong(text));
        }
    })
}

fn status(answer: &Value) -> Vec<String> {
    let text = |name: &str| answer[name].as_str().unwrap_or("-").to_owned();
    let yes = |name: &str| if answer[name] == true { "yes" } else { "no" };
    let mut rows = vec![
        format!("enabled: {}", yes("enabled")),
        format!(
            "control: {} ({})",
            text("controlUrl"),
            if answer["listening"] == true { "listening" } else { "not listening" }
        ),
    ];
    if answer["enabled"] == true {
        rows.push(format!("profile: {} (DevTools port {})", text("profile"), answer["cdpPort"]));
        rows.push(format!("running: {}", yes("running")));
        rows.push(format!("program: {}", text("executablePath")));
    }
    rows.extend(answer["problem"].as_str().map(|problem| format!("problem: {problem}")));
    rows
}

fn profiles(answer: &Value) -> Vec<String> {
    let list = answer["profiles"].as_array().into_iter().flatten();
    list.map(|profile| {
        let mut notes = vec![if profile["remote"] == true {
            "elsewhere".to_owned()
        } else {
            format!("port {}", profile["cdpPort"])
        }];
        for (name, word) in [("default", "default"), ("running", "running"), ("configured", "configured")] {
            if profile[name] == true {
                notes.push(word.to_owned());
            }
        }
        format!("{}  {}", profile["name"].as_str().unwrap_or_default(), notes.join(", "))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::grammar::{Cli, Command};

    /// The gateway's address is a flag, the page's a word: neither is taken for the other.
    #[test]
    fn the_page_is_not_the_gateway() {
        let line =
            ["openclaw", "browser", "open", "https://a.example/", "--url", "ws://h:1", "--browser-profile", "work"];
        let Command::Browser(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        assert_eq!((args.url.as_deref(), args.browser_profile.as_deref()), (Some("ws://h:1"), Some("work")));
        assert_eq!(request(&args.command).unwrap().2, json!({ "url": "https://a.example/" }));
    }

    #[test]
    fn d31_an_action_is_known_or_it_is_a_usage_error() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(act("type", &words(&["e1", "Ada"])).unwrap(), json!({ "kind": "type", "ref": "e1", "text": "Ada" }));
        assert_eq!(act("{\"kind\":\"wait\",\"timeMs\":5}", &[]).unwrap()["timeMs"], 5);
        for (what, given) in [("click", vec![]), ("type", vec!["e1"]), ("fly", vec![]), ("{", vec![]), ("{]", vec![])] {
            assert_eq!(act(what, &words(&given)).unwrap_err().code(), 2, "{what}");
        }
    }
}
