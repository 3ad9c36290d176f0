//! `fedsx.toml.example`: the documented options of `fedsx serve`, written from their only
//! description, that of the flags.

use std::fmt::Write as _;

use clap::{Arg, Args as _, Command};

use super::{RELOADED, ServeArgs};

/// The width of comments.
const WIDTH: usize = 96;
/// Flags that are no options of the file.
const NOT_IN_THE_FILE: [&str; 2] = ["config", "token"];

/// One option as the file has it.
pub struct OptionText {
    /// The key.
    pub key: String,
    /// What it does.
    pub help: String,
    /// A possible value, as TOML: the default where there is one.
    pub value: String,
    /// The variable that sets it as well.
    pub variable: Option<String>,
    /// Whether a running instance takes a change over.
    pub is_reloaded: bool,
}

/// All options of the file, in the order of the flags.
pub fn options() -> Vec<OptionText> {
    let command = ServeArgs::augment_args(Command::new("serve"));
    let of_file = |arg: &&Arg| !NOT_IN_THE_FILE.contains(&arg.get_id().as_str());
    command.get_arguments().filter(of_file).map(option).collect()
}

fn option(arg: &Arg) -> OptionText {
    let key = arg.get_id().to_string();
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
    let default = help
        .split_once("[default: ")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(default, _)| default.to_owned());
    let kind = arg.get_value_names().and_then(<[_]>::first).map_or("", |name| name.as_str());
    let value = value(&key, kind, default.as_deref());
    let is_reloaded = RELOADED.contains(&key.as_str());
    OptionText { key, help, value, variable, is_reloaded }
}

/// A value that may stand in the file.
fn value(key: &str, kind: &str, default: Option<&str>) -> String {
    match (key, kind, default) {
        (_, "BOOL" | "N", Some(default)) => default.to_owned(),
        (_, "BOOL", None) => "false".to_owned(),
        (_, "N", None) => "0".to_owned(),
        ("tokens", ..) => "[\"alice=a-long-secret:publish,read\"]".to_owned(),
        ("data", ..) => "\"/var/lib/fedsx\"".to_owned(),
        ("base_url", ..) => "\"https://social.example\"".to_owned(),
        ("trusted_proxies", ..) => "\"127.0.0.1, ::1\"".to_owned(),
        ("otlp_endpoint", ..) => "\"http://localhost:4318\"".to_owned(),
        ("genesis", ..) => "\"/etc/fedsx/genesis\"".to_owned(),
        (_, _, Some(default)) => format!("{default:?}"),
        (_, _, None) => "\"\"".to_owned(),
    }
}

/// The example file: every option, commented out, with its default or a possible value.
pub fn example() -> String {
    with(&[])
}

/// The same file with some options set; the values are TOML.
pub fn with(set: &[(&str, String)]) -> String {
    let mut text = String::from(
        "# Configuration of fedsx. A flag goes before a variable, a variable before this file.\n\
         # `fedsx config check` reads it without starting anything.\n",
    );
    for option in options() {
        text.push('\n');
        let mut help = option.help;
        // The flags' help ends without.
        help.push('.');
        if option.is_reloaded {
            help.push_str(" Taken over at SIGHUP.");
        }
        if let Some(variable) = &option.variable {
            let _ = write!(help, " Variable: {variable}.");
        }
        comment(&mut text, &help);
        let value = set.iter().find(|(key, _)| *key == option.key);
        let _ = match value {
            Some((key, value)) => writeln!(text, "{key} = {value}"),
            None => writeln!(text, "#{} = {}", option.key, option.value),
        };
    }
    text
}

fn comment(text: &mut String, help: &str) {
    let mut line = String::from("#");
    for word in help.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fedsx.toml.example");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        let update = "run: cargo run -- config example > fedsx.toml.example";
        assert!(written == example(), "fedsx.toml.example is not what the options say; {update}");
    }

    #[test]
    fn every_value_of_the_example_is_possible() {
        let set = example().lines().fold(String::new(), |text, line| {
            let line = line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or("");
            text + line + "\n"
        });
        let args = super::super::file::parse(&set).expect("every line is possible");
        assert!(args.settle().is_ok(), "and all together");
    }

    #[test]
    fn every_option_is_documented() {
        for option in options() {
            assert!(!option.help.is_empty(), "{}", option.key);
            assert!(option.variable.is_some(), "{} has a variable", option.key);
        }
    }
}
