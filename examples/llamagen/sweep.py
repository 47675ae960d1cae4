#!/usr/bin/env python3
"""Prune the image model by every method to every size, draw from what is left, and judge the images.

    python3 examples/llamagen/sweep.py --coppice build/release/coppice --trained trained --data mnist.npz --out results --jobs 8
    python3 examples/llamagen/report.py --trained trained --results results

--trained is the folder that train.py wrote. Jobs run side by side, since one leaves most of a GPU idle. Each result is written when it
is there, and is not made again by the same command:
    results.csv            a row for each method, share removed and seed: Frechet distance to the test set, agreement of the judge with
                           the class that was asked for, perplexity of the test tokens, parameters left, seconds of pruning
    pictures.safetensors   tokens of the first images of each class, of seed 0
The dense model is method "dense", removed 0. Calibration images are drawn from the dense model once a seed (coppice generate), with the
guidance that train.py found best, as are all images. Needs torch, numpy and safetensors.
"""
import argparse
import csv
import json
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch
from images import Classifier, frechet, in_batches, judge, load_half, load_tokenizer
from safetensors.torch import load_file, save_file

METHODS = ["obs", "numerical", "fisher", "flap", "wanda", "magnitude"]
REMOVED = [0.10, 0.15, 0.20, 0.30, 0.50]
FIELDS = ["method", "removed", "seed", "frechet", "agreement", "perplexity", "parameters", "prune_seconds", "draw_seconds"]
PICTURES = 4  # images of each class that are kept


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coppice", required=True, help="the program")
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz, whose test set is the reference")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--removed", default=",".join(map(str, REMOVED)))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--per-class", type=int, default=1000, help="images to judge")
    parser.add_argument("--calibration", type=int, default=128, help="images of each class to calibrate with")
    parser.add_argument("--guidance", type=float, help="train.py's best without it")
    parser.add_argument("--prune", default="", help="further options of coppice prune, in one argument")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2, help="of each job")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--limit", type=int, default=0, help="test images whose perplexity is measured; 0: all")
    return parser.parse_args()


class Program:
    """coppice, its results as read from JSON."""

    def __init__(self, args):
        self.path = args.coppice
        self.common = ["--device", args.device, "--threads", str(args.threads), "--json", "--quiet"]

    def __call__(self, *arguments):
        done = subprocess.run([self.path, *map(str, arguments), *self.common], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return json.loads(done.stdout)


def run(method, removed, seed, args, program):
    """Prunes and draws; the row without the judge's columns, and the file of tokens."""
    name = f"{method}-{removed:.2f}-{seed}"
    test = args.trained / "test-tokens.safetensors"
    model, tokens = args.trained / "gpt", args.out / "work" / f"{name}.safetensors"
    row = {"method": method, "removed": removed, "seed": seed}
    limit = ["--limit", args.limit] if args.limit else []
    if method == "dense":
        measured = program("eval", model, "--data", test, *limit)
        row |= {"perplexity": measured["value"], "parameters": 1.0, "prune_seconds": 0.0}
    else:
        pruned = args.out / "work" / name
        # measuring in the same process saves starting another one
        report = program(
            "prune", model, "--data", calibration_file(args, seed), "--samples", 10**6, "--method", method, "--seed", seed,
            "--keep-params", 1 - removed, "--out", pruned, "--force", *args.prune.split(), *([] if limit else ["--eval", test]),
        )
        row["prune_seconds"] = sum(report["seconds"].values()) - report["seconds"]["total"]  # without measuring
        row["parameters"] = report["budget"]["got"]
        row["perplexity"] = program("eval", pruned, "--data", test, *limit)["value"] if limit else report["eval"]["after"]
        model = pruned
    drawn = program(
        "generate", model, "--per-class", args.per_class, "--guidance", args.guidance, "--seed", 1000 + seed, "--out", tokens, "--force"
    )
    row["draw_seconds"] = drawn["seconds"]
    if method != "dense":
        shutil.rmtree(model)
    return row, tokens


def calibration_file(args, seed):
    return args.out / "work" / f"calibration-{seed}.safetensors"


def draw_calibration(args, program):
    for seed in range(args.seeds):
        if not calibration_file(args, seed).exists():
            drawn = program(
                "generate", args.trained / "gpt", "--per-class", args.calibration, "--guidance", args.guidance, "--seed", seed,
                "--out", calibration_file(args, seed),
            )
            print(f"calibration images of seed {seed}: {drawn['seconds']:.1f} s", flush=True)


class Judge:
    def __init__(self, args):
        import numpy

        self.device = args.device
        self.classifier = load_half(Classifier(), args.trained / "classifier.safetensors", args.device)
        self.tokenizer = load_tokenizer(args.trained / "vq.safetensors", args.device)
        images = torch.from_numpy(numpy.load(args.data)["x_test"]).to(args.device).float().div(255)[:, None]
        self.real, _ = judge(self.classifier, images)

    def __call__(self, file):
        drawn = load_file(file)
        images = in_batches(self.tokenizer.decode, drawn["tokens"].long().to(self.device))
        features, read = judge(self.classifier, images)
        agreement = (read.cpu() == drawn["classes"]).float().mean().item()
        return {"frechet": frechet(features, self.real), "agreement": agreement}


class Results:
    """results.csv and pictures.safetensors, added to as results come."""

    def __init__(self, out):
        self.csv, self.file = out / "results.csv", out / "pictures.safetensors"
        self.pictures = load_file(self.file) if self.file.exists() else {}
        self.done = set()
        if self.csv.exists():
            with open(self.csv) as file:
                self.done = {(row["method"], float(row["removed"]), int(row["seed"])) for row in csv.DictReader(file)}
        else:
            self.csv.write_text(",".join(FIELDS) + "\n")

    def add(self, row, tokens):
        with open(self.csv, "a") as file:
            csv.DictWriter(file, FIELDS).writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
        if row["seed"] == 0:
            drawn = load_file(tokens)
            classes = int(drawn["classes"].max()) + 1
            first = drawn["tokens"].view(classes, -1, drawn["tokens"].shape[1])[:, :PICTURES]
            self.pictures[f"{row['method']}-{row['removed']:.2f}"] = first.contiguous()
            save_file(self.pictures, self.file)


def main():
    args = options()
    (args.out / "work").mkdir(parents=True, exist_ok=True)
    if args.guidance is None:
        args.guidance = json.loads((args.trained / "metrics.json").read_text())["best_guidance"]
    program, results = Program(args), Results(args.out)
    cells = [("dense", 0.0)] + [(method, float(r)) for r in args.removed.split(",") for method in args.methods.split(",")]
    wanted = [(*cell, seed) for seed in range(args.seeds) for cell in cells if (*cell, seed) not in results.done]
    begin = time.time()
    draw_calibration(args, program)
    judged = Judge(args)
    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(run, *one, args, program) for one in wanted]
        for number, job in enumerate(as_completed(jobs), 1):
            try:
                row, tokens = job.result()
            except RuntimeError as problem:
                print(f"failed: {problem}", flush=True)
                continue
            row |= judged(tokens)
            results.add(row, tokens)
            tokens.unlink()
            text = f"{row['method']} {row['removed']:.2f} seed {row['seed']}: Frechet {row['frechet']:.3f}, "
            text += f"agreement {row['agreement']:.4f}, perplexity {row['perplexity']:.3f}, pruned in {row['prune_seconds']:.1f} s"
            print(f"{number}/{len(jobs)} {time.time() - begin:.0f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
