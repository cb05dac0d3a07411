//! Taking values out of the table, and collecting what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::{Display, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::command::{CHECK_CONFIG, command, common_settings};
use super::value::parse_duration;
use super::{EXIT_USAGE, Exit, Program, Setting};
use crate::files::{FromFiles, KeptFiles};

/// A configuration that was read without a mistake, and what should be logged about it.
#[derive(Debug, Clone)]
pub struct Sound<C> {
    /// The configuration.
    pub config: C,
    /// To be logged once logging has started.
    pub warnings: Vec<String>,
}

/// One value as written, and how to name its source in a message.
#[derive(Debug, Clone)]
struct Written {
    source: String,
    text: String,
}

/// The settings as written, being turned into a configuration.
#[derive(Debug)]
pub struct Reader {
    program: Program,
    settings: Vec<Setting>,
    environment: BTreeMap<String, String>,
    written: BTreeMap<&'static str, Vec<Written>>,
    mistakes: Vec<String>,
    warnings: Vec<String>,
    /// Variables that [`Reader::secret`] asked for: they have our prefix and are no flags.
    secret_variables: BTreeSet<String>,
    check_only: bool,
    /// What is made of files, to be kept fresh.
    files: KeptFiles,
}

impl Reader {
    pub(super) fn read<I, T>(
        program: &Program,
        arguments: I,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Exit>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut settings = program.settings.to_vec();
        let own: BTreeSet<_> = settings.iter().map(|setting| setting.flag).collect();
        settings.extend(common_settings(program).into_iter().filter(|setting| !own.contains(setting.flag)));
        let matches =
            command(program, &settings).try_get_matches_from(arguments).map_err(|error| exit_of(&error))?;
        let mut reader = Reader {
            program: *program,
            settings,
            environment: environment.clone(),
            written: BTreeMap::new(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            secret_variables: BTreeSet::new(),
            check_only: false,
            files: KeptFiles::default(),
        };
        for setting in reader.settings.clone() {
            let values = values_of(&reader, &setting, &matches);
            reader.written.insert(setting.flag, values);
        }
        reader.check_only = reader.take_switch(CHECK_CONFIG);
        Ok(reader)
    }

    /// The value of a setting, or `None` if it is unset or wrong; what is wrong is remembered.
    ///
    /// # Panics
    /// If the table has no such setting: a mistake in the program, not of its user.
    pub fn take<T>(&mut self, flag: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.take_with(flag, T::from_str)
    }

    /// Like [`Reader::take`] with a parser of one's own.
    pub fn take_with<T, E: Display>(
        &mut self,
        flag: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let written = self.written(flag).last()?.clone();
        self.parse(&written, &written.text, parse)
    }

    /// `300ms`, `5s`, `2m`, `1h`.
    pub fn take_duration(&mut self, flag: &'static str) -> Option<Duration> {
        self.take_with(flag, parse_duration)
    }

    /// Every value of a list; empty if it is unset. Wrong ones are remembered and left out.
    pub fn take_list<T>(&mut self, flag: &'static str) -> Vec<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let mut values = Vec::new();
        for written in self.written(flag).to_vec() {
            for text in written.text.split([',', ' ', '\t', '\n']).filter(|text| !text.is_empty()) {
                values.extend(self.parse(&written, text, T::from_str));
            }
        }
        values
    }

    /// Whether a switch is on.
    pub fn take_switch(&mut self, flag: &'static str) -> bool {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err("expected true or false"),
        };
        self.take_with(flag, parse).unwrap_or(false)
    }

    /// Whether the user set it (a default does not count).
    pub fn is_set(&self, flag: &'static str) -> bool {
        self.written(flag).iter().any(|written| written.source != DEFAULT_SOURCE)
    }

    /// The environment that is being read, for rules of one's own.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Says that a variable with our prefix is read although it is no flag's.
    pub(super) fn expect_variable(&mut self, variable: &str) {
        self.secret_variables.insert(variable.to_owned());
    }

    /// A value made of files, kept fresh for as long as the daemon runs. What is wrong is remembered.
    pub fn from_files<T: Send + Sync + 'static>(
        &mut self,
        what: &'static str,
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Option<Arc<FromFiles<T>>> {
        match FromFiles::open(what, paths, make) {
            Ok(value) => {
                let value = Arc::new(value);
                self.files.add(&value);
                Some(value)
            }
            Err(sentence) => {
                self.mistake(sentence);
                None
            }
        }
    }

