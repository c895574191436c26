// SPDX-License-Identifier: Apache-2.0
//! libFuzzer's entry to [`husk_fuzz::cni_result`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    husk_fuzz::cni_result::run(data);
});
