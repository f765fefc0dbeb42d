//! Places for requests that wait for a person, so that neither a flood pushes out one that was just made, nor holds all
//! places (D46).

use std::{net::IpAddr, time::Duration};

use crate::limits::WAITING_PROTECTED;

/// A place that is taken.
#[derive(Debug, Clone)]
pub struct Seat<K> {
    /// Of the request.
    pub id: K,
    /// It was made from the same place as the new one.
    pub own: bool,
    /// How long the place is taken: a request that took the place of another from there goes on from that one's age, so
    /// that nobody stays young by asking again and again.
    pub age: Duration,
}

/// Where a new request may sit down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room<K> {
    /// There is a free place.
    Free,
    /// This one makes room.
    InsteadOf(K),
}

/// No place: all are taken by requests that are younger than [`WAITING_PROTECTED`] and from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for a person: try again in {} s", retry.as_secs() + 1)]
pub struct Full {
    /// From then on the oldest makes room.
    pub retry: Duration,
}

/// A place among `places`, of which requests from one origin have `each` at most. Who has that many gives up the oldest
/// of his own; else the oldest makes room, but for those younger than [`WAITING_PROTECTED`] from elsewhere.
///
/// # Errors
/// [`Full`].
pub fn room<K>(seats: Vec<Seat<K>>, places: usize, each: usize) -> Result<Room<K>, Full> {
    let (taken, own) = (seats.len(), seats.iter().filter(|s| s.own).count());
    if own < each && taken < places {
        return Ok(Room::Free);
    }
    let eldest = seats.iter().map(|s| s.age).max().unwrap_or_default();
    let gives_way = |s: &Seat<K>| s.own || (own < each && s.age >= WAITING_PROTECTED);
    let oldest = seats.into_iter().filter(gives_way).max_by_key(|s| s.age);
    oldest.map(|s| Room::InsteadOf(s.id)).ok_or(Full { retry: WAITING_PROTECTED.saturating_sub(eldest) })
}

/// One place for all addresses that one host may choose among: an IPv6 network of 64 bits, else the address; all of this
/// machine are one (`None`).
pub fn origin(ip: Option<&str>) -> String {
    match ip.and_then(|ip| ip.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical()) {
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::")
        }
        Some(IpAddr::V4(ip)) => ip.to_string(),
        None => ip.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(list: &[(bool, u64)]) -> Vec<Seat<usize>> {
        let seat = |(id, (own, age)): (usize, &(bool, u64))| Seat { id, own: *own, age: Duration::from_secs(*age) };
        list.iter().enumerate().map(seat).collect()
    }

    #[test]
    fn d46_the_oldest_makes_room_but_for_the_young_of_others() {
        let room = |list: &[(bool, u64)]| room(seats(list), 3, 2);
        assert_eq!(room(&[(false, 1), (false, 90)]), Ok(Room::Free));
        assert_eq!(room(&[(false, 1), (false, 90), (false, 60)]), Ok(Room::InsteadOf(1)));
        assert_eq!(room(&[(false, 1), (false, 59), (false, 2)]), Err(Full { retry: Duration::from_secs(1) }));
        assert_eq!(room(&[(false, 59), (false, 2), (true, 1)]), Ok(Room::InsteadOf(2)), "one's own may be young");
        assert_eq!(
            room(&[(false, 99), (true, 1), (true, 2)]),
            Ok(Room::InsteadOf(2)),
            "nobody has more than his share"
        );
        assert_eq!(room(&[(true, 1), (true, 2)]), Ok(Room::InsteadOf(1)));
    }

    #[test]
    fn d46_addresses_that_one_host_chooses_among_are_one() {
        assert_eq!(origin(Some("2001:db8:1:2::1")), origin(Some("2001:db8:1:2:ffff::9")));
        assert_ne!(origin(Some("2001:db8:1:2::1")), origin(Some("2001:db8:1:3::1")));
        assert_eq!(origin(Some("::ffff:203.0.113.9")), origin(Some("203.0.113.9")));
        assert_ne!(origin(Some("203.0.113.9")), origin(Some("203.0.113.8")));
        assert_eq!(origin(None), "");
    }
}
