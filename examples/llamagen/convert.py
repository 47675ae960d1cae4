#!/usr/bin/env python3
"""Turn a published LlamaGen checkpoint into a folder that coppice reads: config.json and model.safetensors.

    python3 examples/llamagen/convert.py c2i_XXL_384.pt --out c2i-xxl --grid 24
    python3 examples/llamagen/convert.py model.pt --out folder --grid 7 --heads 8

The file must hold plain tensors, under "model", "module" or "state_dict" or at the top: nothing else is unpickled. --grid is the side
of the image in tokens (384 pixels: 24, 256 pixels: 16), which the file does not say; nor does it say --heads, which follow from layers
and width for the published sizes (B, L, XL, XXL, 3B). Class-conditional models only. Needs torch and safetensors.
"""
import argparse
import json
import pickle
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HEADS = {(12, 768): 12, (24, 1024): 16, (36, 1280): 20, (48, 1536): 24, (24, 3200): 32}  # by layers and width
KNOWN = re.compile(
    r"(cls_embedding\.embedding_table|tok_embeddings|norm|output|layers\.\d+\.(attention_norm|ffn_norm|attention\.(wqkv|wo)"
    r"|feed_forward\.w[123]))\.weight"
)
DROPPED = re.compile(r"freqs_cis|causal_mask|layers\.\d+\.attention\.kv_cache\..*")  # made again by the program


def fail(what):
    sys.exit(f"error: {what}")


def read(file):
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        fail(f"{file}: no such file")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as problem:
        fail(f"{file}: not a checkpoint of plain tensors: {str(problem).splitlines()[0]}")
    for key in ("model", "module", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        fail(f"{file}: expected tensors by name, at the top or under model, module or state_dict")
    return {name: tensor.contiguous() for name, tensor in content.items() if not DROPPED.fullmatch(name)}


def config_of(tensors, heads, grid, file):
    for name in tensors:
        if not KNOWN.fullmatch(name):
            fail(f'{file}: tensor "{name}" is not of a class-conditional LlamaGen model')
    if "cls_embedding.embedding_table.weight" not in tensors or "tok_embeddings.weight" not in tensors:
        fail(f"{file}: no class or token embeddings")
    codes, width = tensors["tok_embeddings.weight"].shape
    layers = 1 + max((int(name.split(".")[1]) for name in tensors if name.startswith("layers.")), default=-1)
    if layers == 0:
        fail(f"{file}: no layers")
    heads = heads or HEADS.get((layers, width))
    if not heads:
        fail(f"{file}: {layers} layers of width {width} are no published size; give --heads")
    if width % heads:
        fail(f"{file}: width {width} is not a multiple of {heads} heads")
    rows = tensors["layers.0.attention.wqkv.weight"].shape[0]
    groups = (rows // (width // heads) - heads) // 2
    if groups < 1 or heads % groups or (heads + 2 * groups) * (width // heads) != rows:
        fail(f"{file}: wqkv has {rows} rows, which {heads} heads of width {width // heads} do not make")
    return {
        "model_type": "llamagen",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "intermediate_size": tensors["layers.0.feed_forward.w1.weight"].shape[0],
        "vocab_size": codes,
        "num_classes": tensors["cls_embedding.embedding_table.weight"].shape[0] - 1,
        "grid": grid,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--grid", type=int, required=True, help="side of an image in tokens")
    parser.add_argument("--heads", type=int, help="query heads, where the size is not a published one")
    parser.add_argument("--half", action="store_true", help="write float16")
    args = parser.parse_args()
    if args.grid < 1:
        fail("--grid must be 1 or more")
    tensors = read(args.checkpoint)
    config = config_of(tensors, args.heads, args.grid, args.checkpoint)
    if args.half:
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{args.out}: {config['num_hidden_layers']} layers of width {config['hidden_size']}, {config['num_classes']} classes")


if __name__ == "__main__":
    main()
