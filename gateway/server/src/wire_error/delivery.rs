//! Messages on their way out.

use openclaw_protocol::error::{ErrorCode, ErrorShape};

use super::{RETRY_MS, fails_with, not_stored, storage, tells};
use crate::{
    delivery::{NoPlace, NoRoom, NotKept, NotSent, Reason, Refused, StillPending, Undelivered},
    failure::Failure,
};

/// When there may be room for another message, in milliseconds.
const ROOM_RETRY_MS: u64 = 5000;
/// When a message that waits may have gone out, in milliseconds.
const PENDING_RETRY_MS: u64 = 10_000;

fails_with!(Refused, NoRoom);
tells!(Undelivered);

impl From<Refused> for ErrorShape {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::NoSuch(_) => Self::invalid("NO_SUCH_DELIVERY", text),
            Refused::Busy(_) => Self::unavailable("DELIVERY_BUSY", text).retry(Some(RETRY_MS)),
            Refused::Store(error) => storage(error),
        }
    }
}

impl From<NotKept> for ErrorShape {
    fn from(lost: NotKept) -> Self {
        not_stored(&lost.to_string())
    }
}

impl From<NoRoom> for ErrorShape {
    fn from(full: NoRoom) -> Self {
        Self::unavailable("OUTBOX_FULL", full.to_string()).retry(Some(ROOM_RETRY_MS))
    }
}

impl From<NoPlace> for ErrorShape {
    fn from(error: NoPlace) -> Self {
        match error {
            NoPlace::Unreachable(error) => error.into(),
            NoPlace::Refused(error) => error.into(),
        }
    }
}

impl From<Undelivered> for ErrorShape {
    fn from(error: Undelivered) -> Self {
        let Undelivered { id, reason, why } = error;
        let shape = match reason {
            None => Self::unavailable("DELIVERY_UNKNOWN", why),
            Some(Reason::Refused) => Self::unavailable("DELIVERY_REFUSED", why),
            Some(Reason::GaveUp) => Self::unavailable("DELIVERY_FAILED", why).retry(None),
            Some(Reason::Expired) => Self::unavailable("DELIVERY_EXPIRED", why),
            Some(Reason::NotLinked) => Self::new(ErrorCode::NotLinked, "NOT_LINKED", why),
            Some(Reason::NoAccount) => Self::invalid("UNSUPPORTED_CHANNEL", why),
            Some(Reason::NoMedia) => Self::unavailable("MEDIA_FILE", why),
            Some(Reason::Dropped) => Self::unavailable("DELIVERY_DROPPED", why),
        };
        shape.with("deliveryId", id)
    }
}

impl From<StillPending> for ErrorShape {
    fn from(pending: StillPending) -> Self {
        Self::unavailable("DELIVERY_PENDING", pending.to_string()).retry(Some(PENDING_RETRY_MS))
    }
}

impl From<NotSent> for Failure {
    fn from(error: NotSent) -> Self {
        let text = error.to_string();
        let shape: ErrorShape = match error {
            NotSent::NoAccount(_) | NotSent::NoChannel(_) => ErrorShape::invalid("UNSUPPORTED_CHANNEL", text),
            NotSent::Empty => ErrorShape::invalid("EMPTY_MESSAGE", text),
            NotSent::Unreachable(error) => error.into(),
            NotSent::NoPlace(error) => error.into(),
            NotSent::NoRoom(error) => error.into(),
            NotSent::NotEnclosed(error) => error.into(),
            NotSent::Key(error) => error.into(),
            NotSent::Earlier(error) => return error.into(),
            NotSent::StillPending(error) => error.into(),
            NotSent::Store(error) => error.into(),
        };
        shape.into()
    }
}
