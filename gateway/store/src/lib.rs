//! One database for everything durable, through the storage seam: it knows no type of what is kept in it.
//!
//! [`Store`] opens, reads and writes; [`Schema`] is what a program keeps, by versions; records are JSON with seals.

mod store;

pub use store::{
    FILE, Lines, Records, Schema, Step, Store, StoreError, all, backup, decode, each, encode, get, inspect, keys,
    limits, loss, put, record, seal_all,
};
