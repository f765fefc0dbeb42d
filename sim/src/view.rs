//! A history as one page that can be read without a network: lanes for hosts and clients, frames as arrows, faults as
//! bars, violated oracles in red.
//!
//! The page holds the trace as text that is never executed; one script of ours draws it. The policy in the page allows
//! that script and its style sheet by their hashes and nothing else, whatever a frame contains (S22).

use base64::Engine as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{trace::Trace, why::Why};

const PAGE: &str = include_str!("view/page.html");
const STYLE: &str = include_str!("view/page.css");
const SCRIPT: &str = include_str!("view/page.js");

/// The page of a trace, with what is known about the moment at which its violation was decided.
pub fn page(trace: &Trace, why: Option<&Why>) -> String {
    let Trace { header, records, footer } = trace;
    let data = json!({ "header": header, "records": records, "footer": footer, "why": why });
    let source = |text: &str| {
        let hash = Sha256::digest(text.as_bytes());
        format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(hash))
    };
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        source(SCRIPT),
        source(STYLE)
    );
    let title = format!("{} seed {}", header.scenario, header.seed);
    // The data comes last: nothing in it is looked at for further marks.
    let head = PAGE.replace("@POLICY@", &policy).replace("@TITLE@", &escaped(&title));
    let head = head.replace("@STYLE@", STYLE).replace("@SCRIPT@", SCRIPT);
    match head.split_once("@DATA@") {
        Some((before, after)) => format!("{before}{}{after}", inert(&data.to_string())),
        None => head,
    }
}

/// Text between tags.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// JSON that cannot end the element it stands in, nor begin a comment in it.
fn inert(json: &str) -> String {
    let json = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Record, What},
        trace::{Footer, Header, SCHEMA},
    };

    fn page_of(scenario: &str, text: &str) -> String {
        let what = What::Note { text: text.to_owned() };
        let records = vec![Record { i: 0, t_us: 0, host: "world".into(), what }];
        let header = Header { schema: SCHEMA, scenario: scenario.into(), plan: "p".into(), seed: 1, commit: None };
        let footer = Some(Footer::of(&records, 0, &[]));
        page(&Trace { header, records, footer }, None)
    }

    /// S22: a frame's text is never markup and never script.
    #[test]
    fn s22_data_stays_data() {
        let evil = "</script><script>alert(1)</script><!-- & \u{2028} @DATA@ @SCRIPT@";
        let plain = page_of("s", "");
        let page = page_of("s", evil);
        for tag in ["<script", "</script", "<!--", "@SCRIPT@"] {
            let extra = page.matches(tag).count() - plain.matches(tag).count();
            assert_eq!(extra, usize::from(tag == "@SCRIPT@"), "{tag}");
        }
        let start = page.find("type=\"application/json\">").unwrap() + "type=\"application/json\">".len();
        let data = &page[start..start + page[start..].find("</script>").unwrap()];
        let value: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["records"][0]["text"], evil);
        assert!(page_of("<b>\"x\"", "").contains("<title>&lt;b&gt;&quot;x&quot; seed 1</title>"));
    }

    /// Nothing is loaded, and only our own script and style run.
    #[test]
    fn the_page_stands_alone() {
        let page = page_of("s", "");
        assert!(page.contains("default-src 'none'; script-src 'sha256-"), "no policy");
        for word in ["http://", "https://", "src=", "@import", "url(", "innerHTML", "eval(", "onclick="] {
            assert!(!page.contains(word), "{word} in the page");
        }
        assert_eq!(page.matches("<script").count(), 2);
    }
}
