//! From a sound configuration to the exit code.
//!
//! Everything between `main` and a daemon's own `run`: logs, the warnings that settings caused, the
//! runtime, signals, files that are kept fresh, the watchdog, and the last line.

use std::future::Future;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::config::{Common, Sound};
use crate::{notify, shutdown, telemetry};

/// Whatever made a start fail; `main` prints the chain.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// Runs a daemon until it ends by itself or a signal stops it.
///
/// `body` is called inside the runtime with the configuration and the token that the first SIGTERM or
/// SIGINT cancels; it returns when everything is drained. Exit code 0 after a clean stop, 1 after an error.
pub fn run<C, F, Fut>(sound: Sound<C>, body: F) -> ExitCode
where
    C: AsRef<Common>,
    F: FnOnce(C, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), StartError>>,
{
    let Sound { config, warnings } = sound;
    telemetry::init(config.as_ref().log_format, &config.as_ref().log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let outcome = runtime.block_on(async {
        let signals = shutdown::on_signals()?;
        tokio::spawn(notify::watchdog(signals.second.clone()));
        tokio::spawn(config.as_ref().files.clone().keep_fresh(signals.second.clone()));
        let first = signals.first.clone();
        tokio::spawn(async move {
            first.cancelled().await;
            notify::stopping();
        });
        tokio::select! {
            outcome = Box::pin(body(config, signals.first.clone())) => outcome,
            () = signals.second.cancelled() => Err("stopped at once by a second signal".into()),
        }
    });
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

/// One line with the whole chain of causes.
fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push_str(": ");
        chain.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!("{chain}");
    ExitCode::FAILURE
}
