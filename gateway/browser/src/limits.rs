//! Bounds that are not settings.

use std::time::Duration;

/// Bytes of a request's body.
pub const BODY_BYTES: usize = 256 << 10;
/// Bytes of a picture; one that is larger is refused.
pub const PICTURE_BYTES: usize = 8 << 20;
/// Bytes of one message of a browser: a picture as text, or the accessibility tree of a large page.
pub const MESSAGE_BYTES: usize = 32 << 20;
/// Height of a picture of a whole page, in CSS pixels.
pub const PICTURE_HEIGHT: f64 = 8000.0;
/// Its width.
pub const PICTURE_WIDTH: f64 = 4000.0;
/// Characters of a snapshot when nobody says how many ...
pub const SNAPSHOT_CHARS: usize = 20_000;
/// ... and at most.
pub const SNAPSHOT_CHARS_MAX: usize = 100_000;
/// Nodes of the accessibility tree that a snapshot looks at.
pub const SNAPSHOT_NODES: usize = 50_000;
/// Levels of it that are shown.
pub const SNAPSHOT_DEPTH: usize = 60;
/// Characters of a name in it.
pub const NAME_CHARS: usize = 400;
/// Characters of the value that `evaluate` gives.
pub const VALUE_CHARS: usize = 20_000;
/// Characters that are typed at once.
pub const TYPED_CHARS: usize = 20_000;
/// Characters of an address.
pub const ADDRESS_CHARS: usize = 8192;
/// Tabs of one browser that are listed.
pub const TABS: usize = 100;
/// Profiles that are kept; each has a port of its own.
pub const PROFILES: usize = 64;
/// Browsers that run at a time.
pub const RUNNING: usize = 4;
/// Calls to a browser that wait to be written.
pub const CALLS: usize = 64;
/// A started browser answers within this time.
pub const START: Duration = Duration::from_secs(20);
/// How often it is asked meanwhile.
pub const START_POLL: Duration = Duration::from_millis(100);
/// One question meanwhile, and a connection to a browser, take no longer.
pub const CONNECT: Duration = Duration::from_secs(3);
/// A browser that is told to close has this long for it; then it is ended.
pub const CLOSE: Duration = Duration::from_secs(3);
/// After the end of a browser of before, its profile's data are free within this time.
pub const FREED: Duration = Duration::from_millis(500);
/// A call takes this long when nobody says how long ...
pub const CALL: Duration = Duration::from_secs(20);
/// ... and at most.
pub const CALL_MAX: Duration = Duration::from_mins(2);
/// How often a page is looked at while something is waited for.
pub const WAIT_POLL: Duration = Duration::from_millis(100);
/// What a browser wrote to its standard error and is told when it does not start, in bytes.
pub const LAST_WORDS: usize = 4096;
/// The head of a request through the guard.
pub const GUARD_HEAD: usize = 32 << 10;
/// Connections through the guard of one browser.
pub const GUARD_CONNECTIONS: usize = 256;
/// A connection of the guard to a site, and the head of a request to it, take no longer.
pub const GUARD_TIME: Duration = Duration::from_secs(15);
