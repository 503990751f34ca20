//! What `submit` and `run` ask for: a job's JSON from a file and flags, with local files uploaded on the way.
//!
//! The specification stays JSON here: the server knows its fields and names every wrong one, so this program need
//! not be of the same version.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::client::{Api, upload};
use crate::exit::{Exit, Failure};
use crate::out::{self, note};
use crate::pack;

/// The job of a directory: what `trainyard init` writes, and `trainyard run` reads where it is given no other file
/// and no command.
pub(crate) const JOB_FILE: &str = "trainyard.job.json";
/// Largest job file, in bytes; the server takes no larger body.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// What to train, on which machine, within which limits. Flags win over the file.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Job")]
pub(crate) struct SpecArgs {
    /// A job as JSON, the body of `POST /jobs`; `-` is stdin. Flags win over it
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The job's id; made by the server where it is left out
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The model: a hub id, a model directory of the server's machine, or `trainyard-tiny`
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// What to train on: a local file (uploaded), `input:SHA256`, `path:…`, `https:…`, `hf:owner/name`
    #[arg(long, value_name = "SOURCE")]
    pub(crate) dataset: Option<String>,
    /// What to measure held-out loss on
    #[arg(long, value_name = "SOURCE")]
    pub(crate) eval_dataset: Option<String>,
    /// A further file for the training: a source, and its name in the input directory
    #[arg(long, value_name = "SOURCE[=PATH]")]
    pub(crate) input: Vec<String>,
    /// A hyperparameter; the value is JSON or a word
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// A label to find the job by
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// An environment variable of the training; secrets go through `trainyard secret set`
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// A stored secret that the training gets under its name
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: Vec<String>,
    /// A Python package to install before the training, as pip takes it
    #[arg(long, value_name = "PACKAGE")]
    pub(crate) requirement: Vec<String>,
    /// The container image, on providers that start one
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// How the adapter is made: `lora`, `qlora`, `dora`, `rslora`
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// The GPU: models (`A100-80GB,H100`) or the least memory (`24GB`)
    #[arg(long, value_name = "GPU")]
    pub(crate) gpu: Option<String>,
    /// GPUs per machine
    #[arg(long, value_name = "N")]
    pub(crate) gpus: Option<u32>,
    /// Disk of the machine, in GB
    #[arg(long, value_name = "GB")]
    pub(crate) disk: Option<u32>,
    /// A region to choose from; several are alternatives
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Vec<String>,
    /// Most to pay per hour, in US dollars
    #[arg(long, value_name = "USD")]
    pub(crate) max_price: Option<String>,
    /// Most to pay in all, in US dollars
    #[arg(long, value_name = "USD")]
    pub(crate) max_cost: Option<String>,
    /// Longest time to run: seconds, or with `s`, `m`, `h`, `d`
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) max_duration: Option<u64>,
}

impl SpecArgs {
    /// The specification as the flags and the file say, local files not uploaded yet. The second value is the
    /// directory that file names in it are relative to.
    pub(crate) fn spec(&self) -> Result<(Map<String, Value>, PathBuf), Failure> {
        let (mut spec, base) = match &self.file {
            Some(file) => read_file(file)?,
            None => (Map::new(), PathBuf::new()),
        };
        let texts = [("job_id", &self.id), ("model_name", &self.model), ("peft_method", &self.method)];
        for (field, value) in texts {
            if let Some(value) = value {
                spec.insert(field.to_owned(), json!(value));
            }
        }
        for (field, source) in [("dataset", &self.dataset), ("eval_dataset", &self.eval_dataset)] {
            if let Some(source) = source {
                spec.insert(field.to_owned(), json!(absolute(source)));
            }
        }
        self.put_inputs(&mut spec);
        put_pairs(&mut spec, &["labels"], &self.label, "--label", |text| json!(text))?;
        put_pairs(&mut spec, &["environment", "env"], &self.env, "--env", |text| json!(text))?;
        put_pairs(&mut spec, &["hyperparameters"], &self.set, "--set", json_or_word)?;
        if !self.secret.is_empty() {
            let secrets = spec_array(&mut spec, "secrets");
            secrets.into_iter().for_each(|all| all.extend(self.secret.iter().map(|name| json!(name))));
        }
        self.put_requirements(&mut spec)?;
        self.put_resources(&mut spec)?;
        Ok((spec, base))
    }

