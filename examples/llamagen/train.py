#!/usr/bin/env python3
"""Train a small image model of LlamaGen's form on MNIST, and judge it. Minutes on one GPU.

    python3 examples/llamagen/train.py --data mnist.npz --out trained
    python3 examples/llamagen/train.py --data mnist.npz --out smoke --tiny      # seconds on a processor, no quality

Writes into --out:
    gpt/config.json, gpt/model.safetensors   the class-conditional model (llamagen.py), float16
    vq.safetensors, classifier.safetensors   autoencoder and judge (images.py), float16
    train-tokens.safetensors, test-tokens.safetensors   tokens (N, grid * grid) and classes (N), int32
    metrics.json, samples.png                what the judge says: see the end of main()
mnist.npz holds x_train, y_train, x_test, y_test. The judge sees no image of the test set and has no part in the training
of the other two; the autoencoder's perceptual loss has a classifier of its own. Needs numpy, torch and safetensors;
samples.png also pillow.
"""
import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from images import Classifier, Tokenizer, frechet, in_batches, judge, round_to_half, save_half
from llamagen import LlamaGen, generate
from safetensors.torch import save_file

CLASSES = 10
LABEL_DROPOUT = 0.1
GUIDANCE = [1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0]
SHIFTS = [(0, 0)] + [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


class Schedule:
    """Steps of one training until `steps` are done or `seconds` are over, whichever comes first; iterates over the
    share done. The learning rate rises over 5 % of it and falls to zero by a cosine, so that it ends well either way."""

    def __init__(self, name, parameters, steps, seconds, rate, decay=0.0, betas=(0.9, 0.99)):
        self.name, self.steps, self.seconds, self.rate = name, steps, seconds, rate
        self.parameters = list(parameters)
        fused = self.parameters[0].is_cuda
        self.optimizer = torch.optim.AdamW(self.parameters, rate, betas, weight_decay=decay, fused=fused)
        self.shown = None  # the loss, smoothed

    def __iter__(self):
        begin = time.time()
        for step in range(self.steps):
            done = max(step / self.steps, (time.time() - begin) / self.seconds)
            if done >= 1:
                break
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * min(done / 0.05 + 0.01, (1 + math.cos(math.pi * done)) / 2)
            yield done
            if step % max(1, self.steps // 10) == 0:
                print(f"  {self.name} step {step}: loss {self.shown.item():.4f}, {time.time() - begin:.1f} s", flush=True)
        print(f"  {self.name}: loss {self.shown.item():.4f} after {step + 1} steps, {time.time() - begin:.1f} s", flush=True)

    def descend(self, loss):
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        loss = loss.detach().float()
        self.shown = loss if self.shown is None else self.shown.lerp(loss, 0.05)


def jitter(images):
    """Turns, scales and shifts each image a little."""
    n, device = len(images), images.device
    angle, scale = torch.randn(n, device=device) * 0.12, 1 + torch.randn(n, device=device) * 0.07
    move = torch.randn(n, 2, device=device) * 0.07
    cos, sin = angle.cos() * scale, angle.sin() * scale
    affine = torch.stack([torch.stack([cos, -sin, move[:, 0]], 1), torch.stack([sin, cos, move[:, 1]], 1)], 1)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def batch_of(count, size, device):
    return torch.randint(count, (size,), device=device)


def train_classifier(name, width, images, labels, args):
    model = Classifier(width).to(args.device)
    schedule = Schedule(name, model.parameters(), args.classifier_steps, args.classifier_seconds, 2e-3, 0.05)
    for _ in schedule:
        rows = batch_of(len(images), args.batch, args.device)
        with args.autocast():
            logits = model(jitter(images[rows]))
        schedule.descend(F.cross_entropy(logits.float(), labels[rows], label_smoothing=0.05))
    return round_to_half(model)


def train_tokenizer(images, critic, args):
    """Loss: cross-entropy of pixels, squared distance of the critic's first stages, commitment to the codes."""
    model = Tokenizer(args.grid, width=args.tokenizer_width).to(args.device)
    critic.requires_grad_(False)
    schedule = Schedule("tokenizer", model.parameters(), args.tokenizer_steps, args.tokenizer_seconds, 1e-3)
    started = False
    for done in schedule:
        target = images[batch_of(len(images), args.batch, args.device)]
        with args.autocast():
            codes = model.codes(target)
        codes = codes.float()
        flat = codes.flatten(0, 1)
        if not started and done > 0.03:  # the codes are worth k-means once they say something
            model.start(flat.detach())
            started = True
        if started:
            tokens = model.nearest(flat.detach())
            chosen = model.codebook[tokens].view_as(codes)
            if done < 0.95:
                model.follow(flat.detach(), tokens)
            commitment = F.mse_loss(codes, chosen)
            codes = codes + (chosen - codes).detach()
        else:
            commitment = codes.square().mean() * 0.01
        with args.autocast():
            logits = model.draw(codes)
        logits = logits.float()
        pixels = F.binary_cross_entropy_with_logits(logits, target)
        with args.autocast():
            seen, wanted = critic.features(logits.sigmoid()), critic.features(target)
        look = sum(F.mse_loss(a.float(), b.float()) / b.float().square().mean() for a, b in zip(seen, wanted))
        schedule.descend(pixels + 0.2 * look + 0.25 * commitment)
    return round_to_half(model)


def shifted_tokens(tokenizer, images, args):
    """(shifts, N, grid * grid), the first row unshifted."""
    return torch.stack([
        in_batches(tokenizer.encode, torch.roll(images, shift, dims=(2, 3))).to(torch.int16) for shift in SHIFTS
    ])


def train_model(tokens, labels, test, args):
    config = {
        "model_type": "llamagen", "hidden_size": args.width, "num_hidden_layers": args.layers,
        "num_attention_heads": args.heads, "num_key_value_heads": args.heads,
        "intermediate_size": (8 * args.width // 3 + 255) // 256 * 256, "vocab_size": 256, "num_classes": CLASSES,
        "grid": args.grid, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    }
    model = LlamaGen(config, dropout=0.1).to(args.device)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            torch.nn.init.zeros_(weight) if name == "output.weight" else torch.nn.init.normal_(weight, std=0.02)
    schedule = Schedule("model", model.parameters(), args.model_steps, args.model_seconds, args.rate, 0.05, (0.9, 0.95))
    seen = 0.0
    for done in schedule:
        rows = batch_of(len(labels), args.batch, args.device)
        # half of the images are shifted by a pixel, until the last quarter of the training
        shift = torch.randint(1 - len(SHIFTS), len(SHIFTS), rows.shape, device=args.device).clamp(min=0)
        target = tokens[shift if done < 0.75 else 0, rows].long()
        classes = labels[rows]
        classes = torch.where(torch.rand(rows.shape, device=args.device) < LABEL_DROPOUT, CLASSES, classes)
        with args.autocast():
            logits = model(classes, target[:, :-1])
        schedule.descend(F.cross_entropy(logits.flatten(0, 1), target.flatten()))
        if done >= seen + 0.125:
            seen = done
            print(f"  perplexity of test tokens {perplexity(model.eval(), *test):.3f}", flush=True)
            model.train()
    return round_to_half(model)


@torch.no_grad()
def perplexity(model, tokens, labels):
    losses = [
        F.cross_entropy(model(c, t[:, :-1]).flatten(0, 1), t.flatten(), reduction="sum").double()
        for t, c in zip(tokens.long().split(500), labels.split(500))
    ]
    return (sum(losses) / tokens.numel()).exp().item()


def sampled(model, per_class, guidance, seed, args):
    """Tokens (N, grid * grid) and classes (N), class by class."""
    classes = torch.arange(CLASSES).repeat_interleave(per_class)
    uniforms = torch.rand(len(classes), args.grid**2, generator=torch.Generator().manual_seed(seed))
    parts = zip(classes.split(args.sample_batch), uniforms.split(args.sample_batch))
    tokens = [generate(model, c.to(args.device), u.to(args.device), guidance) for c, u in parts]
    return torch.cat(tokens), classes.to(args.device)


def save_tokens(file, tokens, classes, grid):
    tensors = {"tokens": tokens.int().cpu().contiguous(), "classes": classes.int().cpu().contiguous()}
    save_file(tensors, file, metadata={"grid": str(grid)})


def save_picture(file, images, columns):
    try:
        from PIL import Image
    except ImportError:
        print("  no pillow: samples.png is not written")
        return
    side = images.shape[-1]
    page = images.view(-1, columns, side, side).permute(0, 2, 1, 3).reshape(-1, columns * side)
    Image.fromarray((255 * (1 - page)).byte().cpu().numpy()).save(file)


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="mnist.npz")
    parser.add_argument("--out", required=True, help="folder for what is trained")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid", type=int, choices=(7, 14), default=7)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of the model")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--per-class", type=int, default=1000, help="samples to judge")
    parser.add_argument("--tokenizer-width", type=int, default=64)
    for part, steps, seconds in (("classifier", 1200, 20), ("tokenizer", 4000, 60), ("model", 5000, 110)):
        parser.add_argument(f"--{part}-steps", type=int, default=steps)
        parser.add_argument(f"--{part}-seconds", type=float, default=seconds, help="ends the training early")
    parser.add_argument("--steps", type=int, help="sets all three numbers of steps")
    parser.add_argument("--tiny", action="store_true", help="2 layers, few images, 30 steps: a smoke test")
    args = parser.parse_args()
    if args.tiny:
        args.layers, args.heads, args.width, args.batch, args.per_class = 2, 4, 64, 64, 10
        args.tokenizer_width = 16
        args.steps = args.steps or 30
    if args.steps:
        args.classifier_steps = args.tokenizer_steps = args.model_steps = args.steps
    args.sample_batch = 5000 if args.grid == 7 else 1250
    args.autocast = lambda: torch.autocast(args.device.split(":")[0], torch.bfloat16, args.device != "cpu")
    return args


def read_images(args):
    data = np.load(args.data)
    parts = []
    for part in ("train", "test"):
        rows = slice(None, None, 25 if args.tiny else None)  # classes may lie one after the other
        images = torch.from_numpy(data[f"x_{part}"][rows]).to(args.device).float().div(255)[:, None]
        parts.append((images, torch.from_numpy(data[f"y_{part}"][rows].astype(np.int64)).to(args.device)))
    return parts


def main():
    args = options()
    begin = time.time()
    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    (train, train_labels), (test, test_labels) = read_images(args)
    out = Path(args.out)
    (out / "gpt").mkdir(parents=True, exist_ok=True)

    judge_model = train_classifier("judge", 32, train, train_labels, args)
    critic = train_classifier("critic", 16, train, train_labels, args)
    save_half(judge_model, out / "classifier.safetensors")
    real, read = judge(judge_model, test)
    metrics = {"torch": torch.__version__, "device": torch.cuda.get_device_name() if train.is_cuda else "cpu"}
    metrics["judge_accuracy"] = (read == test_labels).float().mean().item()
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(args.seed))
    half = len(test) // 2
    metrics["frechet_test_halves"] = frechet(real[order[:half]], real[order[half:]])
    print(json.dumps(metrics), flush=True)

    tokenizer = train_tokenizer(train, critic, args)
    save_half(tokenizer, out / "vq.safetensors", {"grid": str(args.grid)})
    tokens, test_tokens = shifted_tokens(tokenizer, train, args), in_batches(tokenizer.encode, test)
    save_tokens(out / "train-tokens.safetensors", tokens[0], train_labels, args.grid)
    save_tokens(out / "test-tokens.safetensors", test_tokens, test_labels, args.grid)
    redrawn = in_batches(tokenizer.decode, test_tokens)
    metrics["tokenizer_mse"] = F.mse_loss(redrawn, test).item()
    shares = torch.bincount(tokens[0].flatten().long(), minlength=256).double() / tokens[0].numel()
    metrics["codes_used"] = (shares > 0).sum().item()
    metrics["code_perplexity"] = (-(shares * shares.clamp(min=1e-12).log()).sum()).exp().item()
    features, read = judge(judge_model, redrawn)
    metrics["frechet_redrawn_test"] = frechet(features, real)
    metrics["redrawn_agreement"] = (read == test_labels).float().mean().item()
    print(json.dumps(metrics), flush=True)

    model = train_model(tokens, train_labels, (test_tokens, test_labels), args)
    (out / "gpt" / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")
    save_half(model, out / "gpt" / "model.safetensors")
    metrics["parameters"] = sum(weight.numel() for weight in model.parameters())
    metrics["test_perplexity"] = perplexity(model, test_tokens, test_labels)

    metrics["guidance"] = {}
    best = None
    for guidance in GUIDANCE:
        samples, classes = sampled(model, args.per_class, guidance, args.seed, args)
        images = in_batches(tokenizer.decode, samples)
        features, read = judge(judge_model, images)
        row = {"agreement": (read == classes).float().mean().item(), "frechet": frechet(features, real)}
        metrics["guidance"][str(guidance)] = row
        print(f"  guidance {guidance}: {row}", flush=True)
        rank = (row["agreement"] < 0.97, row["frechet"])  # the least distance among those that are read well enough
        if best is None or rank < best[0]:
            best = (rank, guidance, row, images)
    _, metrics["best_guidance"], row, images = best
    metrics |= row
    metrics["seconds"] = time.time() - begin
    picked = images.view(CLASSES, args.per_class, 28, 28)[:, :10]
    one_each = [(test_labels == c).nonzero()[0, 0].item() for c in range(CLASSES)]
    pairs = torch.stack([test[one_each, 0], redrawn[one_each, 0]])  # two rows: images, and what their tokens give back
    save_picture(out / "samples.png", torch.cat([pairs, picked]).flatten(0, 1), 10)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics), flush=True)


if __name__ == "__main__":
    main()
