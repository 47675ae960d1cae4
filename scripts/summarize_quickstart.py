#!/usr/bin/env python3
"""Print what scripts/quickstart found, from the JSON that its commands left in its folder."""
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--relative-to", type=pathlib.Path, default=pathlib.Path.cwd())
    args = parser.parse_args()
    prune, compare, bench = (
        json.loads((args.folder / f"{name}.json").read_text()) for name in ("prune", "compare", "bench")
    )

    def shown(path):
        return os.path.relpath(path, args.relative_to)

    coppice = shown(args.folder.parent / "release" / "coppice")
    dense, pruned = shown(args.folder / "minilm"), shown(args.folder / "minilm-half")
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


if __name__ == "__main__":
    main()
