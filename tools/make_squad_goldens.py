#!/usr/bin/env python3
"""Makes testdata/squad/: what SQuAD windows, answers and scores, and Spearman's correlation must be.

    tools/make_squad_goldens.py OUT [--model DIR --data FILE]

The oracle shares no code with coppice: windows come from transformers' fast tokenizer, correlations from
scipy, and the rest is written here, in Python, from the published rules. With --model and --data it also
records how many windows a real tokenizer makes of real data, and their digest (squad_dev.json).

Needs numpy, scipy, tokenizers, transformers. The result does not depend on their versions' speed or threads.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import random
import re
import string

import numpy as np
import scipy.stats
import tokenizers
import transformers

STRIDE, N_BEST, ANSWER_LENGTH = 128, 20, 30


# ---- Metrics: SQuAD 1.1 and 2.0 ----


def normalize(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction, gold):
    return float(normalize(prediction) == normalize(gold))


def f1(prediction, gold, version):
    prediction, gold = normalize(prediction).split(), normalize(gold).split()
    if version == 2 and not (prediction and gold):
        return float(prediction == gold)
    common = sum((collections.Counter(prediction) & collections.Counter(gold)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def score(golds, predictions):
    version = 2 if any(not texts for texts in golds) else 1
    matches, f1s = [], []
    for texts, prediction in zip(golds, predictions):
        if version == 2:
            texts = [text for text in texts if normalize(text)] or [""]
        matches.append(max(exact_match(prediction, text) for text in texts))
        f1s.append(max(f1(prediction, text, version) for text in texts))
    return {
        "golds": golds,
        "predictions": predictions,
        "exact_match": sum(matches) / len(matches),
        "f1": sum(f1s) / len(f1s),
    }


def normalization_texts():
    texts = [
        "", " ", "The", "the cat", "Theatre", "a-b", "x-a-y", "a", "An apple a day", "THE END.", "the_a",
        "a\u0301 b", "\u00e0 la", "the\u00a0cat", "the\u200bcat", "a\u2028b", "one\x1ctwo\x1fthree\x85four",
        "\u0130stanbul", "\u039f\u0394\u039f\u03a3", "\u039f\u0394\u039f\u03a3 \u03a3.", "Stra\u1e9ee",
        "a\u00b2", "\u2167 a \u2167a", "a\u093e", "the\u0660", "\u00ab the \u00bb", "\u201cthe\u201d", "$5.00",
        "\u4e1c\u4eac a \u4e00a", "\U0001d400 a\U0001f600a", "  many   spaces  ", "-", "the.", "an\ta\nthe",
        "\u1e9b\u0323", "\u0149 a", "\u01c5 THE \u01c8", "o'the'a", "a\u2014the", "\u3000a\u3000b",
    ]  # fmt: skip
    pieces = (
        ["a", "an", "the", "A", "THE", " ", " ", ".", "-", "_", "'", "x", "Word", "42"]
        + list("\u00c9\u0130\u03a3\u03c3\u0301\u0345\u00ad\u00b2\u2167\u00a0\u2003\u200b\u0966\u4e00\u00aa")
        + ["\U00010400", "\U0001d7d8", "\u1d2c", "\u1371", "\u2460", "\u0903"]
    )
    rng = random.Random(1)
    return texts + ["".join(rng.choices(pieces, k=rng.randint(2, 9))) for _ in range(250)]


def score_cases():
    answers = ["in the year 1492", "1492", "October 1492", "a a b", "b a", "", "The", "...", "Gr\u00fcn"]
    singles = [([[gold]], [guess]) for gold in answers for guess in answers]
    mixed = [
        ([["the Normans", "Normans in France"], ["10th century"]], ["the normans!", "century 10th"]),
        ([["the Normans", "Normans in France"], []], ["France Normans", ""]),
        ([["Rollo"], [], []], ["", "Rollo", "the"]),
        ([["..."], []], ["", ""]),
        ([["...", "Rollo"], []], ["Rollo Rollo", "a"]),
        ([["the"], ["x"]], ["", "x"]),
        ([[]], [""]),
        ([["...", "Rollo"], ["x"]], ["", "x"]),
    ]
    return [score(golds, predictions) for golds, predictions in singles + mixed]


# ---- Windows ----

WORDS = """the of and river city king old stone bridge was built in by people when year light dark water
tower wall north south east west long short many few gold iron wood house road sea ship found lost seven
zurich celik cafe what who where how did""".split()


def load(tokenizer, path):
    tokenizer.save(str(path), pretty=False)
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))


def make_bytes(path):
    """A byte-level tokenizer as RoBERTa's: a token may begin with a space, which its offsets leave out."""
    merges = [("h", "e"), ("i", "n"), ("\u0120", "t"), ("\u0120t", "he"), ("\u0120", "w"), ("\u0120w", "a")]
    tokens = ["<s>", "<pad>", "</s>", "<unk>"] + sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokens += [a + b for a, b in merges]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return load(tokenizer, path)


