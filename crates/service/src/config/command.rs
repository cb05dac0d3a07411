//! The command line as clap sees it, made from the table of settings.

use clap::{Arg, ArgAction, Command};

use super::{Program, Setting};

/// The name of the switch that only checks.
pub(super) const CHECK_CONFIG: &str = "check-config";

/// The settings that every daemon has, behind the program's own.
pub(super) fn common_settings(program: &Program) -> Vec<Setting> {
    vec![
        Setting {
            flag: "listen",
            value_name: "IP:PORT",
            default: Some(program.listen_default),
            help: "Where the HTTP interface listens",
            ..Setting::BLANK
        },
        Setting {
            flag: "tokens-file",
            value_name: "PATH",
            help: "File with the hashed tokens of those who may use the HTTP interface",
            ..Setting::BLANK
        },
        Setting {
            flag: "tls-cert",
            value_name: "PATH",
            help: "PEM file with the certificate and its chain with which the HTTP interface speaks TLS",
            ..Setting::BLANK
        },
        Setting {
            flag: "tls-key",
            value_name: "PATH",
            help: "PEM file with that certificate's key",
            ..Setting::BLANK
        },
        Setting {
            flag: "tls-client-ca",
            value_name: "PATH",
            help: "PEM file with the authority of clients, whose certificates then say who they are",
            ..Setting::BLANK
        },
        Setting {
            flag: "insecure-no-auth",
            help: "Permit --listen beyond loopback although nobody is authenticated",
            ..Setting::BLANK
        },
        Setting {
            flag: "allow-host",
            value_name: "NAME",
            repeatable: true,
            help: "Host names under which HTTP clients may ask, besides IP addresses and localhost",
            ..Setting::BLANK
        },
        Setting {
            flag: "state-dir",
            value_name: "PATH",
            help: "Folder for what has to survive a restart",
            ..Setting::BLANK
        },
        Setting {
            flag: "log",
            value_name: "LEVEL",
            default: Some("info"),
            help: "error, warn, info, debug, trace, or a filter such as info,dictator=debug",
            ..Setting::BLANK
        },
        Setting {
            flag: "log-format",
            value_name: "FORMAT",
            default: Some("text"),
            help: "text or json",
            ..Setting::BLANK
        },
        Setting { flag: CHECK_CONFIG, help: "Check the settings, say so, and stop", ..Setting::BLANK },
    ]
}

/// The default state folder where systemd names none.
pub(super) fn state_dir_default(program: &Program) -> String {
    format!("/var/lib/redis-{}", program.name)
}

/// The whole command line. Defaults are not clap's business: it is told only how to show them.
pub(super) fn command(program: &Program, settings: &[Setting]) -> Command {
    let mut command = Command::new(program.name)
        .version(program.version)
        .about(program.about)
        .bin_name(program.name)
        .after_help(
            "Flags win over variables, variables over defaults. An empty variable counts as unset.\n\
             Lists take commas or blanks. Durations are written 300ms, 5s, 2m.",
        );
    for setting in settings {
        command = command.arg(argument(program, setting));
    }
    command
}

fn argument(program: &Program, setting: &Setting) -> Arg {
    let mut notes = vec![setting.env_name(program.env_prefix)];
    if let Some(default) = setting.default {
        notes.push(format!("default {default}"));
    } else if setting.flag == "state-dir" {
        notes.push(format!("default $STATE_DIRECTORY, else {}", state_dir_default(program)));
    }
    if setting.repeatable {
        notes.push("a list".to_owned());
    }
    let argument = Arg::new(setting.flag).long(setting.flag).aliases(setting.legacy_flags).help(format!(
        "{} [{}]",
        setting.help,
        notes.join(", ")
    ));
    if setting.is_switch() {
        argument.action(ArgAction::SetTrue)
    } else {
        argument.value_name(setting.value_name).allow_hyphen_values(false).action(if setting.repeatable {
            ArgAction::Append
        } else {
            ArgAction::Set
        })
    }
}
