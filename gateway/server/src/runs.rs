//! Agent runs: one at a time per session, in order of arrival, a bounded number side by side. A run belongs to its
//! session, not to the connection that asked for it (F13, F17).

pub mod at_end;
pub mod emitter;
pub mod execute;
mod failed;
pub mod follow;
pub mod manager;
pub mod outcome;
pub mod permit;
pub mod queue;
pub mod record;
pub mod recover;
pub mod request;
pub mod reservation;
pub mod run;

pub use at_end::AtEnd;
pub use failed::{Failed, NotAccepted, NotQueued};
pub use manager::{Deps, Runs, Toolbox, Waited};
pub use outcome::Outcome;
pub use request::{ReplyTo, RunRequest, default_timeout};
pub use reservation::{Accepted, Reservation};
pub use run::Run;
