//! Whether a request is let in: what the settings, the connection and the request's header say together.
//!
//! Without tokens and without an authority for client certificates everybody may do everything, as it was
//! with the tools these daemons follow; the settings permit that on loopback only, unless somebody insists.

use std::sync::Arc;

use axum::extract::Request;

use crate::auth::{self, Asker, Tokens};
use crate::files::FromFiles;
use crate::problem::Problem;

/// The common name of the client certificate that a connection was opened with. An extension of its requests.
#[derive(Clone, Debug)]
pub(crate) struct PeerName(pub(crate) Arc<str>);

/// Who is let in. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Option<Arc<FromFiles<Tokens>>>,
}

impl Access {
    /// With the tokens of a file.
    pub fn new(tokens: Option<Arc<FromFiles<Tokens>>>) -> Self {
        Self { tokens }
    }

    /// Whether anybody has to say who they are.
    pub fn is_guarded(&self) -> bool {
        self.tokens.is_some()
    }

    /// Who asks, if they may ask this.
    pub(crate) fn judge(&self, request: &Request) -> Result<Asker, Problem> {
        if !self.is_guarded() {
            return Ok(Asker::anybody());
        }
        let peer = request.extensions().get::<PeerName>();
        let tokens = self.tokens.as_ref().map(|tokens| tokens.get());
        let asked = (request.method(), request.uri().path(), request.headers());
        auth::judge(asked, peer.map(|peer| &*peer.0), tokens.as_deref())
    }
}
