//! Reading the configuration file.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::ServeArgs;

/// The largest configuration file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// The options of a file (TOML 1.1).
///
/// # Errors
/// Where it cannot be read, is larger than 1 MiB, or has an unknown key or an impossible value. The
/// message names the line; it never shows it, since a line may hold a secret.
pub fn read(path: &Path) -> Result<ServeArgs> {
    let name = path.display();
    let mut text = String::new();
    let file = fs::File::open(path).with_context(|| format!("the configuration file {name}"))?;
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("the configuration file {name}"))?;
    if text.len() as u64 > MAX_BYTES {
        bail!("the configuration file {name} is larger than {MAX_BYTES} bytes");
    }
    parse(&text).map_err(|e| anyhow::anyhow!("the configuration file {name}, {e}"))
}

/// The options in a text, or what is wrong in which line.
pub(crate) fn parse(text: &str) -> Result<ServeArgs, String> {
    toml::from_str(text).map_err(|e| format!("line {}: {}", line_of(&e, text), e.message()))
}

/// The number of the line of a text in which something is wrong.
pub(crate) fn line_of(error: &toml::de::Error, text: &str) -> usize {
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or(1, |before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_line_and_no_secret() {
        let cases = [
            ("data = \"x\"\nno_such = 1\n", 2, "no_such"),
            ("\n\nlisten = \"nowhere\"\n", 3, "socket address"),
            ("fetch_pause = \"5\"\n", 1, "no time"),
            ("requests_per_second = -1\n", 1, "-1"),
            ("log_format = \"xml\"\n", 1, "xml"),
            ("tokens = { alice = \"correct-horse\" }\n", 1, ""),
            ("tokens = [\"alice=correct-horse\", 5]\n", 1, ""),
            ("data = \"x\"\ntokens = [\"alice=correct-horse\"\n", 2, ""),
            ("data = \"x\"\ndata = \"y\"\n", 2, "duplicate"),
        ];
        for (text, line, says) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(&format!("line {line}: ")), "{text}: {error}");
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("horse"), "{text}: {error}");
        }
    }
}
