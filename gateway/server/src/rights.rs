//! Who may do what. A [`Principal`] is made at one place per way in, goes with the request, the run, the note and the
//! message, and is asked where something is done ([`may`]). The rules stand in `table` and in docs/security.md, nowhere
//! else (S23, decisions D46 to D48).

mod limits;
mod owner;
mod principal;
mod table;

pub use limits::limits;
pub use owner::{Owner, owner_of};
pub use principal::{Principal, Standing};
pub use table::{Effect, Refused, Rights, Where, may, refusal, require};
