//! Falsetto as a program of its own, on the system's sound card.

fn main() -> std::process::ExitCode {
    if nice_plug::prelude::nice_export_standalone::<falsetto_plugin::Falsetto>() {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}
