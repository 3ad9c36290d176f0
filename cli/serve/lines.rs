//! Lines of the log: one for each event, whatever its fields hold, and none longer than a limit.
//! Fields may come from outside.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;

/// The longest line, in bytes.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Writes lines to standard error.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub(super) format: LogFormat,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Lines {
    /// Takes one whole event, as the library hands it over.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(&line(event, self.format))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// An event as one line.
fn line(event: &[u8], format: LogFormat) -> Cow<'_, [u8]> {
    let body = event.strip_suffix(b"\n").unwrap_or(event);
    let is_long = body.len() > MAX_LINE_BYTES;
    if !is_long && !body.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(event);
    }
    let kept = String::from_utf8_lossy(body.get(..MAX_LINE_BYTES).unwrap_or(body));
    let mut line = match format {
        LogFormat::Text => kept.replace('\r', "\\r").replace('\n', "\\n"),
        // A part of a JSON document is none.
        LogFormat::Json => json!({ "cut": true, "line": kept }).to_string(),
    };
    if is_long && format == LogFormat::Text {
        line.push_str(&format!(" [cut: {} bytes]", body.len()));
    }
    line.push('\n');
    Cow::Owned(line.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(event: &str, format: LogFormat) -> String {
        String::from_utf8_lossy(&line(event.as_bytes(), format)).into_owned()
    }

    #[test]
    fn an_event_is_one_line() {
        let text = |event| shown(event, LogFormat::Text);
        assert_eq!(text("INFO all is well\n"), "INFO all is well\n");
        assert_eq!(text("WARN id=a\nINFO a lie\r\n"), "WARN id=a\\nINFO a lie\\r\n");
        assert_eq!(text("no end"), "no end");
    }

    #[test]
    fn long_lines_are_cut() {
        let long = "ä".repeat(MAX_LINE_BYTES) + "\n";
        let text = shown(&long, LogFormat::Text);
        assert!(text.len() < MAX_LINE_BYTES + 100 && text.ends_with(" bytes]\n"), "{}", text.len());
        let json = shown(&long, LogFormat::Json);
        assert!(json.len() < MAX_LINE_BYTES * 2 && json.ends_with("}\n"));
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }
}
