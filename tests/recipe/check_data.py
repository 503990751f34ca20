"""Which tokens are learnt, and that packed records do not see each other.

check_data.py RECIPE_DIR MODEL_DIR
"""

import json
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])

import torch
import transformers
from trainyard_recipe import data
from trainyard_recipe.failure import Failure

tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[2])
tokenizer.pad_token = tokenizer.eos_token


def load(records: list, length: int = 64) -> data.Records:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(record if isinstance(record, str) else json.dumps(record) + "\n" for record in records)
        file.flush()
        return data.load(file.name, {"source": "path:x"}, tokenizer, length)


def learnt(row: dict) -> str:
    return tokenizer.decode([label for label in row["labels"] if label != data.IGNORED])


def refused(records: list) -> str:
    try:
        load(records)
    except Failure as failure:
        return failure.cause
    raise AssertionError("nothing was refused")


# What is learnt.
assert learnt(load([{"text": "abc"}])[0]) == "abc</s>"
pair = load([{"prompt": "two and two ", "completion": "four"}])[0]
assert learnt(pair) == "four</s>", learnt(pair)
assert tokenizer.decode(pair["input_ids"]) == "two and two four</s>"
turns = [("system", "s"), ("user", "one?"), ("assistant", "1"), ("user", "two?"), ("assistant", "2")]
chat = load([{"messages": [{"role": role, "content": text} for role, text in turns]}])[0]
assert learnt(chat) == "1<|end|>2<|end|>", learnt(chat)
# A template that shows earlier turns otherwise than the last one, as those of thinking models do.
usual = tokenizer.chat_template
tokenizer.chat_template = usual.replace(
    "{{ m.content }}", "{% if loop.last and m.role == 'assistant' %}(thinks) {% endif %}{{ m.content }}"
).replace("<|end|>", "</s>")
thinking = load([{"messages": [{"role": role, "content": text} for role, text in turns]}])[0]
assert learnt(thinking) == "1</s>(thinks) 2</s>", learnt(thinking)
tokenizer.chat_template = usual
# Cut where it is too long; left out where nothing to learn is left.
long = load([{"prompt": "p" * 70, "completion": "c"}, {"prompt": "p" * 60, "completion": "c" * 20}])
assert len(long) == 1 and len(long[0]["input_ids"]) == 64 and learnt(long[0]) == "cccc"
assert "line 2 of the dataset is no JSON" in refused([{"text": "a"}, "{oops\n"])
assert "line 3 of the dataset has no `text`" in refused([{"text": "a"}, "\n", {"messages": []}])

# Packed, every record has the loss that it has alone.
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[2], dtype=torch.float32).eval()
model.config.use_cache = False
records = load([{"text": text} for text in ("hello world", "a", "some more of it", "x" * 30, "last")])
packed = data.Packed(records, 40)
assert [len(row) for row in packed.rows] == [3, 2], packed.rows


def total(batch: dict) -> float:
    with torch.no_grad():
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=data.IGNORED, reduction="sum"
    ).item()


apart = sum(total(data.Collator(tokenizer.pad_token_id, False)([records[i]])) for i in range(len(records)))
padded = total(data.Collator(tokenizer.pad_token_id, False)([records[i] for i in range(len(records))]))
together = total(data.Collator(tokenizer.pad_token_id, True)([packed[i] for i in range(len(packed))]))
assert abs(apart - padded) < 1e-2 and abs(apart - together) < 1e-2, (apart, padded, together)
print(f"OK: loss {apart:.3f} apart, {padded:.3f} padded, {together:.3f} packed")
