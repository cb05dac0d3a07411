//! The metrics of one daemon, which are text and no JSON.

use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use super::{ANSWER_BYTES_MAX, Ask, Client, Endpoint, NoAnswer, READ_DEADLINE, late};

impl Client {
    /// `GET /metrics` of the daemon behind an endpoint, whatever path that has.
    ///
    /// # Errors
    /// Why there are none, as a sentence.
    pub async fn metrics(&self, endpoint: &Endpoint) -> Result<String, String> {
        let root = Endpoint { path: String::new(), ..endpoint.clone() };
        let response = self.send(&root, &Ask::get("/metrics")).await.map_err(|none| match none {
            NoAnswer::NotConnected(reason) | NoAnswer::Lost(reason) => reason,
        })?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answered {}", status.as_u16()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = timeout(READ_DEADLINE, body).await.map_err(|_| late(READ_DEADLINE))?;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}
