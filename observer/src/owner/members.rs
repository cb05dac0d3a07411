//! Members of groups on their way to those who publish them.
//!
//! A document may name a group of slaves, and who is in it is decided by the dictator: it looks the name up,
//! attaches who is new and may be attached, and has the members in what it shows as its document. dnsd must not
//! look by itself. It would publish a node before it follows the master, and one that the dictator refused because it
//! holds data of its own. So what is passed on after the dictator's yes is the document as *it* has it. As
//! members come and go without any trigger, the dictator is asked for its document from then on, and a changed one
//! goes to those after it under the revision that is in force: DNS moves after the nodes, here too.
//!
//! Rejected: members in the receipt, which knows nothing of what enforcement does later; and a request from
//! dnsd to the dictator, for which dnsd would need the dictator's URL, certificate and token.
//!
//! Nothing is asked while the document in force has no group. A dictator that cannot be asked is no trouble:
//! nobody joins or leaves without it.

use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::time::Instant;
use topology::Document;

use super::{Owner, Setback};
use crate::deliver::{InForce, Letter};
use crate::status::Trouble;

/// How often the first receiver is asked for the members.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of members.
pub(super) struct Members {
    /// Somebody stands behind the first receiver and has to be told.
    has_listeners: bool,
    /// When the first receiver is asked next; `None` while its document has no group.
    due: Option<Instant>,
    /// Which state of its document was read last, and which everybody else has.
    read: Option<HeaderValue>,
    passed_on: Option<HeaderValue>,
    /// What keeps them from being passed on; logged once.
    pub(super) trouble: Option<Trouble>,
}

impl Members {
    /// Knows nothing yet. If an earlier life delivered a document that `has_groups`, it is asked.
    pub(super) fn new(urls: usize, has_groups: bool) -> Self {
        let has_listeners = urls > 1;
        let due = (has_listeners && has_groups).then(Instant::now);
        Self { has_listeners, due, read: None, passed_on: None, trouble: None }
    }

    /// When to ask next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the document that was delivered last has groups, as far as is known.
    pub(super) fn has_groups(&self) -> bool {
        self.due.is_some()
    }

    /// Everybody has what was read last.
    pub(super) fn passed_on(&mut self) {
        self.passed_on = self.read.clone();
        self.trouble = None;
    }
}

impl Owner {
    /// Puts the members into a letter that the first receiver took.
    pub(super) async fn take_members(
        &mut self,
        document: &Document,
        letter: &mut Letter,
    ) -> Result<(), Setback> {
        self.members.due = None;
        self.members.read = None;
        if document.groups.is_empty() || !self.members.has_listeners {
            return Ok(());
        }
        let told = match self.courier.in_force(0).await {
            Ok(Some(in_force)) if in_force.document.asks_the_same(document) => in_force,
            // Whoever is first is no dictator. The document goes on as it was written.
            Ok(None) => return Ok(()),
            Ok(Some(_)) => {
                let detail = format!("{} has another document in force already", self.courier.urls()[0]);
                return Err(self.members_unknown(detail));
            }
            Err(why) => return Err(self.members_unknown(why)),
        };
        self.members.due = Some(Instant::now() + ASK_INTERVAL);
        self.members.read = told.etag;
        letter.body = told.body;
        Ok(())
    }

    fn members_unknown(&mut self, detail: String) -> Setback {
        let do_next = "nothing, if it answers again soon; those after it are told then".to_owned();
        let trouble = Trouble::new("members-unknown", detail, Some(do_next));
        Setback::Retry { wait: self.backoff.next_wait(), trouble }
    }

    /// Asks the first receiver for its document, and tells the others if its members have changed.
    pub(super) async fn follow_members(&mut self) {
        self.members.due = Some(Instant::now() + ASK_INTERVAL);
        let in_force = match self.courier.in_force(0).await {
            Ok(Some(in_force)) if !in_force.document.groups.is_empty() => in_force,
            Ok(Some(_) | None) => {
                // No group, until the next delivery.
                self.members.due = None;
                return;
            }
            Err(why) => {
                tracing::debug!(why, "members of groups cannot be asked for");
                return;
            }
        };
        let delivered = self.progress.last_delivered();
        // A document of somebody else's is theirs to pass on.
        let is_ours = in_force.revision.is_some() && in_force.revision == delivered;
        if !is_ours || (in_force.etag.is_some() && in_force.etag == self.members.passed_on) {
            return;
        }
        match self.pass_on(in_force).await {
            Ok(()) => {
                if self.members.trouble.is_some() {
                    tracing::info!("members of groups are passed on again");
                }
                self.members.passed_on();
            }
            Err(Setback::Retry { wait, trouble }) => {
                self.members.due = Some(Instant::now() + wait);
                if !self.members.trouble.as_ref().is_some_and(|known| known.is_same_as(&trouble)) {
                    tracing::warn!(
                        problem = trouble.problem,
                        do_next = trouble.do_next,
                        "members of groups have changed and are not passed on: {}",
                        trouble.detail
                    );
                }
                self.members.trouble = Some(trouble);
            }
            Err(Setback::Unfit(trouble)) => self.members.trouble = Some(trouble),
        }
    }

    async fn pass_on(&mut self, in_force: InForce) -> Result<(), Setback> {
        let revision = in_force.revision.unwrap_or_default();
        self.members.read = in_force.etag;
        let mut letter = Letter {
            revision,
            body: in_force.body,
            request_id: format!("observer-{revision}-{:08x}", fastrand::u32(..)),
            generation: None,
            accepted: false,
        };
        for index in 1..self.courier.urls().len() {
            self.forward(index, &mut letter).await?;
        }
        let request_id = letter.request_id;
        tracing::info!(revision, request_id, "every URL took the members of the groups");
        Ok(())
    }
}
