//! Bounds that are not settings. Those that are stand in `openclaw_config::Limits`.

use std::time::Duration;

/// Requests of one connection that may be under way; further ones wait in order (F58).
pub const REQUESTS_IN_FLIGHT: usize = 64;
/// The same for calls that end or answer something: they have places of their own when the others are taken.
pub const CONTROL_IN_FLIGHT: usize = 8;
/// Requests of one connection that wait for a place, and as many control calls; one more is refused ...
pub const REQUESTS_WAITING: usize = 1024;
/// ... and so is one that brings them over these bytes. The first that waits may be larger.
pub const REQUESTS_WAITING_BYTES: usize = 4 << 20;
/// When to try again after that, in milliseconds.
pub const REQUESTS_RETRY_MS: u64 = 1000;
/// Slices of large reads (lists, histories, files) that run at a time, of all connections.
pub const BULK_READS: usize = 2;
/// Sessions of a list that are read in one slice.
pub const BULK_SESSIONS: usize = 32;
/// Sessions that are looked at while their lock is held.
pub const SESSIONS_AT_ONCE: usize = 256;
/// Bytes of answers after which the other connections have their turn ...
pub const SHARE_BYTES: usize = 8 << 10;
/// ... and the time after which they have it in any case. A request that takes longer is not cut.
pub const SHARE_TIME: Duration = Duration::from_millis(1);
/// A closing connection gets this long to read what is queued and the close frame.
pub const CLOSE_FLUSH: Duration = Duration::from_secs(30);
/// A stop waits so long for callers to be told how their runs ended. Who waits for a delivery that cannot be made now is not
/// waited for any longer.
pub const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// After the drain deadline: for runs to store what they have, and for parts that are at a service to arrive there.
pub const LAST_WORK: Duration = Duration::from_secs(1);
/// A stop gives peers this long to read their close frame and to close their ends, on a slow line too; then connections are cut.
pub const GOODBYE: Duration = Duration::from_millis(500);
/// ... and waits so long for all other tasks to end, work with files included; those that are left are named and cut.
pub const LAST_TASKS: Duration = Duration::from_secs(5);
/// After a refused frame, what the peer still sends is read and dropped for this long, so that it sees the close frame.
pub const LINGER: Duration = Duration::from_secs(2);
/// ... and at most this many bytes of it.
pub const LINGER_BYTES: usize = 4 << 20;
/// One write of queued frames, in bytes.
pub const WRITE_BATCH: usize = 64 << 10;
/// Connections to the browser control that have shown no credential; the oldest makes room ...
pub const CONTROL_CONNECTIONS: usize = 32;
/// ... and each has this long.
pub const CONTROL_TIME: Duration = Duration::from_secs(10);
/// Close reasons are cut to this many bytes (RFC 6455 allows 123).
pub const CLOSE_REASON: usize = 120;
/// Presence entries kept; the oldest that is not live goes first.
pub const PRESENCE_ENTRIES: usize = 200;
/// A presence entry without a live connection expires after this (decision D11).
pub const PRESENCE_TTL_MS: u64 = 300_000;
/// Longest text of a presence entry, in characters; each event carries the whole list.
pub const PRESENCE_TEXT: usize = 512;
/// Labels or scopes of a presence entry.
pub const PRESENCE_LIST: usize = 32;
/// System events waiting per session.
pub const SYSTEM_EVENTS: usize = 20;
/// Longest message of a note that is told after a restart, characters.
pub const RESTART_NOTE: usize = 2000;
/// Sessions with waiting system events.
pub const SYSTEM_EVENT_SESSIONS: usize = 256;
/// A health event at least this often (decision D12).
pub const HEALTH_INTERVAL: Duration = Duration::from_mins(1);
/// Events of the growing text of one run (`agent` and `chat`, each with the whole text) are at least this far apart ...
pub const TEXT_EVENT: Duration = Duration::from_millis(150);
/// ... and a text of more bytes than this ...
pub const TEXT_EVENT_SMALL: usize = 8 << 10;
/// ... is told again only when it has grown by one part in so many, so that all events of a text together are a small
/// multiple of it (S36).
pub const TEXT_EVENT_PART: usize = 10;
/// Ended runs that can still be asked about, and for how long.
pub const ENDED_RUNS: usize = 1000;
/// See [`ENDED_RUNS`].
pub const ENDED_RUN_TTL: Duration = Duration::from_mins(10);
/// Parties that follow one run.
pub const FOLLOWERS: usize = 32;
/// What a follower of a run has not heard yet: steps, and bytes of them.
pub const FOLLOWED_EVENTS: usize = 256;
/// See [`FOLLOWED_EVENTS`].
pub const FOLLOWED_BYTES: usize = 1 << 20;
/// `agent.wait` waits at most this long.
pub const AGENT_WAIT_MAX: Duration = Duration::from_hours(24);
/// Bytes of a `chat.history` answer; the oldest messages go first.
pub const HISTORY_BYTES: usize = 6 << 20;
/// Messages of a transcript that a model is given.
pub const CONTEXT_MESSAGES: usize = 400;
/// Decoded bytes of one attachment of a request.
pub const ATTACHMENT_BYTES: usize = 5_000_000;
/// Files that people sent and that are kept; the oldest make room (F04).
pub const RECEIVED_FILES: usize = 1000;
/// Bytes of all of them.
pub const RECEIVED_BYTES: u64 = 1 << 30;
/// Attachments of one request or inbound message.
pub const ATTACHMENTS: usize = 10;
/// Bytes of one media file sent through a channel.
pub const MEDIA_BYTES: usize = 50 << 20;
/// Bytes of media that are loaded and not stored yet, of all calls together; others wait (F58) ...
pub const MEDIA_IN_MEMORY: usize = 128 << 20;
/// ... and the same of inbound messages: one that is slow to come holds up no call.
pub const INBOUND_IN_MEMORY: usize = 64 << 20;
/// A local file is taken to be no larger than this until it shows to be; small ones do not wait for large shares.
pub const MEDIA_SMALL: usize = 1 << 20;
/// Characters of a session key (S11).
pub const SESSION_KEY: usize = 256;
/// Old sessions and transcripts are looked for this often (`session.maintenance`) ...
pub const MAINTENANCE: Duration = Duration::from_mins(5);
/// ... so many sessions go in one transaction, ...
pub const MAINTENANCE_SESSIONS: usize = 64;
/// ... and so many lines of a transcript.
pub const MAINTENANCE_LINES: usize = 1000;
/// Sessions kept; a new one beyond that is refused.
pub const SESSIONS: u64 = 100_000;
/// Pairing requests of devices that wait for a decision, and for how long.
pub const PENDING_DEVICES: usize = 64;
/// See [`PENDING_DEVICES`].
pub const PENDING_DEVICE_TTL: Duration = Duration::from_mins(5);
/// Of [`PENDING_DEVICES`], those from one address.
pub const PENDING_DEVICES_OF_ONE: usize = 8;
/// A node that declares more than was approved works on with what was approved, so that its request can wait for longer.
pub const PENDING_UPGRADE_TTL: Duration = Duration::from_hours(24);
/// A request that waits for a person is not pushed out by others for this long (D46).
pub const WAITING_PROTECTED: Duration = Duration::from_mins(1);
/// Commands, caps or permissions that a node may declare, and characters of each: they are stored and shown.
pub const DECLARED: usize = 256;
/// See [`DECLARED`].
pub const DECLARED_NAME: usize = 128;
/// Longest text that a device may say about itself, in characters; longer ones are cut.
pub const DEVICE_TEXT: usize = 128;
/// Scopes that a connection may ask for, and characters of each: they are stored and shown.
pub const SCOPES: usize = 32;
/// See [`SCOPES`].
pub const SCOPE_TEXT: usize = 64;
/// Wrong credentials from one address until it is locked out (S03); on this machine: until they are judged at a pace (D40).
pub const AUTH_FAILURES: u32 = 10;
/// The same from all other machines together.
pub const AUTH_FAILURES_IN_ALL: u32 = 200;
/// The first lock-out; each further one is twice as long, up to [`AUTH_LOCK_OUT_MAX`].
pub const AUTH_LOCK_OUT: Duration = Duration::from_mins(1);
/// See [`AUTH_LOCK_OUT`].
pub const AUTH_LOCK_OUT_MAX: Duration = Duration::from_mins(15);
/// Failures are forgotten after this long without a further one.
pub const AUTH_FORGET: Duration = Duration::from_mins(10);
/// Addresses whose failures are remembered.
pub const AUTH_ADDRESSES: usize = 4096;
/// On this machine wrong credentials of this time count together.
pub const AUTH_WINDOW: Duration = Duration::from_mins(1);
/// On this machine one more wrong credential is judged in this time once [`AUTH_FAILURES`] were.
pub const AUTH_PACE: Duration = Duration::from_secs(1);
/// A try on this machine waits at most this long for its turn.
pub const AUTH_HOLD: Duration = Duration::from_secs(3);
/// A handshake that takes longer than this is held; from then on the gateway looks whether its client is still there.
pub const HELD_AFTER: Duration = Duration::from_millis(100);
/// Tries on this machine that wait for their turn; one more is refused at once.
pub const AUTH_WAITING: usize = 512;
/// Instances remembered because they signed in; each has turns of its own.
pub const AUTH_INSTANCES: usize = 256;
/// Bytes of the name of such an instance; a longer one counts as unknown.
pub const AUTH_INSTANCE_TEXT: usize = 128;
/// Hashed passwords checked at a time; each takes up to [`PASSWORD_MEMORY_KIB`].
pub const PASSWORD_CHECKS: usize = 2;
/// Costs that a hashed password may have: memory ...
pub const PASSWORD_MEMORY_KIB: u32 = 256 << 10;
/// ... and passes over it.
pub const PASSWORD_PASSES: u32 = 16;
/// Longest password, bytes.
pub const PASSWORD_TEXT: usize = 1024;
/// Answers of `tailscale whois` remembered.
pub const WHOIS_ENTRIES: usize = 256;
/// Bytes of a connection before hello-ok that are its own ...
pub const PREAUTH_OWN_BYTES: usize = 16 << 10;
/// ... and what all of them together may hold beyond that (S12).
pub const PREAUTH_SHARED_BYTES: usize = 8 << 20;
/// One in so many places of connections without hello is kept for programs of this machine (S30).
pub const UNAUTHENTICATED_RESERVE: usize = 8;
/// A warning that strangers can cause is written at most this often; the next one tells how many there were.
pub const QUIET_WARNING: Duration = Duration::from_mins(1);
/// After a failed accept (no file descriptors left, say) the first pause ...
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// ... and the longest; each is twice the one before.
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// A refused connection gets this long to read why.
pub const REFUSED_FLUSH: Duration = Duration::from_secs(1);
/// Head of an HTTP request, bytes.
pub const HTTP_HEAD: usize = 32 << 10;
/// Body of an HTTP request, bytes; routes may allow less.
pub const HTTP_BODY: u64 = 20 << 20;
/// Version 1 signatures remembered while they could be replayed; a device that finds no room has to sign the nonce.
pub const V1_SIGNATURES: usize = 1024;
/// Paired devices kept.
pub const DEVICES: usize = 1000;
/// Commands that wait for a person's decision; as many decisions that were not used yet.
pub const APPROVALS: usize = 256;
/// Lines of the log about what is wrong with the stored policy, each time.
pub const PROBLEMS_TOLD: usize = 20;
/// A person has this long to decide when the caller does not say.
pub const APPROVAL_DEFAULT: Duration = Duration::from_mins(2);
/// A caller waits at most this long for a decision.
pub const APPROVAL_MAX: Duration = Duration::from_hours(24);
/// A decision has to be used within this time.
pub const APPROVAL_TTL: Duration = Duration::from_mins(5);
/// A tool of an agent has this long when the model does not say ...
pub const TOOL_TIMEOUT: Duration = Duration::from_mins(1);
/// ... and at most this long.
pub const TOOL_TIMEOUT_MAX: Duration = Duration::from_mins(10);
/// Characters of a tool's output that a model is given.
pub const TOOL_OUTPUT: usize = 20_000;
/// A media file behind an address has this long, redirects included.
pub const MEDIA_FETCH: Duration = Duration::from_secs(30);
/// Redirects followed on the way to a media file.
pub const MEDIA_REDIRECTS: usize = 3;
/// Bytes of an address of a media file.
pub const MEDIA_URL: usize = 2048;
/// Node pairing requests that wait for a decision, and for how long.
pub const PENDING_NODES: usize = 64;
/// Of [`PENDING_NODES`], those from one operator.
pub const PENDING_NODES_OF_ONE: usize = 32;
/// See [`PENDING_NODES`].
pub const PENDING_NODE_TTL: Duration = Duration::from_mins(5);
/// Paired nodes kept.
pub const PAIRED_NODES: usize = 1000;
/// Names given to nodes.
pub const NODE_NAMES: usize = 1000;
/// Node invokes under way; one more is refused.
pub const NODE_INVOKES: usize = 1000;
/// A node has this long to answer when the caller does not say.
pub const NODE_INVOKE_DEFAULT: Duration = Duration::from_secs(30);
/// A caller waits at most this long for a node.
pub const NODE_INVOKE_MAX: Duration = Duration::from_hours(24);
/// After the time that a program on a node has, its answer may take this long.
pub const NODE_ANSWER_GRACE: Duration = Duration::from_secs(10);
/// A node has this long to say what a command would run there; the question does not wait longer for it.
pub const NODE_INSPECT: Duration = Duration::from_secs(10);
/// Bytes of a node's answer that are kept for a repeated idempotency key.
pub const NODE_ANSWER_KEPT: usize = 64 << 10;
/// Characters of a message that a node may send to an agent.
pub const NODE_EVENT_TEXT: usize = 20_000;
/// Characters of each text of an exec note from a node.
pub const NODE_OUTPUT: usize = 4000;
/// Sessions that one node may follow.
pub const NODE_SUBSCRIPTIONS: usize = 64;
/// Wake words kept.
pub const WAKE_WORDS: usize = 32;
/// UTF-16 units of a wake word.
pub const WAKE_WORD: usize = 64;
/// Inbound messages stored and not yet handled, per account; then the channel is told to wait.
pub const INBOX: usize = 10_000;
/// Accepted inbound messages remembered, waiting and handled, to recognise a redelivery. More than can wait.
pub const INBOX_SEEN: u64 = 20_000;
/// Between two looks whether the database still stands in its place (S35).
pub const STATE_WATCH: Duration = Duration::from_secs(2);
/// Outbound messages of one account that wait to be delivered; then requests that would add one are refused and inbound
/// messages wait ...
pub const OUTBOUND_OF_ACCOUNT: usize = 10_000;
/// ... and those of one chat: only its own wait then (F57).
pub const OUTBOUND_OF_CHAT: usize = 1000;
/// Messages of one account on their way to its service at one time, each to another chat ...
pub const DELIVERIES_AT_ONCE: usize = 32;
/// ... and those with files, which take longer.
pub const UPLOADS_AT_ONCE: usize = 8;
/// Tries of a part while a request waits for its delivery ...
pub const SEND_TRIES: u32 = 5;
/// ... and of others; with the longest waits between them this is several hours.
pub const DELIVERY_TRIES: u32 = 100;
/// A request waits at most this long for a delivery; the same key asks for its outcome later.
pub const DELIVERY_WAIT: Duration = Duration::from_secs(90);
/// An outbound message that waits for so long is told of as a problem ...
pub const WAITING_LONG: Duration = Duration::from_mins(10);
/// ... and so are this many that wait at one account.
pub const WAITING_MANY: usize = 500;
/// Below this much free space of the state directory a burst of messages may fill the disk, in bytes.
pub const DISK_LOW: u64 = 256 << 20;
/// Undelivered messages kept for a person to decide about; the oldest go first ...
pub const DEAD_LETTERS: usize = 1000;
/// ... and those that nobody has looked after for so long.
pub const DEAD_LETTER_TTL: Duration = Duration::from_hours(30 * 24);
/// Chat messages that wait in one session when `messages.queue.cap` does not say.
pub const QUEUE_CAP: usize = 20;
/// Quiet time before what waited behind a run is answered, when `messages.queue.debounceMs` does not say.
pub const QUEUE_DEBOUNCE: Duration = Duration::from_secs(1);
/// Somebody who goes on writing is answered after this all the same.
pub const QUEUE_PATIENCE: Duration = Duration::from_secs(10);
/// Runs that may have released their permit to others while they wait for something (F54).
pub const RUNS_WITHOUT_PERMIT: usize = 256;
/// A run of which nothing was heard for so long waits, and releases its permit to others (F54).
pub const RUN_PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a message that is only summarised.
pub const QUEUE_SUMMARY: usize = 160;
/// A run under way keeps how far it has come this often.
pub const CHECKPOINT: Duration = Duration::from_secs(2);
/// Bytes of text that it keeps.
pub const CHECKPOINT_TEXT: usize = 256 << 10;
/// Characters of a sender's name, a chat's title or a file's name that the model is shown ...
pub const ENVELOPE_NAME: usize = 80;
/// ... of an id ...
pub const ENVELOPE_ID: usize = 64;
/// ... and of the message that is answered.
pub const ENVELOPE_QUOTE: usize = 1000;
/// `openclaw import`: bytes of a file that lists sessions ...
pub const IMPORT_SESSIONS_BYTES: u64 = 256 << 20;
/// ... of any other file that is read as a whole, ...
pub const IMPORT_FILE_BYTES: u64 = 8 << 20;
/// ... of a file with a transcript, ...
pub const IMPORT_TRANSCRIPT_FILE_BYTES: u64 = 4 << 30;
/// ... of a line of it, ...
pub const IMPORT_LINE_BYTES: usize = 16 << 20;
/// ... of the messages of one transcript (the newest are taken), ...
pub const IMPORT_TRANSCRIPT_BYTES: usize = 64 << 20;
/// ... and of those that are stored in one transaction, ...
pub const IMPORT_BATCH_BYTES: usize = 16 << 20;
/// ... with so many sessions.
pub const IMPORT_BATCH: usize = 64;
/// Sessions remembered as imported, so that one that was deleted here does not come back.
pub const IMPORTED: u64 = 200_000;
/// Things left that are told one by one; further ones are counted.
pub const IMPORT_LEFT: usize = 1000;
