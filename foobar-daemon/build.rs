//! Builds the BPF programs.

use std::env;

fn main() -> anyhow::Result<()> {
    // SAFETY: a build script has one thread.
    unsafe {
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("CARGO_UNSTABLE_TRIM_PATHS", "true");
        env::set_var("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
        let root = env::var("CARGO_MANIFEST_DIR").unwrap();
        env::set_var("PATH", format!("{root}/../target/tools/bin:{}", env::var("PATH").unwrap()));
    }
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or("1.95.0".into());
    aya_build::build_ebpf(
        [aya_build::Package {
            name: "foobar-ebpf",
            root_dir: "../foobar-ebpf",
            ..aya_build::Package::default()
        }],
        aya_build::Toolchain::Custom(&toolchain),
    )
}
