/// Ports derived from the base port (manual: derived ports).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// WebSocket and HTTP.
    pub gateway: u16,
    /// Browser control, base + 2, loopback only (D3).
    pub browser_control: Option<u16>,
    /// Canvas, base + 4 (D1).
    pub canvas: Option<u16>,
}

/// The derived ports of `base`; `None` where the sum is no port.
pub fn ports(base: u16) -> Ports {
    Ports { gateway: base, browser_control: base.checked_add(2), canvas: base.checked_add(4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canvas_and_browser_follow_the_base() {
        assert_eq!(ports(18789).canvas, Some(18793));
        assert_eq!((ports(19001).browser_control, ports(19001).canvas), (Some(19003), Some(19005)));
        assert_eq!((ports(65533).browser_control, ports(65533).canvas), (Some(65535), None));
    }
}
