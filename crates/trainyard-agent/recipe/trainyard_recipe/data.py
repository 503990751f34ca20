"""Records to tokens: what is read, and which of it is learnt.

`text` is learnt whole, of `prompt` and `completion` the completion, of `messages` the assistant's turns. A record is
cut at `max_seq_length`; one with nothing left to learn is left out, and how many were is said. Tokens lie in flat
arrays, five bytes each, whatever the number of records.
"""

import gzip
import json
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from .failure import Failure, no_chat_template

IGNORED = -100
# Records tokenized at once.
BATCH = 512
REMEDY = "write one JSON object a line: `text`, `prompt` and `completion`, or `messages`"


class Records(torch.utils.data.Dataset):
    """Token sequences, each token learnt or only read."""

    def __init__(self) -> None:
        self.ids, self.learnt, self.ends = array("i"), bytearray(), array("q", [0])

    def add(self, ids: list[int], learnt: list[bool]) -> None:
        self.ids.extend(ids)
        self.learnt.extend(bytes(learnt))
        self.ends.append(len(self.ids))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> dict:
        begin, end = self.ends[index], self.ends[index + 1]
        ids = self.ids[begin:end].tolist()
        labels = [i if learnt else IGNORED for i, learnt in zip(ids, self.learnt[begin:end])]
        return {"input_ids": ids, "labels": labels, "lengths": [len(ids)]}

    def part(self, begin: int, end: int) -> "Records":
        """Those from `begin` to before `end`."""
        some = Records()
        for index in range(begin, end):
            at, to = self.ends[index], self.ends[index + 1]
            some.add(self.ids[at:to].tolist(), [bool(b) for b in self.learnt[at:to]])
        return some


class Packed(torch.utils.data.Dataset):
    """Several records in one sequence of at most `length` tokens, in their order. None sees another one."""

    def __init__(self, records: Records, length: int) -> None:
        self.records, self.rows = records, []
        row, used = [], 0
        for index in range(len(records)):
            size = records.ends[index + 1] - records.ends[index]
            if row and used + size > length:
                self.rows.append(row)
                row, used = [], 0
            row.append(index)
            used += size
        if row:
            self.rows.append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        parts = [self.records[i] for i in self.rows[index]]
        joined = {name: [value for part in parts for value in part[name]] for name in ("input_ids", "labels", "lengths")}
        # Nobody predicts the first token of a record from the record before it.
        at = 0
        for length in joined["lengths"]:
            joined["labels"][at] = IGNORED
            at += length
        return joined


class Collator:
    """Rows of one length. Packed rows carry positions that begin anew with every record: so attention is kept apart."""

    def __init__(self, pad: int, packed: bool) -> None:
        self.pad, self.packed = pad, packed

    def __call__(self, rows: list[dict]) -> dict:
        longest = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": self.pad, "labels": IGNORED}
        batch = {
            name: torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])
            for name, value in fill.items()
        }
        if self.packed:
            batch["position_ids"] = torch.tensor([self.positions(row["lengths"], longest) for row in rows])
        else:
            used = [len(row["input_ids"]) for row in rows]
            batch["attention_mask"] = torch.tensor([[1] * n + [0] * (longest - n) for n in used])
        return batch

    @staticmethod
    def positions(lengths: list[int], longest: int) -> list[int]:
        rest = longest - sum(lengths)
        return [at for length in [*lengths, rest] for at in range(length)]


def load(where: str | None, dataset: dict, tokenizer, length: int) -> Records:
    """Reads, renders and tokenizes a dataset."""
    records, form, left_out = Records(), dataset.get("format"), 0
    batch: list[tuple[str, dict]] = []
    for place, record in read(where, dataset):
        form = form or form_of(place, record)
        check(place, record, form)
        batch.append((place, record))
        if len(batch) == BATCH:
            left_out += tokenize(batch, form, tokenizer, length, records)
            batch = []
    if batch:
        left_out += tokenize(batch, form, tokenizer, length, records)
    if left_out:
        print(f"{left_out} records left out: nothing to learn in their first {length} tokens", flush=True)
    if not len(records):
        raise Failure("dataset_invalid", "the dataset has no record with anything to learn", REMEDY)
    return records


def read(where: str | None, dataset: dict) -> Iterator[tuple[str, dict]]:
    """Each record with its place, for messages."""
    if where and where.endswith((".jsonl", ".jsonl.gz")):
        yield from read_lines(Path(where))
        return
    import datasets

    split = dataset.get("split") or "train"
    if where and Path(where).is_file():
        rows = datasets.load_dataset("parquet", data_files=where, split="train")
    elif where:
        rows = datasets.load_dataset(where, split=split)
    else:
        repo, _, revision = dataset["source"].removeprefix("hf:").partition("@")
        rows = datasets.load_dataset(repo, revision=revision or None, split=split)
    for at, row in enumerate(rows, 1):
        # A table has every column in every row.
        yield f"record {at}", {name: value for name, value in row.items() if value is not None}


