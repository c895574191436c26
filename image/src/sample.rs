// SPDX-License-Identifier: Apache-2.0
//! Real things for tests: archives from raw bytes, images, a scripted HTTP server and Debian's `docker-registry`.

pub(crate) mod image;
pub(crate) mod script;
pub(crate) mod server;
pub(crate) mod tar;
