// SPDX-License-Identifier: Apache-2.0
//! The CRI v1 wire types, and husk's own small API.
//!
//! [`cri`] is the protobuf package `runtime.v1` (Kubernetes 1.37) and [`husk`] is `husk.v1`, which
//! the daemon serves on the same socket. Both hold the messages, and a client and a server for each
//! service. This crate knows the wire and nothing else: no limits, no validation, no conversion; those
//! are `runtime::cri`'s, and no crate below `runtime` sees a type from here.
//!
//! Messages that can carry a secret (see [`cri::AuthConfig`]) print `<redacted>` in its place, and so
//! do all messages that contain them, so that logging a request with `{:?}` is safe.

mod redacted;

/// The package `runtime.v1`: what the kubelet and `crictl` speak.
#[expect(clippy::too_many_lines, reason = "tonic puts all calls of a service in one match")]
pub mod cri {
    tonic::include_proto!("runtime.v1");
}

/// The package `husk.v1`: what the command line needs beyond the CRI.
#[expect(clippy::too_many_lines, reason = "tonic puts all calls of a service in one match")]
pub mod husk {
    include!(concat!(env!("OUT_DIR"), "/husk/husk.v1.rs"));
}

/// Both packages as an encoded `google.protobuf.FileDescriptorSet`, without comments; for gRPC
/// reflection and for tests.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
