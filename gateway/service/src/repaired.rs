/// A file that is right again.
#[derive(Clone, PartialEq, Eq)]
pub struct Repaired {
    /// All of it. Holds secrets.
    pub text: String,
    /// Names of what somebody added and what stays.
    pub kept: Vec<String>,
    /// Names of what somebody added and what keeps the service from doing what it is there for.
    pub dropped: Vec<String>,
}

impl std::fmt::Debug for Repaired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repaired").field("kept", &self.kept).field("dropped", &self.dropped).finish_non_exhaustive()
    }
}
