"""The base and its adapter: LoRA, QLoRA, DoRA or rsLoRA as the specification says."""

import os

import torch
import transformers

from .failure import Failure
from .settings import Settings

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def check_machine(settings: Settings) -> None:
    """What this machine cannot do is said before anything is downloaded."""
    has_gpu = torch.cuda.is_available()
    if settings.precision == "bf16" and has_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name()
        remedy = "set `precision` to `fp16` or `fp32`, or ask for an Ampere GPU or newer"
        raise Failure("bf16_unsupported", f"this GPU ({name}) has no bf16", remedy)
    wanted = int(os.environ.get("TRAINYARD_GPU_COUNT") or 0)
    if wanted and not has_gpu:
        remedy = "use an image whose PyTorch was built for the driver's CUDA version"
        raise Failure("gpu_missing", f"the machine has {wanted} GPUs, and PyTorch sees none", remedy)
    if not has_gpu and settings.precision == "fp16":
        raise Failure("gpu_missing", "fp16 needs a GPU, and there is none", "set `precision` to `bf16` or `fp32`")
    if not has_gpu and settings.bits:
        remedy = "leave `quantization` out, or train where there is a GPU"
        raise Failure("gpu_missing", "a quantized base needs a GPU, and there is none", remedy)


def tokenizer_of(settings: Settings):
    name, revision = settings.model
    trust = bool(settings.extra.get("trust_remote_code", False))
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust)
    if settings.extra.get("chat_template"):
        tokenizer.chat_template = settings.extra["chat_template"]
    if tokenizer.pad_token_id is None:
        # Padding is never looked at: any token will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def base_of(settings: Settings):
    name, revision = settings.model
    given = {"revision": revision, "dtype": DTYPES[settings.precision]}
    given["trust_remote_code"] = bool(settings.extra.get("trust_remote_code", False))
    if settings.extra.get("attn_implementation"):
        given["attn_implementation"] = settings.extra["attn_implementation"]
    several = torch.cuda.device_count() > 1
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        given["device_map"] = {"": int(os.environ["LOCAL_RANK"])}
    elif several:
        # One process for several GPUs: the layers are spread over them.
        given["device_map"] = "auto"
    elif settings.bits:
        given["device_map"] = {"": 0}
    if settings.bits:
        given["quantization_config"] = quantization(settings)
    model = transformers.AutoModelForCausalLM.from_pretrained(name, **given)
    model.config.use_cache = False
    return model


def quantization(settings: Settings):
    if settings.bits == 8:
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=DTYPES[settings.precision],
    )


def adapted(model, settings: Settings):
    import peft

    if settings.bits:
        model = peft.prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=settings.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    elif settings.gradient_checkpointing:
        model.enable_input_require_grads()
    modules = settings.target_modules
    given = {
        "task_type": "CAUSAL_LM",
        "r": settings.lora_r,
        "lora_alpha": whole(settings.lora_alpha),
        "lora_dropout": settings.lora_dropout,
        "target_modules": "all-linear" if modules == ["all-linear"] else modules,
        "use_dora": settings.method == "dora",
        "use_rslora": settings.method == "rslora",
    }
    try:
        config = peft.LoraConfig(**{**given, **settings.extra.get("lora", {})})
    except TypeError as error:
        raise Failure("settings", f"`hyperparameters.extra.lora`: {error}", "see PEFT's LoraConfig") from None
    model = peft.get_peft_model(model, config)
    trained, total = model.get_nb_trainable_parameters()
    print(f"{settings.method}: {trained:,} of {total:,} parameters are trained", flush=True)
    return model


def whole(number: float) -> float | int:
    """16 rather than 16.0, as PEFT writes it."""
    return int(number) if float(number).is_integer() else number
