//! What scripts can do with texts and numbers, beside what lists and maps bring along.
//!
//! Letters are changed in ASCII only: what Unicode calls upper case grows with its versions. Each
//! function over a text costs its length as work.

use rhai::{Array, Dynamic, Engine, EvalAltResult, FnPtr, ImmutableString, Map, Position};

use super::limits::{LIST_ITEMS, TEXT_BYTES};
use super::rhai_host::{Checked, charge, stop};

type Text = ImmutableString;

/// The most decimal places in [`decimal`](register).
const MAX_PLACES: i64 = 15;

pub(super) fn register(engine: &mut Engine) {
    texts(engine);
    numbers(engine);
    as_text(engine);
}

fn cost(text: &str) -> Checked<()> {
    charge(text.len() as u64 / 8 + 1)
}

fn refuse(why: &str) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(why.into(), Position::NONE))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn fits(bytes: usize) -> Checked<()> {
    if bytes > TEXT_BYTES {
        return Err(stop(format!("a text would have more than {TEXT_BYTES} bytes")));
    }
    Ok(())
}

fn texts(engine: &mut Engine) {
    let length = |text: &mut Text| -> Checked<i64> {
        cost(text)?;
        Ok(count(text.chars().count()))
    };
    engine.register_fn("len", length).register_get("len", length);
    engine.register_fn("is_empty", |text: &mut Text| text.is_empty());
    engine.register_fn("contains", |text: &mut Text, part: Text| -> Checked<bool> {
        cost(text)?;
        Ok(text.contains(part.as_str()))
    });
    engine.register_fn("contains", |text: &mut Text, part: char| -> Checked<bool> {
        cost(text)?;
        Ok(text.contains(part))
    });
    engine
        .register_fn("starts_with", |text: &mut Text, part: Text| text.starts_with(part.as_str()));
    engine.register_fn("ends_with", |text: &mut Text, part: Text| text.ends_with(part.as_str()));
    engine.register_fn("index_of", |text: &mut Text, part: Text| -> Checked<i64> {
        cost(text)?;
        let before = text.find(part.as_str()).and_then(|at| text.get(..at));
        Ok(before.map_or(-1, |before| count(before.chars().count())))
    });
    engine.register_fn("sub_string", |text: &mut Text, from: i64, len: i64| -> Checked<String> {
        cost(text)?;
        let size = |n: i64| usize::try_from(n).unwrap_or(0);
        Ok(text.chars().skip(size(from)).take(size(len)).collect())
    });
    engine.register_fn("sub_string", |text: &mut Text, from: i64| -> Checked<String> {
        cost(text)?;
        Ok(text.chars().skip(usize::try_from(from).unwrap_or(0)).collect())
    });
    engine.register_fn("trim", |text: &mut Text| -> Checked<String> {
        cost(text)?;
        Ok(text.trim_matches(|c: char| c.is_ascii_whitespace()).to_owned())
    });
    engine.register_fn("to_upper", |text: &mut Text| -> Checked<String> {
        cost(text)?;
        Ok(text.to_ascii_uppercase())
    });
    engine.register_fn("to_lower", |text: &mut Text| -> Checked<String> {
        cost(text)?;
        Ok(text.to_ascii_lowercase())
    });
    engine.register_fn("split", |text: &mut Text, by: Text| -> Checked<Array> {
        charge(text.len() as u64 + 1)?;
        if by.is_empty() {
            return Err(refuse("split: the text to split by is empty"));
        }
        let parts: Array = text
            .split(by.as_str())
            .take(LIST_ITEMS + 1)
            .map(|part| part.to_owned().into())
            .collect();
        Ok(parts)
    });
    engine.register_fn("replace", |text: &mut Text, old: Text, new: Text| -> Checked<String> {
        charge(text.len() as u64 + 1)?;
        if old.is_empty() {
            return Err(refuse("replace: the text to replace is empty"));
        }
        let found = text.matches(old.as_str()).count();
        let grown = found.saturating_mul(new.len().saturating_sub(old.len()));
        fits(text.len().saturating_add(grown))?;
        Ok(text.replace(old.as_str(), new.as_str()))
    });
    engine.register_fn("join", |items: &mut Array, by: Text| -> Checked<String> {
        let mut joined = String::new();
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                joined.push_str(&by);
            }
            match item.as_immutable_string_ref() {
                Ok(text) => joined.push_str(&text),
                Err(_) => joined.push_str(&shown(item)?),
            }
            cost(&joined).and_then(|()| fits(joined.len()))?;
        }
        Ok(joined)
    });
}

