"""Load written folders in transformers and hold their outputs against coppice's.

    python transformers_check.py FOLDER

FOLDER/NAME is a model as coppice wrote it, FOLDER/NAME.json what coppice makes of an input:

    auto       the automatic class, e.g. "AutoModelForQuestionAnswering"
    stock      whether transformers' own class must load it, without remote code
    ids, type_ids (may be absent), mask    (B, T)
    outputs    rows of (real tokens, numbers), or (B, numbers) of a head that reads one token or the mean
    prompt, generated    of language models: greedy decoding

One line of JSON a model, with what the caller judges: difference, missing and unexpected tensors, the class's module, and, of a
copy that save_pretrained wrote to FOLDER/NAME.again, the difference to the first; of language models what generate() gives with
and without the key-value cache. Run by src/export/transformers_test.cc; works in transformers 4.57 and 5.
"""
import json
import pathlib
import sys
import warnings

import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.filterwarnings("ignore")


def rows_of(output, mask):
    """What a model gives, as coppice does."""
    if "start_logits" in output:
        return torch.stack([output.start_logits, output.end_logits], -1)[mask]
    if "logits" in output:
        return output.logits[mask] if output.logits.dim() == 3 else output.logits
    weights = mask.unsqueeze(-1).to(output.last_hidden_state)
    return torch.nn.functional.normalize((output.last_hidden_state * weights).sum(1) / weights.sum(1), dim=-1)


def load(auto, folder, trust):
    model, info = auto.from_pretrained(
        folder, trust_remote_code=trust, output_loading_info=True, dtype=torch.float32
    )
    return model.eval(), info


def run(model, expected):
    mask = torch.tensor(expected["mask"]).bool()
    inputs = {"input_ids": torch.tensor(expected["ids"]), "attention_mask": mask.long()}
    if "type_ids" in expected and getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.tensor(expected["type_ids"])
    with torch.no_grad():
        return rows_of(model(**inputs), mask)


def generated(model, expected, **options):
    prompt = torch.tensor([expected["prompt"]])
    count = len(expected["generated"])
    model.generation_config.eos_token_id = None
    out = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False, pad_token_id=0, **options
    )
    return out[0, prompt.shape[1] :].tolist()


def check(folder):
    expected = json.loads(folder.with_name(folder.name + ".json").read_text())
    auto = getattr(transformers, expected["auto"])
    model, info = load(auto, folder, not expected["stock"])
    outputs = run(model, expected)
    again = folder.with_name(folder.name + ".again")
    model.save_pretrained(again)
    second, _ = load(auto, again, not expected["stock"])
    result = {
        "difference": float((outputs - torch.tensor(expected["outputs"])).abs().max()),
        "again": float((run(second, expected) - outputs).abs().max()),
        "module": type(model).__module__.split(".")[0],
        "missing": sorted(key for key in info["missing_keys"] if "pooler" not in key),  # no head reads it
        "unexpected": sorted(info["unexpected_keys"]),
    }
    if "generated" in expected:
        result["generated"] = generated(model, expected)
        result["without_cache"] = generated(model, expected, use_cache=False)
    return result


def main():
    torch.set_num_threads(1)
    for file in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
        try:
            result = check(file.with_suffix(""))
        except Exception as error:  # the caller wants to know of every folder
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"name": file.stem, **result}), flush=True)


if __name__ == "__main__":
    main()
