//! Replies that say something else than the node said, for [`super::Proxy::rewrite`].
//!
//! An older version or a clock that is wrong cannot be had of the server that is installed, so they are made of
//! its answers. Only what is asked for is changed; all else passes as it came.

use std::time::Duration;

use crate::resp::Reply;

/// A rewriting that gives a field of INFO another value, wherever INFO is answered.
pub fn info_field(name: &'static str, value: &'static str) -> impl Fn(Reply) -> Reply + Send + Sync {
    move |reply| {
        each_text(reply, &|text| {
            if !text.contains("redis_version:") {
                return text;
            }
            let lines = text.split("\r\n").map(|line| match line.split_once(':') {
                Some((field, _)) if field == name => format!("{name}:{value}"),
                _ => line.to_owned(),
            });
            lines.collect::<Vec<_>>().join("\r\n")
        })
    }
}

/// A rewriting that sets the node's clock ahead, as far as the answer to TIME goes.
pub fn clock_ahead(by: Duration) -> impl Fn(Reply) -> Reply + Send + Sync {
    move |reply| match reply {
        Reply::Array(Some(parts)) if is_time(&parts) => {
            let seconds: u64 = parts[0].text().parse().unwrap_or_default();
            let later = (seconds + by.as_secs()).to_string();
            Reply::Array(Some(vec![Reply::Bulk(Some(later.into_bytes())), parts[1].clone()]))
        }
        other => other,
    }
}

/// Seconds since 1970 and microseconds, both as text.
fn is_time(parts: &[Reply]) -> bool {
    const SECONDS_DIGITS: usize = 10;
    let digits =
        |reply: &Reply| matches!(reply, Reply::Bulk(Some(bytes)) if bytes.iter().all(u8::is_ascii_digit));
    parts.len() == 2 && parts.iter().all(digits) && parts[0].text().len() == SECONDS_DIGITS
}

fn each_text(reply: Reply, change: &dyn Fn(String) -> String) -> Reply {
    match reply {
        Reply::Bulk(Some(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => Reply::Bulk(Some(change(text).into_bytes())),
            Err(error) => Reply::Bulk(Some(error.into_bytes())),
        },
        Reply::Array(Some(elements)) => {
            Reply::Array(Some(elements.into_iter().map(|element| each_text(element, change)).collect()))
        }
        other => other,
    }
}
