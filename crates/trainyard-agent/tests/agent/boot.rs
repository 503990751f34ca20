//! The real script of an order, run by the real shell in a directory of its own, with the tools of the image in question.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use trainyard_agent::{
    AgentClient, AgentRecord, AgentSupply, BootOrder, ProcessId, Stay, SupplyConfig, TlsIdentity, sweep,
};
use trainyard_connector::{Arch, ErrorKind, SelfRemoval, TrainingState, Workload};
use trainyard_domain::{OrderName, Sha256};

use crate::lease::{FakeVendor, VARIABLES};
use crate::rig::{digest, key, new_order, shell, until};

trainyard_testkit::program_tests![
    an_image_brings_its_own_agent,
    an_agent_of_another_version_is_not_taken,
    an_agent_is_fetched_by_whatever_is_there,
    wrong_bytes_are_not_run,
    an_agent_is_pushed,
    an_agent_is_pushed_and_spoken_to_over_tls,
    a_machine_that_awaits_another_agent_is_told_apart,
    an_old_libc_is_named,
    an_image_with_nothing_is_named,
    a_restarted_container_trains_nothing,
    a_crashed_agent_comes_back_as_another,
    a_machine_that_no_agent_reaches_removes_itself,
    a_machine_whose_agent_was_let_go_removes_itself,
];

/// What every image has.
const BASE: &[&str] =
    &["sh", "cat", "chmod", "head", "mkdir", "mv", "rm", "sha256sum", "sleep", "tail", "tr"];

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn found(tool: &str) -> Option<PathBuf> {
    if tool == "python3" {
        // The one on the path may be a script that looks for the real one.
        let told = Command::new(tool).args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
        return Some(PathBuf::from(String::from_utf8(told.stdout).ok()?.trim()));
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(tool)).find(|path| path.is_file())
}

fn supply(change: impl FnOnce(&mut SupplyConfig)) -> AgentSupply {
    let binaries = BTreeMap::from([(Arch::X86_64, this_program())]);
    let mut config = SupplyConfig { fetch: None, served_at: None, binaries, key: key() };
    change(&mut config);
    AgentSupply::new(config).unwrap()
}

/// A container.
struct Container {
    dir: TempDir,
    order: OrderName,
    supply: AgentSupply,
    tls: Option<TlsIdentity>,
    removal: Option<SelfRemoval>,
    variables: Vec<(&'static str, &'static str)>,
    child: Option<Child>,
}

impl Container {
    /// One whose image has these tools.
    fn new(supply: AgentSupply, tools: &[&str]) -> Container {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        for tool in BASE.iter().chain(tools) {
            let at = found(tool).unwrap_or_else(|| panic!("this test needs {tool}"));
            // Through a name of its own: some tools are a program that looks at its name.
            symlink(at, dir.path().join("bin").join(tool)).unwrap();
        }
        Container {
            dir,
            order: new_order(),
            supply,
            tls: None,
            removal: None,
            variables: Vec::new(),
            child: None,
        }
    }

    fn port(&self) -> u16 {
        self.supply.port_of(&self.order)
    }

    fn start(&mut self) {
        let (port, tls) = (self.port(), self.tls.as_ref());
        let boot = BootOrder {
            cache: None,
            order: &self.order,
            arch: Arch::X86_64,
            port,
            tls,
            stay: Stay::Container,
            removal: self.removal.as_ref(),
        };
        let boot = self.supply.bootstrap(&boot).unwrap();
        let log =
            std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let child = Command::new("sh")
            .args(["-c", boot.script])
            .env_clear()
            .env("PATH", self.dir.path().join("bin"))
            .env("HOME", self.dir.path())
            .envs(boot.env)
            .envs(self.variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// As a vendor ends one: everything at once.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            let _ = child.wait();
        }
        sweep(self.order.as_str());
    }

    fn client(&self) -> AgentClient {
        let (order, port) = (self.order.clone(), self.port());
        let Some(tls) = &self.tls else {
            return self.supply.client(&format!("http://127.0.0.1:{port}"), order, Arch::X86_64).unwrap();
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let http = tls.http_client(address).unwrap();
        self.supply.client_with(&format!("https://{address}"), http, order, Arch::X86_64).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    async fn says(&self, what: &str) {
        until(&format!("the script to say `{what}`; it said:\n{}", self.log()), async || {
            self.log().contains(what)
        })
        .await;
    }

    /// Waits for the agent and gives its boot id.
    async fn answers(&self) -> String {
        let client = self.client();
        let mut boot_id = None;
        until("the agent answers", async || {
            boot_id = client.greet().await.ok().map(|greeting| greeting.boot_id);
            boot_id.is_some()
        })
        .await;
        assert_eq!(client.state().await.unwrap().training, TrainingState::Idle);
        boot_id.unwrap()
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("trainyard").join(self.order.as_str())
    }

    fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Serves a file to whoever asks for anything, until the test ends; gives its address.
fn serve(file: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let content = std::fs::read(&file).unwrap();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                content.len()
            );
            let _ = stream.write_all(&content);
        }
    });
    format!("http://{address}/agent")
}

fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

async fn an_image_brings_its_own_agent() {
    let mut container = Container::new(supply(|_| {}), &[]);
    symlink(this_program(), container.dir.path().join("bin/trainyard")).unwrap();
    container.start();
    container.answers().await;
    assert!(container.log().contains("trainyard-boot: found "), "{}", container.log());
    container.client().release().await.unwrap();
    container.says("trainyard-boot: agent ended 0").await;
    assert!(container.is_alive(), "a container that ends is started anew");
    container.kill();
    container.start();
    container.says("trainyard-boot: ended before").await;
    assert!(container.is_alive());
    assert_eq!(container.client().greet().await.unwrap_err().kind, ErrorKind::Unreachable);
}

async fn an_agent_of_another_version_is_not_taken() {
    let mut container = Container::new(supply(|_| {}), &["python3"]);
    script(&container.dir.path().join("bin/trainyard"), "#!/bin/sh\necho trainyard-agent 0.0.1\n");
    container.start();
    container.says("trainyard-boot: awaiting").await;
    container.answers().await;
}

async fn an_agent_is_fetched_by_whatever_is_there() {
    let url = serve(this_program());
    for tool in ["curl", "wget", "python3"] {
        if found(tool).is_none() {
            println!("not run: there is no {tool} here");
            continue;
        }
        let mut container = Container::new(supply(|config| config.served_at = Some(url.clone())), &[tool]);
        container.start();
        container.answers().await;
        assert!(container.log().contains("trainyard-boot: fetched"), "{tool}: {}", container.log());
    }
}

async fn wrong_bytes_are_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let (wrong, ran) = (dir.path().join("wrong"), dir.path().join("ran"));
    script(&wrong, &format!("#!/bin/sh\n: >{}\n", ran.display()));
    let url = serve(wrong.clone());
    let mut container = Container::new(supply(|config| config.served_at = Some(url)), &["python3"]);
    container.start();
    container.says("trainyard-boot: not fetched by ").await;
    container.says("trainyard-boot: awaiting").await;
    let at = format!("http://127.0.0.1:{}/v1/agent", container.port());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    until("the receiver listens", async || http.get(&at).send().await.is_ok()).await;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&std::fs::read(&wrong).unwrap()).unwrap();
    for body in [packer.finish().unwrap(), b"not packed".to_vec()] {
        let answer = http.put(&at).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 422);
    }
    assert_eq!(http.put(&at).send().await.unwrap().status(), 413);
    let left = || std::fs::read_dir(container.root()).unwrap().flatten().map(|entry| entry.file_name());
    until("nothing of them is left", async || !left().any(|name| name.to_string_lossy().starts_with("new")))
        .await;
    container.answers().await;
    assert!(!ran.exists());
    // Nothing after the right one.
    assert_eq!(http.put(&at).body("x").send().await.unwrap().status(), 401);
}

async fn an_agent_is_pushed() {
    let mut container = Container::new(supply(|_| {}), &["python3"]);
    container.start();
    container.answers().await;
    assert!(container.log().contains("trainyard-boot: received"), "{}", container.log());
}

async fn an_agent_is_pushed_and_spoken_to_over_tls() {
    let mut container = Container::new(supply(|_| {}), &["python3"]);
    container.tls = Some(TlsIdentity::of(&key(), &container.order).unwrap());
    container.start();
    container.answers().await;
    let address = SocketAddr::from(([127, 0, 0, 1], container.port()));
    let stranger = TlsIdentity::of(&key(), &new_order()).unwrap().http_client(address).unwrap();
    let base = format!("https://{address}");
    let client =
        container.supply.client_with(&base, stranger, container.order.clone(), Arch::X86_64).unwrap();
    assert_eq!(client.greet().await.unwrap_err().kind, ErrorKind::Unreachable);
    let plain = container.supply.client(&format!("http://{address}"), container.order.clone(), Arch::X86_64);
    assert!(plain.unwrap().greet().await.is_err());
}

