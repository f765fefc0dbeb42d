//! When a session begins anew by itself: at an hour of the day, or after it was idle for long.

use openclaw_config::{Config, ResetMode};
use openclaw_platform::Millis;

use super::entry::SessionEntry;

/// True when the session's reset is due: past the daily hour in this time zone, or idle too long.
pub fn is_stale(config: &Config, zone: &jiff::tz::TimeZone, entry: &SessionEntry, now: Millis) -> bool {
    let reset = &config.session.reset;
    let idle = reset.idle_minutes.or(config.session.idle_minutes);
    let idle_ms = match (reset.mode, idle) {
        (_, Some(minutes)) => Some(minutes * 60_000),
        (ResetMode::Idle, None) => Some(60 * 60_000),
        (ResetMode::Daily, None) => None,
    };
    if idle_ms.is_some_and(|limit| now.saturating_sub(entry.updated_at) > limit) {
        return true;
    }
    if reset.mode != ResetMode::Daily {
        return false;
    }
    daily_boundary(now, reset.at_hour as i8, zone).is_some_and(|b| entry.updated_at < b)
}

/// The latest moment at which the clock showed `hour` o'clock.
fn daily_boundary(now: Millis, hour: i8, zone: &jiff::tz::TimeZone) -> Option<Millis> {
    let local = jiff::Timestamp::from_millisecond(i64::try_from(now).ok()?).ok()?.to_zoned(zone.clone());
    let today = local.date().at(hour, 0, 0, 0).to_zoned(zone.clone()).ok()?;
    let boundary = if today.timestamp() <= local.timestamp() {
        today
    } else {
        local.date().yesterday().ok()?.at(hour, 0, 0, 0).to_zoned(zone.clone()).ok()?
    };
    u64::try_from(boundary.timestamp().as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daily_boundary_is_the_latest_one() {
        let at = |s: &str| s.parse::<jiff::Timestamp>().unwrap().as_millisecond() as Millis;
        let utc = jiff::tz::TimeZone::UTC;
        let b = |now: &str| daily_boundary(at(now), 4, &utc).unwrap();
        assert_eq!(b("2026-11-22T03:59:59Z"), at("2026-11-21T04:00:00Z"));
        assert_eq!(b("2026-11-22T04:00:00Z"), at("2026-11-22T04:00:00Z"));
        assert_eq!(b("2026-11-22T23:00:00Z"), at("2026-11-22T04:00:00Z"));
    }
}
