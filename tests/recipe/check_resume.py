"""Stopped by SIGTERM in the middle and gone on with, a training has the curve of one that was left alone.

check_resume.py RECIPE_DIR MODEL_DIR
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE, MODEL = Path(sys.argv[1]), sys.argv[2]
STEPS = 60
NUMBERS = {
    "lora_r": 4, "lora_alpha": 8.0, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"],
    "learning_rate": 0.01, "scheduler": "cosine", "warmup_steps": 2, "weight_decay": 0.01, "max_grad_norm": 1.0,
    "optimizer": "adamw", "num_epochs": 3.0, "max_steps": STEPS, "batch_size": 2, "gradient_accumulation_steps": 2,
    "max_seq_length": 64, "packing": False, "gradient_checkpointing": True, "precision": "fp32",
    "quantization": None, "save_steps": 500, "save_total_limit": 2, "eval_steps": 500, "eval_strategy": "no",
    "seed": 42, "extra": {},
}  # fmt: skip


def start(directory: Path, resume_from: str = "") -> subprocess.Popen:
    spec = {
        "model_name": MODEL,
        "peft_method": "rslora",
        "dataset": {"source": "path:x"},
        "hyperparameters": NUMBERS,
        "trainer": {"launch": "plain"},
    }
    for name in ("output", "checkpoints", "input"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "spec.json").write_text(json.dumps(spec))
    lines = (json.dumps({"prompt": f"{n} squared is ", "completion": str(n * n)}) for n in range(30))
    (directory / "data.jsonl").write_text("\n".join(lines))
    places = {
        "SPEC": "spec.json", "OUTPUT_DIR": "output", "CHECKPOINT_DIR": "checkpoints", "INPUT_DIR": "input",
        "METRICS_FILE": "metrics.jsonl", "FAILURE_FILE": "failure.json", "DATASET": "data.jsonl",
    }  # fmt: skip
    env = {**os.environ, **{f"TRAINYARD_{name}": str(directory / path) for name, path in places.items()}}
    env |= {"TRAINYARD_RESUME_FROM": resume_from, "TRAINYARD_GPU_COUNT": "0", "OMP_NUM_THREADS": "1"}
    env |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    # A copy, as the agent makes one: the recipe writes beside itself.
    recipe = shutil.copytree(SOURCE, directory / "recipe", dirs_exist_ok=True)
    subprocess.run([sys.executable, recipe / "install.py"], env=env, check=True)
    return subprocess.Popen([sys.executable, recipe / "launch.py"], env=env)


def curve(directory: Path) -> list[tuple[int, float]]:
    path = directory / "metrics.jsonl"
    points = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(point["step"], point["loss"]) for point in points if "loss" in point]


with tempfile.TemporaryDirectory() as root:
    alone, broken = Path(root) / "alone", Path(root) / "broken"
    assert start(alone).wait(120) == 0
    training = start(broken)
    deadline = time.monotonic() + 120
    while len(curve(broken)) < 5:
        assert time.monotonic() < deadline and training.poll() is None
        time.sleep(0.002)  # waits: for the fifth step to be told
    training.send_signal(signal.SIGTERM)
    assert training.wait(60) == 143
    [checkpoint] = (broken / "checkpoints").glob("checkpoint-*")
    stopped_at = int(checkpoint.name.removeprefix("checkpoint-"))
    assert 5 <= stopped_at < STEPS, stopped_at
    assert [step for step, _ in curve(broken)] == list(range(1, stopped_at + 1))
    assert not list((broken / "output").iterdir()), "what was stopped leaves no artifact"
    assert start(broken, str(checkpoint)).wait(120) == 0
    expected, found = curve(alone), curve(broken)
    assert [step for step, _ in found] == [step for step, _ in expected] == list(range(1, STEPS + 1))
    worst = max(abs(a - b) for (_, a), (_, b) in zip(expected, found))
    assert worst < 1e-4, f"the curves differ by {worst}"
    assert (broken / "output" / "adapter_model.safetensors").exists()
    print(f"OK: stopped after step {stopped_at} of {STEPS}, the curves differ by at most {worst:.1e}")
