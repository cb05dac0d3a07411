//! dictator
