"""Why a training failed, as a last word that a program can read: the file that TRAINYARD_FAILURE_FILE names."""

import errno
import json
import os
import sys


class Failure(Exception):
    """A failure with a known cause. `code` is a stable word, `remedy` says what to do."""

    def __init__(self, code: str, cause: str, remedy: str):
        super().__init__(cause)
        self.code, self.cause, self.remedy = code, cause, remedy


TOKEN = (
    "accept its conditions on its page at the hub, store a token of that account (`trainyard secret set HF_TOKEN`) "
    "and name it in the job's `secrets` (`--secret HF_TOKEN`)"
)


def tell(failure: Failure) -> None:
    """Leaves the last word, once for all processes of the training, and says it in the log."""
    print(f"trainyard: {failure.cause}; {failure.remedy}", file=sys.stderr, flush=True)
    path = os.environ.get("TRAINYARD_FAILURE_FILE")
    word = {"code": failure.code, "message": failure.cause, "suggestion": failure.remedy}
    if not path:
        return
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(word, file)
    except OSError:
        # Another process was first, or the disk is full: the log has it.
        pass


def known(error: BaseException, model: str) -> Failure | None:
    """The failure behind an error of a library, where it is one that users meet."""
    chain = []
    while error is not None and len(chain) < 10:
        chain.append(error)
        error = error.__cause__ or error.__context__
    for each in chain:
        found = _of(each, model)
        if found is not None:
            return found
    return None


def _of(error: BaseException, model: str) -> Failure | None:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = str(error)
    if isinstance(error, Failure):
        return error
    if "OutOfMemoryError" in kinds:
        return Failure("gpu_out_of_memory", f"the GPU's memory ran out: {_first(text)}", SMALLER)
    if "GatedRepoError" in kinds or "gated repo" in text:
        return Failure("model_gated", f"`{model}` is gated, and this job may not read it", TOKEN)
    if "RepositoryNotFoundError" in kinds or "is not a valid model identifier" in text:
        remedy = "check the name (`owner/name`); a private one needs a token in `secrets`"
        return Failure("model_not_found", f"the hub has no `{model}`, or this job may not see it", remedy)
    if "chat_template is not set" in text:
        return no_chat_template()
    if "not found in the base model" in text and "arget modules" in text:
        remedy = 'name layers of this model, or write `["all-linear"]`'
        return Failure("target_modules", _first(text), remedy)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        remedy = "raise `resources.disk_gb` (`--disk`) or keep fewer checkpoints (`save_total_limit`)"
        return Failure("no_space", "the disk is full", remedy)
    if "ConnectError" in kinds or "ConnectionError" in kinds or "We couldn't connect to" in text:
        remedy = "check the machine's way to the internet (proxy, firewall, HF_HUB_OFFLINE)"
        return Failure("hub_unreachable", f"the hub could not be reached for `{model}`", remedy)
    return None


SMALLER = (
    "lower `batch_size` (and raise `gradient_accumulation_steps`), lower `max_seq_length`, set "
    "`gradient_checkpointing`, use `qlora`, or ask for a GPU with more memory"
)


def no_chat_template() -> Failure:
    return Failure(
        "chat_template_missing",
        "the tokenizer has no chat template, which messages need",
        "use an instruct model, set `extra.chat_template`, or give the data as prompt and completion",
    )


def _first(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else "no more is told"
