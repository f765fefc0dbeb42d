//! Load and benchmarks: the program is in `src/load`, the benchmarks in `benches/`. There is nothing to link to.
