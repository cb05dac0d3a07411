//! Why a name leads nowhere: five reasons, each with what was asked of whom.
//!
//! One struct around a small enum: callers act on the reason, people read the rest, and neither has
//! to be assembled again at every place that reports a failure.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use topology::NodeName;

/// A node name that could not be resolved, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}; asked {} of {}", Listed(asked, "nothing"), Listed(servers, "no name server"))]
pub struct ResolveError {
    /// The node, as the document names it.
    pub name: NodeName,
    /// What went wrong.
    pub reason: Reason,
    /// The questions in the order they were asked, such as `SRV core-01.redis-1.docker.`.
    pub asked: Vec<String>,
    /// The name servers in force.
    pub servers: Vec<SocketAddr>,
}

/// The kinds of failure; each asks for another reaction of the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Every server that answered said that there is no such name or no such record.
    #[error("no such name, or no address at it")]
    NotFound,
    /// No server gave an answer that could be used (SERVFAIL, REFUSED, connection refused).
    #[error("the name servers failed ({detail})")]
    ServerFailed {
        /// The response code or transport error of the last server asked.
        detail: String,
    },
    /// Nobody answered in time.
    #[error("no answer within {} ms", after.as_millis())]
    Timeout {
        /// How long this name was tried.
        after: Duration,
    },
    /// The SRV record says that the service is decidedly not available: its target is `.`.
    #[error("service not available (RFC 2782: SRV target `.`)")]
    NotAvailable,
    /// There was an answer and it makes no sense.
    #[error("unusable answer ({detail})")]
    BadAnswer {
        /// What is wrong with it.
        detail: String,
    },
}

/// Prints a list with commas, and a word where it is empty.
struct Listed<'a, T>(&'a [T], &'static str);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str(self.1);
        }
        for (index, item) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{item}")?;
        }
        Ok(())
    }
}
