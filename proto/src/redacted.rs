// SPDX-License-Identifier: Apache-2.0
//! `Debug` of the messages that carry a secret.
//!
//! The secret's place is `<redacted>` when there is one and empty when there is none: whether a
//! credential was sent at all is what one wants to know from a log. Its length is not shown.

use std::fmt::{Debug, Formatter, Result};

use crate::cri::{AttachResponse, AuthConfig, ExecResponse, KeyValue, PortForwardResponse};

/// Stands for a secret.
struct Redacted;

/// Stands for the place of a secret that is absent.
struct Absent;

impl Debug for Redacted {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("<redacted>")
    }
}

impl Debug for Absent {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("\"\"")
    }
}

/// What to print for a secret, which may be absent; proto3 sends an absent one as no bytes.
fn veil(secret: &[u8]) -> &'static dyn Debug {
    if secret.is_empty() { &Absent } else { &Redacted }
}

impl Debug for AuthConfig {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("password", veil(self.password.as_bytes()))
            .field("auth", veil(self.auth.as_bytes()))
            .field("server_address", &self.server_address)
            .field("identity_token", veil(self.identity_token.as_bytes()))
            .field("registry_token", veil(self.registry_token.as_bytes()))
            .finish()
    }
}

/// Variables come from Kubernetes Secrets as often as from plain text, and nothing tells them apart.
impl Debug for KeyValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("KeyValue").field("key", &self.key).field("value", veil(&self.value)).finish()
    }
}

/// The URL ends in a token that lets whoever reads it first run the command.
impl Debug for ExecResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("ExecResponse").field("url", veil(self.url.as_bytes())).finish()
    }
}

/// The URL ends in a token that lets whoever reads it first attach.
impl Debug for AttachResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("AttachResponse").field("url", veil(self.url.as_bytes())).finish()
    }
}

/// The URL ends in a token that lets whoever reads it first reach into the pod.
impl Debug for PortForwardResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("PortForwardResponse").field("url", veil(self.url.as_bytes())).finish()
    }
}