def make_words(path):
    """A WordPiece tokenizer as BERT's."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + WORDS + list(letters) + list(".,?!-'()")
    vocab += ["\u03b5\u03bb\u03bb\u03b1\u03b4\u03b1", "\u6771", "\u4eac"] + ["##" + c for c in letters]
    vocab = {token: i for i, token in enumerate(vocab)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    return load(tokenizer, path)


def make_examples():
    rng = random.Random(2)
    short = "The old bridge, in Z\u00fcrich, was built by \u00c7elik\u2019s people in 1492."
    unicode = "\U0001f642 \u0395\u03bb\u03bb\u03ac\u03b4\u03b1: Cafe\u0301 \u6771\u4eac (the city) \u00a0was dark."
    long = " ".join(rng.choices(WORDS, k=700)).replace("light", "light.").replace("gold", "Z\u00fcrich")
    long += " \u6771 the last stone"

    def example(question, context, *answers):
        """An answer is a text and which of its occurrences is meant."""
        starts = []
        for text, occurrence in answers:
            start = -1
            for _ in range(occurrence + 1):
                start = context.index(text, start + 1)
            starts.append(start)
        texts = [text for text, _ in answers]
        return {
            "id": f"q{len(examples)}",
            "question": question,
            "context": context,
            "answers": {"text": texts, "answer_start": starts},
        }

    examples = []
    for question, context, answers in [
        ("Who built the bridge?", short, [("\u00c7elik\u2019s people", 0), ("people", 0)]),
        ("  \u3000Where was it?", short, [("Z\u00fcrich", 0)]),
        ("What of the river?", short, []),
        ("Where?", unicode, [("Cafe\u0301 \u6771\u4eac", 0)]),
        ("What is first?", unicode, [("\U0001f642", 0)]),
        ("What is last?", unicode, [("dark.", 0)]),
        ("What is found in the long text?", long, [("Z\u00fcrich", 9), ("Z\u00fcrich", 1)]),
        ("What did the king find? " * 6, long, [("last stone", 0)]),
        ("Who was lost?", long, []),
        ("A question of one word", "sea", [("sea", 0)]),
    ]:
        examples.append(example(question, context, *answers))
    return examples


def gold_tokens(example, offsets, sequence):
    """First and last token of the first answer; 0, 0 where it is not wholly in the window.

    Unlike transformers' run_qa, never past the context's last token, and the first never after the last.
    """
    texts, starts = example["answers"]["text"], example["answers"]["answer_start"]
    if not texts:
        return 0, 0
    begin, end = starts[0], starts[0] + len(texts[0])
    inside = [i for i, s in enumerate(sequence) if s == 1]
    if not inside or offsets[inside[0]][0] > begin or offsets[inside[-1]][1] < end:
        return 0, 0
    last = min(i for i in inside if offsets[i][1] >= end)
    return min(last, max(i for i in inside if offsets[i][0] <= begin)), last


def make_windows(tokenizer, examples, max_length):
    windows = []
    for index, example in enumerate(examples):
        batch = tokenizer(
            example["question"].lstrip(),
            example["context"],
            truncation="only_second",
            max_length=max_length,
            stride=STRIDE,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        for i, ids in enumerate(batch["input_ids"]):
            sequence = batch.sequence_ids(i)
            offsets = batch["offset_mapping"][i]
            start, end = gold_tokens(example, offsets, sequence)
            windows.append(
                {
                    "example": index,
                    "ids": ids,
                    "type_ids": batch["token_type_ids"][i],
                    "offsets": [o if s == 1 else None for o, s in zip(offsets, sequence)],
                    "start": start,
                    "end": end,
                }
            )
    return windows


# ---- Answers ----


def logit(window_index, window, which, position):
    """A number from -5 to 4.99 that any language computes alike, with ties; odd examples favour no answer."""
    if position == 0 and window["example"] % 2 == 1:
        return np.float32(6)
    h = (window_index * 1000003 + position * 7919 + which * 104729) % 2**32
    h = h * 2654435761 % 2**32
    return np.float32((h >> 16) % 1000 / 100 - 5)


def best_positions(logits):
    return np.argsort(logits, kind="stable")[: -N_BEST - 1 : -1].tolist()


def best_answer(context, windows, with_null):
    candidates, null = [], None
    for index, window in windows:
        length = len(window["ids"])
        starts = np.array([logit(index, window, 0, i) for i in range(length)], np.float32)
        ends = np.array([logit(index, window, 1, i) for i in range(length)], np.float32)
        null = starts[0] + ends[0] if null is None else min(null, starts[0] + ends[0])
        for s in best_positions(starts):
            for e in best_positions(ends):
                offsets = window["offsets"]
                if offsets[s] is None or offsets[e] is None or e < s or e - s + 1 > ANSWER_LENGTH:
                    continue
                text = context[offsets[s][0] : offsets[e][1]]
                candidates.append((starts[s] + ends[e], starts[s], ends[e], text))
    candidates.sort(key=lambda c: c[0], reverse=True)
    if not candidates:
        return ""
    _, start, end, text = candidates[0]
    return "" if with_null and null - start - end > 0 else text


def make_answers(examples, windows):
    with_null = any(not e["answers"]["text"] for e in examples)
    by_example = collections.defaultdict(list)
    for index, window in enumerate(windows):
        by_example[window["example"]].append((index, window))
    return [best_answer(e["context"], by_example[i], with_null) for i, e in enumerate(examples)]


def compact(windows, examples):
    """Windows as written down: of the context's byte offsets, those of the first and the last token."""
    rows = []
    for w in windows:
        context = examples[w["example"]]["context"]
        inside = [o for o in w["offsets"] if o is not None]
        span = [len(context[:c].encode()) for c in (inside[0][0], inside[-1][1])]
        first = w["offsets"].index(inside[0])
        rows.append([w["example"], w["ids"], sum(w["type_ids"]), first, span, w["start"], w["end"]])
    return rows


