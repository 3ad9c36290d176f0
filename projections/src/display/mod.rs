//! What people are shown of objects.
//!
//! The log keeps activities as they were signed, and whoever asks for an activity or an object gets
//! these bytes. What is shown to people is made from them at reading time, here and nowhere else:
//! HTML and links go through one policy (`policy`), the many ways in which servers write
//! one thing become one, and everything has a limit. Nothing that is made here is stored or signed,
//! so a better policy holds for what is in the log already.
//!
//! [`object`] is the short form of an object in the feed. [`document`] is a document with all its
//! members, made safe to show.

mod attachments;
mod document;
mod html;
mod languages;
mod object;
mod policy;
mod references;
mod tags;

pub use document::document;
pub use html::{escaped, html, link, name};
pub use object::object;
pub use tags::hashtags;
