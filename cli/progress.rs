//! Progress of long commands, on standard error and only where that is a terminal.

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a bar is drawn while nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// A progress bar; hidden where nobody watches. It disappears when it is dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar that counts things, for example entries. A total of 0 means that it is not known.
    pub fn count(what: impl Into<Cow<'static, str>>, total: u64) -> Self {
        Self::new(what.into(), total, "{human_pos} of {human_len} ({per_sec}, {eta} left)")
    }

    /// A bar that counts bytes.
    pub fn bytes(what: impl Into<Cow<'static, str>>, total: u64) -> Self {
        Self::new(what.into(), total, "{bytes} of {total_bytes} ({bytes_per_sec}, {eta} left)")
    }

    fn new(what: Cow<'static, str>, total: u64, numbers: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let known = total > 0;
        let template = if known {
            format!("{{msg}} [{{bar:30}}] {numbers}")
        } else {
            "{msg} {spinner} {human_pos} ({elapsed})".to_owned()
        };
        // The templates are constant; the default style is no worse where one has a mistake.
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        bar.set_style(style);
        bar.set_message(what);
        if known {
            bar.set_length(total);
        }
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Goes on by so many.
    pub fn add(&self, more: u64) {
        self.0.inc(more);
    }

    /// Stands at a position.
    pub fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Corrects what is expected in all.
    pub fn expect(&self, total: u64) {
        self.0.set_length(total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
