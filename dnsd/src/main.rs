//! dnsd: from the command line to [`dnsd::run`], or to [`dnsd::register`] if that is the first word.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let environment = service::config::environment();
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == "register") {
        arguments.remove(1);
        return register(arguments, &environment);
    }
    let sound = match dnsd::config::read(arguments, &environment) {
        Ok(sound) => sound,
        Err(exit) => return exit.report(),
    };
    service::daemon::run(sound, async |config, shutdown| {
        let listeners = dnsd::Listeners::bind(&config).await?;
        dnsd::run(config, listeners, shutdown).await?;
        Ok(())
    })
}

fn register(arguments: Vec<OsString>, environment: &BTreeMap<String, String>) -> ExitCode {
    let sound = match dnsd::register::settings::read(arguments, environment) {
        Ok(sound) => sound,
        Err(exit) => return exit.report(),
    };
    service::daemon::run(sound, async |config, shutdown| {
        Box::pin(dnsd::register::run(config, shutdown)).await?;
        Ok(())
    })
}
