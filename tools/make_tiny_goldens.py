#!/usr/bin/env python3
"""Record what transformers computes with the tiny models: DIR/NAME.golden.json beside each folder DIR/NAME.

    python3 tools/make_tiny_goldens.py testdata/tiny

All arithmetic is in float64, with the folder's weights widened, so that a difference to a golden is the error of the program
under test. A case is one input, computed alone; the same inputs as one padded batch must agree, else this script stops.

Keys of a golden: layers, heads, channels (L, H, C of the model) and cases, each with
  text, text_pair         the input; cut to max_tokens by the tokenizers library's longest-first
  ids, type_ids           (T), special tokens included; type_ids also where the model has no embedding for them
  logits                  classification (3), regression (1)
  start_logits, end_logits   question answering, (T) each
  hidden, hidden_sum      base model: the last hidden state's first values (T, 4) and its sum over the width (T)
  embedding, mean_norm    base model: mean of the last hidden state over the tokens, over its own norm (D), and that norm
  label | target | start, end, and loss    cross entropy | (logit - target)^2 | mean of start's and end's cross entropies
  head_gradient           (L * H), layer by layer: the loss differentiated by a mask, at 1, on each head's output, i.e. on the
                          head's columns of the input of the attention's output projection
  channel_gradient        (L * C), the same for the input of the second feed-forward matrix
Gradients are kept for the first cases only. Floats have 7 significant digits.
"""
import argparse
import os
from contextlib import contextmanager

import oracle
import torch
from torch.nn.functional import cross_entropy, normalize

MAX_TOKENS = 64
HIDDEN_VALUES = 4
GRADIENT_CASES = 4
BATCH_TOLERANCE = 1e-11
TEXTS = [
    ("The cat sat.", None),
    ("Where is the bird?", "The bird sat on the old red house, and the dog saw it."),
    ("A very good film; not slow, and they made it likeable!", None),
    (
        "Who saw the dogs? She was on the river and he was in the city, where the great book is.",
        "He ran to the river, and the cat was not in the house. It is good to you: we like the slow old city and the birds. "
        "The film they made was bad; what a book, what a river, what a house! She likes it in the city of the great red bird.",
    ),
    ("", None),
    ("Café 猫 TAXI 🐦 it's 1984...", None),
]

# Linear layers whose inputs are the units' outputs: (attention output, second feed-forward matrix).
UNIT_LAYERS = {
    "bert": ("attention.output.dense", "output.dense"),
    "distilbert": ("attention.out_lin", "ffn.lin2"),
    "roberta": ("attention.output.dense", "output.dense"),
    "mpnet": ("attention.attn.o", "output.dense"),
}
to_json = oracle.Digits(7)


def unit_layers(model):
    """The output projection and the second feed-forward matrix of every layer, as two lists."""
    base = model.base_model
    blocks = base.transformer.layer if model.config.model_type == "distilbert" else base.encoder.layer
    names = UNIT_LAYERS[model.config.model_type]
    return [[block.get_submodule(name) for block in blocks] for name in names]


