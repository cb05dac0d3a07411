//! The chassis of the three daemons: what a program needs before it does anything of its own.
//!
//! Settings, logs, metrics, error answers, the HTTP server and who is let in, readiness, shutdown, durable
//! files, the conversation with systemd, and the clock. It knows no redis, no DNS and no etcd, and depends on none
//! of our other crates, so that a change of what the system does never has to touch how a daemon lives.
//!
//! A `main.rs` built on it is a table of contents:
//!
//! ```text
//! main                      config::Program::read → Reader::take… → Reader::finish     (exit 64, all mistakes at once)
//!   daemon::run             telemetry, warnings, runtime, signals                      (exit 1: failed start)
//!     your run(config, …)   metrics::Metrics, admin::routes, http::serve, notify::ready
//! ```

pub mod access;
pub mod admin;
pub mod auth;
pub mod client;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod durable;
pub mod files;
pub mod http;
pub mod metrics;
pub mod network;
pub mod notify;
pub mod problem;
pub mod shutdown;
pub mod stream;
pub mod telemetry;
pub mod tls;
