//! Every command and every JSON that README and docs show, run against a real server.
//!
//! Fences say what they are by their info string:
//!
//! - `http`: a request, sent as it stands; a `json STATUS` fence behind it is its answer, which must have that status
//!   and that shape, field for field.
//! - `json`: must be JSON. `toml`: a configuration that the server takes.
//! - `sh runnable`: run line by line, with the page's server. `sh`: only what builds or tests the project itself.
//! - `<!-- wait: JOB STATE -->` between them waits until that job is in that state.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

mod blocks;
mod requests;
mod shape;
mod shell;

use std::path::{Path, PathBuf};

use blocks::{Block, Kind};
use trainyard_simulator::{Options, Simulator};
use trainyard_tests::{Server, root};

const BINARY: &str = env!("CARGO_BIN_EXE_trainyard-under-test");

/// What a fence may show without being run: the project's own tools, which run this test.
const OWN_TOOLS: &[&str] = &[
    "cargo fmt",
    "cargo test",
    "cargo clippy",
    "cargo xtask",
    "cargo bench",
    "cargo build",
    "cargo run --release -p trainyard-benches",
    ".ci/run",
    "git clone",
    "cd ",
];

fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages = vec![root.join("README.md")];
    let docs = std::fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|end| end == "md")));
    pages.sort();
    pages
}

fn blocks(page: &Path) -> Vec<Block> {
    blocks::parse(&std::fs::read_to_string(page).expect("UTF-8"))
}

#[test]
fn every_fence_says_what_it_is() {
    for page in pages() {
        for block in blocks(&page) {
            let place = format!("{}:{}", page.display(), block.line);
            match &block.kind {
                Kind::Json => {
                    serde_json::from_str::<serde_json::Value>(&block.text).expect(&place);
                }
                Kind::Shell { runnable: false } => {
                    for line in block.text.lines() {
                        let own = OWN_TOOLS.iter().any(|tool| line.starts_with(tool));
                        assert!(own, "{place}: `{line}` is shown and not run: mark the fence `sh runnable`");
                    }
                }
                Kind::Unknown(word) => panic!("{place}: nobody knows how to check `{word}`"),
                Kind::Text | Kind::Toml | Kind::Request | Kind::Answer(_) | Kind::Wait { .. } => {}
                Kind::Shell { runnable: true } => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_does_what_it_says() {
    for page in pages() {
        let blocks = blocks(&page);
        if blocks.iter().any(|block| block.kind.needs_server()) {
            let clouds = Clouds::of(&blocks).await;
            let variables: Vec<(&str, &str)> =
                clouds.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let server = Server::with_variables(BINARY, "127.0.0.1:0", &[], &variables);
            run(&page, &blocks, &server, &variables).await;
            drop(server);
            clouds.end().await;
        }
    }
}

/// The simulated clouds of a page that starts them, and what points at them.
struct Clouds {
    simulator: Option<Simulator>,
    variables: Vec<(&'static str, String)>,
}

impl Clouds {
    async fn of(blocks: &[Block]) -> Clouds {
        let wanted = |block: &Block| {
            matches!(block.kind, Kind::Shell { runnable: true }) && block.text.contains("trainyard sim")
        };
        if !blocks.iter().any(wanted) {
            return Clouds { simulator: None, variables: Vec::new() };
        }
        let simulator = trainyard_simulator::serve(Options::for_tests()).await.expect("it starts");
        let variables = simulator.environment();
        Clouds { simulator: Some(simulator), variables }
    }

    async fn end(self) {
        if let Some(simulator) = self.simulator {
            simulator.stop().await;
        }
    }
}

async fn run(page: &Path, blocks: &[Block], server: &Server, variables: &[(&str, &str)]) {
    let mut server = server;
    let mut own;
    for (at, block) in blocks.iter().enumerate() {
        let place = format!("{}:{}", page.display(), block.line);
        match &block.kind {
            Kind::Request => {
                let answer = blocks.get(at + 1).filter(|next| matches!(next.kind, Kind::Answer(_)));
                requests::check(server.url(), &block.text, answer, &place).await;
            }
            Kind::Wait { job, state } => requests::wait(server.url(), job, state, &place).await,
            Kind::Shell { runnable: true } => shell::check(BINARY, server, variables, &block.text, &place),
            Kind::Toml => {
                own = configured(&block.text);
                server = &own;
            }
            Kind::Json
            | Kind::Answer(_)
            | Kind::Text
            | Kind::Unknown(_)
            | Kind::Shell { runnable: false } => {}
        }
    }
}

/// A server with that configuration, for the rest of the page. The files it names are put where it finds them.
fn configured(text: &str) -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let secrets = directory.path().join("secrets");
    std::fs::create_dir(&secrets).expect("a directory");
    for provider in ["runpod", "lambda", "vastai"] {
        std::fs::write(secrets.join(provider), "not-a-real-key").expect("a file");
    }
    let text = text
        .replace("/opt/trainyard/trainyard", BINARY)
        .replace("/run/secrets", secrets.to_str().expect("UTF-8"));
    let file = directory.path().join("trainyard.toml");
    std::fs::write(&file, text).expect("a file");
    Server::start(BINARY, &["--config", file.to_str().expect("UTF-8")])
}
