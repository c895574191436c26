// SPDX-License-Identifier: Apache-2.0
//! IP networks in their usual form: `10.88.0.0/16`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// An IP network: an address whose host bits are 0, and a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    address: IpAddr,
    prefix_length: u8,
}

/// A text that is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 10.88.0.0/16, whose bits after the prefix are 0")]
pub(crate) struct SubnetError(String);

impl Subnet {
    /// A network of IPv4; the caller sees to it that the bits after the prefix are 0.
    pub(crate) const fn v4([a, b, c, d]: [u8; 4], prefix_length: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix_length }
    }

    /// Its address.
    pub(crate) fn address(self) -> IpAddr {
        self.address
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let wrong = || SubnetError(text.chars().take(64).collect());
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix_length: u8 = length.parse().map_err(|_| wrong())?;
        let (bits, width) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        if prefix_length > width || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let host_bits = 1u128.checked_shl(u32::from(width - prefix_length)).map_or(u128::MAX, |bit| bit - 1);
        if bits & host_bits == 0 { Ok(Self { address, prefix_length }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for text in ["10.88.0.0/16", "0.0.0.0/0", "10.0.0.1/32", "fd00::/64", "::/0", "::1/128"] {
            assert_eq!(text.parse::<Subnet>().map(|subnet| subnet.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "10.88.0.0", "10.88.0.1/16", "10.88.0.0/33", "10.88.0.0/+16", "fd00::1/64", "a/8", "::/129", "/8"]
        {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
