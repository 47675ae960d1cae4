#!/usr/bin/env python3
"""Tests of the Python side of image models, against testdata/tiny-images; also against a folder that coppice pruned.

    python3 examples/llamagen/llamagen_test.py                      # ctest runs this
    python3 examples/llamagen/llamagen_test.py pruned FOLDER FILE   # logits of FOLDER, by the loader in it, into FILE

Needs numpy, torch and safetensors; exits with 77, a skip, where they are missing.
"""
import importlib.util
import json
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

try:
    import torch
    from safetensors.torch import load_file, save_file
except ImportError as problem:
    print(f"skipped: {problem}")
    sys.exit(77)

HERE = Path(__file__).resolve().parent
TINY = HERE.parent.parent / "testdata" / "tiny-images"


def load_module(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


llamagen, converter = load_module(HERE / "llamagen.py"), load_module(HERE / "convert.py")


def golden(name):
    return json.loads((TINY / f"{name}.golden.json").read_text())


def convert(*arguments):
    """What the converter stops with; None if it does its work."""
    with unittest.mock.patch.object(sys, "argv", ["convert.py", *map(str, arguments)]):
        try:
            converter.main()
        except SystemExit as stop:
            return stop.code


class Loader(unittest.TestCase):
    def test_logits_are_the_golden_ones(self):
        for name in ("dense", "groups", "pruned"):
            model = llamagen.load(TINY / name)
            for case in golden(name)["cases"]:
                tokens = torch.tensor([case["tokens"]])
                with torch.no_grad():
                    logits = model(torch.tensor([case["class"]]), tokens[:, :-1])[0]
                self.assertLess((logits - torch.tensor(case["logits"])).abs().max().item(), 1e-4, name)

    def test_draws_the_golden_tokens(self):
        for name in ("dense", "groups", "pruned"):
            model = llamagen.load(TINY / name)
            for one in golden(name)["samplings"]:
                tokens = llamagen.generate(
                    model, torch.tensor(one["classes"]), torch.tensor(one["uniforms"], dtype=torch.float64),
                    one["guidance"], one["temperature"], one["top_k"],
                )
                self.assertEqual(tokens.tolist(), one["tokens"], name)


class Converter(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = Path(self.folder.name) / "out"
        self.addCleanup(self.folder.cleanup)

    def test_reads_the_published_names(self):
        self.assertIsNone(convert(TINY / "published.pt", "--out", self.out, "--grid", 4, "--heads", 4))
        found, expected = (load_file(folder / "model.safetensors") for folder in (self.out, TINY / "dense"))
        self.assertEqual(found.keys(), expected.keys())
        self.assertTrue(all(torch.equal(found[name], expected[name]) for name in found))
        config = json.loads((self.out / "config.json").read_text())
        dense = json.loads((TINY / "dense" / "config.json").read_text())
        self.assertEqual(config.keys(), dense.keys())
        unknown = ("rms_norm_eps", "rope_theta")  # the same in all published models; the tiny one's are its own
        self.assertEqual({k: v for k, v in config.items() if k not in unknown}, {k: v for k, v in dense.items() if k not in unknown})

    def test_refuses_with_one_line(self):
        tensors, wqkv = load_file(TINY / "dense" / "model.safetensors"), "layers.0.attention.wqkv.weight"
        file = Path(self.folder.name) / "bad.pt"
        cases = {
            "give --heads": (tensors, ()),
            "is not a multiple": (tensors, ("--heads", 3)),
            "wqkv has 90 rows": (tensors | {wqkv: tensors[wqkv][:90]}, ("--heads", 4)),
            "is not of a class-conditional": (tensors | {"cls_embedding.cap_proj.weight": torch.ones(1)}, ("--heads", 4)),
            "no class or token embeddings": ({"norm.weight": torch.ones(1)}, ()),
            "expected tensors by name": ({"model": 3}, ()),
            "not a checkpoint of plain tensors": ({"model": TINY}, ()),  # a path object: not unpickled
        }
        for message, (content, options) in cases.items():
            torch.save(content, file)
            line = convert(file, "--out", self.out, "--grid", 4, *options)
            self.assertIn(message, line or "it did its work")
            self.assertNotIn("\n", line)
        self.assertIn("no such file", convert(file.with_name("none.pt"), "--out", self.out, "--grid", 4))
        self.assertFalse(self.out.exists())


def write_logits(folder, file):
    """Of classes 0 and null, and tokens 0, 1, .. : (2, T, V)."""
    model = load_module(Path(folder) / "llamagen.py").load(folder)
    length = model.config["grid"] ** 2
    tokens = torch.arange(length - 1).remainder(model.config["vocab_size"]).expand(2, -1)
    with torch.no_grad():
        save_file({"logits": model(torch.tensor([0, model.null_class]), tokens)}, file)


if __name__ == "__main__":
    if sys.argv[1:2] == ["pruned"]:
        write_logits(*sys.argv[2:])
    else:
        unittest.main()
