"""Reads a dataset that was cut off on its way here."""

import gzip

with open("data.jsonl.gz", "wb") as file:
    file.write(gzip.compress(b'{"text": "a record"}\n' * 1000)[:-10])
with gzip.open("data.jsonl.gz", "rt", encoding="utf-8") as lines:
    print(sum(1 for _ in lines))
