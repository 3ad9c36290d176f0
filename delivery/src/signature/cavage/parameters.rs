use super::super::SignatureError;
use super::super::error::shown;

/// The most parameters that are read.
const MAX_PARAMETERS: usize = 32;

/// The parameters of a draft-cavage signature, by name in lower case.
///
/// They are read permissively, because senders differ: any order, quoted or not, blanks around
/// commas and equals signs. A parameter that stands twice is refused, since two readers would
/// choose differently.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `name="value",name=value,...`.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(',') {
                rest = after.trim_start();
                continue;
            }
            if parameters.len() >= MAX_PARAMETERS {
                return Err(SignatureError::malformed("there are too many parameters"));
            }
            let (name, value, after) = parameter(rest)?;
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(SignatureError::Malformed(format!(
                    "the parameter {:?} stands twice",
                    shown(&name)
                )));
            }
            parameters.push((name, value));
            rest = after.trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(SignatureError::malformed("parameters are not separated by commas"));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter by its name in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there; `spelled` is its name in messages.
    pub fn required(&self, name: &str, spelled: &'static str) -> Result<&str, SignatureError> {
        self.get(name).ok_or(SignatureError::MissingParameter(spelled))
    }

    /// A time in seconds since 1970. A fraction, which `expires` may have, is cut off.
    pub fn seconds(&self, name: &'static str) -> Result<i64, SignatureError> {
        let text = self.required(name, name)?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        whole
            .parse()
            .ok()
            .filter(|_| digits(whole) && digits(fraction))
            .ok_or_else(|| SignatureError::Malformed(format!("{name} is not a time in seconds")))
    }
}

/// One parameter, and what follows it.
fn parameter(text: &str) -> Result<(String, String, &str), SignatureError> {
    let (name, after) = text
        .split_once('=')
        .ok_or_else(|| SignatureError::malformed("a parameter has no value"))?;
    let name = name.trim();
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(SignatureError::Malformed(format!(
            "{:?} is not a parameter name",
            shown(name)
        )));
    }
    let after = after.trim_start();
    let (value, rest) = match after.strip_prefix('"') {
        Some(inside) => quoted(inside)?,
        None => {
            let (value, rest) = after.split_at(after.find(',').unwrap_or(after.len()));
            (value.trim_end().to_owned(), rest)
        }
    };
    Ok((name.to_ascii_lowercase(), value, rest))
}

/// The rest of a quoted string whose first quote was read, and what follows the last one.
fn quoted(text: &str) -> Result<(String, &str), SignatureError> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next() {
            Some('"') => return Ok((value, chars.as_str())),
            Some('\\') => value.extend(chars.next()),
            Some(c) => value.push(c),
            None => return Err(SignatureError::malformed("a quoted value does not end")),
        }
    }
}
