//! What a caller may do to devices: its scopes count, and whose device it is (S06).

use openclaw_protocol::scope::{Role, Scope, Scopes};

/// The caller of a device method.
#[derive(Debug, Clone)]
pub struct Authority {
    /// What its connection holds.
    pub scopes: Scopes,
    /// Its own device, when it signed in with one.
    pub device_id: Option<String>,
}

impl Authority {
    /// Sees and decides everything.
    pub fn is_admin(&self) -> bool {
        self.scopes.contains(Scope::Admin.as_str())
    }

    /// A device without the admin scope has a say in its own affairs only; the shared credential (which is good on this
    /// machine only) in all.
    pub fn may_manage(&self, device_id: &str) -> bool {
        self.is_admin() || self.device_id.as_deref().is_none_or(|own| own == device_id)
    }

    /// The first of `scopes` that the caller does not hold itself: nobody hands out what he has not.
    pub fn lacks<'a>(&self, scopes: &'a Scopes) -> Option<&'a str> {
        let holds = |scope: &str| {
            self.is_admin()
                || self.scopes.contains(scope)
                || (scope == Scope::Read.as_str() && self.scopes.allow(Scope::Read))
        };
        scopes.as_slice().iter().map(String::as_str).find(|s| !holds(s))
    }

    /// May it approve a request of `device_id` for `role`? Nobody lets himself into a new role.
    pub fn may_admit(&self, device_id: &str, role: Role, has_role: bool) -> bool {
        let own = self.device_id.as_deref() == Some(device_id);
        self.may_manage(device_id) && (self.is_admin() || !own || has_role || role == Role::Operator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scopes: &[&str], device: Option<&str>) -> Authority {
        Authority { scopes: Scopes::new(scopes.iter().map(|s| (*s).to_owned())), device_id: device.map(str::to_owned) }
    }

    #[test]
    fn s06_a_device_manages_itself_only() {
        let pairing = ["operator.pairing"];
        assert!(caller(&pairing, Some("a")).may_manage("a"));
        assert!(!caller(&pairing, Some("a")).may_manage("b"));
        assert!(caller(&pairing, None).may_manage("b"));
        assert!(caller(&["operator.admin"], Some("a")).may_manage("b"));
        assert!(!caller(&pairing, Some("a")).may_admit("a", Role::Node, false));
        assert!(caller(&pairing, Some("a")).may_admit("a", Role::Node, true));
        assert!(caller(&pairing, None).may_admit("a", Role::Node, false));
    }

    #[test]
    fn s06_nobody_hands_out_what_he_has_not() {
        let scopes = |list: &[&str]| caller(list, None).scopes;
        let write = caller(&["operator.write", "operator.pairing"], None);
        assert_eq!(write.lacks(&scopes(&["operator.read", "operator.write"])), None);
        assert_eq!(write.lacks(&scopes(&["operator.admin"])), Some("operator.admin"));
        assert_eq!(write.lacks(&scopes(&["bogus"])), Some("bogus"));
        assert_eq!(caller(&["operator.admin"], None).lacks(&scopes(&["bogus", "operator.approvals"])), None);
        assert_eq!(caller(&["operator.pairing"], None).lacks(&scopes(&["operator.read"])), Some("operator.read"));
    }
}
