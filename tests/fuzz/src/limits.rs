// SPDX-License-Identifier: Apache-2.0
//! Bounds of this package, each with its reason.

/// Longest error text, in bytes, that may come of hostile input: gRPC status messages travel in headers, which peers cut at 8 KiB.
pub const MESSAGE_BYTES: usize = 4096;

/// Entries of one archive: enough for every interplay of a few names, few enough for thousands of runs a second.
pub const ENTRIES: u64 = 64;

/// Bytes of one unpacked archive; inputs have a few KiB, so only sparse files and lies about sizes get here.
pub const UNPACKED_BYTES: u64 = 1 << 20;

/// Addresses and interfaces of one CNI result, as `cni-client` promises.
pub const CNI_ADDRESSES: usize = 64;

/// Routes of one CNI result, as `cni-client` promises.
pub const CNI_ROUTES: usize = 512;

/// Plugins of one network configuration, as `cni-client` promises.
pub const CNI_PLUGINS: usize = 32;

/// Longest name of a network or plugin type, in bytes, as `cni-client` promises.
pub const CNI_NAME_BYTES: usize = 200;

/// Longest `domain/path` of an image reference, in bytes (distribution/reference, `RepositoryNameTotalLengthMax`).
pub const IMAGE_NAME_BYTES: usize = 255;
