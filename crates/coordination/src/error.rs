//! What can go wrong between us and etcd, sorted by what the caller can do about it.
//!
//! gRPC has seventeen codes and etcd a hundred messages. A caller has three questions: may another
//! member know better, is the answer final, and can a write have happened although no answer came.

use etcd_client::Error as ClientError;

/// Why a question to etcd has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// No member answered in time. For a read and for a write that was never sent.
    #[error("etcd could not be asked to {operation} at {endpoints}: {reason}")]
    Unreachable {
        /// What was asked.
        operation: &'static str,
        /// The members that were tried.
        endpoints: String,
        /// What the last of them did.
        reason: String,
    },
    /// etcd answered no, and will do so again until somebody changes something.
    #[error("etcd refused to {operation}: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// etcd's own words.
        reason: String,
    },
    /// A write was sent and no answer came: it may have happened, or may still.
    #[error("whether etcd did {operation} is not known: {reason}")]
    OutcomeUnknown {
        /// What was asked.
        operation: &'static str,
        /// What was seen instead of an answer.
        reason: String,
    },
}

/// One failed attempt at one member.
pub(crate) enum Failure {
    /// The member, or the way to it, is at fault; another may answer.
    Transient(String),
    /// etcd's answer is no.
    Refused(String),
    /// The revision that was asked for is compacted.
    Compacted,
    /// What proves who we are is out of date; nothing was done, and a new connection proves it anew.
    Unproven(String),
}

/// The messages of etcd for such proofs (`ErrGRPCInvalidAuthToken`, `ErrGRPCAuthOldRevision`). The second has the
/// code of a bad argument, so it is told by its text.
const UNPROVEN_MESSAGES: [&str; 2] = ["invalid auth token", "revision of auth store is old"];

/// The part of the message by which etcd tells a compacted revision from a future one; both have the
/// same gRPC code (etcd `api/v3rpc/rpctypes/error.go`, `ErrGRPCCompacted`).
const COMPACTED_MESSAGE: &str = "required revision has been compacted";

/// The same of the future one (`ErrGRPCFutureRev`).
const FUTURE_REVISION_MESSAGE: &str = "required revision is a future revision";

// Codes of gRPC, by their numbers in its specification (doc/statuscodes.md).
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;
const UNAUTHENTICATED: i32 = 16;

impl Failure {
    /// One line for a person.
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::Transient(reason) | Self::Refused(reason) | Self::Unproven(reason) => reason,
            Self::Compacted => COMPACTED_MESSAGE.to_owned(),
        }
    }
}

impl From<&ClientError> for Failure {
    fn from(error: &ClientError) -> Self {
        let reason = reason_of(error);
        match error {
            ClientError::GRpcStatus(status) => match status.code() as i32 {
                _ if UNPROVEN_MESSAGES.iter().any(|message| status.message().contains(message)) => {
                    Self::Unproven(reason)
                }
                OUT_OF_RANGE if status.message().contains(COMPACTED_MESSAGE) => Self::Compacted,
                INVALID_ARGUMENT | NOT_FOUND | PERMISSION_DENIED | RESOURCE_EXHAUSTED
                | FAILED_PRECONDITION | OUT_OF_RANGE | UNIMPLEMENTED | UNAUTHENTICATED => {
                    Self::Refused(reason)
                }
                _ => Self::Transient(reason),
            },
            ClientError::InvalidArgs(_) | ClientError::InvalidUri(_) => Self::Refused(reason),
            // A keep-alive that is answered with a lifetime of zero: the lease is gone for good.
            ClientError::LeaseKeepAliveError(_) => Self::Refused(reason),
            _ => Self::Transient(reason),
        }
    }
}

/// The message of etcd for a role that lacks a permission (`ErrGRPCPermissionDenied`). It names neither.
const PERMISSION_MESSAGE: &str = "permission denied";
/// The same for who comes as nobody (`ErrGRPCUserEmpty`), and for a password that is not the user's
/// (`ErrGRPCAuthFailed`).
const NOBODY_MESSAGE: &str = "user name is empty";
const PASSWORD_MESSAGE: &str = "authentication failed";

impl EtcdError {
    /// Whether etcd does not let this user in, or not do that.
    pub fn is_permission(&self) -> bool {
        let messages = [PERMISSION_MESSAGE, NOBODY_MESSAGE, PASSWORD_MESSAGE];
        matches!(self, Self::Refused { reason, .. } if messages.iter().any(|message| reason.contains(message)))
    }
}

/// The same reason; for a permission that is missing, with the permission and the command that gives it.
///
/// `keys` are a key, or `--prefix KEY`, as `etcdctl` takes them.
pub(crate) fn with_permission(reason: String, user: Option<&str>, right: &str, keys: &str) -> String {
    match user {
        Some(user) if reason.contains(PERMISSION_MESSAGE) => format!(
            "{reason}: user `{user}` may not {right} {keys}; permit it to the role of that user: \
             etcdctl role grant-permission ROLE {right} {keys}"
        ),
        Some(user) if reason.contains(PASSWORD_MESSAGE) => {
            format!("{reason}: look at the user name `{user}` and its password file")
        }
        None if reason.contains(PERMISSION_MESSAGE) || reason.contains(NOBODY_MESSAGE) => format!(
            "{reason}: etcd lets only users in; give an etcd user who may {right} {keys}, and its password file"
        ),
        _ => reason,
    }
}

/// Whether the member that was asked has not reached the revision yet.
pub(crate) fn is_future_revision(error: &ClientError) -> bool {
    matches!(error, ClientError::GRpcStatus(status) if status.message().contains(FUTURE_REVISION_MESSAGE))
}

/// One line for a person: etcd's message, or the innermost cause of a failed connection.
pub(crate) fn reason_of(error: &ClientError) -> String {
    let (message, mut cause): (String, Option<&dyn std::error::Error>) = match error {
        ClientError::GRpcStatus(status) => {
            let message = match status.message() {
                "" => format!("gRPC status {}", status.code() as i32),
                message => message.to_owned(),
            };
            (message, std::error::Error::source(status))
        }
        ClientError::TransportError(transport) => {
            (transport.to_string(), std::error::Error::source(transport))
        }
        other => (other.to_string(), None),
    };
    let mut innermost = None;
    while let Some(deeper) = cause {
        innermost = Some(deeper.to_string());
        cause = deeper.source();
    }
    match innermost {
        Some(innermost) if !message.contains(&innermost) => format!("{message}: {innermost}"),
        _ => message,
    }
}
