"""The packages that a job asks for, in a virtual environment of the attempt that sees the machine's packages too.

Usage: requirements.py make DIR | install DIR. With uv where there is one, else with pip; the packages are read from
the specification at TRAINYARD_SPEC. What goes wrong before a package is asked for is written where
TRAINYARD_FAILURE_FILE points; what the installer says stands in the log.
"""

import json
import os
import shlex
import shutil
import site
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def main():
    what, place = sys.argv[1], Path(sys.argv[2])
    return make(place) if what == "make" else install(place)


def make(place):
    base = [sys.executable, "-m", "venv", "--system-site-packages"]
    uv = shutil.which("uv")
    ways = [base + [str(place)], base + ["--without-pip", str(place)]]
    if uv:
        ways.insert(0, [uv, "venv", "--quiet", "--seed", "--system-site-packages", "--python", sys.executable, str(place)])
    for way in ways:
        shutil.rmtree(place, ignore_errors=True)
        if subprocess.run(way).returncode == 0:
            break
    else:
        return tell("no_venv", "this machine's Python cannot make virtual environments")
    if not uv and not (place / "bin" / "pip").exists() and subprocess.run([sys.executable, "-m", "pip", "--version"]).returncode:
        return tell("no_pip", "this machine has neither pip nor uv")
    # One that is made from another virtual environment does not see that one's packages by itself.
    if sys.prefix != sys.base_prefix:
        for directory in (place / "lib").glob("python*/site-packages"):
            (directory / "trainyard_parent.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    # Whose pip installs, where the new one has none.
    (place / "made_by").write_text(sys.executable)
    return 0


def install(place):
    spec = json.loads(Path(os.environ["TRAINYARD_SPEC"]).read_text(encoding="utf-8"))
    wanted = spec["environment"]["requirements"]
    words = [word for item in wanted for word in (shlex.split(item) if item.startswith("-") else [item])]
    python = str(place / "bin" / "python")
    uv = shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--python", python, *words]
        if has_torch() and not any(item.replace("_", "-").lower().startswith("torch") for item in wanted):
            # uv does not look at the machine's packages: it would bring another PyTorch, of gigabytes.
            keep = place / "override.txt"
            keep.write_text("torch ; sys_platform == 'never'\n")
            command += ["--override", str(keep)]
    else:
        pip = [python, "-m", "pip"]
        if not (place / "bin" / "pip").exists():
            pip = [(place / "made_by").read_text(), "-m", "pip", "--python", python]
        command = [*pip, "install", "--disable-pip-version-check", "--no-input", *words]
    return subprocess.run(command).returncode


def has_torch():
    try:
        return bool(metadata.version("torch"))
    except metadata.PackageNotFoundError:
        return False


def tell(code, message):
    print(message, flush=True)
    remedy = "take an image whose Python has venv and pip, or one that has the packages"
    word = {"code": code, "message": message, "suggestion": remedy}
    Path(os.environ["TRAINYARD_FAILURE_FILE"]).write_text(json.dumps(word))
    return 1


sys.exit(main())
