//! fedsx delivery

pub mod client;
pub mod signature;
pub mod webfinger;
