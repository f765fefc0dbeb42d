use std::net::IpAddr;

use ipnet::IpNet;

/// An address or a range of them: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Reads an address, with or without `/bits`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let net = if text.contains('/') { text.parse().ok()? } else { text.parse::<IpAddr>().ok()?.into() };
        Some(Self(net))
    }

    /// True for a range that no person filled with proxies: larger than the largest private network (10/8, fc00::/7).
    pub fn is_wide(&self) -> bool {
        self.0.prefix_len() < if self.0.addr().is_ipv4() { 8 } else { 7 }
    }

    /// True when `ip` lies in it. Addresses of the two families never match; IPv4 in IPv6 is IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s13_ranges_end_where_they_say() {
        let has = |range: &str, ip: &str| Network::parse(range).unwrap().contains(ip.parse().unwrap());
        assert!(has("10.0.0.0/8", "10.255.1.2") && !has("10.0.0.0/8", "11.0.0.0"));
        assert!(has("192.168.1.128/25", "192.168.1.200") && !has("192.168.1.128/25", "192.168.1.127"));
        assert!(has("127.0.0.9", "127.0.0.9") && !has("127.0.0.9", "127.0.0.8"));
        assert!(has("0.0.0.0/0", "203.0.113.1") && !has("0.0.0.0/0", "::1"));
        assert!(has("fd00::/8", "fd12::1") && !has("fd00::/8", "fe80::1") && has("::/0", "::1"));
        assert!(has("10.0.0.0/8", "::ffff:10.1.1.1"), "IPv4 in IPv6");
        let is_wide = |range: &str| Network::parse(range).unwrap().is_wide();
        assert!(is_wide("0.0.0.0/0") && is_wide("::/0") && is_wide("0.0.0.0/1") && is_wide("2000::/3"));
        assert!(!is_wide("10.0.0.0/8") && !is_wide("127.0.0.1") && !is_wide("fd00::/8"));
        for bad in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "proxy.example", "10.0.0.0/8/8"] {
            assert!(Network::parse(bad).is_none(), "{bad}");
        }
    }
}
