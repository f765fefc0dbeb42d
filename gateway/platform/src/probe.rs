//! Claims that the simulator checks and production ignores.

/// Receives the claims that the code makes about itself.
pub trait Probe: Send + Sync {
    /// `holds` must be true every time this line is reached.
    fn always(&self, name: &'static str, holds: bool);
    /// This line should be reached in some run.
    fn sometimes(&self, name: &'static str);
    /// Something that has a bound came to `value`.
    fn gauge(&self, name: &'static str, value: u64) {
        let _ = (name, value);
    }
}

/// The probe of production: nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn always(&self, _: &'static str, _: bool) {}
    fn sometimes(&self, _: &'static str) {}
}
