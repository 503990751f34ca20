"""Reads a dataset that was saved in another encoding."""

with open("data.jsonl", "w", encoding="latin-1") as file:
    file.write('{"text": "caf\xe9"}\n')
with open("data.jsonl", encoding="utf-8") as lines:
    print(sum(1 for _ in lines))
