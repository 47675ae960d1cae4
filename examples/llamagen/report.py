#!/usr/bin/env python3
"""Pictures, table and plot of what sweep.py found.

    python3 examples/llamagen/report.py --trained trained --results results

Writes into --results:
    pictures.png   rows: classes; column blocks: the dense model, then each method at each share removed
    table.csv      mean over the seeds, with the standard deviation of the Frechet distance and its ratio to the dense model's
    plot.png       Frechet distance, agreement and perplexity by share removed
Needs torch, numpy, safetensors, pillow and matplotlib.
"""
import argparse
import csv
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np
from images import SIDE, load_tokenizer
from PIL import Image, ImageDraw
from safetensors.torch import load_file

COLUMNS = ["frechet", "agreement", "perplexity", "parameters", "prune_seconds", "draw_seconds"]
GAP, HEAD = 8, 28  # pixels between blocks, and above them


def read_rows(file):
    """(method, removed) -> column -> values of the seeds"""
    table = defaultdict(lambda: defaultdict(list))
    with open(file) as lines:
        for row in csv.DictReader(lines):
            for column in COLUMNS:
                table[row["method"], float(row["removed"])][column].append(float(row[column]))
    return table


def methods_of(table):
    return sorted({method for method, _ in table} - {"dense"}, key=lambda method: mean(table, method, 0.2, "frechet"))


def mean(table, method, removed, column):
    values = table.get((method, removed), {}).get(column)
    return statistics.mean(values) if values else float("nan")


def write_table(table, file):
    dense = mean(table, "dense", 0.0, "frechet")
    with open(file, "w") as out:
        writer = csv.writer(out)
        writer.writerow(["method", "removed", "seeds", *COLUMNS, "frechet_sd", "frechet_ratio"])
        for (method, removed), columns in sorted(table.items(), key=lambda item: (item[0][1], item[1]["frechet"])):
            values = columns["frechet"]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            means = [f"{statistics.mean(columns[column]):.4f}" for column in COLUMNS]
            writer.writerow([method, removed, len(values), *means, f"{spread:.4f}", f"{statistics.mean(values) / dense:.3f}"])


def write_pictures(pictures, tokenizer, order, file):
    """pictures: NAME -> tokens (classes, images, T)"""
    blocks = []
    for name in order:
        classes, images, length = pictures[name].shape
        drawn = tokenizer.decode(pictures[name].long().view(-1, length)).view(classes, images, SIDE, SIDE)
        blocks.append((1 - drawn).permute(0, 2, 1, 3).reshape(classes * SIDE, images * SIDE).numpy())
    width = sum(block.shape[1] + GAP for block in blocks)
    page = Image.new("L", (width, HEAD + max(block.shape[0] for block in blocks)), 255)
    pen, x = ImageDraw.Draw(page), 0
    for name, block in zip(order, blocks):
        method, removed = name.rsplit("-", 1)
        pen.text((x, 2), method if method == "dense" else f"{method}\n{float(removed):.0%} removed", fill=0)
        page.paste(Image.fromarray((255 * block).astype(np.uint8)), (x, HEAD))
        x += block.shape[1] + GAP
    page.save(file)


def write_plot(table, file):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.5))
    for axis, column in zip(axes, ("frechet", "agreement", "perplexity")):
        dense = mean(table, "dense", 0.0, column)
        for method in methods_of(table):
            shares = sorted(removed for name, removed in table if name == method)
            values = [mean(table, method, removed, column) for removed in shares]
            axis.plot([0, *(100 * share for share in shares)], [dense, *values], marker="o", label=method)
        axis.axhline(dense, color="grey", linewidth=0.8)
        axis.set_xlabel("removed of the blocks' parameters, %")
        axis.set_title({"frechet": "Frechet distance"}.get(column, column))
        if column != "agreement":
            axis.set_yscale("log")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    args = parser.parse_args()
    table = read_rows(args.results / "results.csv")
    write_table(table, args.results / "table.csv")
    print((args.results / "table.csv").read_text(), end="")
    write_plot(table, args.results / "plot.png")
    pictures = load_file(args.results / "pictures.safetensors")
    shares = sorted({removed for method, removed in table if method != "dense"})
    order = [f"{method}-{removed:.2f}" for method in methods_of(table) for removed in shares]
    order = [name for name in ["dense-0.00", *order] if name in pictures]
    write_pictures(pictures, load_tokenizer(args.trained / "vq.safetensors"), order, args.results / "pictures.png")


if __name__ == "__main__":
    main()
