//! What a machine does at its first boot, as cloud-init reads it.
//!
//! It takes the host key that was made for it, and runs the agent's bootstrap as the user `ubuntu`, in the background, so
//! that the boot ends. The text of both scripts is constant; what differs between orders goes through the environment.
//! A cloud-config is YAML, of which JSON is a part: so nothing has to be escaped by hand.

use secrecy::ExposeSecret;
use serde_json::json;
use trainyard_agent::Bootstrap;
use trainyard_connector::ConnectorError;
use trainyard_connector::ssh::SshKey;

/// The user that machines are logged in to as. It may use `sudo` without a password.
pub(crate) const USER: &str = "ubuntu";
/// Where the bootstrap's output goes, below the user's home.
pub(crate) const BOOT_LOG: &str = "trainyard/boot.log";

/// Starts the bootstrap in the background. `$1` is the bootstrap, `$2` its log. cloud-init's last stage leaves what runs
/// in the background alone (`KillMode=process`).
const START: &str = "umask 077\n\
    cd \"$HOME\" && mkdir -p \"${2%/*}\" || exit 1\n\
    sh -c \"$1\" </dev/null >>\"$2\" 2>&1 &\n";

/// The user data of an order.
///
/// # Errors
/// `Internal` where the host key cannot be written.
pub(crate) fn user_data(boot: &Bootstrap, host: &SshKey) -> Result<String, ConnectorError> {
    let mut command: Vec<String> = ["sudo", "-u", USER, "-H", "env"].map(str::to_owned).into();
    command.extend(boot.env.iter().map(|(name, value)| format!("{name}={value}")));
    command.extend(["sh", "-c", START, "trainyard-boot", boot.script, BOOT_LOG].map(str::to_owned));
    let config = json!({
        // Only the key below shall answer, not one that the image brought along.
        "ssh_deletekeys": true,
        "ssh_keys": {
            "ed25519_private": host.private()?.expose_secret(),
            "ed25519_public": host.public(),
        },
        "runcmd": [command],
    });
    Ok(format!("#cloud-config\n{config:#}\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    fn sample() -> String {
        let env = BTreeMap::from([("TRAINYARD_BOOT_ORDER".to_owned(), "a'b\"c $x".to_owned())]);
        let boot = Bootstrap { script: "echo \"it's\" \\\n  $TRAINYARD_BOOT_ORDER\n", env };
        user_data(&boot, &SshKey::from_seed(&[3; 32]).unwrap()).unwrap()
    }

    #[test]
    fn it_is_a_cloud_config_with_a_key_and_one_command() {
        let text = sample();
        let config: Value = serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        let command = config["runcmd"][0].as_array().unwrap();
        assert_eq!(command[..5], ["sudo", "-u", "ubuntu", "-H", "env"]);
        assert_eq!(command[5], "TRAINYARD_BOOT_ORDER=a'b\"c $x");
        let key = config["ssh_keys"]["ed25519_private"].as_str().unwrap();
        assert!(key.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"), "{key}");
        assert!(text.len() < 100_000 && text.is_ascii());
    }

    #[test]
    fn no_text_of_an_order_is_in_a_script() {
        let text = sample();
        let config: Value = serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        let command = config["runcmd"][0].as_array().unwrap();
        assert_eq!(command[8], START);
        assert!(command[10].as_str().unwrap().starts_with("echo "));
    }

    #[test]
    fn yaml_reads_it_as_we_mean_it() {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let program = "import sys, yaml, json; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
        let has = Command::new("python3").args(["-c", "import yaml"]).stderr(Stdio::null()).status();
        if !has.is_ok_and(|status| status.success()) {
            println!(
                "NOT RUN: yaml_reads_it_as_we_mean_it (there is no python3 with PyYAML, which cloud-init uses)"
            );
            return;
        }
        let mut python = Command::new("python3")
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(sample().as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        let meant: Value = serde_json::from_str(sample().strip_prefix("#cloud-config\n").unwrap()).unwrap();
        assert_eq!(read, meant);
    }
}
