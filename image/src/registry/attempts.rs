// SPDX-License-Identifier: Apache-2.0
//! Which server is asked next, and after which pause: mirrors are left at once when they fail, the last server is given time.

use std::time::Duration;

use super::blob::Progressed;
use super::failure::{Again, Failure};
use super::retry::RetryPolicy;
use crate::error::Error;
use crate::hosts::Endpoint;

/// The state of one fetch over all servers.
pub(super) struct Attempts<'a> {
    endpoints: Vec<&'a Endpoint>,
    at: usize,
    fruitless: u32,
    policy: &'a RetryPolicy,
}

impl<'a> Attempts<'a> {
    /// Nothing if there is no server to ask.
    pub(super) fn new(endpoints: Vec<&'a Endpoint>, policy: &'a RetryPolicy) -> Option<Attempts<'a>> {
        (!endpoints.is_empty()).then_some(Attempts { endpoints, at: 0, fruitless: 0, policy })
    }

    /// The server to ask now.
    pub(super) fn endpoint(&self) -> &'a Endpoint {
        self.endpoints[self.at]
    }

    /// Decides after a failure: the pause before the next try, or the error when there is none.
    pub(super) fn after(&mut self, failure: Failure, progressed: Progressed) -> Result<Duration, Error> {
        let transient = failure.again != Again::Never;
        let is_last = self.at + 1 == self.endpoints.len();
        let stays = transient && progressed == Progressed::Yes;
        if !is_last && !stays {
            tracing::debug!(host = self.endpoint().host(), error = %failure.error, "leave a mirror");
            self.at += 1;
            self.fruitless = 0;
            return Ok(Duration::ZERO);
        }
        self.fruitless = match progressed {
            Progressed::Yes => 0,
            Progressed::No => self.fruitless + 1,
        };
        if !transient || self.fruitless >= self.policy.attempts {
            return Err(failure.error);
        }
        let pause = self.policy.pause(self.fruitless.saturating_sub(1), failure.again);
        tracing::debug!(host = self.endpoint().host(), error = %failure.error, ?pause, "ask a registry again");
        Ok(pause)
    }
}
