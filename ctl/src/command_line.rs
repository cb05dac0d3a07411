//! Every command with its arguments, as clap sees it: help, completions and manual pages come from here.
//!
//! clap's derive is not used, for the reasons `service::config` gives: settings have three sources and
//! their mistakes are told together, which is done in [`crate::settings`]; and two ways of describing a
//! command line in one house would be one too many.

use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::Shell;
use service::config::Setting;

use crate::exit::CODES;
use crate::settings::{ENV_PREFIX, FILE_DEFAULT, FILE_VARIABLE, SETTINGS, TOKEN_VARIABLE};

/// The name of the program.
pub const NAME: &str = "dictatorctl";

/// The whole command line.
pub fn command() -> Command {
    let mut command = Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Shows and changes which redis node is the master, by asking the dictator")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(after_help())
        .subcommands(reading())
        .subcommands(changing())
        .subcommands(shell());
    command = command.arg(config_argument());
    for setting in SETTINGS {
        command = command.arg(argument(setting));
    }
    command
}

fn after_help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in CODES {
        text.push_str(&format!("  {:<4}{meaning}\n", code as u8));
    }
    text.push_str(&format!(
        "\nFlags win over variables, variables over the file of --config, that over defaults. Lists take\n\
         commas or blanks. Durations are written 300ms, 5s, 2m. A token can also be given in {TOKEN_VARIABLE}.\n\
         NO_COLOR switches colours off. Only on a terminal is anything asked, and not with --yes."
    ));
    text
}

/// Commands that change nothing.
fn reading() -> [Command; 7] {
    [
        Command::new("status")
            .about("Wanted beside observed: every node with its role, link and lag")
            .arg(switch("watch", "Show it again and again until interrupted").short('w'))
            .arg(
                Arg::new("interval")
                    .long("interval")
                    .value_name("DURATION")
                    .default_value("1s")
                    .help("Time between two looks with --watch"),
            ),
        Command::new("master").about("Where the master is, as ip:port"),
        Command::new("plan")
            .about("What applying a document would do, step by step; changes nothing")
            .arg(file())
            .args(conditions()),
        Command::new("watch")
            .about("What happens, while it happens: every step of every change, until interrupted"),
        doctor(),
        Command::new("history").about("What was done and what was refused, newest first").arg(
            Arg::new("limit")
                .long("limit")
                .short('n')
                .value_name("COUNT")
                .default_value("20")
                .value_parser(clap::value_parser!(u16).range(1..))
                .help("Most entries shown"),
        ),
        Command::new("show").about("One entry of the history with everything that was done").arg(
            Arg::new("receipt")
                .value_name("RECEIPT")
                .default_value("1")
                .help("A number of the history (1 is the newest), or a request id or its beginning"),
        ),
    ]
}

fn doctor() -> Command {
    Command::new("doctor")
        .about("What should be different about the nodes and this host, each finding with its cure")
        .arg(
            Arg::new("what")
                .value_name("WHAT")
                .value_parser(["all", "cluster", "host"])
                .default_value("all")
                .help(
                    "cluster: the nodes, by redis-cli with REDISCLI_AUTH; host: the kernel's settings here",
                ),
        )
        .arg(
            Arg::new("redis-user").long("redis-user").value_name("NAME").help(
                "Also try, by ACL DRYRUN, whether the dictator's user at the nodes may do what it must",
            ),
        )
        .arg(
            Arg::new("root")
                .long("root")
                .value_name("PATH")
                .default_value("/")
                .value_hint(ValueHint::DirPath)
                .help("Where the host's /proc and /sys are, in a container that has them elsewhere"),
        )
        .arg(
            Arg::new("arguments")
                .value_name("ARGUMENT")
                .num_args(0..)
                .last(true)
                .help("Passed to redis-cli, such as --tls --cacert FILE --user NAME"),
        )
}

fn acl() -> Command {
    let print = Command::new("print")
        .about("The least that the dictator's user needs at the nodes, as a command for redis")
        .arg(Arg::new("user").long("user").value_name("NAME").default_value("dictator").help("Its name"))
        .arg(switch("observing", "With the rules that let it see more; +config|get reads passwords, too"))
        .arg(Arg::new("for").long("for").value_name("SERVER").help(
            "Make sure that this server can be worked with, such as 7.0 or valkey-8.1; the rules are the same for all",
        ));
    let etcd = Command::new("etcd")
        .about("Users and roles of etcd with the least that each needs, as commands of etcdctl")
        .arg(
            Arg::new("domain")
                .long("domain")
                .value_name("DOMAIN")
                .help("Also a role for dnsd, which writes and reads names below this domain in etcd"),
        );
    Command::new("acl")
        .about("Who may do what at the nodes and in etcd")
        .subcommand_required(true)
        .subcommands([print, etcd])
}

fn cluster_config() -> Command {
    let folder = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("PATH").value_hint(ValueHint::DirPath).help(help)
    };
    Command::new("cluster-config")
        .about("Makes users.acl and redis.conf for the nodes of a cluster, from names and passwords in JSON")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_hint(ValueHint::FilePath)
                .help("Names and passwords, see docs/redis-user.md; - reads standard input"),
        )
        .arg(folder("folder", "Where the files are written; made if it is missing").required(true))
        .arg(folder("installed-in", "Where the nodes will find them, if not there"))
}

