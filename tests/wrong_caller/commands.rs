//! The table of commands.

use std::collections::BTreeSet;
use std::time::Duration;

use assert_cmd::Command;
use clap::CommandFactory as _;
use fedsx::args::Cli;

use super::{Stage, stage};
use crate::support::node::FEDSX;

/// What a command works on, and who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// A running instance, with a token that has this scope.
    Instance(&'static str),
    /// A running instance, and any token that counts.
    Holder,
    /// A running instance, which shows it to anyone.
    Anyone,
    /// A data directory on which nothing runs.
    Data,
    /// What it is given; it ends with this code.
    Itself(i32),
}

use On::{Anyone, Data, Holder, Instance, Itself};

/// One command.
pub(super) struct Row {
    /// Its names, as `token issue`.
    command: &'static str,
    /// Its further arguments, parted by blanks.
    args: &'static str,
    on: On,
}

const fn row(command: &'static str, args: &'static str, on: On) -> Row {
    Row { command, args, on }
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("init", "{fresh}/init --base-url http://a.example --data {fresh}/data", Itself(0)),
    row("serve", "--data {data} --listen 127.0.0.1:0 --base-url {base} --allow-http", Data),
    row("publish", "--note hello", Instance("publish")),
    row("follow", "{base}/actors/bob", Instance("publish")),
    row("feed", "", Instance("read")),
    row("inbox", "", Instance("read")),
    row("actor create", "carla", Instance("admin")),
    row("actor list", "", Instance("admin")),
    row("actor show", "alice --json", Anyone),
    row("token issue", "alice --capability", Instance("admin")),
    row("token issue", "alice --data {data}", Data),
    row("token list", "", Holder),
    row("token revoke", "nothing", Holder),
    row("token show", "", Holder),
    row("token narrow", "--token {capability} --verb Like", Itself(0)),
    row("token inspect", "--token {capability}", Itself(0)),
    row("delivery status", "bafyr4iafmsd4rxhdzd3yngmsaf3s26zzlfbsoznt6tzuamngzc7rhunbp4", Instance("admin")),
    row("dead-letter list", "", Instance("admin")),
    row("dead-letter replay", "nothing", Instance("admin")),
    row("dead-letter drop", "nothing", Instance("admin")),
    row("peer list", "", Instance("admin")),
    row("peer show", "http://nowhere.example", Instance("admin")),
    row("peer block", "nowhere.example", Instance("admin")),
    row("peer allow", "nowhere.example", Instance("admin")),
    row("peer probe", "http://nowhere.invalid", Instance("admin")),
    row("actor suspend", "nobody", Instance("admin")),
    row("actor unsuspend", "nobody", Instance("admin")),
    row("moderation list", "", Instance("admin")),
    row("moderation block", "nowhere.example", Instance("admin")),
    row("moderation silence", "nowhere.example", Instance("admin")),
    row("moderation reject-media", "nowhere.example", Instance("admin")),
    row("moderation allow", "nowhere.example", Instance("admin")),
    row("moderation allow-list", "off", Instance("admin")),
    row("moderation undo", "nowhere.example", Instance("admin")),
    row("moderation history", "", Instance("admin")),
    row("moderation lists list", "", Instance("admin")),
    row("moderation lists subscribe", "nowhere.invalid", Instance("admin")),
    row("moderation lists unsubscribe", "nowhere.invalid", Instance("admin")),
    row("moderation lists review", "nowhere.invalid", Instance("admin")),
    row("moderation lists adopt", "nowhere.invalid", Instance("admin")),
    row("moderation lists retract", "nowhere.invalid", Instance("admin")),
    row("moderation reports list", "", Instance("admin")),
    row("moderation reports resolve", "nothing", Instance("admin")),
    row("moderation reports reopen", "nothing", Instance("admin")),
    row("moderation reports forward", "nothing", Instance("admin")),
    row("moderation simulate", "nowhere.example", Instance("admin")),
    row("verify", "--data {data}", Data),
    row("export", "--data {data} --actor alice --out {fresh}/alice.car", Data),
    row("import", "--data {data} {file}", Itself(1)),
    row("backup", "relative", Instance("admin")),
    row("restore", "--from {data} --data {fresh}/restored", Data),
    row("recover", "--data {data} --out {fresh}/recovered", Data),
    row("define check", "{file}", Itself(0)),
    row("define publish", "{file}", Instance("define")),
    row("erase", "nothing", Instance("admin")),
    row("resolve", "nobody@nowhere.invalid", Itself(1)),
    row("compact", "--data {data}", Data),
    row("config check", "--data {fresh}/data --base-url https://a.example", Itself(0)),
    row("config example", "", Itself(0)),
    row("genesis verify", "", Itself(0)),
    row("genesis manifest", "--genesis {fresh}", Itself(0)),
    row("log check", "--url {base}/actors/nobody --state {fresh}/checkpoint", Itself(2)),
    row("log rebuild", "--data {data}", Data),
    row("key rotate-master", "--data {data}", Data),
    row("doctor", "--url {base} --token nobodys-token", Itself(1)),
    row("completions", "bash", Itself(0)),
    row("man", "", Itself(0)),
    row("projection list", "", Instance("admin")),
    row("projection digest", "", Instance("admin")),
    row("projection set-aside", "feed", Instance("admin")),
    row("projection rebuild", "feed --no-wait", Instance("admin")),
];

