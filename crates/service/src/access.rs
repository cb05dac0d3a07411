//! Whether a request is let in: what the settings, the connection and the request's header say together.
//!
//! Without tokens and without an authority for client certificates everybody may do everything, as it was
//! with the tools these daemons follow; the settings permit that on loopback only, unless somebody insists.

use std::sync::Arc;

use axum::extract::Request;

use crate::auth::{self, Asker, Tokens};
use crate::files::FromFiles;
use crate::problem::Problem;
use crate::tls::ServerTls;

/// The common name of the client certificate that a connection was opened with. An extension of its requests.
#[derive(Clone, Debug)]
pub(crate) struct PeerName(pub(crate) Arc<str>);

/// Who is let in. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Option<Arc<FromFiles<Tokens>>>,
    tls: Option<Arc<FromFiles<ServerTls>>>,
    /// Whether a client certificate is an identity.
    certificates: bool,
}

impl Access {
    /// With the tokens of a file, by TLS, and with client certificates as identities.
    pub fn new(
        tokens: Option<Arc<FromFiles<Tokens>>>,
        tls: Option<Arc<FromFiles<ServerTls>>>,
        certificates: bool,
    ) -> Self {
        Self { tokens, tls, certificates }
    }

    /// Whether connections are private.
    pub fn is_private(&self) -> bool {
        self.tls.is_some()
    }

    /// What connections are accepted with now, if by TLS.
    pub(crate) fn tls(&self) -> Option<Arc<ServerTls>> {
        self.tls.as_ref().map(|tls| tls.get())
    }

    /// Whether anybody has to say who they are.
    pub fn is_guarded(&self) -> bool {
        self.tokens.is_some() || self.certificates
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
