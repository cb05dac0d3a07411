//! The dictator of the crash tests: the same program, built so that it can stop at a chosen action.

use std::process::ExitCode;

use dictator::{Listeners, config, run};
use service::daemon;

fn main() -> ExitCode {
    let sound = match config::read(std::env::args_os(), &service::config::environment()) {
        Ok(sound) => sound,
        Err(exit) => return exit.report(),
    };
    daemon::run(sound, |config, shutdown| async move {
        let listeners = Listeners::bind(&config.common).await?;
        run(config, listeners, shutdown).await
    })
}
