#!/usr/bin/env python3
"""Tests of make_checkpoint: its folders are read, measured and pruned by coppice.

    python3 bench/make_checkpoint_test.py COPPICE    # ctest runs this; COPPICE is the program

Needs numpy and safetensors; exits with 77, a skip, where they are missing.
"""
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

try:
    import numpy as np
    from safetensors import safe_open
except ImportError as problem:
    print(f"skipped: {problem}")
    sys.exit(77)

MAKER = Path(__file__).resolve().parent / "make_checkpoint"
COPPICE = sys.argv.pop(1) if len(sys.argv) > 1 else None
SENTENCES = ["The cat sat on the river.", "A good book was made in the old house!", "It ran", "They saw 2 birds, and a dog; why not?"]


def load_maker():
    loader = importlib.machinery.SourceFileLoader("make_checkpoint", str(MAKER))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_checkpoint", loader))
    sys.modules["make_checkpoint"] = module
    loader.exec_module(module)
    return module


maker = load_maker()


def tensors_of(folder):
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "numpy") as shard:
            found.update({name: shard.get_tensor(name) for name in shard.keys()})
    return found


class MakeCheckpoint(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def make(self, shape, *options, name="model"):
        out = self.folder / name
        subprocess.run([sys.executable, str(MAKER), shape, str(out), *options], check=True, capture_output=True)
        return out

    def coppice(self, *arguments):
        run = subprocess.run([COPPICE, *map(str, arguments)], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)

    def data(self, shape):
        if shape == "tiny-llama":
            file = self.folder / "data.txt"
            file.write_text(" ".join(SENTENCES * 100))
        else:
            file = self.folder / "data.jsonl"
            lines = [json.dumps({"text": f"{text} {i}", "label": i % 2}) for i, text in enumerate(SENTENCES * 16)]
            file.write_text("\n".join(lines))
        return file

    def test_shards_hold_the_same_values_as_one_file(self):
        whole = tensors_of(self.make("tiny-llama", "--dtype", "f32", name="whole"))
        folder = self.make("tiny-llama", "--dtype", "f32", "--shard-size", "40KB", name="shards")
        files = sorted(folder.glob("*.safetensors"))
        self.assertGreater(len(files), 2)
        for file in files:
            with safe_open(file, "numpy") as shard:  # a tensor larger than the limit has a shard to itself
                self.assertTrue(file.stat().st_size < 42_000 or len(list(shard.keys())) == 1, file)
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        shards = tensors_of(folder)
        self.assertEqual(set(index["weight_map"]), set(whole))
        for name, values in whole.items():
            np.testing.assert_array_equal(values, shards[name], name)

    def test_values_depend_on_neither_dtype_nor_chunk(self):
        tensor = maker.Tensor("name", (48, 64), 0.5, mean=1, unit=8)
        exact = np.frombuffer(b"".join(maker.draw(tensor, 3, "f32")), np.float32)
        half = np.frombuffer(b"".join(maker.draw(tensor, 3, "f16")), np.float16)
        brain = np.frombuffer(b"".join(maker.draw(tensor, 3, "bf16")), np.uint16).astype(np.uint32) << 16
        np.testing.assert_allclose(half, exact, rtol=2**-11, atol=1e-7)
        np.testing.assert_allclose(brain.view(np.float32), exact, rtol=2**-8)
        whole, maker.CHUNK = maker.CHUNK, 100
        try:
            pieces = list(maker.draw(tensor, 3, "f32"))
        finally:
            maker.CHUNK = whole
        self.assertEqual(len(pieces), 48)
        np.testing.assert_array_equal(np.frombuffer(b"".join(pieces), np.float32), exact)

    def test_published_sizes(self):
        millions = {"llama-2-7b": 6738, "llama-2-13b": 13016, "llama-3-8b": 8030, "smollm2-135m": 134.5, "bert-large": 335, "mpnet-base": 109.5}
        for shape, expected in millions.items():
            count = sum(tensor.count for tensor in maker.tensors_of(maker.SHAPES[shape])) / 1e6
            self.assertAlmostEqual(count / expected, 1, delta=0.003, msg=shape)

    @unittest.skipUnless(COPPICE, "the program was not named")
    def test_coppice_reads_and_prunes_them(self):
        for shape in ("tiny-llama", "tiny-bert", "tiny-mpnet"):
            with self.subTest(shape=shape):
                model = self.make(shape, "--layers", "2", "--shard-size", "30KB", name=shape)
                data = self.data(shape)
                described = self.coppice("inspect", model, "--json")
                self.assertEqual(described["layers"], 2)
                out = self.folder / (shape + "-pruned")
                options = ["--samples", "16", "--length", "32", "--keep-params", "0.5", "--channel-multiple", "8"]
                report = self.coppice("prune", model, "--data", data, "--out", out, "--json", *options)
                self.assertLess(report["params"]["after"], report["params"]["before"])
                measured = self.coppice("eval", model, "--data", data, "--against", out, "--json")
                # Outputs are neither infinite nor all alike: pruning half of the blocks is seen.
                self.assertGreater(measured["kl"], 1e-4)
                self.assertLess(measured["kl"], 20)


if __name__ == "__main__":
    unittest.main()