async fn a_machine_that_awaits_another_agent_is_told_apart() {
    let mut container = Container::new(supply(|_| {}), &["python3"]);
    container.start();
    container.says("trainyard-boot: awaiting").await;
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    std::fs::write(&other, b"another agent").unwrap();
    let other = supply(|config| drop(config.binaries.insert(Arch::X86_64, other)));
    let base = format!("http://127.0.0.1:{}", container.port());
    let client = other.client(&base, container.order.clone(), Arch::X86_64).unwrap();
    until("the mismatch is told", async || {
        client.greet().await.is_err_and(|error| error.kind == ErrorKind::Mismatch)
    })
    .await;
}

async fn an_old_libc_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("agent");
    script(&binary, "#!/bin/sh\necho 'agent: /lib/libc.so.6: version `GLIBC_2.39` not found' >&2\nexit 1\n");
    let mut container =
        Container::new(supply(|config| drop(config.binaries.insert(Arch::X86_64, binary))), &["python3"]);
    container.start();
    container.says("trainyard-boot: awaiting").await;
    until("the agent is sent", async || {
        let _ = container.client().greet().await;
        container.log().contains("trainyard-boot: received")
    })
    .await;
    container.says("trainyard-boot: failed libc the C library of the image is too old").await;
    assert!(container.log().contains("GLIBC_2.39"), "{}", container.log());
    assert!(container.is_alive());
}

async fn an_image_with_nothing_is_named() {
    let sha256: Sha256 = digest(b"x");
    let fetch = Some(("http://127.0.0.1:9/x".to_owned(), sha256));
    let mut container = Container::new(supply(|config| config.fetch = fetch), &[]);
    container.start();
    container.says("trainyard-boot: failed no_delivery").await;
    assert!(container.is_alive());
}

async fn a_restarted_container_trains_nothing() {
    let mut container = Container::new(supply(|_| {}), &["python3"]);
    container.start();
    let mut before = container.answers().await;
    let count = container.dir.path().join("count");
    let train = format!("echo x >>{}; while :; do sleep 1; done", count.display());
    container.client().start(&shell(&train)).await.unwrap();
    until("the training runs", async || count.exists()).await;
    for _ in 0..10 {
        container.kill();
        container.start();
        let after = container.answers().await;
        assert_ne!(before, after);
        before = after;
    }
    assert!(container.log().contains("trainyard-boot: kept"));
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n");
}

async fn a_crashed_agent_comes_back_as_another() {
    let mut container = Container::new(supply(|_| {}), &["python3"]);
    container.start();
    let before = container.answers().await;
    let record = std::fs::read(container.root().join("run").join(AgentRecord::FILE)).unwrap();
    let process: ProcessId = serde_json::from_slice::<AgentRecord>(&record).unwrap().process;
    assert!(process.kill());
    container.says("trainyard-boot: agent ended 137").await;
    assert_ne!(before, container.answers().await);
}

/// A container that bears its vendor's key for itself and waits two seconds for a first word.
fn leased(vendor: &FakeVendor, tools: &[&str]) -> Container {
    let supply = supply(|_| {}).with_lease(std::time::Duration::from_secs(2));
    let mut container = Container::new(supply, tools);
    container.removal = Some(vendor.removal());
    container.variables = VARIABLES.to_vec();
    container
}

async fn a_machine_that_no_agent_reaches_removes_itself() {
    let vendor = FakeVendor::answering(204);
    let mut container = leased(&vendor, &["python3"]);
    container.start();
    container.says("trainyard-boot: awaiting").await;
    container.says("trainyard-boot: failed receive no agent came").await;
    container.says("trainyard-boot: removing").await;
    assert_eq!(vendor.awaits("DELETE").await, "DELETE /pods/m1 Bearer machine-key trainyard");
    assert!(container.is_alive(), "a container that ends is started anew");
}

async fn a_machine_whose_agent_was_let_go_removes_itself() {
    let vendor = FakeVendor::answering(204);
    let mut container = leased(&vendor, &[]);
    symlink(this_program(), container.dir.path().join("bin/trainyard")).unwrap();
    container.start();
    container.answers().await;
    container.client().release().await.unwrap();
    container.says("trainyard-boot: agent ended 0").await;
    let told = vendor.awaits("DELETE").await;
    assert!(told.starts_with("DELETE /pods/m1 Bearer machine-key trainyard-agent/"), "{told}");
}
