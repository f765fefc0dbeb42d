use std::ops::RangeInclusive;

use crate::CanvasHost;

/// How far above the base port an instance may reach: the last debugging port of a browser profile, control + 108.
const REACH: u16 = 110;

/// Ports derived from the base port (manual: derived ports).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// WebSocket and HTTP.
    pub gateway: u16,
    /// Browser control, base + 2, loopback only (D3).
    pub browser_control: Option<u16>,
    /// Debugging ports of browser profiles: control + 9 to control + 108.
    pub cdp: Option<RangeInclusive<u16>>,
    /// Canvas, base + 4 (D1) unless it is told another one, or is off.
    pub canvas: Option<u16>,
    /// What decided about the canvas.
    pub canvas_source: CanvasSource,
}

/// What decided the canvas port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanvasSource {
    /// OPENCLAW_SKIP_CANVAS_HOST or `canvasHost.enabled: false`: there is none.
    Off,
    /// OPENCLAW_CANVAS_HOST_PORT
    Environment,
    /// `canvasHost.port`
    File,
    /// Base + 4.
    Derived,
}

impl CanvasSource {
    /// For people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Environment => "env",
            Self::File => "config",
            Self::Derived => "derived",
        }
    }
}

/// What the environment says of the canvas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CanvasEnv {
    /// OPENCLAW_CANVAS_HOST_PORT
    pub port: Option<u16>,
    /// OPENCLAW_SKIP_CANVAS_HOST
    pub skip: bool,
}

/// The derived ports of `base`, where nothing says otherwise; `None` where the sum is no port.
pub fn ports(base: u16) -> Ports {
    configured_ports(base, &CanvasHost::default(), CanvasEnv::default())
}

/// The same with what the file and the environment say of the canvas. The environment beats the file, as for the port itself.
pub fn configured_ports(base: u16, canvas: &CanvasHost, env: CanvasEnv) -> Ports {
    let browser_control = base.checked_add(2);
    let cdp = browser_control.and_then(|control| Some(control.checked_add(9)?..=control.checked_add(108)?));
    let (canvas, canvas_source) = match (env.port, canvas.port) {
        _ if env.skip || !canvas.enabled => (None, CanvasSource::Off),
        (Some(port), _) => (Some(port), CanvasSource::Environment),
        (None, Some(port)) => (Some(port), CanvasSource::File),
        (None, None) => (base.checked_add(4), CanvasSource::Derived),
    };
    Ports { gateway: base, browser_control, cdp, canvas, canvas_source }
}

/// Whether two instances with these base ports could come to use the same one.
pub fn overlap(base: u16, other: u16) -> bool {
    base.abs_diff(other) <= REACH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_091_093_096_browser_canvas_and_cdp_follow_the_base() {
        assert_eq!(ports(18789).canvas, Some(18793));
        assert_eq!((ports(19001).browser_control, ports(19001).canvas), (Some(19003), Some(19005)));
        assert_eq!(ports(21310).cdp, Some(21321..=21420));
        assert_eq!((ports(65533).browser_control, ports(65533).canvas, ports(65533).cdp), (Some(65535), None, None));
    }

    #[test]
    fn row_089_094_095_the_canvas_port_is_the_environments_then_the_files_then_derived() {
        let file = CanvasHost { port: Some(21391), ..CanvasHost::default() };
        let env = CanvasEnv { port: Some(21390), skip: false };
        let canvas = |file: &CanvasHost, env| {
            let ports = configured_ports(21310, file, env);
            (ports.canvas, ports.canvas_source)
        };
        assert_eq!(canvas(&file, env), (Some(21390), CanvasSource::Environment));
        assert_eq!(canvas(&file, CanvasEnv::default()), (Some(21391), CanvasSource::File));
        assert_eq!(canvas(&CanvasHost::default(), CanvasEnv::default()), (Some(21314), CanvasSource::Derived));
    }

    #[test]
    fn row_042_043_no_canvas_port_where_it_is_off() {
        let env = CanvasEnv { port: Some(21390), skip: true };
        assert_eq!(configured_ports(21310, &CanvasHost::default(), env).canvas, None);
        let file = CanvasHost { enabled: false, port: Some(5), ..CanvasHost::default() };
        assert_eq!(configured_ports(21310, &file, CanvasEnv::default()).canvas_source, CanvasSource::Off);
    }

    #[test]
    fn row_070_instances_a_hundred_and_eleven_apart_do_not_meet() {
        assert!(overlap(18789, 18899) && overlap(18899, 18789) && !overlap(18789, 18900) && !overlap(18789, 19001));
        // The last port of the lower one is below the first of the upper one.
        assert!(*ports(18789).cdp.unwrap().end() < 18900);
    }
}
