//! Header fields as signatures see them.

use hyper::http::header::{HeaderMap, HeaderName};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::error::shown;
use super::{MAX_HEADER_BYTES, SignatureError};

/// The longest `Date`, in bytes.
const MAX_DATE_BYTES: usize = 64;

/// All lines of a field, trimmed and joined by a comma and a space (RFC 9421 section 2.1,
/// draft-cavage section 2.3); `None` when the request has no such field.
///
/// Line folding needs no case of its own: a header value cannot hold a line break.
pub(super) fn combined(headers: &HeaderMap, name: &str) -> Result<Option<String>, SignatureError> {
    let mut joined: Option<String> = None;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| {
            SignatureError::Malformed(format!("the header {:?} is not ASCII", shown(name)))
        })?;
        let text = text.trim_matches([' ', '\t']);
        match &mut joined {
            Some(joined) => {
                joined.push_str(", ");
                joined.push_str(text);
            }
            None => joined = Some(text.to_owned()),
        }
    }
    Ok(joined)
}

/// As [`combined`], for the headers that we parse: at most [`MAX_HEADER_BYTES`].
pub(super) fn bounded(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<String>, SignatureError> {
    let length: usize = headers.get_all(name).iter().map(|value| value.len() + 2).sum();
    if length > MAX_HEADER_BYTES + 2 {
        return Err(SignatureError::TooLong(name.as_str().to_owned()));
    }
    combined(headers, name.as_str())
}

/// Reads an HTTP date (RFC 9110 section 5.6.7), in seconds since 1970. A wrong weekday is let
/// pass.
pub(super) fn parse_date(text: &str) -> Result<i64, SignatureError> {
    static PARSER: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    Some(text)
        .filter(|text| text.len() <= MAX_DATE_BYTES)
        .and_then(|text| PARSER.parse_timestamp(text).ok())
        .map(Timestamp::as_second)
        .ok_or_else(|| SignatureError::malformed("Date is not an HTTP date"))
}

/// Writes an HTTP date, in GMT.
pub(super) fn format_date(time: Timestamp) -> Result<String, jiff::Error> {
    rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time)
}