    /// Everything that is made of files so far and later; clones are one list.
    pub fn files(&self) -> KeptFiles {
        self.files.clone()
    }

    /// The program whose settings these are.
    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// Remembers a mistake: a sentence that names the setting, the value, and what is expected.
    pub fn mistake(&mut self, sentence: impl Into<String>) {
        self.mistakes.push(sentence.into());
    }

    /// Remembers something to be logged once logging has started.
    pub fn warning(&mut self, sentence: impl Into<String>) {
        self.warnings.push(sentence.into());
    }

    /// Ends the reading. Hand in `None` where a `take` gave `None`.
    ///
    /// # Errors
    /// [`Exit`] with code 64 that tells every mistake; with code 0 when only a check was asked for.
    pub fn finish<C>(mut self, config: Option<C>) -> Result<Sound<C>, Exit> {
        self.warn_of_unknown_variables();
        if config.is_none() && self.mistakes.is_empty() {
            self.mistake("a setting that has no default is missing");
        }
        let mut stderr = String::new();
        for mistake in &self.mistakes {
            let _ = writeln!(stderr, "{}: {mistake}", self.program.name);
        }
        match config {
            Some(config) if self.mistakes.is_empty() && !self.check_only => {
                Ok(Sound { config, warnings: self.warnings })
            }
            Some(_) if self.mistakes.is_empty() => {
                for warning in &self.warnings {
                    let _ = writeln!(stderr, "{}: warning: {warning}", self.program.name);
                }
                Err(Exit { code: 0, stdout: "configuration is sound\n".to_owned(), stderr })
            }
            _ => {
                let _ = writeln!(stderr, "{0}: nothing was started; see {0} --help", self.program.name);
                Err(Exit { code: EXIT_USAGE, stdout: String::new(), stderr })
            }
        }
    }

    fn warn_of_unknown_variables(&mut self) {
        let prefix = format!("{}_", self.program.env_prefix);
        let mut known = self.secret_variables.clone();
        for setting in &self.settings {
            known.insert(setting.env_name(self.program.env_prefix));
            known.extend(setting.legacy_env.iter().map(|&name| name.to_owned()));
        }
        let unknown: Vec<_> = self
            .environment
            .keys()
            .filter(|name| name.starts_with(&prefix) && !known.contains(*name))
            .cloned()
            .collect();
        for name in unknown {
            self.warning(format!(
                "the environment variable {name} is not a setting of {}",
                self.program.name
            ));
        }
    }

    fn written(&self, flag: &'static str) -> &[Written] {
        match self.written.get(flag) {
            Some(written) => written,
            None => panic!("--{flag} is not in the table of settings"),
        }
    }

    fn parse<T, E: Display>(
        &mut self,
        written: &Written,
        text: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(format!("{} {text:?}: {error}", written.source));
                None
            }
        }
    }
}

/// How a default is named as a source.
const DEFAULT_SOURCE: &str = "the default";

/// What was written for one setting: by flag, else by variable, else by an original's variable, else by default.
fn values_of(reader: &Reader, setting: &Setting, matches: &clap::ArgMatches) -> Vec<Written> {
    let by_flag = format!("--{}", setting.flag);
    if setting.is_switch() {
        if matches.get_flag(setting.flag) {
            return vec![Written { source: by_flag, text: "true".to_owned() }];
        }
    } else if let Some(values) = matches.get_many::<String>(setting.flag) {
        return values.map(|text| Written { source: by_flag.clone(), text: text.clone() }).collect();
    }
    let own = setting.env_name(reader.program.env_prefix);
    for name in std::iter::once(own.as_str()).chain(setting.legacy_env.iter().copied()) {
        if let Some(text) = reader.environment.get(name).filter(|text| !text.trim().is_empty()) {
            return vec![Written { source: name.to_owned(), text: text.clone() }];
        }
    }
    let default =
        setting.default.map(|text| Written { source: DEFAULT_SOURCE.to_owned(), text: text.to_owned() });
    default.into_iter().collect()
}

/// Help and version go to standard output with code 0, everything else to standard error with code 64.
fn exit_of(error: &clap::Error) -> Exit {
    let text = error.render().to_string();
    if error.use_stderr() {
        Exit { code: EXIT_USAGE, stdout: String::new(), stderr: text }
    } else {
        Exit { code: 0, stdout: text, stderr: String::new() }
    }
}
