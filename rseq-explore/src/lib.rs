//! Shows that a restartable section is right by interrupting it everywhere.

pub mod model;