fn numbers(engine: &mut Engine) {
    engine.register_fn("parse_int", |text: &mut Text| -> Checked<i64> {
        cost(text)?;
        text.parse().map_err(|_| refuse("parse_int: it is no whole number"))
    });
    // "12.5" with 2 places is 1250: how scripts count with the fractional numbers of JSON.
    engine.register_fn("decimal", |text: &mut Text, places: i64| -> Checked<i64> {
        cost(text)?;
        scaled(text, places).ok_or_else(|| refuse("decimal: it is no such number"))
    });
    engine.register_fn("decimal", |number: i64, places: i64| -> Checked<i64> {
        let factor = u32::try_from(places)
            .ok()
            .filter(|_| places <= MAX_PLACES)
            .and_then(|places| 10i64.checked_pow(places));
        let scaled = factor.and_then(|factor| number.checked_mul(factor));
        scaled.ok_or_else(|| refuse("decimal: it is no such number"))
    });
}

/// A decimal number times ten to the power of `places`, cut towards zero.
fn scaled(text: &str, places: i64) -> Option<i64> {
    let places = usize::try_from(places).ok().filter(|_| places <= MAX_PLACES)?;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (digits, exponent) = match digits.split_once('e') {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        return None;
    }
    let point = i64::try_from(whole.len() + places).ok()? + i64::from(exponent);
    let Ok(kept) = usize::try_from(point) else { return Some(0) };
    if kept > 40 {
        return None;
    }
    let mut all = format!("{whole}{fraction}");
    all.extend(std::iter::repeat_n('0', kept.saturating_sub(all.len())));
    let kept = all.get(..kept)?;
    if kept.is_empty() { Some(0) } else { format!("{sign}{kept}").parse().ok() }
}

/// The text of a simple value.
fn shown(value: &Dynamic) -> Checked<String> {
    if value.is_unit() {
        return Ok(String::new());
    }
    if let Ok(held) = value.as_bool() {
        return Ok(held.to_string());
    }
    if let Ok(number) = value.as_int() {
        return Ok(number.to_string());
    }
    if let Ok(letter) = value.as_char() {
        return Ok(letter.to_string());
    }
    Err(refuse("only texts, numbers and truth values have a text form"))
}

/// Text forms: in `to_string`, in `"${...}"` and beside a text in `+`.
fn as_text(engine: &mut Engine) {
    for name in ["to_string", "to_debug"] {
        engine.register_fn(name, |text: Text| text);
        engine.register_fn(name, |_: ()| String::new());
        engine.register_fn(name, |held: bool| held.to_string());
        engine.register_fn(name, |number: i64| number.to_string());
        engine.register_fn(name, |letter: char| letter.to_string());
        // Large values are not written out, and functions have names of no meaning.
        engine.register_fn(name, |_: &mut Array| "[...]");
        engine.register_fn(name, |_: &mut Map| "#{...}");
        engine.register_fn(name, |_: FnPtr| "Fn");
    }
    engine.register_fn("to_json", |_: &mut Map| -> Checked<String> {
        Err(refuse("only texts, numbers and truth values have a text form"))
    });
    engine.register_fn("+", |text: Text, value: i64| format!("{text}{value}"));
    engine.register_fn("+", |value: i64, text: Text| format!("{value}{text}"));
    engine.register_fn("+", |text: Text, value: bool| format!("{text}{value}"));
    engine.register_fn("+", |value: bool, text: Text| format!("{value}{text}"));
    engine.register_fn("+", |text: Text, (): ()| text);
    engine.register_fn("+", |(): (), text: Text| text);
}
