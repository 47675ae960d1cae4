#!/usr/bin/env python3
"""Print what scripts/quickstart found, from the JSON that its commands left in its folder.

    summarize_quickstart.py FOLDER {minilm,smollm2} [--relative-to DIR]
"""
import argparse
import json
import os
import pathlib


def change(name, before, after, unit, scale):
    return f"  {name:<24}{before / scale:>8.1f} {unit:<2} -> {after / scale:>8.1f} {unit:<2}   ({after / before:.2f})"


def speeds(rows):
    """A line for each batch size: the dense model's median, then the pruned one's."""
    for batch in sorted({row["batch"] for row in rows}):
        dense, pruned = (row for row in rows if row["batch"] == batch)
        before, after = dense["median_ms"], pruned["median_ms"]
        name = f"batch {batch} x {dense['length']} tokens"
        yield f"  {name:<24}{before:>8.1f} ms -> {after:>8.1f} ms   ({before / after:.2f} times as fast)"


def read_results(folder, *names):
    return (json.loads((folder / f"{name}.json").read_text()) for name in names)


def summarize_minilm(folder, shown):
    prune, compare, bench = read_results(folder, "prune", "compare", "bench")
    coppice = shown(folder.parent / "release" / "coppice")
    dense, pruned = shown(folder / "minilm"), shown(folder / "minilm-half")
    print(f"\nMiniLM, pruned in {prune['seconds']['total']:.0f} s without labels (dense -> pruned)\n")
    print(change("size", **prune["bytes"], unit="MB", scale=1e6))
    print(change("MACs of the blocks", **prune["macs"], unit="M", scale=1e6))
    for line in speeds(bench["rows"]):
        print(line)
    print(f"  mean cosine of the two models' embeddings on {compare['examples']} held-out paragraphs: {compare['cosine']:.4f}")
    print(f"\nThe pruned model: {pruned}\nNext:")
    print(f"  {coppice} inspect {pruned}")
    print(f"  {coppice} prune {dense} --data MY.txt --keep-macs 0.6 --out OUT")
    print(f"  {coppice} --help")


def token_rates(rows):
    """A line for each stage of generation: the dense model's tokens a second, then the pruned one's."""
    for stage in ("prefill", "decode"):
        dense, pruned = (row["tokens_per_second"] for row in rows if row["stage"] == stage)
        yield change(f"{stage}, tokens a second", dense, pruned, unit="", scale=1)


def summarize_smollm2(folder, shown):
    prune, bench = read_results(folder, "llm-prune", "llm-bench")
    coppice = shown(folder.parent / "release" / "coppice")
    dense, pruned = pathlib.Path(bench["rows"][0]["model"]), folder / "smollm2" / "model.gguf"
    print(f"\nSmolLM2, pruned in {prune['seconds']['total']:.0f} s without labels (dense -> pruned)\n")
    print(change("parameters", **prune["params"], unit="M", scale=1e6))
    print(change("MACs of the blocks", **prune["macs"], unit="G", scale=1e9))
    print(change("held-out perplexity", prune["eval"]["before"], prune["eval"]["after"], unit="", scale=1))
    for line in token_rates(bench["rows"]):
        print(line)
    sizes = [path.stat().st_size / 1e6 for path in (dense, pruned)]
    print(f"  GGUF file: {sizes[0]:.1f} MB with 4-bit matrices -> {sizes[1]:.1f} MB with 16-bit ones (--gguf-type q8_0 halves it)")
    print(f"\nThe pruned model: {shown(pruned)}\nNext:")
    print(f"  llama-cli -m {shown(pruned)}     # llama.cpp, where it is installed")
    print(f"  {coppice} inspect {shown(pruned)}")
    print(f"  {coppice} prune {shown(dense)} --data MY.txt --keep-params 0.9 --out OUT")


SUMMARIES = {"minilm": summarize_minilm, "smollm2": summarize_smollm2}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("model", choices=SUMMARIES)
    parser.add_argument("--relative-to", type=pathlib.Path, default=pathlib.Path.cwd())
    args = parser.parse_args()
    SUMMARIES[args.model](args.folder, lambda path: os.path.relpath(path, args.relative_to))


if __name__ == "__main__":
    main()