    fn put_inputs(&self, spec: &mut Map<String, Value>) {
        if self.input.is_empty() {
            return;
        }
        let Some(inputs) = spec_array(spec, "inputs") else { return };
        for text in &self.input {
            let (source, path) = text.rsplit_once('=').unwrap_or((text, text));
            let name = match path == text {
                // Without a name it keeps the last part of its own.
                true => path.rsplit('/').next().unwrap_or(path),
                false => path,
            };
            inputs.push(json!({"source": absolute(source), "path": name}));
        }
    }

    /// Those of the file stay: what is named here comes beside them.
    fn put_requirements(&self, spec: &mut Map<String, Value>) -> Result<(), Failure> {
        if self.requirement.is_empty() {
            return Ok(());
        }
        let no_list = || Failure::usage("`environment.requirements` of the job file is no list");
        let slot = place(spec, &["environment", "requirements"]).ok_or_else(no_list)?;
        if slot.is_null() {
            *slot = json!([]);
        }
        let all = slot.as_array_mut().ok_or_else(no_list)?;
        all.extend(self.requirement.iter().map(|package| json!(package)));
        Ok(())
    }

    fn put_resources(&self, spec: &mut Map<String, Value>) -> Result<(), Failure> {
        let mut put = |at: &[&str], value: Value| match place(spec, at) {
            Some(slot) => {
                *slot = value;
                Ok(())
            }
            None => Err(Failure::usage(format!("`{}` of the job file is no object", at[0]))),
        };
        if let Some(gpu) = &self.gpu {
            match memory_gb(gpu) {
                Some(gigabytes) => put(&["resources", "gpu_memory_gb"], json!(gigabytes))?,
                None => put(&["resources", "gpu"], json!(gpu.split(',').map(str::trim).collect::<Vec<_>>()))?,
            }
        }
        if let Some(disk) = self.disk {
            put(&["resources", "disk_gb"], json!(disk))?;
        }
        if !self.region.is_empty() {
            put(&["resources", "regions"], json!(self.region))?;
        }
        if let Some(image) = &self.image {
            put(&["environment", "image"], json!(image))?;
        }
        if let Some(count) = self.gpus {
            put(&["resources", "gpu_count"], json!(count))?;
        }
        if let Some(price) = &self.max_price {
            put(&["resources", "max_price_per_hour"], json!(price))?;
        }
        if let Some(cost) = &self.max_cost {
            put(&["limits", "max_cost_usd"], json!(cost))?;
        }
        if let Some(duration) = self.max_duration {
            put(&["limits", "max_duration_s"], json!(duration))?;
        }
        Ok(())
    }
}

/// Uploads every local file that a specification names and puts `input:SHA256` in its place.
pub(crate) async fn upload_local(
    api: &Api,
    spec: &mut Map<String, Value>,
    base: &Path,
) -> Result<(), Failure> {
    for slot in sources(spec) {
        let Some(text) = slot.as_str().map(str::to_owned) else { continue };
        let Some(path) = local_path(&text, base)? else { continue };
        *slot = json!(if path.is_dir() {
            upload_directory(api, &path, pack::BYTES_MAX).await?
        } else {
            upload_file(api, &path, &text).await?
        });
    }
    Ok(())
}

/// Uploads one file; gives its source.
pub(crate) async fn upload_file(api: &Api, path: &Path, name: &str) -> Result<String, Failure> {
    let mut last = None;
    let uploaded = upload(api, path, |there, total| {
        // A line for every tenth of a large file.
        let tenth = (there * 10).checked_div(total).unwrap_or(10);
        if total > 64 << 20 && last.replace(tenth) != Some(tenth) {
            note(format!("uploading {name}: {} of {}", out::size(there), out::size(total)));
        }
    })
    .await?;
    let how = if uploaded.sent == 0 { "is there already" } else { "uploaded" };
    note(format!("{name}: {} {how} ({})", out::size(uploaded.bytes), &uploaded.sha256[..12]));
    Ok(format!("input:{}", uploaded.sha256))
}

