#!/usr/bin/env python3
"""Record what transformers computes with the tiny decoders: DIR/NAME.golden.json beside each folder DIR/NAME, and for deci.gguf.

    python3 tools/make_tiny_decoder_goldens.py testdata/tiny-decoders

Weights and products are in float64; norms, softmax and rotation in float32, as transformers has them, so that a golden is exact
to about 1e-6. A case is one input, computed alone; the same inputs as one batch padded on the right must agree, else this
script stops. deci.gguf is the dense model it was cut from, with zeros in place of what was cut off.

Keys of a golden: layers, groups (KV), queries (query heads a group), channels (of the dense model), logits_of
(LOGITS), and cases, each with
  text, ids           and the models' tokenizer's ids (T) of it
  type_ids            (T), all 0
  logits              (T, 32): of LOGITS, ids spread over the vocabulary
  log_sum             (T): logarithm of the sum of exp over the whole vocabulary
  loss                mean cross entropy of the next tokens; not for one token alone
  group_gradient      (L * G), layer by layer: the loss differentiated by a mask, at 1, on each KV group's part of the input of
                      o_proj
  channel_gradient    (L * C), the same for the input of down_proj
Floats have 7 significant digits.
"""
import argparse
import os

import make_tiny_decoders as tiny
import oracle
import torch
import transformers
from torch.nn.functional import cross_entropy

TEXTS = ["T", "The cat", "Who made the film?", "It is not good.\n\nThe dog, the bird: 1984", "Zoë likes the slow old river house 猫!"]
LOGITS = list(range(0, 283, 9))
BATCH_TOLERANCE = 1e-5
to_json = oracle.Digits(7)


def masked_inputs(layers, masks):
    """Multiplies the input of each linear layer by its mask (I)."""

    def multiply(mask):
        return lambda _, inputs: (inputs[0] * mask,)

    return [layer.register_forward_pre_hook(multiply(mask)) for layer, mask in zip(layers, masks)]


def loss_of(logits, ids):
    """(1, T, V), (1, T)"""
    return cross_entropy(logits[0, :-1], ids[0, 1:])


def gradients_of(model, ids):
    """The loss's gradient by the group mask and by the channel mask, at 1."""
    config = model.config
    blocks = model.model.layers
    widths = [block.self_attn.o_proj.in_features // config.num_key_value_heads for block in blocks]
    groups = torch.ones(len(blocks), config.num_key_value_heads, dtype=torch.float64, requires_grad=True)
    channels = torch.ones(len(blocks), config.intermediate_size, dtype=torch.float64, requires_grad=True)
    handles = masked_inputs(
        [block.self_attn.o_proj for block in blocks], [row.repeat_interleave(width) for row, width in zip(groups, widths)]
    )
    handles += masked_inputs([block.mlp.down_proj for block in blocks], channels)
    loss = loss_of(model(ids).logits, ids)
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(loss, [groups, channels])
    return {"group_gradient": gradients[0].flatten(), "channel_gradient": gradients[1].flatten()}


def check_batch(name, model, all_ids, alone):
    """Padding on the right must change nothing."""
    inputs = oracle.pad([(ids, [0] * len(ids)) for ids in all_ids], 5, with_types=False)
    with torch.no_grad():
        together = model(**inputs).logits
    for row, ids in enumerate(all_ids):
        difference = (together[row, : len(ids)] - alone[row]).abs().max().item()
        if not difference < BATCH_TOLERANCE:
            raise SystemExit(f"{name}: case {row}: padding changes the output by {difference:g}")


def cases_of(name, model, with_gradients=True):
    tokenizer = tiny.bpe_tokenizer()
    encodings = [tokenizer.encode(text) for text in TEXTS]
    inputs = [{"text": text, "ids": e.ids, "type_ids": e.type_ids} for text, e in zip(TEXTS, encodings)]
    all_logits = []
    for case in inputs:
        ids = torch.tensor([case["ids"]])
        with torch.no_grad():
            logits = model(ids).logits
        all_logits.append(logits[0])
        numbers = {"logits": logits[0][:, LOGITS], "log_sum": logits[0].logsumexp(-1)}
        if ids.shape[1] > 1:
            numbers["loss"] = loss_of(logits, ids)
            if with_gradients:
                numbers |= gradients_of(model, ids)
        case |= {key: to_json(value) for key, value in numbers.items()}
    check_batch(name, model, [case["ids"] for case in inputs], all_logits)
    return inputs


def golden(model, cases):
    config = model.config
    return {
        "made_by": "tools/make_tiny_decoder_goldens.py",
        "versions": oracle.versions(),
        "arithmetic": "float64; norms, softmax and rotation float32",
        "layers": config.num_hidden_layers,
        "groups": config.num_key_value_heads,
        "queries": config.num_attention_heads // config.num_key_value_heads,
        "channels": config.intermediate_size,
        "logits_of": LOGITS,
        "cases": cases,
    }


def deci_cases():
    model = tiny.deci_dense_model(tiny.bpe_tokenizer()).double()
    model.set_attn_implementation("eager")
    head_dim = model.config.head_dim
    for layer, block in enumerate(model.model.layers):
        heads, channels = torch.zeros(block.self_attn.o_proj.in_features), torch.zeros(model.config.intermediate_size)
        heads[tiny.columns(tiny.deci_heads(layer)[0], head_dim)] = 1
        channels[list(tiny.DECI_KEPT[layer][1])] = 1
        masked_inputs([block.self_attn.o_proj, block.mlp.down_proj], [heads, channels])
    return golden(model, cases_of("deci", model, with_gradients=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", help="folder of the tiny decoders, as tools/make_tiny_decoders.py wrote it")
    folder = parser.parse_args().dir
    for name in tiny.MODELS:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            os.path.join(folder, name), dtype=torch.float64, attn_implementation="eager", local_files_only=True
        ).eval()
        oracle.write_json(os.path.join(folder, name + ".golden.json"), golden(model, cases_of(name, model)))
    oracle.write_json(os.path.join(folder, "deci.golden.json"), deci_cases())


if __name__ == "__main__":
    main()
