//! Whether this instance has anything to do with whom a request goes to.

use std::fmt;

/// Asked before every request, those that follow redirects included.
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// Whether a request to this URL may be made.
    ///
    /// # Errors
    /// Why not, for a person to read.
    fn pass(&self, url: &str) -> Result<(), String>;
}

/// Lets everything pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Gate for Open {
    fn pass(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}
