//! Nothing but tests: they are in `main.rs`.
