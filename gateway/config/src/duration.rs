use std::time::Duration;

/// Reads `90s`, `30m`, `1h`, `2d`, `500ms`, `1h30m`; a bare number is minutes. At most ten years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    const MAX_MS: u64 = 10 * 365 * 86_400_000;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |i| digits + i);
        let factor = match rest[digits..unit_end].trim() {
            "ms" => 1,
            "s" => 1000,
            "" | "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?).filter(|t| *t <= MAX_MS)?;
        rest = &rest[unit_end..];
    }
    Some(Duration::from_millis(total))
}

impl crate::Heartbeat {
    /// Time between two turns; `None` when switched off.
    pub fn interval(&self) -> Option<Duration> {
        parse_duration(&self.every).filter(|d| !d.is_zero())
    }
}

impl crate::SessionMaintenance {
    /// `pruneAfter`; `None` when it cannot be read or is less than an hour.
    pub fn prune_after(&self) -> Option<Duration> {
        parse_duration(&self.prune_after).filter(|d| *d >= Duration::from_hours(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        let ms = |t: &str| parse_duration(t).map(|d| d.as_millis());
        assert_eq!(ms("30m"), Some(1_800_000));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("5"), Some(300_000));
        assert_eq!(ms("500ms"), Some(500));
        for bad in ["", "m", "1x", "-1m", "99999999999999999999d", "1000000d", "1h-"] {
            assert_eq!(ms(bad), None, "{bad}");
        }
        let off = crate::Heartbeat { every: "0m".to_owned(), ..Default::default() };
        assert_eq!(off.interval(), None);
    }
}
