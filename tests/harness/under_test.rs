//! The program as users get it, built beside the tests so that they always run what was just written.

fn main() -> std::process::ExitCode {
    trainyard_cli::main()
}
