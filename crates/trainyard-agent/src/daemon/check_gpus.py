"""Whether the GPUs of this machine compute: one second of work in all, by the PyTorch that is here.

Usage: check_gpus.py COUNT. Prints one line of JSON: `word` is `ok`, `no_torch` or `broken`, `text` says more.
"""

import json
import sys
import time


def say(word, text):
    print(json.dumps({"word": word, "text": " ".join(text.split())[:500]}))
    sys.exit(0)


def work(torch, index, seconds):
    device = torch.device("cuda", index)
    a = torch.randint(-8, 8, (1024, 1024), device=device, dtype=torch.float32)
    expected = a.cpu()[:4] @ a.cpu()
    begin = time.monotonic()
    rounds = 0
    while rounds == 0 or time.monotonic() - begin < seconds:
        # Whole numbers this small are exact in 32 bits, whatever the order of the sums.
        product = a @ a
        torch.cuda.synchronize(device)
        rounds += 1
    if not torch.equal(product[:4].cpu(), expected):
        raise RuntimeError(f"GPU {index} computes wrong numbers")
    return torch.cuda.get_device_name(index)


def main():
    wanted = int(sys.argv[1])
    try:
        import torch
    except Exception as error:
        say("no_torch", str(error))
    if not torch.version.cuda and not getattr(torch.version, "hip", None):
        say("no_torch", "this PyTorch was built without CUDA")
    try:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.cuda.init()
        count = torch.cuda.device_count()
        if count < wanted:
            say("broken", f"PyTorch sees {count} of {wanted} GPUs")
        names = [work(torch, index, 1.0 / wanted) for index in range(wanted)]
    except Exception as error:
        say("broken", str(error))
    say("ok", ", ".join(names))


main()
