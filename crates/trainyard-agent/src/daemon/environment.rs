//! What a training sees in its environment.
//!
//! Of the agent's own environment only what the lists here name is passed on: no key of a vendor, nothing of the
//! server that started the agent. Then come the specification's variables, then the job's secrets, then the
//! contract's variables, which nobody overrides.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::process::MARK;
use crate::system;

/// Passed on by exact name.
const NAMES: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_CACHE",
    "TRANSFORMERS_OFFLINE",
    "TORCH_HOME",
    "TRITON_CACHE_DIR",
    "XDG_CACHE_HOME",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_CONFIG_FILE",
    "PIP_CACHE_DIR",
    "PIP_CERT",
    "UV_CACHE_DIR",
];
/// Passed on where the name begins so.
const PREFIXES: &[&str] = &["LC_", "CUDA", "NVIDIA_", "NCCL_", "CONDA_", "PYENV_", "ROCM_"];
/// Never passed on, whoever names it: the vendors' own.
const NEVER: &[&str] = &["RUNPOD_", "LAMBDA_", "VAST_", "TRAINYARD_"];

/// The part of the agent's environment that a training may see. Values that are no UTF-8 are left out.
pub(crate) fn inherited(own: &[(OsString, OsString)]) -> BTreeMap<String, String> {
    own.iter()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())))
        .filter(|(name, _)| is_passed_on(name))
        .collect()
}

/// Where the order says that caches are to lie.
const LASTING_CACHES: &str = "TRAINYARD_BOOT_CACHE";
/// Caches that libraries and installers keep, by the variable that says where.
const CACHES: [(&str, &str); 3] =
    [("HF_HOME", "huggingface"), ("UV_CACHE_DIR", "uv"), ("PIP_CACHE_DIR", "pip")];

/// Adds where caches lie on a rented machine, below its one directory for them, unless the machine says it already:
/// what one attempt fetched is there for the next one on this machine.
pub(crate) fn add_caches(environment: &mut BTreeMap<String, String>, directory: &Path) {
    for (name, below) in CACHES {
        // Where the libraries look first counts: the machine's own word about it stays.
        let told =
            environment.contains_key(name) || name == "HF_HOME" && environment.contains_key("HF_HUB_CACHE");
        if !told {
            let path = directory.join(below).to_string_lossy().into_owned();
            environment.insert(name.to_owned(), path);
        }
    }
}

/// The directory for caches that outlives this machine, where the order names one that can be written.
pub(crate) fn lasting_caches(own: &[(OsString, OsString)]) -> Option<PathBuf> {
    let (_, directory) = own.iter().find(|(name, _)| name == LASTING_CACHES)?;
    let directory = PathBuf::from(directory);
    let probe = directory.join(format!(".probe-{}", std::process::id()));
    let made = std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&probe, ""));
    made.and_then(|()| std::fs::remove_file(&probe)).ok().map(|()| directory)
}

fn is_passed_on(name: &str) -> bool {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    !begins(NEVER) && (NAMES.contains(&name) || begins(PREFIXES))
}

/// The contract's variables, except those whose values are paths.
pub(crate) fn of_attempt(
    order: &str,
    job: &str,
    attempt: u32,
    gpus: Option<&[u32]>,
) -> Vec<(String, String)> {
    let count = gpus.map_or_else(system::gpu_count, <[u32]>::len);
    let mut variables = vec![
        (MARK.to_owned(), order.to_owned()),
        ("TRAINYARD_JOB_ID".to_owned(), job.to_owned()),
        ("TRAINYARD_ATTEMPT".to_owned(), attempt.to_string()),
        ("TRAINYARD_GPU_COUNT".to_owned(), count.to_string()),
    ];
    if let Some(gpus) = gpus {
        let list: Vec<String> = gpus.iter().map(u32::to_string).collect();
        variables.push(("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned()));
        variables.push(("CUDA_VISIBLE_DEVICES".to_owned(), list.join(",")));
    }
    if let Some(port) = free_port() {
        variables.push(("MASTER_PORT".to_owned(), port.to_string()));
    }
    variables
}

/// A port that nobody listens on now.
fn free_port() -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    listener.local_addr().ok().map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_keys_and_the_servers_settings_are_not_passed_on() {
        let own: Vec<(OsString, OsString)> = [
            "PATH",
            "RUNPOD_API_KEY",
            "LAMBDA_API_KEY",
            "VAST_API_KEY",
            "TRAINYARD_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "CUDA_HOME",
            "LC_ALL",
        ]
        .iter()
        .map(|name| (OsString::from(name), OsString::from("x")))
        .collect();
        let names: Vec<String> = inherited(&own).into_keys().collect();
        assert_eq!(names, ["CUDA_HOME", "LC_ALL", "PATH"]);
    }

    #[test]
    fn caches_lie_in_the_machines_directory_unless_it_has_its_own() {
        let mut environment = BTreeMap::from([("PIP_CACHE_DIR".to_owned(), "/p".to_owned())]);
        add_caches(&mut environment, Path::new("/r/cache"));
        let all: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            all,
            [("HF_HOME", "/r/cache/huggingface"), ("PIP_CACHE_DIR", "/p"), ("UV_CACHE_DIR", "/r/cache/uv")]
        );
        let mut environment = BTreeMap::from([("HF_HUB_CACHE".to_owned(), "/h".to_owned())]);
        add_caches(&mut environment, Path::new("/r/cache"));
        assert!(!environment.contains_key("HF_HOME"));
    }

    #[test]
    fn caches_outlive_the_machine_where_its_order_names_a_place_that_takes_files() {
        let place = tempfile::tempdir().expect("a directory");
        let named = |path: PathBuf| vec![(OsString::from(LASTING_CACHES), path.into_os_string())];
        let below = place.path().join("made/here");
        assert_eq!(lasting_caches(&named(below.clone())), Some(below));
        let file = place.path().join("file");
        std::fs::write(&file, "x").expect("written");
        assert_eq!(lasting_caches(&named(file.join("below"))), None);
        assert_eq!(lasting_caches(&[]), None);
    }

    #[test]
    fn given_gpus_are_the_only_ones_seen() {
        let variables: BTreeMap<_, _> = of_attempt("o", "j", 2, Some(&[1, 3])).into_iter().collect();
        assert_eq!(variables["CUDA_VISIBLE_DEVICES"], "1,3");
        assert_eq!(variables["TRAINYARD_GPU_COUNT"], "2");
        assert!(variables["MASTER_PORT"].parse::<u16>().is_ok());
    }
}
