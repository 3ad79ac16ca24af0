//! The `sixgate` program.

fn main() {}
