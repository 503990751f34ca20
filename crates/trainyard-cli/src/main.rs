//! The program `trainyard`. Everything is in the library, where it can be tested.

fn main() -> std::process::ExitCode {
    trainyard_cli::main()
}
