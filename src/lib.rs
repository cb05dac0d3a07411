//! Home of the tests, examples and benches that span the three daemons; no code of its own.
