//! The targets: each takes any bytes, and panics where something does not hold.

pub mod config_text;
pub mod connect_params;
pub mod exec_policy;
pub mod first_frame;
pub mod later_frames;
pub mod markdown_html;
pub mod node_commands;
pub mod paths;
pub mod provider_stream;
pub mod scenario_file;
pub mod stored_state;
pub mod telegram_update;
pub mod typed_vs_schema;

/// A target.
pub type Target = fn(&[u8]);

/// All of them by name.
pub const TARGETS: [(&str, Target); 13] = [
    ("config_text", config_text::run),
    ("connect_params", connect_params::run),
    ("exec_policy", exec_policy::run),
    ("first_frame", first_frame::run),
    ("later_frames", later_frames::run),
    ("markdown_html", markdown_html::run),
    ("node_commands", node_commands::run),
    ("paths", paths::run),
    ("provider_stream", provider_stream::run),
    ("scenario_file", scenario_file::run),
    ("stored_state", stored_state::run),
    ("telegram_update", telegram_update::run),
    ("typed_vs_schema", typed_vs_schema::run),
];
