#!/usr/bin/env python3
"""Evaluate an encoder by transformers, to hold `coppice eval` against something that shares no code with it.

    python3 tools/oracle_eval.py MODEL DATA [--limit N]        # one JSON line, as coppice eval --json writes

The metric follows from the model's head: accuracy, Spearman correlation (regression), or SQuAD's exact match and F1 (question
answering: windows of --length tokens that overlap by 128, questions cut to 64 tokens, the 20 best starts and ends of a window,
answers up to 30 tokens, the official normalisation). Float32; batches sorted by length.
"""
import argparse
import collections
import gzip
import json
import re
import string
import time

import oracle
import torch
from scipy.stats import spearmanr

QUESTION_TOKENS = 64
STRIDE = 128
BEST = 20
ANSWER_TOKENS = 30
DEFAULT_LENGTH = {"classification": 128, "regression": 128, "question-answering": 384}


def read_examples(path, limit):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        examples = [json.loads(line) for line in file if line.strip()]
    return examples[:limit] if limit else examples


def run_sorted(model, encodings, batch_size, device):
    """The model's outputs for every (ids, type_ids), in their order, each as a dict of tensors without the batch axis."""
    order = sorted(range(len(encodings)), key=lambda index: len(encodings[index][0]))
    results = [None] * len(encodings)
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        inputs = oracle.model_inputs(model, [encodings[index] for index in rows])
        with torch.inference_mode():
            outputs = model(**{key: value.to(device) for key, value in inputs.items()})
        for row, index in enumerate(rows):
            results[index] = {key: value[row].float().cpu() for key, value in outputs.items()}
    return results


def evaluate_sequences(model, tokenizer, examples, task, arguments):
    tokenizer.enable_truncation(arguments.length, strategy="longest_first")
    encoded = [tokenizer.encode(example["text"], example.get("text_pair")) for example in examples]
    encodings = [(encoding.ids, encoding.type_ids) for encoding in encoded]
    logits = torch.stack([result["logits"] for result in run_sorted(model, encodings, arguments.batch, arguments.device)])
    labels = [example["label"] for example in examples]
    if task == "regression":
        metric = {"metric": "spearman", "value": float(spearmanr(logits[:, 0].numpy(), labels).statistic)}
    else:
        right = (logits.argmax(-1) == torch.tensor(labels)).sum().item()
        metric = {"metric": "accuracy", "value": right / len(labels)}
    return metric, sum(len(ids) for ids, _ in encodings)


def windows_of(tokenizer, examples, length):
    """One (example index, encoding) for each window [question][part of the context] of each example.

    tokenizers cuts a pair by "only_second"; questions are cut beforehand, in their own text.
    """
    for index, example in enumerate(examples):
        question = example["question"].lstrip()
        tokens = tokenizer.encode(question, add_special_tokens=False)
        if len(tokens.ids) > QUESTION_TOKENS:
            question = question[: tokens.offsets[QUESTION_TOKENS - 1][1]]
        tokenizer.enable_truncation(length, stride=STRIDE, strategy="only_second")
        encoding = tokenizer.encode(question, example["context"])
        tokenizer.no_truncation()
        for window in [encoding] + encoding.overflowing:
            yield index, window


def spans_of(window, start_logits, end_logits):
    """The allowed spans among a window's best starts and ends, as (score, first character, end character)."""
    # The index breaks ties, so that the choice does not hang on the sort.
    starts = sorted(range(len(window.ids)), key=lambda token: (-start_logits[token], token))[:BEST]
    ends = sorted(range(len(window.ids)), key=lambda token: (-end_logits[token], token))[:BEST]
    for start in starts:
        for end in ends:
            in_context = window.sequence_ids[start] == 1 and window.sequence_ids[end] == 1
            if in_context and start <= end < start + ANSWER_TOKENS:
                yield start_logits[start] + end_logits[end], window.offsets[start][0], window.offsets[end][1]


def answers_of(examples, windows, results):
    """The best answer's text for each example; "" wins where the data has unanswerable questions and it scores higher."""
    has_unanswerable = any(not example["answers"]["text"] for example in examples)
    best = [(-float("inf"), 0, 0)] * len(examples)
    null_scores = [float("inf")] * len(examples)
    for (index, window), result in zip(windows, results):
        start_logits, end_logits = result["start_logits"].tolist(), result["end_logits"].tolist()
        null_scores[index] = min(null_scores[index], start_logits[0] + end_logits[0])
        best[index] = max([best[index], *spans_of(window, start_logits, end_logits)], key=lambda span: span[0])
    for index, (score, begin, end) in enumerate(best):
        no_answer = has_unanswerable and null_scores[index] > score
        yield "" if no_answer else examples[index]["context"][begin:end]


def normalize_answer(text):
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match_and_f1(prediction, gold):
    prediction, gold = normalize_answer(prediction), normalize_answer(gold)
    ours, theirs = prediction.split(), gold.split()
    if not ours or not theirs:
        return float(prediction == gold), float(ours == theirs)
    common = sum((collections.Counter(ours) & collections.Counter(theirs)).values())
    return float(prediction == gold), 2 * common / (len(ours) + len(theirs))


def evaluate_squad(model, tokenizer, examples, arguments):
    windows = list(windows_of(tokenizer, examples, arguments.length))
    encodings = [(window.ids, window.type_ids) for _, window in windows]
    predictions = answers_of(examples, windows, run_sorted(model, encodings, arguments.batch, arguments.device))
    exact_matches, f1s = [], []
    for example, prediction in zip(examples, predictions):
        scores = [exact_match_and_f1(prediction, gold) for gold in example["answers"]["text"] or [""]]
        exact_matches.append(max(exact_match for exact_match, _ in scores))
        f1s.append(max(f1 for _, f1 in scores))
    metric = {"metric": "f1", "value": sum(f1s) / len(f1s), "exact_match": sum(exact_matches) / len(exact_matches)}
    return metric, sum(len(ids) for ids, _ in encodings)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Hugging Face folder")
    parser.add_argument("data", help=".jsonl or .jsonl.gz")
    parser.add_argument("--limit", type=int, default=0, help="only the first N examples")
    parser.add_argument("--length", type=int, help="tokens an example or window at most (128; question answering 384)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    task = oracle.task_of(arguments.model)
    if task == "embedding":
        parser.error(f"{arguments.model} has no head to evaluate")
    arguments.length = arguments.length or DEFAULT_LENGTH[task]
    examples = read_examples(arguments.data, arguments.limit)
    model = oracle.load_model(arguments.model, torch.float32).to(arguments.device)
    tokenizer = oracle.load_tokenizer(arguments.model)
    begin = time.time()
    if task == "question-answering":
        metric, tokens = evaluate_squad(model, tokenizer, examples, arguments)
    else:
        metric, tokens = evaluate_sequences(model, tokenizer, examples, task, arguments)
    rest = {"examples": len(examples), "tokens": tokens, "seconds": round(time.time() - begin, 2)}
    print(json.dumps(metric | rest | {"device": arguments.device, "dtype": "float32"}))


if __name__ == "__main__":
    main()