/// Packs and uploads a directory; gives its source.
pub(crate) async fn upload_directory(api: &Api, directory: &Path, bytes_max: u64) -> Result<String, Failure> {
    let at = directory.to_owned();
    let packed = tokio::task::spawn_blocking(move || pack::pack(&at, bytes_max))
        .await
        .map_err(|error| Failure::failed("packing ended early").because(&error))??;
    for link in &packed.left_out {
        note(format!("left out: the link {} leads outside", link.display()));
    }
    note(format!("packed {} files, {}", packed.files, out::size(packed.bytes)));
    upload_file(api, packed.archive.path(), "code").await
}

/// Every place of a specification where a source stands.
fn sources(spec: &mut Map<String, Value>) -> Vec<&mut Value> {
    let mut all = Vec::new();
    for (field, value) in spec.iter_mut() {
        match field.as_str() {
            "dataset" | "eval_dataset" if value.is_string() => all.push(value),
            "dataset" | "eval_dataset" => all.extend(value.get_mut("source")),
            "code" => all.push(value),
            "inputs" => {
                let inputs = value.as_array_mut().into_iter().flatten();
                all.extend(inputs.filter_map(|input| input.get_mut("source")));
            }
            _ => {}
        }
    }
    all
}

/// The local file that a source means, if it means one. `path:` and the others are the server's business.
fn local_path(source: &str, base: &Path) -> Result<Option<PathBuf>, Failure> {
    let known = ["input:", "path:", "https:", "http:", "hf:"];
    if known.iter().any(|prefix| source.starts_with(prefix)) {
        return Ok(None);
    }
    let named = source.strip_prefix("file:").unwrap_or(source);
    let path = base.join(named);
    if path.exists() {
        return Ok(Some(path));
    }
    // `owner/name` may be a hub id; what begins or ends like a file cannot be one.
    let file_like = named != source
        || named.starts_with(['/', '.'])
        || [".jsonl", ".json", ".txt", ".csv", ".tar", ".gz", ".parquet"]
            .iter()
            .any(|end| named.ends_with(end));
    match file_like {
        true => Err(Failure::new(Exit::Usage, format!("there is no file `{}`", path.display()))
            .hint("a file of the server's machine is named `path:…`")),
        false => Ok(None),
    }
}

/// A flag's local file is relative to where the command runs, not to the job file.
fn absolute(source: &str) -> String {
    match std::path::absolute(source) {
        Ok(path) if path.exists() => path.display().to_string(),
        Ok(_) | Err(_) => source.to_owned(),
    }
}

fn read_file(file: &Path) -> Result<(Map<String, Value>, PathBuf), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("the job file `{}` cannot be read", file.display())).because(&error)
    };
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::Read::read_to_string(
            &mut std::io::Read::take(std::io::stdin(), FILE_BYTES_MAX),
            &mut text,
        ),
        _ => std::fs::File::open(file).and_then(|file| {
            std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_BYTES_MAX), &mut text)
        }),
    };
    read.map_err(unreadable)?;
    let spec = serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("the job file `{}` is no JSON object", file.display())).because(&error)
    })?;
    Ok((spec, file.parent().unwrap_or(Path::new("")).to_owned()))
}

fn spec_array<'a>(spec: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Vec<Value>> {
    spec.entry(field).or_insert_with(|| json!([])).as_array_mut()
}

/// The place of a field, made where it is not there; none where something on the way is no object.
fn place<'a>(spec: &'a mut Map<String, Value>, at: &[&str]) -> Option<&'a mut Value> {
    let (last, way) = at.split_last()?;
    let mut map = spec;
    for field in way {
        map = map.entry(*field).or_insert_with(|| json!({})).as_object_mut()?;
    }
    Some(map.entry(*last).or_insert(Value::Null))
}

