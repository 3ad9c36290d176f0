//! A fedsx node put together, and the commands of the `fedsx` program.
#![forbid(unsafe_code)]

pub mod api;
pub mod archive;
pub mod args;
pub mod backup;
pub mod compact;
pub mod config;
pub mod data;
pub mod define;
pub mod doctor;
pub mod erase;
mod fresh;
pub mod genesis;
pub mod init;
pub mod key;
pub mod log;
pub mod node;
pub mod online;
pub mod place;
pub mod profile;
pub mod progress;
pub mod projection;
pub mod recover;
pub mod resolve;
pub mod restore;
pub mod serve;
pub mod shell;
pub mod verify;
