//! Which program trains, in what environment, on which files and with which secrets.

use super::findings::{Findings, inside, shown};
use super::recipe;
use super::token::{known_token, looks_like_token};
use crate::{Environment, JobSpec, TINY_MODEL, TrainerKind};

/// Longest argument or environment value, in bytes: half of what Linux hands to a program (`MAX_ARG_STRLEN`).
const ARG_BYTES_MAX: usize = 65_536;
/// All arguments or all variables together, in bytes: what fits beside the environment of any image.
const ARGS_BYTES_MAX: usize = 524_288;
/// Most arguments of a command.
const ARGS_MAX: usize = 4096;
/// Most environment variables.
const ENV_MAX: usize = 256;

pub(super) fn check(spec: &JobSpec, found: &mut Findings) {
    trainer(spec, found);
    environment(&spec.environment, found);
    variables(spec, found);
    inputs(spec, found);
    secrets(spec, found);
}

fn trainer(spec: &JobSpec, found: &mut Findings) {
    let kind = spec.trainer_kind();
    match (&spec.trainer.command, kind) {
        (None, TrainerKind::Command) => {
            found.wrong(
                "trainer.command",
                "is missing: a `command` trainer needs the program and its arguments",
            );
        }
        (Some(_), TrainerKind::Builtin | TrainerKind::Peft) => {
            found.wrong("trainer.command", "is for `trainer.kind` `command` only: leave one of the two out");
        }
        (Some(command), TrainerKind::Command) => arguments(command, found),
        (None, TrainerKind::Builtin | TrainerKind::Peft) => {}
    }
    if kind == TrainerKind::Builtin && !spec.is_builtin_model() {
        found.wrong(
            "trainer.kind",
            format!(
                "is `builtin`, which does not take `{}`: it takes `{TINY_MODEL}` or a directory with a small Llama-family \
                 model (a path that begins with `/`, `./` or `../`); use `peft` for a hub model",
                shown(&spec.model_name)
            ),
        );
    }
    if kind == TrainerKind::Peft {
        recipe::check(spec, found);
    }
    if let Some(dir) = spec.trainer.workdir.as_deref().filter(|dir| *dir != ".")
        && let Err(why) = inside(dir.strip_suffix('/').unwrap_or(dir))
    {
        found.wrong(
            "trainer.workdir",
            format!(
                "is `{}`, which {why}: write a directory below the unpacked code, or leave it out",
                shown(dir)
            ),
        );
    }
}

fn arguments(command: &[String], found: &mut Findings) {
    found.count("trainer.command", command.len(), 1..=ARGS_MAX, "words");
    if command.first().is_some_and(|program| program.trim().is_empty()) {
        found.wrong("trainer.command[0]", "is empty: name the program");
    }
    let bytes: usize = command.iter().map(String::len).sum();
    if bytes > ARGS_BYTES_MAX {
        found.wrong(
            "trainer.command",
            format!("is {bytes} bytes long: write at most {ARGS_BYTES_MAX}, or put it in `code`"),
        );
    }
    for (i, arg) in command.iter().enumerate() {
        let field = format!("trainer.command[{i}]");
        found.script(&field, arg, ARG_BYTES_MAX);
        no_token(&field, "", arg, found);
    }
}

fn environment(wanted: &Environment, found: &mut Findings) {
    if let Some(image) = &wanted.image {
        let fits = image.len() <= 512
            && image.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && image.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b));
        if !fits {
            found.wrong(
                "environment.image",
                format!("is `{}`: write a container image such as `ghcr.io/owner/name:tag`, at most 512 characters", shown(image)),
            );
        }
    }
    if let Some(secret) = &wanted.registry_auth {
        if wanted.image.is_none() {
            found.wrong(
                "environment.registry_auth",
                "opens the image's registry, but `environment.image` is not set",
            );
        }
        secret_name("environment.registry_auth", secret.as_str(), found);
    }
    found.count("environment.requirements", wanted.requirements.len(), 0..=256, "packages");
    for (i, package) in wanted.requirements.iter().enumerate() {
        let field = format!("environment.requirements[{i}]");
        found.name(&field, package, 1024);
        no_token(&field, "", package, found);
    }
    found.count("environment.setup", wanted.setup.len(), 0..=100, "commands");
    for (i, line) in wanted.setup.iter().enumerate() {
        let field = format!("environment.setup[{i}]");
        found.script(&field, line, ARG_BYTES_MAX);
        no_token(&field, "", line, found);
    }
}

fn variables(spec: &JobSpec, found: &mut Findings) {
    let env = &spec.environment.env;
    found.count("environment.env", env.len(), 0..=ENV_MAX, "variables");
    let bytes: usize = env.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ARGS_BYTES_MAX {
        found.wrong("environment.env", format!("is {bytes} bytes in all: write at most {ARGS_BYTES_MAX}"));
    }
    for (name, value) in env {
        let field = format!("environment.env.{}", shown(name));
        if !is_variable(name) {
            found.wrong(
                &field,
                "is not a variable's name: use 1 to 128 letters, digits and `_`, the first one no digit",
            );
        } else if name.starts_with("TRAINYARD_") {
            found.wrong(&field, "is set by Trainyard: choose a name that does not begin with `TRAINYARD_`");
        }
        if spec.secrets.iter().any(|secret| secret.as_str() == name) {
            found.wrong(&field, "is in `secrets` as well: leave it out here");
        }
        found.script(&field, value, ARG_BYTES_MAX);
        no_token(&field, name, value, found);
    }
}

fn is_variable(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// Refuses a value that looks like a secret, without repeating it. `name` may be empty.
pub(super) fn no_token(field: &str, name: &str, value: &str, found: &mut Findings) {
    if let Some(kind) = looks_like_token(name, value) {
        found.wrong(
            field,
            format!(
                "looks like {kind}, and a specification is stored and shown: store it with `trainyard secret set NAME` \
                 (`PUT /api/training/secrets/NAME`) and name it in `secrets`; the training sees it as the variable NAME"
            ),
        );
    }
}

fn inputs(spec: &JobSpec, found: &mut Findings) {
    found.count("inputs", spec.inputs.len(), 0..=JobSpec::INPUTS_MAX, "files");
    let mut seen = std::collections::BTreeSet::new();
    for (i, input) in spec.inputs.iter().enumerate() {
        let field = format!("inputs[{i}].path");
        found.path(&field, &input.path);
        if !seen.insert(input.path.as_str()) {
            found.wrong(field, format!("is `{}` again: give every input its own path", shown(&input.path)));
        }
    }
}

fn secrets(spec: &JobSpec, found: &mut Findings) {
    found.count("secrets", spec.secrets.len(), 0..=JobSpec::SECRETS_MAX, "secrets");
    for (i, secret) in spec.secrets.iter().enumerate() {
        secret_name(&format!("secrets[{i}]"), secret.as_str(), found);
    }
    if !spec.secrets.iter().any(|secret| known_token(secret.as_str()).is_some()) {
        found.unique("secrets", spec.secrets.iter().map(|secret| secret.as_str()));
    }
}

/// A token where its name should be would be stored and shown.
fn secret_name(field: &str, name: &str, found: &mut Findings) {
    if let Some(kind) = known_token(name) {
        found.wrong(
            field,
            format!("looks like {kind} itself: write the name under which it is stored, such as `HF_TOKEN`"),
        );
    }
}
