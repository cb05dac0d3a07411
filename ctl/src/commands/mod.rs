//! One function per command: ask, print, say how it ended.

mod acl;
mod change;
mod cluster_config;
mod doctor;
mod etcd;
mod maintenance;
mod read;
mod shell;
mod token;

use clap::ArgMatches;

use crate::client::{Answer, Ask, Client, Reply};
use crate::exit::{Code, Failure};
use crate::output::{Format, Output};
use crate::render;
use crate::settings::Settings;

/// What every command has.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    matches: &'a ArgMatches,
    settings: &'a Settings,
    output: &'a Output,
}

/// Runs the command of this name.
///
/// # Errors
/// When it did not get what it asked for.
pub async fn run(
    name: &str,
    matches: &ArgMatches,
    settings: &Settings,
    output: &Output,
) -> Result<Code, Failure> {
    let context = Context { matches, settings, output };
    match name {
        "status" => read::status(context).await,
        "master" => read::master(context).await,
        "history" => read::history(context).await,
        "show" => read::show(context).await,
        "plan" => change::plan(context).await,
        "apply" => change::apply(context).await,
        "switch" => change::switch(context).await,
        "define" => etcd::define(context).await,
        "trigger" => etcd::trigger(context).await,
        "pause" => maintenance::pause(context).await,
        "resume" => maintenance::resume(context).await,
        "watch" => maintenance::watch(context).await,
        "doctor" => doctor::doctor(context).await,
        "redis-cli" => maintenance::redis_cli(context).await,
        "acl" => acl::acl(context),
        "cluster-config" => cluster_config::cluster_config(context),
        "token" => token::token(context),
        "completion" => shell::completion(context),
        "man" => shell::man(context),
        other => Err(Failure::usage(format!("{other} is not a command; see dictatorctl --help"))),
    }
}

impl Context<'_> {
    fn client(&self) -> Client {
        Client::new(self.settings)
    }

    /// Where the document is: of the cluster that was named, if one was.
    fn master_path(&self) -> String {
        self.settings
            .cluster
            .as_ref()
            .map_or_else(|| "/master".to_owned(), |name| format!("/clusters/{name}/master"))
    }

    /// Asks the dictator for what other paths tell, after making sure that it is the one that is meant.
    async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.check_cluster().await?;
        self.good(self.client().ask(&Ask::get(path)).await?)
    }

    /// Makes sure that the dictator keeps the cluster that was named, if one was.
    async fn check_cluster(&self) -> Result<(), Failure> {
        if self.settings.cluster.is_some()
            && let Reply::Bad(answer, problem) = self.client().ask(&Ask::get(self.master_path())).await?
            && problem.evidence.contains_key("cluster")
        {
            self.good(Reply::Bad(answer, problem))?;
        }
        Ok(())
    }

    /// The answer, if it is good; a problem is printed for programs and told to people.
    fn good(&self, reply: Reply) -> Result<Answer, Failure> {
        match reply {
            Reply::Good(answer) => Ok(answer),
            Reply::Bad(answer, problem) => {
                if self.output.format != Format::Table {
                    self.output.answer(&answer.value, |_| String::new())?;
                }
                Err(render::refusal(&problem, self.output.talk_style))
            }
        }
    }

    /// A command's own argument, if it was given or has a default.
    fn text(&self, name: &str) -> Option<&str> {
        self.matches.get_one::<String>(name).map(String::as_str)
    }
}

/// What an answer says in the words of [`crate::answer`].
fn parsed<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_value(answer.value.clone()).map_err(|error| {
        let text = format!("the answer of {} cannot be read: {error}; see it with -o json", answer.from);
        Failure::new(Code::Failed, text)
    })
}
