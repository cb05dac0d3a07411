//! dnsd: from the command line to [`dnsd::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let sound = match dnsd::config::read(std::env::args_os(), &service::config::environment()) {
        Ok(sound) => sound,
        Err(exit) => return exit.report(),
    };
    service::daemon::run(sound, async |config, shutdown| {
        let listeners = dnsd::Listeners::bind(&config).await?;
        dnsd::run(config, listeners, shutdown).await?;
        Ok(())
    })
}
