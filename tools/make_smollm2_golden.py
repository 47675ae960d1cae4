#!/usr/bin/env python3
"""Record what transformers computes with SmolLM2 in float32, and how llama.cpp tokenizes the text: testdata/smollm2_golden.json.

    python3 tools/make_smollm2_golden.py MODELS TEXT build/llama_cpp testdata/smollm2_golden.json

MODELS/smollm2 holds one GGUF file; TEXT is wikitext2-test.txt; build/llama_cpp is what scripts/fetch_llama_cpp makes.

Keys: file (of the model), ids (the first 128 tokens of TEXT), tokens (how many of them the model read, as one sequence), logits_of
(ids of the vocabulary), log_sums (tokens: logarithm of the sum of exp over the vocabulary, at every position) and rows, each with
a position and its logits. Floats have 7 significant digits.
Needs gguf and accelerate, and node.
"""
import argparse
import json
import os
import pathlib
import subprocess

import oracle
import torch
import transformers

IDS = 128
CHARACTERS = 4000  # of the text; enough for that many tokens
TOKENS = 64
POSITIONS = [0, 1, 7, 15, 31, 40, 55, 63]
LOGITS = [0, 1, 2, 13, 28, 46, 216, 260, 314, 446, 1000, 3717, 8552, 20000, 40000, 49151]
TOKENIZE = """
import { getLlama } from "node-llama-cpp";
import fs from "node:fs";
const [model_path, text_path, characters] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" });
const model = await llama.loadModel({ modelPath: model_path, vocabOnly: true });
const text = fs.readFileSync(text_path, "utf8").slice(0, Number(characters));
console.log(JSON.stringify(Array.from(model.tokenize(text, false))));
process.exit(0);
"""
to_json = oracle.Digits(7)


def tokenize(llama_cpp, model, text):
    """The first ids of the text, by llama.cpp."""
    script = llama_cpp / "tokenize.mjs"  # node finds packages beside the script
    script.write_text(TOKENIZE)
    try:
        command = ["node", script.name, str(model.resolve()), str(text.resolve()), str(CHARACTERS)]
        output = subprocess.run(command, cwd=llama_cpp, check=True, capture_output=True, text=True).stdout
    finally:
        script.unlink()
    return json.loads(output.strip().splitlines()[-1])[:IDS]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("llama_cpp", type=pathlib.Path)
    parser.add_argument("out")
    arguments = parser.parse_args()
    (file,) = (arguments.models / "smollm2").glob("*.gguf")
    ids = tokenize(arguments.llama_cpp, file, arguments.text)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        os.fspath(file.parent), gguf_file=file.name, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    ).eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids[:TOKENS]])).logits[0]
    golden = {
        "made_by": "tools/make_smollm2_golden.py",
        "versions": oracle.versions(),
        "arithmetic": "float32",
        "file": file.name,
        "ids": ids,
        "tokens": TOKENS,
        "logits_of": LOGITS,
        "log_sums": to_json(logits.double().logsumexp(-1)),
        "rows": [{"position": at, "logits": to_json(logits[at, LOGITS])} for at in POSITIONS],
    }
    oracle.write_json(arguments.out, golden)


if __name__ == "__main__":
    main()