@contextmanager
def masked_inputs(layers, masks, width):
    """Multiplies the input of each layer by its row of masks (L, units), a unit being `width` columns."""

    def multiply(row):
        return lambda _, inputs: (inputs[0] * row.repeat_interleave(width),)

    handles = [layer.register_forward_pre_hook(multiply(row)) for layer, row in zip(layers, masks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def labels_of(task, index, tokens):
    if task == "classification":
        return {"label": index % 3}
    if task == "regression":
        return {"target": 0.5 * index - 1}
    if task == "question-answering":
        return {"start": tokens // 2, "end": min(tokens // 2 + 1, tokens - 1)}
    return {}


def loss_of(outputs, labels):
    """The loss of one example, (1, ...) outputs without padding."""
    if "label" in labels:
        return cross_entropy(outputs.logits, torch.tensor([labels["label"]]))
    if "target" in labels:
        return (outputs.logits[0, 0] - labels["target"]) ** 2
    start = cross_entropy(outputs.start_logits, torch.tensor([labels["start"]]))
    end = cross_entropy(outputs.end_logits, torch.tensor([labels["end"]]))
    return (start + end) / 2


def outputs_of(task, outputs, row, tokens, attention_mask):
    """One row of a batch's outputs, cut to its own tokens, as named tensors."""
    if task in ("classification", "regression"):
        return {"logits": outputs.logits[row]}
    if task == "question-answering":
        return {"start_logits": outputs.start_logits[row, :tokens], "end_logits": outputs.end_logits[row, :tokens]}
    hidden = outputs.last_hidden_state
    mean = oracle.mean_of_tokens(hidden, attention_mask)[row]
    return {
        "hidden": hidden[row, :tokens, :HIDDEN_VALUES],
        "hidden_sum": hidden[row, :tokens].sum(-1),
        "embedding": normalize(mean, dim=0),
        "mean_norm": mean.norm(),
    }


def gradients_of(model, inputs, labels):
    """The loss's gradient by the head mask and by the channel mask, at 1, (L * H) and (L * C)."""
    projections, second_matrices = unit_layers(model)
    heads = model.config.num_attention_heads
    head_width = projections[0].in_features // heads
    head_mask = torch.ones(len(projections), heads, dtype=torch.float64, requires_grad=True)
    channel_mask = torch.ones(len(projections), second_matrices[0].in_features, dtype=torch.float64, requires_grad=True)
    with masked_inputs(projections, head_mask, head_width), masked_inputs(second_matrices, channel_mask, 1):
        loss = loss_of(model(**inputs), labels)
    gradients = torch.autograd.grad(loss, [head_mask, channel_mask])
    return dict(zip(["head_gradient", "channel_gradient"], [gradient.flatten() for gradient in gradients]))


def check_batch(name, model, task, encodings, alone):
    """Padding must change nothing: the padded batch of all cases gives the outputs of each case alone."""
    inputs = oracle.model_inputs(model, encodings)
    with torch.no_grad():
        outputs = model(**inputs)
    for row, (ids, _) in enumerate(encodings):
        together = outputs_of(task, outputs, row, len(ids), inputs["attention_mask"])
        for key, value in together.items():
            difference = (value - alone[row][key]).abs().max().item()
            if not difference < BATCH_TOLERANCE:
                raise SystemExit(f"{name}: case {row}, {key}: padding changes the output by {difference:g}")


def make_golden(folder):
    task = oracle.task_of(folder)
    model = oracle.load_model(folder, torch.float64)
    tokenizer = oracle.load_tokenizer(folder)
    tokenizer.enable_truncation(MAX_TOKENS, strategy="longest_first")
    cases, all_outputs, encodings = [], [], []
    for index, (text, text_pair) in enumerate(TEXTS):
        encoding = tokenizer.encode(text, text_pair)
        encodings.append((encoding.ids, encoding.type_ids))
        inputs = oracle.model_inputs(model, encodings[-1:])
        labels = labels_of(task, index, len(encoding.ids))
        with torch.no_grad():
            outputs = model(**inputs)
            all_outputs.append(outputs_of(task, outputs, 0, len(encoding.ids), inputs["attention_mask"]))
            numbers = dict(all_outputs[-1])
            if labels:
                numbers["loss"] = loss_of(outputs, labels)
        if labels and index < GRADIENT_CASES:
            numbers |= gradients_of(model, inputs, labels)
        case = {"text": text} | ({"text_pair": text_pair} if text_pair is not None else {})
        case |= {"ids": encoding.ids, "type_ids": encoding.type_ids} | labels
        cases.append(case | {key: to_json(value) for key, value in numbers.items()})
    check_batch(folder, model, task, encodings, all_outputs)
    projections, second_matrices = unit_layers(model)
    return {
        "made_by": "tools/make_tiny_goldens.py",
        "versions": oracle.versions(),
        "arithmetic": "float64",
        "task": task,
        "max_tokens": MAX_TOKENS,
        "layers": len(projections),
        "heads": model.config.num_attention_heads,
        "channels": second_matrices[0].in_features,
        "cases": cases,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", help="folder of the tiny models, as tools/make_tiny_models.py wrote it")
    folder = parser.parse_args().dir
    for name in sorted(os.listdir(folder)):
        if os.path.isfile(os.path.join(folder, name, "config.json")):
            oracle.write_json(os.path.join(folder, name + ".golden.json"), make_golden(os.path.join(folder, name)))


if __name__ == "__main__":
    main()
