#!/usr/bin/env python3
"""Make the tiny random models of image tokens of testdata/tiny-images, and what each computes.

    python3 tools/make_tiny_images.py testdata/tiny-images

    dense        2 layers of 4 heads, 4 x 4 tokens
    groups       3 layers of 2 KV groups with 2 query heads each, 3 x 3 tokens, float16
    pruned       4 layers, each with its own heads and channels (PRUNED, none at all among them), and biases of output projections
    published    the tensors of "dense" under the published names and key, as a pickle that convert.py reads
All have width 32, 48 channels, 40 codes and 5 classes. rms_norm_eps is 1e-3 and rope_theta 50, so that another one shows.

The forward pass is written from the model's description, token by token and head by head, in float64: rotation is a product
with a complex number, which is 0 at the class; no line of it is shared with coppice or with the published code.

Keys of NAME.golden.json: layers, groups, channels (of each layer), and
  cases      of each: class, tokens (T); logits (T, V) of each of the tokens; loss, their mean cross entropy; group_gradient and
             channel_gradient, layer by layer: the loss differentiated by a mask, at 1, on each unit's part of the input of wo or w2
  samplings  of each: guidance, temperature, top_k, classes (N), uniforms (N, T) in [0, 1), tokens (N, T) drawn with them. No
             random number is within MARGIN of where another token would be drawn.
Floats have 7 significant digits, random numbers all. Needs numpy, torch and safetensors.
"""
import argparse
import json
import math
import os

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, silu

WIDTH, HEADS, CHANNELS, CODES, CLASSES = 32, 4, 48, 40, 5
HEAD_WIDTH = WIDTH // HEADS
CONFIG = {
    "model_type": "llamagen", "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
    "intermediate_size": CHANNELS, "vocab_size": CODES, "num_classes": CLASSES, "rms_norm_eps": 1e-3, "rope_theta": 50.0,
}
PRUNED = [(4, 48), (0, 7), (3, 0), (1, 32)]  # heads and channels of each layer
MODELS = {
    "dense": ({"num_hidden_layers": 2, "grid": 4}, None),
    "groups": ({"num_hidden_layers": 3, "grid": 3, "num_key_value_heads": 2}, None),
    "pruned": ({"num_hidden_layers": 4, "grid": 3}, PRUNED),
}
SAMPLINGS = [(1.0, 1.0, 0), (1.75, 1.0, 0), (2.5, 0.8, 7)]  # guidance, temperature, top_k
MARGIN = 1e-4


def make_tensors(config, sizes, generator):
    def normal(*shape, scale=0.25):
        return torch.randn(shape, generator=generator) * scale

    queries = HEADS // config["num_key_value_heads"]
    tensors = {
        "cls_embedding.embedding_table.weight": normal(CLASSES + 1, WIDTH, scale=1),
        "tok_embeddings.weight": normal(CODES, WIDTH, scale=1),
        "norm.weight": 1 + normal(WIDTH),
        "output.weight": normal(CODES, WIDTH, scale=0.5),
    }
    for layer, (groups, channels) in enumerate(sizes):
        name = f"layers.{layer}."
        tensors |= {
            name + "attention_norm.weight": 1 + normal(WIDTH),
            name + "ffn_norm.weight": 1 + normal(WIDTH),
            name + "attention.wqkv.weight": normal((queries + 2) * groups * HEAD_WIDTH, WIDTH),
            name + "attention.wo.weight": normal(WIDTH, queries * groups * HEAD_WIDTH),
            name + "feed_forward.w1.weight": normal(channels, WIDTH),
            name + "feed_forward.w3.weight": normal(channels, WIDTH),
            name + "feed_forward.w2.weight": normal(WIDTH, channels),
        }
        if "coppice" in config:
            tensors[name + "attention.wo.bias"] = normal(WIDTH)
            if layer != 1:
                tensors[name + "feed_forward.w2.bias"] = normal(WIDTH)
    return tensors


