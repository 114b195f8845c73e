//! Kernels of GPUs on the processor, for tests: the system's C++ compiler makes a library of them and of what stands in for a card.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use libloading::Library;

fn compiler() -> Command {
    Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()))
}

/// What the system's C++ compiler says to these arguments.
pub(crate) fn compile(arguments: &[&str]) -> String {
    let mut compiler = compiler();
    let output = compiler
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {compiler:?}: {error}; install a C++ compiler, as g++"));
    assert!(output.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Compiles the emulator that lies in `sources`.
pub(crate) fn compile_emulator(sources: &Path, options: &[&str], to: &Path) {
    let source = sources.join("emulator.cpp");
    // What all emulators share.
    let card = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decode/cuda/kernels");
    let common = ["-std=c++20", "-ffp-contract=off", "-shared", "-fPIC", "-pthread", "-I"];
    let files = [card.to_str().unwrap(), "-o", to.to_str().unwrap(), source.to_str().unwrap()];
    compile(&[&common[..], &files, options].concat());
}

/// Loads it.
pub(crate) fn load(file: &Path) -> Arc<Library> {
    // SAFETY: the library is ours, and loading it runs nothing but the C++ runtime's own set-up.
    Arc::new(unsafe { Library::new(file) }.unwrap())
}

/// Runs an ignored test of this program under ThreadSanitizer, with an emulator that was compiled for it named by an environment
/// variable, and returns what it says of the source `kernel`. How Rust's own threads wait for each other it does not see, so what
/// it says of them is passed over.
pub(crate) fn watched_races(test: &str, (variable, file): (&str, &Path), kernel: &str) -> Vec<String> {
    // Where memory is laid out at random, ThreadSanitizer finds no room.
    let output = Command::new("setarch")
        .arg("-R")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--test-threads=1"])
        .env("LD_PRELOAD", compile(&["-print-file-name=libtsan.so"]).trim())
        .env(variable, file)
        .output()
        .unwrap();
    let [said, warned] =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    // With what is broken on purpose the results may be wrong as well.
    assert!(said.contains("1 passed") || said.contains("1 failed"), "{said}{warned}");
    warned.split("==================").filter(|part| part.contains(kernel)).map(String::from).collect()
}
