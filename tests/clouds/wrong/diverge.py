"""Gradient descent with a learning rate far too high: the loss grows until it is no number.

`metrics` tells it as the contract's metrics file does, `print` as Transformers' Trainer does.
"""

import json
import os
import sys

LEARNING_RATE = 10.0
RECORDS = [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]
weight, step, loss = 0.0, 0, 0.0
while loss == loss and step < 2000:
    step += 1
    errors = [weight * x - y for x, y in RECORDS]
    loss = sum(error * error for error in errors) / len(errors)
    gradient = sum(2 * error * x for error, (x, _) in zip(errors, RECORDS)) / len(errors)
    weight -= LEARNING_RATE * gradient
    if sys.argv[1] == "print":
        print({"loss": loss, "grad_norm": gradient, "learning_rate": LEARNING_RATE, "epoch": step / 100}, flush=True)
    else:
        with open(os.environ["TRAINYARD_METRICS_FILE"], "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "loss": loss}) + "\n")
assert weight < 100, "this went nowhere"
