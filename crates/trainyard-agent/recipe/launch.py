"""Starts the training with the Python that install.py found, by the launcher that the job asks for.

It becomes the training or its launcher: nothing of this file is left running.
"""

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAM = ["-m", "trainyard_recipe"]


def command(python: str, launch: str, gpus: int, port: str | None) -> list[str]:
    """`auto` is one process for each of several GPUs, by torchrun."""
    if launch == "auto":
        launch = "torchrun" if gpus > 1 else "plain"
    processes = str(max(gpus, 1))
    if launch == "torchrun":
        rendezvous = ["--master-addr", "127.0.0.1", "--master-port", port or "29500"]
        return [python, "-m", "torch.distributed.run", "--nproc-per-node", processes, *rendezvous, *PROGRAM]
    if launch == "accelerate":
        several = ["--multi_gpu"] if gpus > 1 else ["--cpu"] if gpus == 0 else []
        given = ["--num_processes", processes, "--num_machines", "1", "--mixed_precision", "no"]
        given += ["--dynamo_backend", "no", *(["--main_process_port", port] if port else [])]
        return [python, "-m", "accelerate.commands.launch", *several, *given, *PROGRAM]
    return [python, *PROGRAM]


def main() -> None:
    spec = json.loads(Path(os.environ["TRAINYARD_SPEC"]).read_text(encoding="utf-8"))
    python = (HERE / "python").read_text(encoding="utf-8")
    gpus = int(os.environ.get("TRAINYARD_GPU_COUNT") or 0)
    launch = spec.get("trainer", {}).get("launch", "auto")
    path = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    # The recipe tells its metrics itself.
    os.environ.pop("TRAINYARD_HOOK_FILE", None)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if gpus > 1 else "true")
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // max(gpus, 1), 1)))
    words = command(python, launch, gpus, os.environ.get("MASTER_PORT"))
    print("+ " + " ".join(words), flush=True)
    os.execv(words[0], words)


if __name__ == "__main__":
    sys.exit(main())
