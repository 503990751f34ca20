//! Lines as the programs print them, and what is told from them.

use trainyard_domain::Timestamp;

use super::*;

fn exit(code: i32) -> Exit {
    let at: Timestamp = serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap();
    Exit { signal: (code > 128).then(|| code - 128), ..Exit::with_code(code, at) }
}

fn code(log: &str) -> String {
    diagnose(&exit(1), log).map_or_else(|| "nothing".to_owned(), |told| told.code)
}

/// Last lines of real programs, each with the code it must give.
const LINES: &[(&str, &str)] = &[
    (
        "gpu_out_of_memory",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 23.64 GiB",
    ),
    (
        "gpu_out_of_memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ),
    (
        "out_of_memory",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.",
    ),
    ("out_of_memory", "RuntimeError: DataLoader worker (pid 1234) is killed by signal: Killed."),
    (
        "shared_memory",
        "RuntimeError: DataLoader worker (pid 97) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory.",
    ),
    ("no_space", "OSError: [Errno 28] No space left on device"),
    (
        "no_space",
        "safetensors_rust.SafetensorError: Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: \"No space left on device\" })",
    ),
    ("model_gated", "OSError: You are trying to access a gated repo."),
    ("model_gated", "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-x)"),
    (
        "model_gated",
        "Cannot access gated repo for url https://huggingface.co/meta-llama/Llama-3.2-1B/resolve/main/config.json.",
    ),
    (
        "hub_unauthorized",
        "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/whoami-v2",
    ),
    (
        "model_not_found",
        "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: Root=1-x)",
    ),
    (
        "model_not_found",
        "OSError: nobody/nothing is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
    ),
    (
        "model_not_found",
        "datasets.exceptions.DatasetNotFoundError: Dataset 'nobody/nothing' doesn't exist on the Hub or cannot be accessed.",
    ),
    (
        "hub_unreachable",
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.",
    ),
    (
        "hub_unreachable",
        "urllib3.exceptions.MaxRetryError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /x",
    ),
    ("hub_unreachable", "ConnectionRefusedError: [Errno 111] Connection refused"),
    (
        "chat_template_missing",
        "ValueError: Cannot use chat template functions because tokenizer.chat_template is not set and no template argument was passed!",
    ),
    (
        "bf16_unsupported",
        "ValueError: Your setup doesn't support bf16/gpu. You need to assign use_cpu if you want to train the model on CPU",
    ),
    ("gpu_missing", "AssertionError: Torch not compiled with CUDA enabled"),
    ("gpu_missing", "RuntimeError: No CUDA GPUs are available"),
    ("gpu_driver", "RuntimeError: The NVIDIA driver on your system is too old (found version 11040)."),
    (
        "gpu_driver",
        "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device",
    ),
    ("index_out_of_range", "RuntimeError: CUDA error: device-side assert triggered"),
    ("index_out_of_range", "IndexError: index out of range in self"),
    ("gpu_error", "RuntimeError: CUDA error: an illegal memory access was encountered"),
    (
        "gpu_error",
        "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1970, unhandled cuda error",
    ),
    ("loss_not_finite", "ValueError: the loss is NaN at step 12"),
    (
        "target_modules",
        "ValueError: Target modules {'q_proj', 'v_proj'} not found in the base model. Please check the target modules and try again.",
    ),
    ("dataset_invalid", "json.decoder.JSONDecodeError: Expecting ',' delimiter: line 1 column 20 (char 19)"),
    (
        "dataset_invalid",
        "pyarrow.lib.ArrowInvalid: JSON parse error: Missing a comma or '}' after an object member. in row 3",
    ),
    ("dataset_invalid", "ValueError: num_samples should be a positive integer value, but got num_samples=0"),
    (
        "code_untrusted",
        "ValueError: The repository x contains custom code which must be executed. Please pass the argument `trust_remote_code=True` to allow it",
    ),
    (
        "tokenizer",
        "OSError: Can't load tokenizer for 'x'. If you were trying to load it from 'https://huggingface.co/models', make sure",
    ),
    (
        "flash_attention_missing",
        "ImportError: FlashAttention2 has been toggled on, but it cannot be used due to the following error: the package flash_attn seems to be not installed.",
    ),
    ("package_not_found", "ERROR: No matching distribution found for transfomers==4.0"),
    (
        "package_not_found",
        "  ╰─▶ Because transfomers was not found in the package registry and you require transfomers, we can conclude",
    ),
    (
        "version_conflict",
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/",
    ),
    (
        "version_conflict",
        "ImportError: tokenizers>=0.21,<0.22 is required for a normal functioning of this module, but found tokenizers==0.19.1.",
    ),
    ("version_conflict", "ImportError: cannot import name 'is_torch_tpu_available' from 'transformers'"),
    ("package_missing", "ModuleNotFoundError: No module named 'trl'"),
    (
        "package_missing",
        "ImportError: Using `bitsandbytes` 4-bit quantization requires bitsandbytes: `pip install -U bitsandbytes>=0.46.1`",
    ),
    ("python_managed", "error: externally-managed-environment"),
    (
        "image",
        "./train: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by ./train)",
    ),
    (
        "arguments",
        "ValueError: Some specified arguments are not used by the HfArgumentParser: ['--lora_rr', '8']",
    ),
    ("arguments", "train.py: error: unrecognized arguments: --epochs 3"),
    ("settings", "pydantic_core._pydantic_core.ValidationError: 1 validation error for AxolotlInputConfig"),
    ("settings", "yaml.scanner.ScannerError: mapping values are not allowed here"),
    ("checkpoint_unfit", "RuntimeError: Error(s) in loading state_dict: size mismatch for lm_head.weight"),
    (
        "port_taken",
        "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port: 29500, code: -98, name: EADDRINUSE",
    ),
    ("file_not_found", "python: can't open file '/w/trian.py': [Errno 2] No such file or directory"),
    ("program_not_found", "sh: 1: axolotl: not found"),
    ("no_permission", "PermissionError: [Errno 13] Permission denied: '/data'"),
    ("code_error", "SyntaxError: invalid syntax"),
    ("file_damaged", "EOFError: Compressed file ended before the end-of-stream marker was reached"),
    (
        "file_damaged",
        "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9 in position 12: invalid continuation byte",
    ),
];

#[test]
fn lines_as_programs_print_them_are_recognised() {
    for (expected, line) in LINES {
        let log = format!("loading\nTraceback (most recent call last):\n{line}\n");
        assert_eq!(code(&log), *expected, "{line}");
    }
}

#[test]
fn later_lines_win_and_ordinary_ones_say_nothing() {
    let log = "No module named 'flash_attn', going on without\n{'loss': 2.0}\ntorch.OutOfMemoryError: CUDA out of memory.\n";
    assert_eq!(code(log), "gpu_out_of_memory");
    assert_eq!(code("step 1\nValueError: something of your own\n"), "nothing");
    assert_eq!(code(""), "nothing");
}

#[test]
fn the_exit_itself_tells_something() {
    let told = |exit: &Exit, log: &str| diagnose(exit, log).map(|told| told.code).unwrap_or_default();
    assert_eq!(told(&exit(127), ""), "program_not_found");
    assert_eq!(told(&exit(137), "step 9\n"), "killed");
    let starved = Exit { note: Some("killed by the system because memory ran out".to_owned()), ..exit(137) };
    assert_eq!(told(&starved, "No module named 'x'\n"), "out_of_memory");
    assert_eq!(told(&exit(139), ""), "crashed");
    assert_eq!(told(&exit(137), "torch.OutOfMemoryError: CUDA out of memory\n"), "gpu_out_of_memory");
}

#[test]
fn a_programs_own_last_word_wins_over_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, word) = (dir.path().join("log"), dir.path().join("failure.json"));
    std::fs::write(&log, "\rstep 1\rstep 2\n\nNo module named 'x'\n").unwrap();
    let told = |exit| explain(exit, &log, &word, None);
    assert_eq!(told(exit(1)).diagnosis.unwrap().code, "package_missing");
    assert_eq!(told(exit(1)).last_lines, ["step 2", "No module named 'x'"]);
    std::fs::write(&word, r#"{"code": "model_gated", "message": "it is\n gated", "suggestion": ""}"#)
        .unwrap();
    let diagnosis = told(exit(1)).diagnosis.unwrap();
    assert_eq!((diagnosis.code.as_str(), diagnosis.cause.as_str()), ("model_gated", "it is gated"));
    assert_eq!(diagnosis.remedy, table::READ_THE_LOG);
    std::fs::write(&word, r#"{"code": "Not A Word", "message": "x"}"#).unwrap();
    assert_eq!(told(exit(1)).diagnosis.unwrap().code, "package_missing", "what is malformed counts as none");
    let asked = Exit { asked: true, ..exit(143) };
    assert_eq!(told(asked.clone()), asked, "one that was told to stop did not fail");
    assert_eq!(told(exit(0)).diagnosis, None);
}

#[test]
fn a_last_loss_that_is_no_number_tells_what_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let (log, word) = (dir.path().join("log"), dir.path().join("failure.json"));
    let told = |loss| explain(exit(1), &log, &word, loss).diagnosis.map(|told| told.code);
    std::fs::write(&log, "AssertionError\n").unwrap();
    assert_eq!(told(Some(f64::NAN)).as_deref(), Some("loss_not_finite"));
    assert_eq!(told(Some(f64::INFINITY)).as_deref(), Some("loss_not_finite"));
    assert_eq!((told(Some(2.5)), told(None)), (None, None));
    std::fs::write(&log, "No module named 'x'\n").unwrap();
    assert_eq!(told(Some(f64::NAN)).as_deref(), Some("package_missing"), "the log knows better");
}
