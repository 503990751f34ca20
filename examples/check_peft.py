#!/usr/bin/env python3
"""Does the real PEFT load what the built-in trainer wrote?

    examples/check_peft.py BASE_DIR ADAPTER_DIR

BASE_DIR is a model directory (for the bundled base: what `trainyard_trainer::export_tiny` writes), ADAPTER_DIR a job's
artifact. Loads both with transformers and peft, runs the model with and without the adapter, merges the adapter into the
base, and expects the merged model to answer as the adapted one did. Without those packages it says SKIPPED and ends
with 0: nothing was checked then.
"""

import sys


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        import peft
        import torch
        import transformers
    except ImportError as error:
        print(f"SKIPPED: nothing was checked, since this Python lacks {error.name} (pip install torch transformers peft)")
        return 0
    base_dir, adapter_dir = sys.argv[1:]
    torch.manual_seed(0)

    def load_base():
        model = transformers.AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32)
        return model.eval()

    base = load_base()
    ids = torch.randint(0, min(base.config.vocab_size, 256), (2, 24))
    with torch.no_grad():
        plain = base(ids).logits
        adapted_model = peft.PeftModel.from_pretrained(base, adapter_dir).eval()
        adapted = adapted_model(ids).logits
        merged = adapted_model.merge_and_unload()(ids).logits
    effect = (adapted - plain).abs().max().item()
    difference = (merged - adapted).abs().max().item()
    finite = bool(torch.isfinite(adapted).all())
    config = peft.PeftConfig.from_pretrained(adapter_dir)
    print(f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
    print(f"rank {config.r} on {sorted(config.target_modules)}, base {config.base_model_name_or_path}")
    print(f"the adapter moves logits by up to {effect:.4f}; merged they differ by at most {difference:.2e}")
    if not finite or effect == 0.0 or difference > 1e-3:
        print("FAILED: logits must be finite, moved by the adapter, and the same after merging")
        return 1
    print("OK")
    return 0


if __name__ == "__main__":
    sys.exit(main())