fn put_pairs(
    spec: &mut Map<String, Value>,
    at: &[&str],
    pairs: &[String],
    flag: &str,
    value: impl Fn(&str) -> Value,
) -> Result<(), Failure> {
    for pair in pairs {
        let (name, text) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("`{flag} {pair}` has no `=`")).hint(format!("write {flag} NAME=VALUE"))
        })?;
        let way: Vec<&str> = at.iter().copied().chain([name]).collect();
        let slot = place(spec, &way)
            .ok_or_else(|| Failure::usage(format!("`{}` of the job file is no object", at[0])))?;
        *slot = value(text);
    }
    Ok(())
}

fn json_or_word(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

/// `24GB` as a number.
pub(crate) fn memory_gb(text: &str) -> Option<u32> {
    let upper = text.to_ascii_uppercase();
    upper.strip_suffix("GB")?.trim().parse().ok()
}

/// Seconds from `90`, `90s`, `15m`, `4h`, `1d`.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is no time: write 90, 90s, 15m, 4h or 1d"))?;
    number.checked_mul(unit).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("job.json");
        std::fs::write(&file, r#"{"model_name": "a", "labels": {"team": "x"}, "resources": {"spot": true}}"#)
            .unwrap();
        let args = SpecArgs {
            file: Some(file),
            model: Some("b".to_owned()),
            label: vec!["who=me".to_owned()],
            set: vec!["lora_r=4".to_owned(), "scheduler=cosine".to_owned()],
            env: vec!["MODE=fast".to_owned()],
            gpu: Some("24GB".to_owned()),
            requirement: vec!["trl==1.16.0".to_owned()],
            image: Some("owner/image:1".to_owned()),
            disk: Some(60),
            region: vec!["EU".to_owned()],
            max_duration: Some(60),
            ..SpecArgs::default()
        };
        let (spec, base) = args.spec().unwrap();
        assert_eq!(base, directory.path());
        assert_eq!(
            Value::Object(spec),
            json!({
                "model_name": "b",
                "labels": {"team": "x", "who": "me"},
                "environment": {"env": {"MODE": "fast"}, "requirements": ["trl==1.16.0"], "image": "owner/image:1"},
                "hyperparameters": {"lora_r": 4, "scheduler": "cosine"},
                "resources": {"spot": true, "gpu_memory_gb": 24, "disk_gb": 60, "regions": ["EU"]},
                "limits": {"max_duration_s": 60},
            })
        );
    }

    #[test]
    fn every_source_of_a_specification_is_found() {
        let mut spec = json!({
            "model_name": "m", "dataset": {"source": "1", "format": "text"}, "eval_dataset": "2", "code": "3",
            "inputs": [{"source": "4", "path": "p"}],
        });
        let found: Vec<String> = sources(spec.as_object_mut().unwrap())
            .into_iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn only_what_means_a_local_file_is_taken_as_one() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("here.jsonl"), "x").unwrap();
        let check = |source: &str| local_path(source, directory.path());
        assert_eq!(check("here.jsonl").unwrap(), Some(directory.path().join("here.jsonl")));
        assert_eq!(check("file:here.jsonl").unwrap(), Some(directory.path().join("here.jsonl")));
        for not_local in ["owner/name", "hf:owner/name", "input:00", "path:/etc/x", "https://x/y.jsonl"] {
            assert_eq!(check(not_local).unwrap(), None, "{not_local}");
        }
        for missing in ["gone.jsonl", "./gone", "/gone/x", "file:gone"] {
            assert_eq!(check(missing).unwrap_err().exit, Exit::Usage, "{missing}");
        }
    }

    #[test]
    fn times_and_memory() {
        assert_eq!(
            ["90", "90s", "15m", "4h", "1d"].map(|t| seconds(t).unwrap()),
            [90, 90, 900, 14_400, 86_400]
        );
        assert!(
            seconds("soon").is_err() && seconds("").is_err() && seconds("99999999999999999999d").is_err()
        );
        assert_eq!(
            [memory_gb("24GB"), memory_gb("24gb"), memory_gb("A100-80GB")],
            [Some(24), Some(24), None]
        );
    }
}
