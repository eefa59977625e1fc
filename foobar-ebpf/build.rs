//! Lets the programs read packets a word at a time.
//!
//! Behind an Ethernet header nothing lies on a multiple of its size. The verifier allows such reads where the kernel
//! says that the processor does them well (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`); LLVM puts them together from
//! single bytes unless it is told.

use std::env;

/// Architectures whose kernels always say so.
const UNALIGNED: [&str; 2] = ["x86_64", "aarch64"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var(name).unwrap_or_default();
    let host = variable("CARGO_CFG_BPF_TARGET_ARCH");
    if variable("CARGO_CFG_TARGET_ARCH") == "bpf" && UNALIGNED.contains(&host.as_str()) {
        println!("cargo::rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    }
}
