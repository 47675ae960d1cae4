#!/usr/bin/env python3
"""Record what transformers computes with the real encoders, in float32 on the CPU.

    python3 tools/make_real_goldens.py MODELS testdata/real_goldens.json

MODELS holds the folders that make_models.py builds (mpnet-sst2, minilm, ...); all named below must be there. The inputs are the
sentences below: short and long, one over 128 tokens both whole and cut to 128 by the tokenizers library's longest-first, with
accents, Chinese, Japanese, emoji, and marks that the normaliser treats specially.

A case has model, text, text_pair where it is a pair (question and context for question answering), max_tokens, ids, type_ids
(left out where all are 0) and, by the model's head,
  logits                    classification, regression
  start_logits, end_logits  question answering, (T) each
  embedding, mean_norm      no head: the mean of the last hidden state over the tokens, divided by its norm (first 16 values);
                            and that norm
Ids of a text are written once for each tokenizer: a case without ids has those of the case named by `same_ids_as`.
Floats have 7 significant digits.
"""
import argparse
import os

import oracle
import torch

EMBEDDING_VALUES = 16
to_json = oracle.Digits(7)

LONG_TEXT = """
The museum reopened on Saturday after four years of repairs, and the queue reached the tram stop before nine.
Inside, the old staircase has been cleaned down to its pale stone, the roof lets daylight fall on the mosaics
again, and the labels are finally printed in a size that visitors over forty can read. Not all is well: the
café closes at three, two galleries still smell of paint, and the audio guide, which costs more than the
ticket, stops whenever its owner walks past a lift. Even so, we stayed until the guards switched off the
lights, argued about the portraits on the way home, and agreed to come back in spring with the children, who
will surely prefer the whale skeleton, the steam engine and the shop to anything that hangs on a wall. Bring
water; there is none.
"""
LONG_TEXT = " ".join(LONG_TEXT.split())

SENTENCES = [
    "A small, warm film.",
    "The plot limps from one borrowed joke to the next, and nobody on screen seems to believe in any of it!",
    "Zoë's naïve façade crumbles in São Paulo -- Dvořák plays, Ångström by ångström.",
    "電影很好看 but the 字幕 lag; ラーメン scene: 10/10 😀👍🏽 #must-see",
    "Shares of Harlow & Finch rose 3.75% to $1,204.50 after its third-quarter profit beat forecasts\tby a wide margin.",
]
SENTENCE_CASES = [(text, None, 512) for text in SENTENCES + [LONG_TEXT]] + [(LONG_TEXT, None, 128)]

PAIRS = [
    ("Two boys are kicking a ball in the rain.", "Children play football outside."),
    ("The train to Graz was cancelled.", "Every train ran on time that day."),
    ("She might sell the boat next year, if the price is right.", "The boat is blue."),
    ("Le garçon mange une crêpe à Nîmes.", "A boy eats a pancake 🥞 in 東京."),
    ("No.", LONG_TEXT),
]
PAIR_CASES = [(text, pair, 512) for text, pair in PAIRS] + [(LONG_TEXT, " ".join([PAIRS[2][0], PAIRS[1][0], PAIRS[0][0]]), 128)]

QUESTIONS = [
    ("Who built the lighthouse?", "The lighthouse at Corran Point was built by Ailsa Greig in 1871 and burned down in 1902."),
    ("When does the café close?", LONG_TEXT),
    ("What did visitors have trouble reading before?", LONG_TEXT),
    (
        "Which city did Zoë leave?",
        "In May Zoë moved from São Paulo (pop. 12,300,000) to 東京, where she opened a bakery 🥐.",
    ),
]
QUESTION_CASES = [(question, context, 384) for question, context in QUESTIONS]

CASES_OF_MODEL = {
    "minilm": SENTENCE_CASES,
    "minilm-sst2": SENTENCE_CASES,
    "minilm-agnews": SENTENCE_CASES,
    "minilm-stsb": PAIR_CASES,
    "bertbase-agnews": SENTENCE_CASES,
    "mpnet": SENTENCE_CASES,
    "mpnet-sst2": SENTENCE_CASES,
    "mpnet-mnli": PAIR_CASES,
    "mpnet-stsb": PAIR_CASES,
    "mpnet-squad": QUESTION_CASES,
}


def outputs_of(task, outputs):
    if task in ("classification", "regression"):
        return {"logits": outputs.logits[0]}
    if task == "question-answering":
        return {"start_logits": outputs.start_logits[0], "end_logits": outputs.end_logits[0]}
    mean = outputs.last_hidden_state[0].mean(0)
    return {"embedding": (mean / mean.norm())[:EMBEDDING_VALUES], "mean_norm": mean.norm()}


def make_cases(models, name, first_uses):
    """The cases of one model. `first_uses` maps each encoding to the case that wrote it and grows."""
    folder = os.path.join(models, name)
    model = oracle.load_model(folder, torch.float32)
    tokenizer = oracle.load_tokenizer(folder)
    for index, (text, text_pair, max_tokens) in enumerate(CASES_OF_MODEL[name]):
        tokenizer.enable_truncation(max_tokens, strategy="longest_first")
        encoding = tokenizer.encode(text, text_pair)
        with torch.no_grad():
            outputs = model(**oracle.model_inputs(model, [(encoding.ids, encoding.type_ids)]))
        case = {"name": f"{name}/{index}", "model": name, "text": text}
        if text_pair is not None:
            case["text_pair"] = text_pair
        case["max_tokens"] = max_tokens
        first = first_uses.setdefault((tuple(encoding.ids), tuple(encoding.type_ids)), case["name"])
        if first != case["name"]:
            case["same_ids_as"] = first
        else:
            case["ids"] = encoding.ids
            if any(encoding.type_ids):
                case["type_ids"] = encoding.type_ids
        yield case | {key: to_json(value) for key, value in outputs_of(oracle.task_of(folder), outputs).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", help="folder of the real models")
    parser.add_argument("out", help="JSON file to write")
    arguments = parser.parse_args()
    first_uses = {}
    cases = [case for name in CASES_OF_MODEL for case in make_cases(arguments.models, name, first_uses)]
    versions = {"made_by": "tools/make_real_goldens.py", "versions": oracle.versions(), "arithmetic": "float32"}
    oracle.write_json(arguments.out, versions | {"cases": cases})


if __name__ == "__main__":
    main()
