"""Brings what the recipe needs: run by the machine's own Python before the training, with the standard library alone.

Where every package is there in a version that will do, nothing is installed. Else the missing ones go into a virtual
environment that sees the machine's packages too, by uv where there is one, else by pip. It lies in the user's cache
directory and serves later jobs. The Python to train with is written beside this file, for launch.py.
"""

import fcntl
import hashlib
import json
import os
import shutil
import site
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

from trainyard_recipe.failure import Failure, tell

HERE = Path(__file__).resolve().parent
# The oldest version of each package that the recipe runs with.
LEAST = {
    "torch": "2.4",
    "transformers": "4.56",
    "peft": "0.17",
    "accelerate": "1.0",
    "datasets": "3.0",
    "jinja2": "3.1",
    "bitsandbytes": "0.45",
}
PYTHON_LEAST = (3, 10)
# Longest time for everything that is downloaded and installed, in seconds.
INSTALL_MAX_S = 3600
OPTIMIZERS_OF_BITSANDBYTES = ("8bit", "paged_", "lion", "ademamix", "_bnb")


def main() -> int:
    try:
        spec = json.loads(Path(os.environ["TRAINYARD_SPEC"]).read_text(encoding="utf-8"))
        python = prepare(missing(wanted(spec)))
        (HERE / "python").write_text(python, encoding="utf-8")
        return 0
    except Failure as failure:
        tell(failure)
        return 2


def wanted(spec: dict) -> list[str]:
    """The packages that this job needs."""
    numbers = spec.get("hyperparameters", {})
    quantized = numbers.get("quantization") is not None or spec.get("peft_method") == "qlora"
    optimizer = numbers.get("optimizer", "")
    names = ["torch", "transformers", "peft", "accelerate", "jinja2"]
    if reads_with_datasets(spec):
        names.append("datasets")
    if quantized or any(part in optimizer for part in OPTIMIZERS_OF_BITSANDBYTES):
        names.append("bitsandbytes")
    return names


def reads_with_datasets(spec: dict) -> bool:
    """JSON lines are read without the package. What is still being fetched is known by its address alone."""
    for name, variable in (("dataset", "TRAINYARD_DATASET"), ("eval_dataset", "TRAINYARD_EVAL_DATASET")):
        source = (spec.get(name) or {}).get("source", "")
        place = os.environ.get(variable) or source.split("?")[0]
        if source and not place.endswith((".jsonl", ".jsonl.gz", ".json")):
            return True
    return False


def missing(names: list[str]) -> list[str]:
    """Those of them that are not there, or too old."""
    return [name for name in names if not there(name)]


def there(name: str) -> bool:
    try:
        return numbers(metadata.version(name)) >= numbers(LEAST[name])
    except metadata.PackageNotFoundError:
        return False


def numbers(version: str) -> list[int]:
    """`2.8.0+cu128` as numbers; what is no number ends it."""
    parts = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return parts


def prepare(names: list[str]) -> str:
    """A Python that has everything."""
    if sys.version_info < PYTHON_LEAST:
        found = ".".join(str(part) for part in sys.version_info[:3])
        raise Failure(
            "python_too_old",
            f"this machine's Python is {found}, and the recipe needs 3.10",
            "take an image with a newer Python, or put a newer `python3` first on PATH",
        )
    if not names:
        print("everything that the recipe needs is there", flush=True)
        return sys.executable
    print(f"missing or too old: {', '.join(names)}", flush=True)
    pins = [line for line in requirements() if line.split("=")[0].split(">")[0] in names]
    if Path(sys.prefix).resolve().is_relative_to(HERE.parent):
        # The job named packages of its own: their virtual environment is this attempt's, and takes these too.
        install(sys.executable, HERE, pins)
        return sys.executable
    key = hashlib.sha256(json.dumps([sys.executable, sys.version, pins]).encode()).hexdigest()[:16]
    place = cache() / f"recipe-{key}"
    place.parent.mkdir(parents=True, exist_ok=True)
    # One job at a time installs; the others find it done.
    with open(place.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = str(place / "bin" / "python")
        if not (place / "complete").exists():
            make(place)
            install(python, place, pins)
            (place / "complete").touch()
    return python


def requirements() -> list[str]:
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def cache() -> Path:
    """The user's cache directory; beside this file where that cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    place = Path(base) / "trainyard"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return HERE / "cache"
    return place if os.access(place, os.W_OK) else HERE / "cache"


def make(place: Path) -> None:
    """A virtual environment that sees what this Python sees."""
    shutil.rmtree(place, ignore_errors=True)
    uv = shutil.which("uv")
    by_uv = [uv, "venv", "--system-site-packages", "--python", sys.executable, str(place)]
    by_venv = [sys.executable, "-m", "venv", "--system-site-packages", str(place)]
    run(by_uv if uv else by_venv, "a virtual environment could not be made")
    show_own_packages(place)


def install(python: str, scratch: Path, pins: list[str]) -> None:
    """Into the virtual environment of that Python; PyTorch stays the one that is there."""
    uv, torch = shutil.which("uv"), installed("torch")
    if uv:
        # uv does not look at the machine's packages: it is told that PyTorch is not wanted.
        command = [uv, "pip", "install", "--python", python, *pins]
        option, text = "--override", "torch ; sys_platform == 'never'\n"
    else:
        command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *pins]
        option, text = "--constraint", f"torch=={torch}\n"
    if torch:
        keep = scratch / "keep-torch.txt"
        keep.write_text(text, encoding="utf-8")
        command += [option, str(keep)]
    run(command, "the recipe's packages could not be installed")


def show_own_packages(place: Path) -> None:
    """A virtual environment made from another one does not see that one's packages by itself."""
    if sys.prefix == sys.base_prefix:
        return
    for directory in (place / "lib").glob("python*/site-packages"):
        text = "".join(f"{path}\n" for path in site.getsitepackages())
        (directory / "trainyard_parent.pth").write_text(text, encoding="utf-8")


def installed(name: str) -> str | None:
    try:
        return metadata.version(name) if there(name) else None
    except metadata.PackageNotFoundError:
        return None


def run(command: list[str], failed: str) -> None:
    """Its output goes to the log as it comes; its last lines into the failure."""
    print("+ " + " ".join(command), flush=True)
    last: list[str] = []
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            # The time counts from the start: a program that hangs may keep its output open.
            late = threading.Timer(INSTALL_MAX_S, process.kill)
            late.daemon = True
            late.start()
            for line in process.stdout:
                print(line, end="", flush=True)
                last = [*last, line.strip()][-5:]
            code = process.wait()
            was_late = late.finished.is_set()
            late.cancel()
            if was_late:
                last = [*last, f"it took longer than {INSTALL_MAX_S} s"][-5:]
    except OSError as error:
        code, last = 127, [str(error)]
    if code != 0:
        said = " / ".join(line for line in last if line)
        raise Failure(
            "install_failed",
            f"{failed} (exit code {code}): {said}",
            "check the machine's way to the package index, or take an image that has torch, transformers, peft and accelerate",
        )


if __name__ == "__main__":
    sys.exit(main())
