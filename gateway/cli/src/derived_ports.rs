//! The ports of this instance besides its own, as `gateway status` reports them.

use openclaw_config::{CanvasEnv, CanvasHost, Ports, configured_ports};
use schemars::JsonSchema;
use serde::Serialize;

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

/// The ports as scripts read them; null where there is none.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DerivedPorts {
    /// The gateway's own.
    pub gateway: u16,
    /// Browser control.
    pub browser_control: Option<u16>,
    /// Those of browser profiles.
    pub cdp: Option<PortRange>,
    /// The canvas.
    pub canvas: Option<u16>,
    /// What said where the canvas is: `env`, `config`, `derived`, `off`.
    pub canvas_source: String,
}

/// From this one to that one, both included.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PortRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

/// `ports` for a report.
pub fn report(ports: &Ports) -> DerivedPorts {
    DerivedPorts {
        gateway: ports.gateway,
        browser_control: ports.browser_control,
        cdp: ports.cdp.as_ref().map(|cdp| PortRange { from: *cdp.start(), to: *cdp.end() }),
        canvas: ports.canvas,
        canvas_source: ports.canvas_source.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn row_090_the_report_follows_base_file_and_environment() {
        let of = |vars: &[(&str, &str)], base| {
            json!(report(&derived_ports(&Env::of(vars), base, &CanvasHost::default()).unwrap()))
        };
        let expected = json!({"gateway": 21310, "browserControl": 21312, "cdp": {"from": 21321, "to": 21420},
            "canvas": 21314, "canvasSource": "derived"});
        assert_eq!(of(&[], 21310), expected);
        assert_eq!(of(&[(CANVAS_PORT, "21390")], 21310)["canvas"], 21390);
        assert_eq!(of(&[(SKIP_CANVAS, "1")], 21310)["canvas"], Value::Null);
        let wrong = derived_ports(&Env::of(&[(CANVAS_PORT, "many")]), 1, &CanvasHost::default()).unwrap_err();
        assert!(wrong.code() == 78 && wrong.to_string().contains(CANVAS_PORT), "{wrong}");
    }
}
