//! dnsd
fn main() {}
