#!/usr/bin/env python3
"""Make the tiny random decoders of testdata/tiny-decoders: Hugging Face folders, and GGUF files of some of them.

    python3 tools/make_tiny_decoders.py testdata/tiny-decoders

    llama2       LLaMA 2: every head has its own keys and values, output matrix of its own
    llama3       LLaMA 3: 2 KV groups of 2 query heads, rope_scaling llama3 for a context of 32
    tied         the same with the word embeddings as output matrix, and the real models' scaling
    linear       rope_scaling linear
    mistral      3 layers; sliding_window longer than any input
    biases       attention_bias and mlp_bias
    wide-heads   head_dim 16 where hidden_size / num_attention_heads is 8
    NAME.gguf    llama2, tied and biases once more, as llama.cpp's converter writes them, in F32
    deci.gguf    4 layers, each with its own sizes: DECI_KEPT of a dense model that is not written down

All have width 32, 48 channels, take 64 tokens, and share a tokenizer: byte-level BPE with all 256 bytes. rms_norm_eps is 1e-3, far above the usual, and norms' weights are far from
1, so that leaving them out shows. Same versions, same bytes.
Needs transformers, tokenizers and gguf.
"""
import argparse
import json
import math
import os
import shutil
import zlib

import gguf
import numpy as np
import torch
import transformers
from make_tiny_models import BPE_TEXT
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

transformers.logging.set_verbosity_error()

MAX_TOKENS = 64
WIDTH = 32
HEADS = 4
CHANNELS = 48
RMS_NORM_EPS = 1e-3
BPE_MERGES = 24
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

