// SPDX-License-Identifier: Apache-2.0
//! Pod and container ids, which never stand for each other.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(wire::Id);

        impl $name {
            /// A new id of 256 bits from the kernel's random source.
            pub fn random() -> Self {
                Self(random())
            }

            /// The id as the monitor protocol has it.
            pub fn wire(self) -> wire::Id {
                self.0
            }

            /// The id that a monitor named.
            pub fn from_wire(id: wire::Id) -> Self {
                Self(id)
            }
        }

        impl std::str::FromStr for $name {
            type Err = wire::IdError;

            fn from_str(text: &str) -> Result<Self, wire::IdError> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// The id of a pod sandbox (CRI `pod_sandbox_id`): 64 hexadecimal digits.
    PodId
}

id! {
    /// The id of a container (CRI `container_id`): 64 hexadecimal digits.
    ContainerId
}

fn random() -> wire::Id {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        // Reads of at most 256 bytes are never cut short once the pool is ready, but EINTR before that is possible.
        if let Ok(count) = rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            filled += count;
        }
    }
    wire::Id::from_bytes(bytes)
}
