//! dnsd
pub mod answer;
pub mod directory;
pub mod labels;
pub mod publication;
pub mod timestamp;
pub mod zone;
