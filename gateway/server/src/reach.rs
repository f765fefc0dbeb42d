//! What keeps clients from reaching the gateway in the way that its configuration says, for whoever asks how it is.

use std::collections::BTreeMap;

use openclaw_platform::sync::{LockExt as _, Mutex};

/// A way in which clients reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The certificate of the port.
    Tls,
    /// The port, published through Tailscale.
    Tailscale,
}

/// What is wrong with each of them now.
#[derive(Debug, Default)]
pub struct Reach(Mutex<BTreeMap<Way, String>>);

impl Reach {
    /// This way is not as it was asked for. True when that is news.
    pub fn fails(&self, way: Way, why: String) -> bool {
        self.0.locked().insert(way, why.clone()) != Some(why)
    }

    /// Nothing is wrong with it (any more).
    pub fn works(&self, way: Way) {
        self.0.locked().remove(&way);
    }

    /// All of it, for the list of problems.
    pub fn failing(&self) -> BTreeMap<Way, String> {
        self.0.locked().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_told_until_they_are_over() {
        let reach = Reach::default();
        assert!(reach.failing().is_empty());
        assert!(reach.fails(Way::Tailscale, "down".into()) && reach.fails(Way::Tls, "broken".into()));
        assert!(!reach.fails(Way::Tls, "broken".into()), "no news");
        assert_eq!(reach.failing()[&Way::Tls], "broken");
        reach.works(Way::Tls);
        assert_eq!(reach.failing(), [(Way::Tailscale, "down".to_owned())].into());
    }
}
