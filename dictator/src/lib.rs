//! The dictator: applies the wanted master/slave topology to live redis nodes.

pub mod apply;
