"""What the scripts beside share: models and tokens by transformers, the reference that coppice is held against.

Development only: nothing here runs when coppice is built, tested or used. Tokens come from a folder's tokenizer.json through
the tokenizers library itself, with the padding and truncation stored in that file switched off.
"""
import json
import os
from dataclasses import dataclass

import tokenizers
import torch
import transformers

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

TASK_OF_CLASS_ENDING = {
    "ForSequenceClassification": "classification",
    "ForQuestionAnswering": "question-answering",
}


def versions():
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def task_of(folder):
    """'classification', 'regression', 'question-answering', or 'embedding' where config.json names no known head."""
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    name = config["architectures"][0]
    task = next((task for ending, task in TASK_OF_CLASS_ENDING.items() if name.endswith(ending)), "embedding")
    if task == "classification" and config.get("problem_type") == "regression":
        return "regression"
    return task


def load_model(folder, dtype):
    """The model of a folder with its head, weights widened to `dtype`, in eval mode, with plain attention."""
    auto_class = {
        "classification": transformers.AutoModelForSequenceClassification,
        "regression": transformers.AutoModelForSequenceClassification,
        "question-answering": transformers.AutoModelForQuestionAnswering,
        "embedding": transformers.AutoModel,
    }[task_of(folder)]
    model, info = auto_class.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", local_files_only=True, output_loading_info=True
    )
    # A base checkpoint may lack the pooler, which an embedding does not use; anything else would be drawn at random.
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        raise SystemExit(f"{folder}: tensors not found: {missing}")
    return model.eval()


def load_tokenizer(folder):
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def pad(encodings, pad_id, with_types):
    """Model inputs of several (ids, type_ids), padded on the right; type ids only where the model has an embedding for them."""
    longest = max(len(ids) for ids, _ in encodings)
    inputs = {
        "input_ids": torch.full((len(encodings), longest), pad_id),
        "attention_mask": torch.zeros((len(encodings), longest), dtype=torch.long),
    }
    types = torch.zeros((len(encodings), longest), dtype=torch.long)
    for row, (ids, type_ids) in enumerate(encodings):
        inputs["input_ids"][row, : len(ids)] = torch.tensor(ids)
        inputs["attention_mask"][row, : len(ids)] = 1
        types[row, : len(ids)] = torch.tensor(type_ids)
    if with_types:
        inputs["token_type_ids"] = types
    return inputs


def has_types(model):
    """BERT and RoBERTa have type embeddings (RoBERTa's one row is for type 0); DistilBERT and MPNet have none."""
    return getattr(model.config, "type_vocab_size", 0) > 0


def model_inputs(model, encodings):
    return pad(encodings, model.config.pad_token_id, has_types(model))


def mean_of_tokens(hidden, attention_mask):
    """Mean over the valid tokens of the last hidden state, before normalising. (N, T, D), (N, T) -> (N, D)"""
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


@dataclass(frozen=True)
class Digits:
    """Rounds floats to so many significant digits, through nested lists."""

    count: int

    def __call__(self, value):
        if isinstance(value, torch.Tensor):
            value = value.tolist()
        if isinstance(value, list):
            return [self(item) for item in value]
        return float(f"{value:.{self.count}g}")


def write_json(path, value):
    """Writes an object so that a diff can be read: a line for each key of the object and of each of its cases."""

    def compact(item):
        return json.dumps(item, ensure_ascii=False, separators=(",", ":"))

    def lines(mapping, indent):
        for index, (key, item) in enumerate(mapping.items()):
            end = "," if index + 1 < len(mapping) else ""
            if isinstance(item, list) and item and isinstance(item[0], dict):
                yield f"{indent}{compact(key)}: ["
                for position, case in enumerate(item):
                    yield f"{indent} {{"
                    yield from lines(case, indent + "  ")
                    yield f"{indent} }}" + ("," if position + 1 < len(item) else "")
                yield f"{indent}]{end}"
            else:
                yield f"{indent}{compact(key)}: {compact(item)}{end}"

    with open(path, "w", encoding="utf-8") as file:
        file.write("{\n" + "\n".join(lines(value, " ")) + "\n}\n")
