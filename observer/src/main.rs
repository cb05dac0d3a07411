//! The observer's binary: a table of contents.

use std::process::ExitCode;

use observer::{Listeners, run, settings};
use service::{config, daemon};

fn main() -> ExitCode {
    let sound = match settings::read(std::env::args_os(), &config::environment()) {
        Ok(sound) => sound,
        Err(exit) => return exit.report(),
    };
    daemon::run(sound, |config, shutdown| async move {
        let listeners = Listeners::bind(&config.common).await?;
        run(config, listeners, shutdown).await
    })
}