/// The names of all commands that do something, as `token issue`.
fn leaves(command: &clap::Command, above: &str, found: &mut BTreeSet<String>) {
    for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
        let name = format!("{above} {}", one.get_name()).trim().to_owned();
        if one.get_subcommands().next().is_none() {
            found.insert(name);
        } else {
            leaves(one, &name, found);
        }
    }
}

#[test]
fn every_command_has_a_row_and_every_row_a_command() {
    let mut commands = BTreeSet::new();
    leaves(&Cli::command(), "", &mut commands);
    let rows: BTreeSet<_> = ROWS.iter().map(|row| row.command.to_owned()).collect();
    let missing: Vec<_> = commands.difference(&rows).collect();
    assert!(missing.is_empty(), "add rows to tests/wrong_caller/commands.rs: {missing:?}");
    let gone: Vec<_> = rows.difference(&commands).collect();
    assert!(gone.is_empty(), "rows of commands that are no more: {gone:?}");
}

/// Where commands are run, and what stands for the names in their arguments.
struct Place {
    stage: Stage,
    fresh: tempfile::TempDir,
}

/// How a command ended: its code, and all that it said.
struct Said {
    code: Option<i32>,
    text: String,
}

impl Place {
    fn new() -> Self {
        let fresh = tempfile::tempdir().expect("a directory");
        let file = r#"{"type": "DefineActivity", "name": "Greet", "schema": {"type": "object"}}"#;
        std::fs::write(fresh.path().join("greet.json"), file).expect("written");
        Self { stage: stage(), fresh }
    }

    fn run(&self, row: &Row, token: Option<&str>) -> Said {
        let fresh = self.fresh.path().display().to_string();
        let mut command = Command::new(FEDSX);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FEDSX_")) {
            command.env_remove(name);
        }
        command.env("FEDSX_PROFILES", "/nonexistent/profiles.toml").current_dir(self.fresh.path());
        command.timeout(Duration::from_secs(60)).args(row.command.split(' '));
        for arg in row.args.split(' ').filter(|arg| !arg.is_empty()) {
            let arg = arg
                .replace("{data}", &self.stage.node.data().display().to_string())
                .replace("{base}", &self.stage.node.base)
                .replace("{file}", &format!("{fresh}/greet.json"))
                .replace("{fresh}", &fresh)
                .replace("{capability}", &self.stage.capability);
            command.arg(arg);
        }
        if matches!(row.on, Instance(_) | Holder | Anyone) {
            command.args(["--url", &self.stage.node.base]);
            command.args(token.iter().flat_map(|token| ["--token", token]));
        }
        let ended = command.output().expect("fedsx runs");
        let text = [ended.stdout, ended.stderr].concat();
        Said { code: ended.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    #[track_caller]
    fn refuses(&self, row: &Row, token: Option<&str>, who: &str, check: impl Fn(&str) -> bool) {
        let Said { code, text } = self.run(row, token);
        let what = format!("fedsx {} by {who}: {code:?} {text}", row.command);
        assert!(code.is_some_and(|code| code > 0), "{what}");
        assert!(check(&text), "it says why: {what}");
        let shown = token.is_some_and(|token| text.contains(token));
        assert!(!shown, "the token is not shown: {what}");
    }

    /// Asks as each of those who may not.
    fn refuses_all(&self, row: &Row, wrong: &[super::Wrong]) {
        for wrong in wrong {
            let token = wrong.token.as_deref();
            self.refuses(row, token, wrong.who, |text| {
                match (token, text.split_once("failed check: ")) {
                    // Without a token nothing is sent.
                    (None, _) => text.contains("--token"),
                    (Some(_), Some((_, rest))) => {
                        let said = rest.rsplit_once(')').map_or(rest, |(said, _)| said);
                        wrong.check.holds(said)
                    }
                    (Some(_), None) => false,
                }
            });
        }
    }
}

#[test]
fn no_command_works_for_a_wrong_caller() {
    let place = Place::new();
    let head = place.stage.node.settled_head();
    let wrong: Vec<_> = ["publish", "read", "define", "admin"]
        .into_iter()
        .map(|scope| (scope, place.stage.wrong(scope, false)))
        .collect();
    let nobody = place.stage.nobody();
    let (place, wrong, nobody) = (&place, &wrong, &nobody);
    std::thread::scope(|threads| {
        for part in ROWS.chunks(ROWS.len().div_ceil(4)) {
            threads.spawn(move || {
                for row in part {
                    match row.on {
                        Instance(scope) => {
                            let (_, wrong) =
                                wrong.iter().find(|(of, _)| *of == scope).expect("a scope");
                            place.refuses_all(row, wrong);
                        }
                        Holder => place.refuses_all(row, nobody),
                        Anyone => {
                            let ended = place.run(row, Some("nobodys-token"));
                            assert_eq!(ended.code, Some(0), "{}: {}", row.command, ended.text);
                        }
                        Data => place.refuses(row, None, "who forgot the server", |text| {
                            text.contains("in use")
                        }),
                        Itself(code) => {
                            let ended = place.run(row, None);
                            assert_eq!(ended.code, Some(code), "{}: {}", row.command, ended.text);
                        }
                    }
                }
            });
        }
    });
    let now = place.stage.node.settled_head();
    assert_eq!(now, head, "whoever may not do something leaves nothing in the log");
    for row in ROWS.iter().filter(|row| matches!(row.on, Instance(_) | Holder | Anyone)) {
        let ended = place.run(row, Some(place.stage.right()));
        let refused = ended.text.contains("failed check");
        assert!(!refused, "fedsx {} by the right caller: {}", row.command, ended.text);
    }
}
