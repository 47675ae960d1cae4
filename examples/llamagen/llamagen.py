"""A class-conditional image-token model of LlamaGen's kind (Sun et al. 2024, arXiv 2406.06525), for one folder of weights.

    model = load("FOLDER")                       # config.json and *.safetensors beside it
    logits = model(classes, tokens)              # (N,), (N, n) -> (N, n + 1, V): logits of tokens 0 .. n
    tokens = generate(model, classes, uniforms)  # (N,), (N, grid * grid) in [0, 1) -> (N, grid * grid)

Tensors have the published names. Layers may differ in heads and channels, and output projections may have biases, as
coppice leaves them; the sizes are read from the tensors, so that a pruned folder needs nothing else. This file is
written beside every pruned model. It needs torch and safetensors.
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


class Linear(nn.Module):
    """Not initialised: whoever makes a model fills it. Without inputs the bias is left alone."""

    def __init__(self, inputs, outputs, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x.float(), x.shape[-1:], self.weight.float(), self.eps).type_as(x)


class Attention(nn.Module):
    """Rows of wqkv: queries, keys, values. `groups` KV heads with `queries` query heads each; none at all is allowed."""

    def __init__(self, width, groups, queries, head_width, bias):
        super().__init__()
        self.groups, self.queries, self.head_width = groups, queries, head_width
        self.wqkv = Linear(width, (queries + 2) * groups * head_width)
        self.wo = Linear(groups * queries * head_width, width, bias)

    def forward(self, x, turn, past=None):
        n, t, _ = x.shape
        if self.groups == 0:
            return self.wo(x.new_zeros(n, t, 0))
        keys = self.groups * self.head_width
        q, k, v = self.wqkv(x).split([keys * self.queries, keys, keys], dim=-1)
        q = rotate(q.view(n, t, -1, self.head_width), turn).transpose(1, 2)
        k = rotate(k.view(n, t, -1, self.head_width), turn).transpose(1, 2)
        v = v.view(n, t, -1, self.head_width).transpose(1, 2)
        if past is not None:
            k, v = past.append(self, k, v)
        if self.queries > 1:
            k, v = (y.repeat_interleave(self.queries, dim=1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        return self.wo(y.transpose(1, 2).reshape(n, t, -1))


class FeedForward(nn.Module):
    def __init__(self, width, channels, bias):
        super().__init__()
        self.w1 = Linear(width, channels)
        self.w3 = Linear(width, channels)
        self.w2 = Linear(channels, width, bias)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, width, groups, queries, head_width, channels, eps, biases=(False, False), dropout=0.0):
        super().__init__()
        self.attention = Attention(width, groups, queries, head_width, biases[0])
        self.feed_forward = FeedForward(width, channels, biases[1])
        self.attention_norm = RmsNorm(width, eps)
        self.ffn_norm = RmsNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, turn, past=None):
        x = x + self.dropout(self.attention(self.attention_norm(x), turn, past))
        return x + self.dropout(self.feed_forward(self.ffn_norm(x)))


class ClassEmbedding(nn.Module):
    """The last row is the null class of classifier-free guidance."""

    def __init__(self, classes, width):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, width)

    def forward(self, classes):
        return self.embedding_table(classes)


class LlamaGen(nn.Module):
    """`shapes`: of each layer (KV groups, channels, (bias of wo, bias of w2)); all alike by the config if None."""

    def __init__(self, config, shapes=None, dropout=0.0):
        super().__init__()
        width, heads = config["hidden_size"], config["num_attention_heads"]
        groups = config.get("num_key_value_heads", heads)
        head_width, eps = width // heads, config["rms_norm_eps"]
        shapes = shapes or [(groups, config["intermediate_size"], (False, False))] * config["num_hidden_layers"]
        self.config = config
        self.null_class = config["num_classes"]
        self.cls_embedding = ClassEmbedding(config["num_classes"], width)
        self.tok_embeddings = nn.Embedding(config["vocab_size"], width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            Block(width, kept, heads // groups, head_width, channels, eps, biases, dropout)
            for kept, channels, biases in shapes
        )
        self.norm = RmsNorm(width, eps)
        self.output = Linear(width, config["vocab_size"])
        turn = rotation(config["grid"], head_width, config["rope_theta"])
        self.register_buffer("turn", turn, persistent=False)

    def forward(self, classes, tokens):
        x = torch.cat([self.cls_embedding(classes)[:, None], self.tok_embeddings(tokens)], dim=1)
        x = self.dropout(x)
        for block in self.layers:
            x = block(x, self.turn[: x.shape[1]])
        return self.output(self.norm(x)).float()

    def step(self, x, position, past):
        """One position x (N, 1, D) -> logits (N, V)."""
        for block in self.layers:
            x = block(x, self.turn[position : position + 1], past)
        return self.output(self.norm(x))[:, -1].float()


def rotation(grid, head_width, theta):
    """(1 + grid * grid, E / 2, 2): cosine and sine of each pair. Row turns the first half of the pairs, column the
    second. The class position has both zero, so that its query and key vanish."""
    half = head_width // 2
    frequencies = theta ** (-torch.arange(0, half, 2, dtype=torch.float64) / half)
    place = torch.arange(grid, dtype=torch.float64)
    angle = torch.outer(place, frequencies)  # (grid, E / 4)
    rows = angle[:, None].expand(grid, grid, -1)
    columns = angle[None].expand(grid, grid, -1)
    angle = torch.cat([rows, columns], dim=-1).reshape(grid * grid, half)
    turn = torch.stack([angle.cos(), angle.sin()], dim=-1)
    return torch.cat([torch.zeros(1, half, 2, dtype=turn.dtype), turn]).float()


def rotate(x, turn):
    """x (N, T, heads, E), turn (T, E / 2, 2); pairs are (2j, 2j + 1)."""
    pairs = x.float().unflatten(-1, (-1, 2))
    cos, sin = turn[None, :, None].unbind(-1)
    a, b = pairs.unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).type_as(x)


class Cache:
    """Keys and values of every attention so far, in buffers for `length` positions."""

    def __init__(self, length):
        self.length, self.used, self.kept = length, 0, {}

    def append(self, attention, k, v):
        if attention not in self.kept:
            shape = (*k.shape[:2], self.length, k.shape[-1])
            self.kept[attention] = (k.new_empty(shape), v.new_empty(shape))
        keys, values = self.kept[attention]
        keys[:, :, self.used] = k[:, :, 0]
        values[:, :, self.used] = v[:, :, 0]
        return keys[:, :, : self.used + 1], values[:, :, : self.used + 1]


@torch.no_grad()
def generate(model, classes, uniforms, guidance=1.0, temperature=1.0, top_k=0):
    """Tokens (N, grid * grid) of images of `classes` (N,). Token i of an image is where the summed probabilities
    exceed its uniform number i of `uniforms` (N, grid * grid). guidance s: logits = null + s (class - null)."""
    n, length = uniforms.shape
    guided = guidance != 1.0
    both = torch.cat([classes, torch.full_like(classes, model.null_class)]) if guided else classes
    x = model.cls_embedding(both)[:, None]
    past = Cache(length)
    tokens = torch.empty(n, length, dtype=torch.long, device=classes.device)
    for i in range(length):
        past.used = i
        logits = model.step(x, i, past)
        if guided:
            logits, null = logits.split(n)
            logits = null + guidance * (logits - null)
        logits = logits / temperature
        if 0 < top_k < logits.shape[-1]:
            logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -torch.inf)
        sums = logits.double().softmax(-1).cumsum(-1)
        pick = (sums <= uniforms[:, i : i + 1].double() * sums[:, -1:]).sum(-1)
        tokens[:, i] = pick.clamp(max=logits.shape[-1] - 1)
        x = model.tok_embeddings(tokens[:, i].repeat(2) if guided else tokens[:, i])[:, None]
    return tokens


def load(folder, device="cpu", dtype=torch.float32):
    """The model of a folder, in eval mode."""
    from safetensors.torch import load_file

    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    heads, width = config["num_attention_heads"], config["hidden_size"]
    queries = heads // config.get("num_key_value_heads", heads)
    shapes = []
    for layer in range(config["num_hidden_layers"]):
        wo, w2 = f"layers.{layer}.attention.wo.", f"layers.{layer}.feed_forward.w2."
        groups = tensors[wo + "weight"].shape[1] // (width // heads * queries)
        shapes.append((groups, tensors[w2 + "weight"].shape[1], (wo + "bias" in tensors, w2 + "bias" in tensors)))
    model = LlamaGen(config, shapes)
    model.load_state_dict(tensors)
    turn = model.turn
    model = model.to(device=device, dtype=dtype).eval()
    model.turn = turn.to(device)  # rotations stay in float32
    return model
