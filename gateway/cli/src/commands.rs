//! What the commands do; each file is one family.

pub mod agent;
pub mod approvals;
pub mod backup;
pub mod browser;
pub mod channels;
pub mod config;
pub mod delivery;
pub mod devices;
pub mod discover;
pub mod doctor;
pub mod fingerprint;
pub mod gateway_status;
pub mod hash_password;
pub mod health;
pub mod import;
pub mod logs;
pub mod man;
pub mod message;
pub mod node;
pub mod nodes;
pub mod problems;
pub mod service;
pub mod system;
