"""Makes testdata/safetensors/golden.safetensors and golden.json, what a reader must find in it.

Needs torch and safetensors (made with 2.13.0 and the version written into golden.json). Run from the
top of the tree: python3 tools/make_safetensors_golden.py
"""

import json
import pathlib

import safetensors
import safetensors.torch
import torch

OUT = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "safetensors"
NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.bool: "BOOL",
    torch.uint8: "U8",
}

TENSORS = {
    "f32": torch.tensor([[1.5, -2.25, 3.0], [0.0, 1e-3, -65536.5]]),
    "f16": torch.tensor([0.5, -1.0, 65504.0, 6e-8], dtype=torch.float16),
    "bf16": torch.tensor([[0.1, -3.0e38], [1.0, 7.0]], dtype=torch.bfloat16),
    "i64": torch.tensor([-1, 0, 2**53 + 1]),
    "bool": torch.tensor([True, False, True]),
    "u8": torch.tensor([0, 255], dtype=torch.uint8),
    "rank0": torch.tensor(42.0),
    "empty": torch.zeros(3, 0, 2),
    "näme \"quoted\"\t": torch.tensor([1.0]),
}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "golden.safetensors"
    # One key only: the library writes two in any order.
    safetensors.torch.save_file(TENSORS, path, metadata={"format": "pt"})
    path.chmod(0o644)
    # Floats as doubles: every F32, F16 and BF16 value is one exactly.
    expected = {
        name: {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "values": (tensor if tensor.dtype == torch.int64 else tensor.double()).flatten().tolist(),
        }
        for name, tensor in TENSORS.items()
    }
    text = json.dumps({"safetensors": safetensors.__version__, "tensors": expected}, indent=1)
    (OUT / "golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
