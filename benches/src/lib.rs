//! Benchmarks live in `benches/`; there is nothing to link to.
