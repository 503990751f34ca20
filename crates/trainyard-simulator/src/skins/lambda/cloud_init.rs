//! What `user_data` says, as cloud-init reads it.
//!
//! A `#cloud-config`, which is YAML, and `#!` scripts. Of a cloud-config: `ssh_keys`, `write_files`, `runcmd`. What cannot
//! be read is ignored, as on a real machine: it boots, and its log says so.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// What the first boot does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CloudInit {
    /// The machine's SSH host key, in OpenSSH's form.
    pub(super) host_key: Option<String>,
    /// Files: path, content, mode.
    pub(super) files: Vec<(String, Vec<u8>, u32)>,
    /// Run by the shell as root, in order, with a log.
    pub(super) script: Option<String>,
    /// What was not understood.
    pub(super) complaints: Vec<String>,
}

impl CloudInit {
    /// Reads it.
    pub(super) fn read(user_data: &str) -> CloudInit {
        if user_data.trim().is_empty() {
            return CloudInit::default();
        }
        if user_data.starts_with("#!") {
            return CloudInit { script: Some(user_data.to_owned()), ..CloudInit::default() };
        }
        let Some(body) = user_data.strip_prefix("#cloud-config\n") else {
            return complaint("Unhandled non-multipart (text/x-not-multipart) userdata");
        };
        match yaml(body) {
            Ok(config) => of_config(&config),
            Err(error) => complaint(&format!("Failed loading yaml blob. {error}")),
        }
    }

    /// The values of `NAME=value` words among the commands' arguments.
    pub(super) fn variable(user_data: &str, name: &str) -> Option<String> {
        let body = user_data.strip_prefix("#cloud-config\n")?;
        let config = yaml(body).ok()?;
        let words = config["runcmd"].as_array()?.iter().filter_map(Value::as_array).flatten();
        let mut words = words.filter_map(Value::as_str);
        words.find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    }
}

/// The first document of a text, as JSON has it. Keys that are no texts are left out: no key here is one.
fn yaml(text: &str) -> Result<Value, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    Ok(documents.first().map(json).unwrap_or_default())
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Real(text) | Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Boolean(truth) => Value::from(*truth),
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Hash(fields) => {
            let fields = fields.iter();
            fields.filter_map(|(name, value)| Some((name.as_str()?.to_owned(), json(value)))).collect()
        }
        Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => Value::Null,
    }
}

fn complaint(text: &str) -> CloudInit {
    CloudInit { complaints: vec![text.to_owned()], ..CloudInit::default() }
}

fn of_config(config: &Value) -> CloudInit {
    let mut read = CloudInit {
        host_key: config["ssh_keys"]["ed25519_private"].as_str().map(str::to_owned),
        ..CloudInit::default()
    };
    for file in config["write_files"].as_array().into_iter().flatten() {
        match written(file) {
            Some(file) => read.files.push(file),
            None => read.complaints.push("write_files: an entry cannot be read".to_owned()),
        }
    }
    let mut script = String::new();
    for command in config["runcmd"].as_array().into_iter().flatten() {
        match line(command) {
            Some(line) => script.extend([line.as_str(), "\n"]),
            None => read.complaints.push("runcmd: neither a list nor a string".to_owned()),
        }
    }
    read.script = Some(script).filter(|script| !script.is_empty());
    read
}

fn written(file: &Value) -> Option<(String, Vec<u8>, u32)> {
    let path = file["path"].as_str().filter(|path| path.starts_with('/') && !path.contains(".."))?;
    let text = file["content"].as_str().unwrap_or_default();
    let content = match file["encoding"].as_str() {
        Some("b64" | "base64") => BASE64_STANDARD.decode(text.trim()).ok()?,
        None => text.as_bytes().to_vec(),
        Some(_) => return None,
    };
    let mode = match file["permissions"].as_str() {
        Some(octal) => u32::from_str_radix(octal, 8).ok()?,
        None => 0o644,
    };
    Some((path.to_owned(), content, mode))
}

/// As cloud-init's `shellify` writes a command: a list is quoted word by word, a string is the shell's own.
fn line(command: &Value) -> Option<String> {
    match command {
        Value::String(text) => Some(text.clone()),
        Value::Array(words) => {
            let words: Option<Vec<String>> = words.iter().map(word).collect();
            Some(words?.join(" "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn word(word: &Value) -> Option<String> {
    let text = match word {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(format!("'{}'", text.replace('\'', "'\\''")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: &Value) -> CloudInit {
        CloudInit::read(&format!("#cloud-config\n{config:#}\n"))
    }

    #[test]
    fn commands_are_quoted_as_cloud_init_quotes_them() {
        let config = read(&json!({ "runcmd": [["echo", "it's", "$HOME", 3], "echo $HOME"] }));
        assert_eq!(config.script.as_deref(), Some("'echo' 'it'\\''s' '$HOME' '3'\necho $HOME\n"));
        assert!(config.complaints.is_empty());
    }

    #[test]
    fn it_is_yaml() {
        let text = "#cloud-config\nruncmd:\n  - [bash, -c, 'touch /home/ubuntu/booted']\n  - echo one\n";
        let config = CloudInit::read(text);
        assert_eq!(config.script.as_deref(), Some("'bash' '-c' 'touch /home/ubuntu/booted'\necho one\n"));
        let text = "#cloud-config\nssh_keys:\n  ed25519_private: |\n    -----BEGIN\n    x\n";
        assert_eq!(CloudInit::read(text).host_key.as_deref(), Some("-----BEGIN\nx\n"));
    }

    #[test]
    fn files_have_content_and_mode() {
        let config = read(&json!({ "write_files": [
            { "path": "/opt/a", "content": "x", "permissions": "0700" },
            { "path": "/opt/b", "content": "eA==", "encoding": "b64" },
            { "path": "relative", "content": "" },
            { "path": "/opt/../etc", "content": "" },
        ] }));
        let x = |path: &str, mode| (path.to_owned(), b"x".to_vec(), mode);
        assert_eq!(config.files, [x("/opt/a", 0o700), x("/opt/b", 0o644)]);
        assert_eq!(config.complaints.len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_complained_about_and_boots() {
        assert_eq!(CloudInit::read(""), CloudInit::default());
        assert_eq!(CloudInit::read("#!/bin/sh\ntrue\n").script.as_deref(), Some("#!/bin/sh\ntrue\n"));
        for bad in ["hello", "#cloud-config\nruncmd: [", "#cloud-config\nruncmd:\n  - {a: b}\n"] {
            let config = CloudInit::read(bad);
            assert!(config.script.is_none() && config.complaints.len() == 1, "{bad}");
        }
    }

    #[test]
    fn a_variable_among_the_arguments_is_found() {
        let text = format!("#cloud-config\n{}", json!({ "runcmd": [["env", "PORT=123", "sh"]] }));
        assert_eq!(CloudInit::variable(&text, "PORT").as_deref(), Some("123"));
        assert_eq!(CloudInit::variable(&text, "POR"), None);
        assert_eq!(CloudInit::variable("", "PORT"), None);
    }
}
