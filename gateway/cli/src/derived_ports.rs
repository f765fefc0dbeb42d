//! The ports of this instance besides its own, as `gateway status` reports them.

use openclaw_config::{CanvasEnv, CanvasHost, Ports, configured_ports};
use serde_json::{Value, json};

use crate::{env::Env, failure::Failure};

/// The canvas's own port.
const CANVAS_PORT: &str = "OPENCLAW_CANVAS_HOST_PORT";
/// No canvas at all.
const SKIP_CANVAS: &str = "OPENCLAW_SKIP_CANVAS_HOST";

/// The ports that follow from the base port, the file and the environment.
///
/// # Errors
/// Config: OPENCLAW_CANVAS_HOST_PORT is no port.
pub fn derived_ports(env: &Env, base: u16, canvas: &CanvasHost) -> Result<Ports, Failure> {
    let port = env.port(CANVAS_PORT)?;
    Ok(configured_ports(base, canvas, CanvasEnv { port, skip: env.flag(SKIP_CANVAS) }))
}

/// `{gateway, browserControl, cdp: {from, to}, canvas, canvasSource}`; null where there is none.
pub fn report(ports: &Ports) -> Value {
    json!({
        "gateway": ports.gateway,
        "browserControl": ports.browser_control,
        "cdp": ports.cdp.as_ref().map(|cdp| json!({ "from": cdp.start(), "to": cdp.end() })),
        "canvas": ports.canvas,
        "canvasSource": ports.canvas_source.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_090_the_report_follows_base_file_and_environment() {
        let of =
            |vars: &[(&str, &str)], base| report(&derived_ports(&Env::of(vars), base, &CanvasHost::default()).unwrap());
        let expected = json!({"gateway": 21310, "browserControl": 21312, "cdp": {"from": 21321, "to": 21420},
            "canvas": 21314, "canvasSource": "derived"});
        assert_eq!(of(&[], 21310), expected);
        assert_eq!(of(&[(CANVAS_PORT, "21390")], 21310)["canvas"], 21390);
        assert_eq!(of(&[(SKIP_CANVAS, "1")], 21310)["canvas"], Value::Null);
        let wrong = derived_ports(&Env::of(&[(CANVAS_PORT, "many")]), 1, &CanvasHost::default()).unwrap_err();
        assert!(wrong.code() == 78 && wrong.to_string().contains(CANVAS_PORT), "{wrong}");
    }
}
