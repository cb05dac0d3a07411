//! dnsd