/// Commands that change something.
fn changing() -> [Command; 6] {
    let links = || switch("wait-links", "Answer when all slaves follow the new master");
    let reason = || Arg::new("reason").long("reason").value_name("TEXT").help("Why, for the history");
    [
        Command::new("apply")
            .about("Puts a document in force and says what was done")
            .arg(file())
            .args(conditions())
            .arg(links())
            .arg(reason()),
        Command::new("switch")
            .about("Makes another node of the present document the master")
            .arg(
                Arg::new("node")
                    .value_name("NODE")
                    .required(true)
                    .help("The slave to promote, as the document or `status` names it"),
            )
            .arg(links())
            .arg(reason()),
        Command::new("define")
            .about("Writes a document to etcd; nothing moves until it is triggered")
            .arg(file()),
        Command::new("trigger")
            .about("Puts the document in etcd in force, by writing the key that the observer watches")
            .arg(switch("wait", "Answer when it is in force, or refused")),
        Command::new("pause")
            .about("Holds enforcement for a while, so that somebody can work on a node")
            .arg(
                Arg::new("for")
                    .long("for")
                    .value_name("DURATION")
                    .required(true)
                    .help("How long, at most 24h; it then goes on by itself"),
            )
            .arg(Arg::new("reason").long("reason").value_name("TEXT").help("Shown by status and history")),
        Command::new("resume").about("Lets enforcement go on"),
    ]
}

fn token() -> Command {
    let new = Command::new("new")
        .about("Makes a token: shown once, for its holder, with the line for the daemons' --tokens-file")
        .arg(
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .required(true)
                .help("Who will hold it; logs and the history tell this name"),
        )
        .arg(
            Arg::new("role")
                .long("role")
                .value_name("ROLE")
                .required(true)
                .value_parser(["viewer", "operator", "admin"])
                .help("viewer reads, operator changes, admin may also permit losing data"),
        );
    Command::new("token")
        .about("Tokens of the daemons' HTTP interfaces")
        .subcommand_required(true)
        .subcommand(new)
}

/// Other programs, and this program itself.
fn shell() -> [Command; 6] {
    [
        acl(),
        cluster_config(),
        token(),
        Command::new("redis-cli").about("Runs redis-cli at the master, wherever it is").arg(
            Arg::new("arguments").value_name("ARGUMENT").num_args(0..).last(true).help("Passed to redis-cli"),
        ),
        Command::new("completion").about("Completions for a shell, on standard output").arg(
            Arg::new("shell").value_name("SHELL").required(true).value_parser(clap::value_parser!(Shell)),
        ),
        Command::new("man").about("The manual page, on standard output").arg(
            Arg::new("folder")
                .long("folder")
                .value_name("PATH")
                .value_hint(ValueHint::DirPath)
                .help("Write a page for every command into this folder instead"),
        ),
    ]
}

fn file() -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .required(true)
        .value_hint(ValueHint::FilePath)
        .help("The document, a small JSON file; - reads standard input")
}

fn conditions() -> [Arg; 2] {
    [
        Arg::new("revision")
            .long("revision")
            .value_name("NUMBER")
            .value_parser(clap::value_parser!(u64))
            .help("Send it as this revision; one older than what is in force is refused"),
        Arg::new("if-match")
            .long("if-match")
            .value_name("ETAG")
            .help("Only if the present state is this one, as `ETag` of GET /master gives it"),
    ]
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("PATH")
        .global(true)
        .value_hint(ValueHint::FilePath)
        .help_heading("Settings")
        .help(format!("File with NAME=value lines [{FILE_VARIABLE}, default {FILE_DEFAULT} if it is there]"))
}

fn argument(setting: &'static Setting) -> Arg {
    let mut notes = vec![setting.env_name(ENV_PREFIX)];
    notes.extend(setting.default.map(|default| format!("default {default}")));
    if setting.repeatable {
        notes.push("a list".to_owned());
    }
    let argument = Arg::new(setting.flag)
        .long(setting.flag)
        .global(true)
        .help_heading("Settings")
        .help(format!("{} [{}]", setting.help, notes.join(", ")));
    let argument = match setting.flag {
        "output" => argument.short('o'),
        "yes" => argument.short('y'),
        _ => argument,
    };
    if setting.is_switch() {
        return argument.action(ArgAction::SetTrue);
    }
    let action = if setting.repeatable { ArgAction::Append } else { ArgAction::Set };
    argument.value_name(setting.value_name).action(action)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }

    #[test]
    fn the_page_tells_every_command_setting_and_code() {
        let page = include_str!("../../docs/dictatorctl.md");
        for command in super::command().get_subcommands() {
            let name = command.get_name();
            let told = [format!("`{name} "), format!("`{name}`")].iter().any(|cell| page.contains(cell));
            assert!(told, "docs/dictatorctl.md does not tell `{name}`");
        }
        for setting in super::SETTINGS {
            assert!(page.contains(&format!("| `--{}", setting.flag)), "--{}", setting.flag);
            let variable = setting.env_name(super::ENV_PREFIX);
            assert!(page.contains(&format!("`{variable}`")), "{variable}");
        }
        for (code, _) in super::CODES {
            assert!(page.contains(&format!("\n| {} |", code as u8)), "{code:?}");
        }
    }

    #[test]
    fn the_help_tells_every_exit_code() {
        let help = super::command().render_help().to_string();
        for (code, meaning) in super::CODES {
            assert!(help.contains(&format!("  {:<4}{meaning}", code as u8)), "{code:?}\n{help}");
        }
    }
}