# Config keys by which a model differs from llama2; num_key_value_heads is 2 unless it is said here.
MODELS = {
    "llama2": {"num_key_value_heads": HEADS},
    "llama3": {"rope_theta": 500000.0, "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 32}},
    "tied": {
        "rope_theta": 500000.0,
        "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 8192},
        "tie_word_embeddings": True,
    },
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "mistral": {"num_hidden_layers": 3, "sliding_window": 48},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide-heads": {"head_dim": 16},
}
GGUF_TWINS = ["llama2", "tied", "biases"]

# Of each layer of deci.gguf: the query heads of each of the 2 KV groups that stay (as many in each), and the channels.
DECI_KEPT = [
    ([[0, 1], [0, 1]], range(48)),
    ([[], [1]], range(1, 48, 3)),
    ([[], []], range(7, 40)),
    ([[1], [0]], range(0, 40, 2)),
]


def bpe_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(SPECIALS) + len(alphabet) + BPE_MERGES,
        special_tokens=[AddedToken(name, special=True) for name in SPECIALS],
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(BPE_TEXT.split("\n"), trainer)
    return tokenizer


def draw_weights(model, seed):
    """Fills every parameter from a generator of its own, so that no weight depends on the order of the others."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
            values = generator.standard_normal(tuple(parameter.shape))
            if name.endswith("norm.weight"):
                values = 1 + 0.3 * values
            elif name.endswith("bias"):
                values = 0.2 * values
            elif "embed_tokens" in name:
                values = 0.5 * values
            else:  # a linear layer's weight (out, in)
                values = 1.5 / np.sqrt(parameter.shape[1]) * values
            parameter.copy_(torch.from_numpy(values))


def make_model(name, changes, tokenizer):
    config = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": WIDTH,
        "intermediate_size": CHANNELS,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_TOKENS,
        "rms_norm_eps": RMS_NORM_EPS,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": 0,
    } | changes
    kind = "Mistral" if name == "mistral" else "Llama"
    torch.manual_seed(0)
    model = getattr(transformers, kind + "ForCausalLM")(getattr(transformers, kind + "Config")(**config))
    draw_weights(model, zlib.crc32(name.encode()))
    return model.eval()


def deci_dense_model(tokenizer):
    """The model that deci.gguf is cut from."""
    return make_model("deci", {"num_hidden_layers": len(DECI_KEPT)}, tokenizer)


def write_folder(out, name, model, tokenizer):
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    for file in os.listdir(folder):  # transformers makes weights readable by their owner alone
        os.chmod(os.path.join(folder, file), 0o644)


def rope_factors(config):
    """What llama.cpp divides the frequencies by (its converter writes it as rope_freqs.weight)."""
    scaling = config.rope_scaling
    context = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    factors = []
    for j in range(0, config.head_dim, 2):
        wavelength = 2 * math.pi * config.rope_theta ** (j / config.head_dim)
        if wavelength < context / high:
            factors.append(1.0)
        elif wavelength > context / low:
            factors.append(scaling["factor"])
        else:
            smooth = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def halves_to_pairs(rows, head_dim):
    """llama.cpp turns neighbours, so that a head's rows (j, j + E/2) become (2j, 2j + 1)."""
    return rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def add_metadata(writer, config, heads, groups, channels):
    """Lists of one number a layer where layers differ, else numbers."""
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(channels)
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def add_tokenizer(writer, tokenizer):
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([piece for piece, _ in by_id])
    kinds = [gguf.TokenType.CONTROL if piece in SPECIALS else gguf.TokenType.NORMAL for piece, _ in by_id]
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def add_tensors(writer, model, cut=lambda layer, name, values: values):
    """cut: from layer number, name without ".weight" and (out, in) or (out) values to what is written; None leaves it out."""
    config = model.config
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    writer.add_tensor("token_embd.weight", tensors["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", tensors["model.norm.weight"])
    if not config.tie_word_embeddings:
        writer.add_tensor("output.weight", tensors["lm_head.weight"])
    if (config.rope_scaling or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(config))
    for layer in range(config.num_hidden_layers):
        for ours, theirs in LAYER_NAMES.items():
            for end in (".weight", ".bias"):
                values = tensors.get(f"model.layers.{layer}.{ours}{end}")
                values = None if values is None else cut(layer, ours + end, values)
                if values is None:
                    continue
                if ours in ("self_attn.q_proj", "self_attn.k_proj"):
                    values = halves_to_pairs(values, config.head_dim)
                writer.add_tensor(f"blk.{layer}.{theirs}{end}", np.ascontiguousarray(values))


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_twin(out, name, model, tokenizer):
    config = model.config
    writer = gguf.GGUFWriter(os.path.join(out, name + ".gguf"), "llama")
    writer.add_name(f"tiny {name}")
    add_metadata(writer, config, config.num_attention_heads, config.num_key_value_heads, config.intermediate_size)
    add_tokenizer(writer, tokenizer)
    add_tensors(writer, model)
    finish(writer)


def deci_heads(layer):
    """Query heads that stay, numbered through the layer, and KV groups."""
    queries, _ = DECI_KEPT[layer]
    per_group = HEADS // len(queries)
    heads = [group * per_group + query for group, kept in enumerate(queries) for query in kept]
    return heads, [group for group, kept in enumerate(queries) if kept]


def columns(heads, head_dim):
    return [head * head_dim + column for head in heads for column in range(head_dim)]


def cut_for_deci(head_dim):
    def cut(layer, name, values):
        heads, groups = deci_heads(layer)
        channels = list(DECI_KEPT[layer][1])
        if not heads and (name.startswith("self_attn.") or name.startswith("input_layernorm.")):
            return None
        if name.startswith("self_attn.q_proj"):
            return values[columns(heads, head_dim)]
        if name.startswith(("self_attn.k_proj", "self_attn.v_proj")):
            return values[columns(groups, head_dim)]
        if name.startswith("self_attn.o_proj"):
            return values[:, columns(heads, head_dim)]
        if name.startswith(("mlp.gate_proj", "mlp.up_proj")):
            return values[channels]
        return values[:, channels] if name.startswith("mlp.down_proj") else values

    return cut


def write_deci(out, tokenizer):
    model = deci_dense_model(tokenizer)
    config = model.config
    layers = range(len(DECI_KEPT))
    writer = gguf.GGUFWriter(os.path.join(out, "deci.gguf"), "deci")
    writer.add_name("tiny deci")
    add_metadata(
        writer,
        config,
        [len(deci_heads(layer)[0]) for layer in layers],
        [len(deci_heads(layer)[1]) for layer in layers],
        [len(DECI_KEPT[layer][1]) for layer in layers],
    )
    add_tokenizer(writer, tokenizer)
    add_tensors(writer, model, cut_for_deci(config.head_dim))
    finish(writer)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder that receives the folders and files; their namesakes are replaced")
    out = parser.parse_args().out
    os.makedirs(out, exist_ok=True)
    tokenizer = bpe_tokenizer()
    for name, changes in MODELS.items():
        model = make_model(name, changes, tokenizer)
        write_folder(out, name, model, tokenizer)
        if name in GGUF_TWINS:
            write_twin(out, name, model, tokenizer)
    write_deci(out, tokenizer)


if __name__ == "__main__":
    main()
