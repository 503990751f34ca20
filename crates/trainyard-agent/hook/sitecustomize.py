"""Tells Trainyard what Hugging Face's Trainer logs, with its exact step.

Put in front on PYTHONPATH by the Trainyard agent. It runs the sitecustomize that it hides, and adds a callback to
every transformers.Trainer that this program makes. Nothing here may ever disturb the program: whatever goes wrong is
passed over. Switch it off with "hook": false in the job's trainer.
"""

import sys


def _run_the_hidden_one():
    import importlib.machinery
    import importlib.util
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    path = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _number(value):
    """A number as JSON knows it: the three that JSON does not know are texts."""
    if isinstance(value, bool):
        return None
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _tell(path, state, logs):
    import json

    point = {}
    for name, value in (logs or {}).items():
        number = _number(value)
        if number is not None:
            point[str(name)] = number
    point["step"] = int(state.global_step)
    if state.max_steps and state.max_steps > 0:
        point["total_steps"] = int(state.max_steps)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(point) + "\n")


def _add_callback(module, path):
    from functools import wraps

    base = getattr(module, "TrainerCallback", None)
    if base is None:
        from transformers.trainer_callback import TrainerCallback as base

    class TrainyardCallback(base):
        def on_log(self, args, state, control, logs=None, **others):
            try:
                if state.is_world_process_zero:
                    _tell(path, state, logs)
            except Exception:
                pass

    original = module.Trainer.__init__

    @wraps(original)
    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        try:
            self.add_callback(TrainyardCallback())
        except Exception:
            pass

    module.Trainer.__init__ = init


def _watch_for_transformers(path):
    import importlib.abc
    import importlib.util

    class Loader(importlib.abc.Loader):
        def __init__(self, inner):
            self.inner = inner

        def create_module(self, spec):
            return self.inner.create_module(spec)

        def exec_module(self, module):
            self.inner.exec_module(module)
            try:
                _add_callback(module, path)
            except Exception:
                pass

        def __getattr__(self, name):
            return getattr(self.inner, name)

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, where, target=None):
            if name != "transformers.trainer":
                return None
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.loader is not None:
                spec.loader = Loader(spec.loader)
            return spec

    sys.meta_path.insert(0, Finder())


def _begin():
    import os

    path = os.environ.get("TRAINYARD_HOOK_FILE")
    if path:
        _watch_for_transformers(path)


try:
    _begin()
except Exception:
    pass
try:
    _run_the_hidden_one()
except ImportError:
    pass
