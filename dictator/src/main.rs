//! dictator
fn main() {}