def read_lines(path: Path) -> Iterator[tuple[str, dict]]:
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        for at, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise Failure("dataset_invalid", f"line {at} of the dataset is no JSON: {error}", REMEDY) from None
            if not isinstance(record, dict):
                raise Failure("dataset_invalid", f"line {at} of the dataset is no JSON object", REMEDY)
            yield f"line {at}", record


def form_of(place: str, record: dict) -> str:
    if "messages" in record:
        return "messages"
    if "prompt" in record and "completion" in record:
        return "prompt_completion"
    if "text" in record:
        return "text"
    raise Failure("dataset_invalid", f"{place} of the dataset has none of the known fields", REMEDY)


def check(place: str, record: dict, form: str) -> None:
    wanted = {"text": ["text"], "prompt_completion": ["prompt", "completion"], "messages": ["messages"]}[form]
    kind = list if form == "messages" else str
    for name in wanted:
        if not isinstance(record.get(name), kind):
            raise Failure("dataset_invalid", f"{place} of the dataset has no `{name}`", REMEDY)


def tokenize(batch: list[tuple[str, dict]], form: str, tokenizer, length: int, into: Records) -> int:
    """Adds a batch; tells how many were left out."""
    made = {"text": of_text, "prompt_completion": of_pairs, "messages": of_messages}[form](batch, tokenizer)
    left_out = 0
    for ids, learnt in made:
        ids, learnt = ids[:length], learnt[:length]
        # The first token is never predicted.
        if any(learnt[1:]):
            into.add(ids, learnt)
        else:
            left_out += 1
    return left_out


Made = Iterable[tuple[list[int], list[bool]]]


def of_text(batch: list, tokenizer) -> Made:
    for ids in tokenizer([record["text"] for _, record in batch])["input_ids"]:
        ids = ended(ids, tokenizer)
        yield ids, [True] * len(ids)


def of_pairs(batch: list, tokenizer) -> Made:
    """Apart, as at generation: there the prompt is tokenized alone too."""
    prompts = tokenizer([record["prompt"] for _, record in batch])["input_ids"]
    answers = tokenizer([record["completion"] for _, record in batch], add_special_tokens=False)["input_ids"]
    for prompt, answer in zip(prompts, answers):
        if prompt and prompt[-1] == tokenizer.eos_token_id:
            prompt = prompt[:-1]
        answer = ended(answer, tokenizer)
        yield prompt + answer, [False] * len(prompt) + [True] * len(answer)


def ended(ids: list[int], tokenizer) -> list[int]:
    end = tokenizer.eos_token_id
    return ids if end is None or (ids and ids[-1] == end) else [*ids, end]


def of_messages(batch: list, tokenizer) -> Made:
    rendered = [render(place, record["messages"], record.get("tools"), tokenizer) for place, record in batch]
    texts = [text for text, _ in rendered]
    # The template writes the special tokens.
    tokens = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    for ids, offsets, (_, spans) in zip(tokens["input_ids"], tokens["offset_mapping"], rendered):
        yield ids, [any(a <= begin < b for a, b in spans) for begin, _ in offsets]


def render(place: str, messages: list, tools: list | None, tokenizer) -> tuple[str, list[tuple[int, int]]]:
    """A conversation as text, and where the assistant speaks in it."""

    def text(upto: int, prompt: bool) -> str:
        return tokenizer.apply_chat_template(messages[:upto], tools=tools, tokenize=False, add_generation_prompt=prompt)

    if not tokenizer.chat_template:
        raise no_chat_template()
    try:
        whole, spans = text(len(messages), False), []
        for at, message in enumerate(messages):
            if message.get("role") != "assistant":
                continue
            before, after = text(at, True), text(at + 1, False)
            if whole.startswith(before):
                # Some templates show an earlier turn otherwise once later ones follow.
                end = len(after) if whole.startswith(after) else end_of(message, whole, len(before), tokenizer)
                spans.append((len(before), end))
    except Exception as error:
        remedy = "check the roles and their order: the model's chat template does not take them"
        raise Failure("dataset_invalid", f"{place} of the dataset cannot be rendered: {error}", remedy) from error
    return whole, spans


def end_of(message: dict, whole: str, begin: int, tokenizer) -> int:
    """Where a turn ends that begins there: after what was said and the token that ends a turn."""
    said = (message.get("content") or "").strip()
    at = whole.find(said, begin) if said else -1
    if at < 0:
        return begin
    end, closing = at + len(said), tokenizer.eos_token or ""
    return end + len(closing) if whole.startswith(closing, end) else end