def window_case(out, make, name, data, max_length):
    tokenizer = make(out / name)
    examples = [json.loads(line) for line in (out / data).read_text().splitlines()]
    windows = make_windows(tokenizer, examples, max_length)
    return {
        "tokenizer": name,
        "data": data,
        "max_length": max_length,
        "window_fields": "example, ids, ones of type_ids, first context token, its bytes, start, end".split(", "),
        "windows": compact(windows, examples),
        "answers": make_answers(examples, windows),
    }


# ---- Files ----


def write(path, value):
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def spearman_cases():
    rng = np.random.default_rng(3)
    pairs = [rng.normal(size=(2, 40)), rng.integers(0, 5, size=(2, 60)), rng.integers(0, 2, size=(2, 9))]
    x = rng.normal(size=30)
    pairs += [np.stack([x, x**3]), np.stack([x, -x]), np.array([[1, 2], [2, 1]])]
    return [
        {"a": a.tolist(), "b": b.tolist(), "r": scipy.stats.spearmanr(a, b).statistic} for a, b in pairs
    ]


def real_data(model, data):
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    with open(data, encoding="utf-8") as lines:
        windows = make_windows(tokenizer, [json.loads(line) for line in lines], 384)
    ids, positions = hashlib.sha256(), hashlib.sha256()
    for w in windows:
        ids.update((" ".join(map(str, w["ids"])) + "\n").encode())
        positions.update(f"{w['example']} {w['start']} {w['end']}\n".encode())
    return {"windows": len(windows), "ids": ids.hexdigest(), "positions": positions.hexdigest()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--model", help="a folder with a tokenizer, mpnet-squad's for squad_dev.json")
    parser.add_argument("--data", help="its questions, squad-dev.jsonl for squad_dev.json")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    write(args.out / "normalize.json", [[text, normalize(text)] for text in normalization_texts()])
    write(args.out / "scores.json", score_cases())
    write(args.out / "spearman.json", spearman_cases())
    examples = make_examples()
    write_lines(args.out / "version1.jsonl", [e for e in examples if e["answers"]["text"]])
    write_lines(args.out / "version2.jsonl", examples)
    write_lines(args.out / "short.jsonl", [e for e in examples if len(e["context"]) < 200])
    write(
        args.out / "windows.json",
        [
            window_case(args.out, make_words, "words.json", "version1.jsonl", 384),
            window_case(args.out, make_words, "words.json", "version2.jsonl", 384),
            window_case(args.out, make_words, "words.json", "version2.jsonl", 300),
            window_case(args.out, make_bytes, "bytes.json", "short.jsonl", 384),
        ],
    )
    if args.model and args.data:
        write(args.out / "squad_dev.json", real_data(args.model, args.data))


if __name__ == "__main__":
    main()
