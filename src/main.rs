//! The `callgate` binary: everything is in the library.

fn main() {}