class Model:
    def __init__(self, config, sizes, tensors):
        self.config, self.sizes = config, sizes
        self.queries = HEADS // config["num_key_value_heads"]
        self.tensors = {name: tensor.double() for name, tensor in tensors.items()}

    def norm(self, x, name):
        return x / (x.square().mean() + self.config["rms_norm_eps"]).sqrt() * self.tensors[name + ".weight"]

    def turn(self, x, position):
        """One head's query or key at a position; 0 is the class's."""
        pairs = torch.complex(x[0::2], x[1::2])
        if position == 0:
            factors = [0j] * len(pairs)
        else:
            row, column = divmod(position - 1, self.config["grid"])
            half = HEAD_WIDTH / 2
            rates = [self.config["rope_theta"] ** (-2 * j / half) for j in range(HEAD_WIDTH // 4)]
            angles = [row * rate for rate in rates] + [column * rate for rate in rates]
            factors = [complex(math.cos(angle), math.sin(angle)) for angle in angles]
        pairs = pairs * torch.tensor(factors, dtype=torch.complex128)
        return torch.stack([pairs.real, pairs.imag], 1).flatten()

    def attention(self, layer, inputs, mask):
        """inputs: a list of (D), one a position; mask (groups) multiplies what wo reads."""
        name, groups, e = f"layers.{layer}.attention.", self.sizes[layer][0], HEAD_WIDTH
        rows = [self.tensors[name + "wqkv.weight"] @ x for x in inputs]
        heads = groups * self.queries
        outputs = []
        for t in range(len(inputs)):
            parts = []
            for head in range(heads):
                group = head // self.queries
                query = self.turn(rows[t][head * e : head * e + e], t)
                scores, values = [], []
                for s in range(t + 1):
                    key = rows[s][(heads + group) * e : (heads + group) * e + e]
                    value = rows[s][(heads + groups + group) * e : (heads + groups + group) * e + e]
                    scores.append(query @ self.turn(key, s) / math.sqrt(e))
                    values.append(value)
                parts.append(torch.softmax(torch.stack(scores), 0) @ torch.stack(values) * mask[group])
            read = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
            outputs.append(self.project(name + "wo", read))
        return outputs

    def feed_forward(self, layer, x, mask):
        name = f"layers.{layer}.feed_forward."
        gate, up = self.tensors[name + "w1.weight"] @ x, self.tensors[name + "w3.weight"] @ x
        return self.project(name + "w2", silu(gate) * up * mask)

    def project(self, name, x):
        y = self.tensors[name + ".weight"] @ x
        return y + self.tensors[name + ".bias"] if name + ".bias" in self.tensors else y

    def logits(self, label, tokens, masks=None):
        """(len(tokens) + 1, V): of token i at position i."""
        table = self.tensors["cls_embedding.embedding_table.weight"]
        stream = [table[label]] + [self.tensors["tok_embeddings.weight"][token] for token in tokens]
        for layer, (groups, channels) in enumerate(self.sizes):
            ones = (torch.ones(groups, dtype=torch.float64), torch.ones(channels, dtype=torch.float64))
            group_mask, channel_mask = masks[layer] if masks else ones
            name = f"layers.{layer}."
            added = self.attention(layer, [self.norm(x, name + "attention_norm") for x in stream], group_mask)
            stream = [x + y for x, y in zip(stream, added)]
            stream = [x + self.feed_forward(layer, self.norm(x, name + "ffn_norm"), channel_mask) for x in stream]
        return torch.stack([self.tensors["output.weight"] @ self.norm(x, "norm") for x in stream])


def digits(numbers):
    return [digits(n) if isinstance(n, list) else float(f"{n:.7g}") for n in numbers]


def case(model, label, tokens):
    masks = [
        tuple(torch.ones(size, dtype=torch.float64, requires_grad=True) for size in layer) for layer in model.sizes
    ]
    logits = model.logits(label, tokens[:-1], masks)
    loss = cross_entropy(logits, torch.tensor(tokens))
    wanted = [mask for layer in masks for mask in layer]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    gradients = [torch.zeros_like(m) if g is None else g for m, g in zip(wanted, gradients)]
    return {
        "class": label,
        "tokens": tokens,
        "logits": digits(logits.tolist()),
        "loss": digits([loss.item()])[0],
        "group_gradient": digits(torch.cat(gradients[0::2]).tolist()),
        "channel_gradient": digits(torch.cat(gradients[1::2]).tolist()),
    }


@torch.no_grad()
def draw(model, label, uniforms, guidance, temperature, top_k):
    tokens = []
    for point in uniforms:
        logits = model.logits(label, tokens)[-1]
        if guidance != 1:
            null = model.logits(CLASSES, tokens)[-1]
            logits = null + guidance * (logits - null)
        order = sorted(range(CODES), key=lambda token: -logits[token])
        allowed = set(order[: top_k or CODES])
        weights = [math.exp(logits[i] / temperature) if i in allowed else 0.0 for i in range(CODES)]
        sums = np.cumsum(weights) / sum(weights)
        if np.abs(sums[:-1] - point).min() < MARGIN:
            return None
        tokens.append(int((sums <= point).sum()))
    return tokens


def sampling(model, options, random):
    guidance, temperature, top_k = options
    classes, uniforms, tokens = [], [], []
    while len(tokens) < 6:
        label = len(tokens) % CLASSES
        points = random.random(model.config["grid"] ** 2).tolist()
        drawn = draw(model, label, points, *options)
        if drawn:
            classes.append(label)
            uniforms.append(points)
            tokens.append(drawn)
    return {
        "guidance": guidance, "temperature": temperature, "top_k": top_k,
        "classes": classes, "uniforms": uniforms, "tokens": tokens,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder that receives the models; their namesakes are replaced")
    out = parser.parse_args().out
    for seed, (name, (changes, sizes)) in enumerate(MODELS.items()):
        config = CONFIG | changes
        layers = config["num_hidden_layers"]
        sizes = sizes or [(config["num_key_value_heads"], CHANNELS)] * layers
        if name == "pruned":
            heads, channels = zip(*sizes)
            config["coppice"] = {"version": 1, "heads": heads, "channels": channels}
        tensors = make_tensors(config, sizes, torch.Generator().manual_seed(seed))
        if name == "groups":
            tensors = {key: tensor.half() for key, tensor in tensors.items()}
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        with open(os.path.join(folder, "config.json"), "w") as file:
            file.write(json.dumps(config, indent=2) + "\n")
        if name == "dense":
            torch.save({"model": tensors, "steps": 0}, os.path.join(out, "published.pt"))
        model = Model(config, sizes, tensors)
        random = np.random.default_rng(seed)
        length = config["grid"] ** 2
        golden = {"layers": layers, "groups": [size[0] for size in sizes], "channels": [size[1] for size in sizes]}
        golden["cases"] = [case(model, label, random.integers(CODES, size=length).tolist()) for label in (0, 3, CLASSES)]
        golden["samplings"] = [sampling(model, options, random) for options in SAMPLINGS]
        with open(os.path.join(out, name + ".golden.json"), "w") as file:
            file.write(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
