//! What is recognised in the output of training programs, and what is advised. One row, one cause.
//!
//! The texts are those of PyTorch, CUDA, Transformers, the Hugging Face hub, Datasets, PEFT, pip, uv, Python and the
//! shells as they print them. A row is matched by words that stand on one line, case and all.

use trainyard_domain::{Diagnosis, Exit};

/// What is advised where nothing better is known.
pub(super) const READ_THE_LOG: &str =
    "read the last lines of the log (`trainyard logs JOB`), mend the cause, and clone the job";

/// Words that stand on one line, all of them; any of the lists is enough.
type Any = &'static [&'static [&'static str]];

/// Code, what to look for, cause, remedy. `{}` in cause and remedy is what the line names in quotes.
struct Row(&'static str, Any, &'static str, &'static str);

/// Advice for every kind of memory that runs out on the card.
const SMALLER: &str = "lower `batch_size` (and raise `gradient_accumulation_steps`), lower `max_seq_length`, set \
     `gradient_checkpointing`, use `qlora`, or ask for a GPU with more memory";
const TOKEN: &str = "store a token that may read it (`trainyard secret set HF_TOKEN`) and name it in the job's \
     `secrets` (`--secret HF_TOKEN`)";

const ROWS: &[Row] = &[
    Row(
        "gpu_out_of_memory",
        &[
            &["CUDA out of memory"],
            &["OutOfMemoryError"],
            &["HIP out of memory"],
            &["CUBLAS_STATUS_ALLOC_FAILED"],
        ],
        "the GPU's memory ran out",
        SMALLER,
    ),
    Row(
        "shared_memory",
        &[&["insufficient shared memory"], &["unable to allocate shared memory"], &["Bus error"]],
        "shared memory (/dev/shm) ran out",
        "set `dataloader_num_workers` to 0, or use an image and a provider that give more",
    ),
    Row(
        "out_of_memory",
        &[
            &["can't allocate memory"],
            &["Cannot allocate memory"],
            &["DataLoader worker", "killed by signal: Killed"],
            &["MemoryError"],
        ],
        "the machine's memory ran out",
        "load less at once (a smaller model, fewer data loader workers), or take a machine with more memory",
    ),
    Row(
        "no_space",
        &[&["No space left on device"], &["Disk quota exceeded"], &["no space left on device"]],
        "the disk is full",
        "raise `resources.disk_gb` (`--disk`), keep fewer checkpoints (`save_total_limit`), or take a smaller model",
    ),
    Row(
        "model_gated",
        &[
            &["gated repo"],
            &["GatedRepoError"],
            &["403 Client Error", "huggingface"],
            &["Access to model", "is restricted"],
            &["gated dataset"],
        ],
        "the model or dataset is gated, and this job may not read it",
        "accept its conditions on its page at the hub, store a token of that account (`trainyard secret set HF_TOKEN`) \
         and name it in the job's `secrets` (`--secret HF_TOKEN`)",
    ),
    Row(
        "hub_unauthorized",
        &[
            &["401 Client Error", "huggingface"],
            &["Invalid credentials in Authorization header"],
            &["Invalid user token"],
            &["Invalid username or password"],
        ],
        "the hub did not accept the token, or wants one",
        TOKEN,
    ),
    Row(
        "model_not_found",
        &[
            &["RepositoryNotFoundError"],
            &["Repository Not Found for url"],
            &["is not a local folder and is not a valid model identifier"],
            &["RevisionNotFoundError"],
            &["DatasetNotFoundError"],
            &["doesn't exist on the Hub"],
            &["404 Client Error", "huggingface"],
            &["does not appear to have a file named"],
            &["Incorrect path_or_model_id"],
        ],
        "the hub has no such model, dataset or file: {}",
        "check the name (`owner/name`) and the revision; a private one needs a token in `secrets`",
    ),
    Row(
        "hub_rate_limited",
        &[&["429 Client Error"], &["Too Many Requests", "huggingface"]],
        "the hub refused further requests for now",
        "name a token in `secrets`, which raises the limit, or try again later",
    ),
    Row(
        "hub_unreachable",
        &[
            &["We couldn't connect to"],
            &["Max retries exceeded with url"],
            &["LocalEntryNotFoundError"],
            &["Temporary failure in name resolution"],
            &["Name or service not known"],
            &["ConnectionRefusedError"],
            &["Connection refused", "http"],
            &["outgoing traffic has been disabled"],
            &["Network is unreachable"],
        ],
        "something that had to be downloaded could not be reached",
        "check the machine's way to the internet (proxy, firewall, HF_HUB_OFFLINE), or bring the files as `inputs`",
    ),
    Row(
        "chat_template_missing",
        &[&["chat_template is not set"], &["no chat template"], &["does not have a chat template"]],
        "the tokenizer has no chat template, which messages need",
        "use an instruct model, set `extra.chat_template`, or give the data as prompt and completion",
    ),
    Row(
        "bf16_unsupported",
        &[
            &["bf16/gpu"],
            &["support bf16"],
            &["support bfloat16"],
            &["bf16", "not supported"],
            &["Bfloat16 is only supported"],
        ],
        "this GPU has no bf16",
        "set `precision` to `fp16` or `fp32`, or ask for an Ampere GPU or newer",
    ),
    Row(
        "gpu_missing",
        &[
            &["Torch not compiled with CUDA enabled"],
            &["No CUDA GPUs are available"],
            &["Found no NVIDIA driver"],
            &["no CUDA-capable device"],
            &["CUDA is not available"],
        ],
        "PyTorch sees no GPU",
        "install a PyTorch built for CUDA, or use an image that has one; on a machine without a GPU set `precision` to `fp32`",
    ),
    Row(
        "gpu_driver",
        &[
            &["CUDA driver version is insufficient"],
            &["NVIDIA driver on your system is too old"],
            &["forward compatibility was attempted"],
            &["no kernel image is available"],
            &["is not compatible with the current PyTorch installation"],
        ],
        "PyTorch was built for another driver or another kind of GPU than this machine has",
        "use an image whose CUDA version fits the driver and the GPU, or another GPU",
    ),
    Row(
        "index_out_of_range",
        &[&["device-side assert triggered"], &["index out of range in self"]],
        "a token or label has a number that the model does not know",
        "check that tokenizer and model belong together, and run once with CUDA_LAUNCH_BLOCKING=1 to see where",
    ),
    Row(
        "gpu_error",
        &[
            &["CUDA error"],
            &["CUDNN_STATUS"],
            &["CUBLAS_STATUS"],
            &["uncorrectable ECC error"],
            &["NCCL error"],
            &["Watchdog caught collective operation timeout"],
        ],
        "the GPU or the link between GPUs failed",
        "clone the job onto another machine; if it fails there too, read the lines above it in the log",
    ),
    Row(
        "loss_not_finite",
        &[
            &["loss is nan"],
            &["Loss is NaN"],
            &["loss is NaN"],
            &["non-finite loss"],
            &["'loss': nan"],
            &["'loss': 'nan'"],
        ],
        "the loss became NaN",
        "lower `learning_rate`, raise `warmup_steps`, keep `max_grad_norm` at 1, and use `bf16` or `fp32` rather than `fp16`",
    ),
    Row(
        "target_modules",
        &[&["Target modules", "not found in the base model"]],
        "the model has no layers named in `target_modules`",
        "name layers of this model, such as `q_proj` and `v_proj` for Llama or `c_attn` for GPT-2",
    ),
    Row(
        "dataset_invalid",
        &[
            &["JSONDecodeError"],
            &["JSON parse error"],
            &["ArrowInvalid"],
            &["DatasetGenerationError"],
            &["Failed to read file"],
            &["json.decoder"],
            &["num_samples should be a positive integer"],
        ],
        "the dataset cannot be read",
        "write one JSON object a line, with the same fields in every line; `trainyard validate` names the first bad one",
    ),
    Row(
        "file_damaged",
        &[
            &["UnicodeDecodeError"],
            &["BadGzipFile"],
            &["Compressed file ended before"],
            &["zlib.error"],
            &["BadZipFile"],
        ],
        "a file is cut off, or is not the text or the archive that it is read as",
        "save text as UTF-8 (`iconv -f latin1 -t utf-8`), test archives (`gzip -t`), and upload the file once more",
    ),
    Row(
        "code_untrusted",
        &[&["trust_remote_code=True"]],
        "the model brings its own code, which is not run unasked",
        "read that code, then allow it in the program's own settings (`trust_remote_code`)",
    ),
    Row(
        "tokenizer",
        &[
            &["Can't load tokenizer"],
            &["Couldn't instantiate the backend tokenizer"],
            &["Unable to load vocabulary"],
        ],
        "the tokenizer could not be loaded",
        "check that the model's directory holds its tokenizer files; some need `sentencepiece` or `tiktoken` in `requirements`",
    ),
    Row(
        "flash_attention_missing",
        &[
            &["FlashAttention2 has been toggled on"],
            &["FlashAttention", "cannot be used"],
            &["No module named 'flash_attn'"],
        ],
        "FlashAttention is asked for and not installed",
        "ask for `sdpa` attention, or install `flash-attn` in `setup`",
    ),
    Row(
        "package_not_found",
        &[
            &["No matching distribution found"],
            &["Could not find a version that satisfies"],
            &["was not found in the package registry"],
            &["requires a different Python"],
            &["Invalid requirement"],
        ],
        "a package of that name and version cannot be had for this Python",
        "check `requirements` for slips, and the versions against the machine's Python",
    ),
    Row(
        "version_conflict",
        &[
            &["ResolutionImpossible"],
            &["conflicting dependencies"],
            &["No solution found when resolving"],
            &["is required for a normal functioning of this module"],
            &["ImportError", "cannot import name"],
            &["undefined symbol"],
            &["numpy.dtype size changed"],
            &["upgrade torch to at least"],
            &["VersionConflict"],
        ],
        "packages of versions that do not fit each other",
        "pin versions in `requirements` that were published together, or take an image that has them",
    ),
    Row(
        "package_missing",
        &[
            &["ModuleNotFoundError: No module named"],
            &["No module named"],
            &["the following packages that were not found"],
            &["PackageNotFoundError"],
            &["ImportError", "requires", "to be installed"],
            &["ImportError", "pip install"],
        ],
        "a Python package is missing: {}",
        "name it in `environment.requirements` (`--requirement NAME`), or take an image that has it",
    ),
    Row(
        "python_managed",
        &[&["externally-managed-environment"]],
        "this machine's Python takes no packages",
        "make a virtual environment in `setup`, or take an image with its own Python",
    ),
    Row(
        "image",
        &[
            &["GLIBC_", "not found"],
            &["GLIBCXX_", "not found"],
            &["exec format error"],
            &["Exec format error"],
        ],
        "a program does not fit this machine's image",
        "take an image of this machine's architecture with a newer C library",
    ),
    Row(
        "arguments",
        &[
            &["unrecognized arguments"],
            &["arguments are not used by the HfArgumentParser"],
            &["the following arguments are required"],
            &["No such option"],
            &["got an unexpected keyword argument"],
        ],
        "the program does not know an argument or setting",
        "compare the command and its settings with the version that is installed",
    ),
    Row(
        "settings",
        &[
            &["pydantic", "ValidationError"],
            &["validation error", "for"],
            &["yaml.scanner.ScannerError"],
            &["yaml.parser.ParserError"],
            &["Extra inputs are not permitted"],
        ],
        "the program's settings file is not right",
        "mend the field that the log names",
    ),
    Row(
        "checkpoint_unfit",
        &[&["size mismatch for"], &["PytorchStreamReader failed"], &["SafetensorError"]],
        "a checkpoint or model file is damaged, or belongs to another model",
        "start without it, or from an older checkpoint",
    ),
    Row(
        "port_taken",
        &[&["EADDRINUSE"], &["Address already in use"]],
        "a port that the program wants is taken",
        "use the free one in `MASTER_PORT`",
    ),
    Row(
        "file_not_found",
        &[&["FileNotFoundError"], &["can't open file"], &["No such file or directory"]],
        "a file is missing: {}",
        "check that it is in the packed directory (.gitignore names what is not packed) or in `inputs`, whose files lie in `$TRAINYARD_INPUT_DIR`",
    ),
    Row(
        "program_not_found",
        &[&["command not found"], &[": not found"]],
        "a program that the command starts is not on this machine",
        "install it in `setup` or `requirements`, or take an image that has it",
    ),
    Row(
        "no_permission",
        &[&["PermissionError"], &["Permission denied"]],
        "a file may not be read, written or run: {}",
        "write below `$TRAINYARD_OUTPUT_DIR` or the working directory",
    ),
    Row(
        "code_error",
        &[&["SyntaxError:"], &["IndentationError:"]],
        "the program is not valid Python",
        "mend the line that the log names",
    ),
];

/// The first row that recognises a line.
pub(super) fn by_line(line: &str) -> Option<Diagnosis> {
    let fits = |row: &&Row| row.1.iter().any(|all| all.iter().all(|word| line.contains(word)));
    ROWS.iter().find(fits).map(|Row(code, _, cause, remedy)| told(code, &filled(cause, line), remedy))
}

/// What a last loss that is no number tells.
pub(super) fn of_loss() -> Option<Diagnosis> {
    by_line("'loss': nan")
}

/// What the exit itself tells.
pub(super) fn by_end(exit: &Exit) -> Option<Diagnosis> {
    let note = exit.note.as_deref().unwrap_or("");
    if note.contains("because memory ran out") {
        let remedy = "load less at once (a smaller model, fewer data loader workers), or take a machine with more memory";
        return Some(told(
            "out_of_memory",
            "the machine's memory ran out and the system killed the training",
            remedy,
        ));
    }
    match exit.code {
        127 => {
            let remedy =
                "install it in `setup` or `requirements`, take an image that has it, or mend its name";
            Some(told(
                "program_not_found",
                "a program that the command starts is not on this machine",
                remedy,
            ))
        }
        126 => Some(told(
            "no_permission",
            "the program may not be run, or is none",
            "make it executable, or start it by its interpreter (`python train.py`, `sh run.sh`)",
        )),
        137 => Some(told(
            "killed",
            "the training was killed, most likely because memory ran out",
            "take a machine with more memory, or load less at once",
        )),
        _ => match exit.signal {
            Some(11) => Some(told(
                "crashed",
                "the program crashed (segmentation fault)",
                "look for packages with native code that do not fit each other (PyTorch, bitsandbytes, flash-attn, triton)",
            )),
            _ => None,
        },
    }
}

/// Whether an end says so by itself, whatever the log holds.
pub(super) fn is_certain(told: &Diagnosis) -> bool {
    told.code == "out_of_memory"
}

fn told(code: &str, cause: &str, remedy: &str) -> Diagnosis {
    Diagnosis { code: code.to_owned(), cause: cause.to_owned(), remedy: remedy.to_owned() }
}

/// The cause with what the line names in quotes; without it where the line names nothing.
fn filled(cause: &str, line: &str) -> String {
    let Some(before) = cause.strip_suffix(": {}") else { return cause.to_owned() };
    match quoted(line) {
        Some(name) => format!("{before}: `{name}`"),
        None => before.to_owned(),
    }
}

/// The last short text between two quotes of one kind.
fn quoted(line: &str) -> Option<&str> {
    let between = |quote: char| {
        let end = line.rfind(quote)?;
        let begin = line[..end].rfind(quote)? + quote.len_utf8();
        Some(&line[begin..end]).filter(|name| !name.trim().is_empty() && name.len() <= 200)
    };
    between('\'').or_else(|| between('"')).or_else(|| between('`'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_words_and_said_once() {
        let mut seen = BTreeSet::new();
        for Row(code, words, cause, remedy) in ROWS {
            assert!(seen.insert(code), "{code} has two rows");
            assert!(
                code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()),
                "{code}"
            );
            assert!(words.iter().all(|all| !all.is_empty()) && !words.is_empty(), "{code}");
            assert!(!cause.ends_with('.') && !remedy.ends_with('.'), "{code}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let cause = |line: &str| by_line(line).map(|told| told.cause).unwrap_or_default();
        let line = "ModuleNotFoundError: No module named 'unsloth'";
        assert_eq!(cause(line), "a Python package is missing: `unsloth`");
        let line = "FileNotFoundError: [Errno 2] No such file or directory: 'data/train.jsonl'";
        assert_eq!(cause(line), "a file is missing: `data/train.jsonl`");
        assert_eq!(cause("sh: 1: No such file or directory"), "a file is missing");
    }
}
