//! Pauses of enforcement, the live view, and redis-cli at the master.

use std::os::unix::process::CommandExt;
use std::time::Duration;

use serde_json::{Value, json};
use service::clock;
use service::config::parse_duration;

use super::{Context, parsed, read};
use crate::answer::Enforcement;
use crate::client::Ask;
use crate::exit::{Code, Failure};
use crate::output::Format;
use crate::render;

/// Before the stream of events is asked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(super) async fn pause(context: Context<'_>) -> Result<Code, Failure> {
    let text = context.text("for").unwrap_or_default();
    let wrong = |error: &str| Failure::usage(format!("--for {text:?}: {error}"));
    let length = parse_duration(text).map_err(wrong)?;
    if length.as_secs() == 0 || length.subsec_nanos() != 0 {
        return Err(wrong("whole seconds, and at least one"));
    }
    let reason = context.text("reason").unwrap_or_default();
    set(context, &json!({ "pause_s": length.as_secs(), "reason": reason })).await
}

pub(super) async fn resume(context: Context<'_>) -> Result<Code, Failure> {
    set(context, &json!({ "pause_s": 0 })).await
}

async fn set(context: Context<'_>, wish: &Value) -> Result<Code, Failure> {
    context.check_cluster().await?;
    let ask = Ask::put("/enforcement", wish.to_string(), context.settings.timeout);
    let answer = context.good(context.client().ask(&ask).await?)?;
    let enforcement: Enforcement = parsed(&answer)?;
    let now = clock::unix_millis();
    context.output.answer(&answer.value, |style| {
        render::enforcement(&enforcement, now, style).unwrap_or_else(|| "enforcement goes on\n".to_owned())
    })?;
    Ok(Code::Done)
}

pub(super) async fn watch(context: Context<'_>) -> Result<Code, Failure> {
    context.check_cluster().await?;
    let client = context.client();
    let mut before = false;
    loop {
        match client.listen("/events").await {
            Ok(Ok(mut events)) => {
                context.output.talk(&format!("listening to {}\n", events.from));
                before = true;
                while let Some((kind, data)) = events.next().await {
                    context.output.print(&event(context, &kind, &data))?;
                }
                context.output.talk("the stream ended; listening again\n");
            }
            Ok(Err(reply)) if !before => return context.good(reply).map(|_| Code::Done),
            Err(failure) if !before => return Err(failure),
            // A watch outlives what it watches; who has the say may be decided in a moment.
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

fn event(context: Context<'_>, kind: &str, data: &Value) -> String {
    let value = json!({ "event": kind, "data": data });
    match context.output.format {
        Format::Json => format!("{value}\n"),
        Format::Yaml => format!("---\n{}", render::yaml(&value)),
        Format::Table => render::event(kind, data, clock::unix_millis(), context.output.style),
    }
}

pub(super) async fn redis_cli(context: Context<'_>) -> Result<Code, Failure> {
    let node = read::granted(context).await?;
    let (Some(ip), Some(port)) = (node.ip, node.port) else {
        return Err(Failure::new(Code::Differs, "the master's address is not known now"));
    };
    let arguments = context.matches.get_many::<String>("arguments").into_iter().flatten();
    let mut command = std::process::Command::new("redis-cli");
    let error = command.args(["-h", &ip, "-p", &port.to_string()]).args(arguments).exec();
    Err(Failure::new(Code::Failed, format!("redis-cli cannot be started: {error}; is it installed?")))
}
