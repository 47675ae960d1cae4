#!/usr/bin/env python3
"""Make a random model of a published LlamaGen's shape, and random images for it: to see how long pruning takes.

    python3 examples/llamagen/make_random.py --out xxl --size XXL
    coppice prune xxl --data xxl/tokens.safetensors --method numerical --keep-params 0.8 --out pruned

The weights mean nothing; sizes, dtypes (float16) and names are those of the class-conditional models at 384 x 384 pixels. Needs torch
and safetensors.
"""
import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

SIZES = {"B": (12, 12, 768), "L": (24, 16, 1024), "XL": (36, 20, 1280), "XXL": (48, 24, 1536), "3B": (24, 32, 3200)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=SIZES, default="XXL")
    parser.add_argument("--grid", type=int, default=24)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    layers, heads, width = SIZES[args.size]
    channels = (8 * width // 3 + 255) // 256 * 256
    config = {
        "model_type": "llamagen", "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": heads, "intermediate_size": channels, "vocab_size": 16384, "num_classes": 1000, "grid": args.grid,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    }
    torch.manual_seed(0)

    def normal(*shape, scale):
        return (torch.randn(shape, device=args.device, dtype=torch.float16) * scale).cpu()

    tensors = {
        "cls_embedding.embedding_table.weight": normal(1001, width, scale=1),
        "tok_embeddings.weight": normal(16384, width, scale=1),
        "norm.weight": torch.ones(width, dtype=torch.float16),
        "output.weight": normal(16384, width, scale=width**-0.5),
    }
    for layer in range(layers):
        name = f"layers.{layer}."
        for norm in ("attention_norm", "ffn_norm"):
            tensors[f"{name}{norm}.weight"] = torch.ones(width, dtype=torch.float16)
        tensors[name + "attention.wqkv.weight"] = normal(3 * width, width, scale=width**-0.5)
        tensors[name + "attention.wo.weight"] = normal(width, width, scale=(2 * layers * width) ** -0.5)
        for part in ("w1", "w3"):
            tensors[f"{name}feed_forward.{part}.weight"] = normal(channels, width, scale=width**-0.5)
        tensors[name + "feed_forward.w2.weight"] = normal(width, channels, scale=(2 * layers * channels) ** -0.5)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    images = {
        "tokens": torch.randint(16384, (args.images, args.grid**2), dtype=torch.int32),
        "classes": torch.randint(1000, (args.images,), dtype=torch.int32),
    }
    save_file(images, args.out / "tokens.safetensors")
    print(f"{args.out}: {sum(tensor.numel() for tensor in tensors.values()) / 1e6:.0f} M parameters")


if __name__ == "__main__":
    main()
