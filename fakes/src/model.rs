//! A fake model server.
