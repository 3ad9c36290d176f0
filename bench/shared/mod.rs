//! What the programs that measure a running instance share.

pub mod author;
pub mod node;
