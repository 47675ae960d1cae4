#!/usr/bin/env python3
"""Makes testdata/gguf/: GGUF files by the gguf package, and what it makes of their quantised numbers.

    tools/make_gguf_goldens.py OUT [--models DIR]

golden.gguf   a value of every type, and tensors of random bytes: one of every type that coppice reads, and
              some of types that it does not
golden.f32    for each tensor of golden.gguf that is quantised and read, in order: its numbers, little-endian
golden.json   versions, and of golden.gguf
    values    per key, its type (of an array: of the elements) and value
    tensors   in order: name, type, shape (row-major)
source.gguf   tensors in F32, alignment 64, with numbers that are hard to round
written.gguf  the same numbers and metadata in F32, F16, BF16 and Q8_0 (the prefix of each name), as the
              package writes them
smollm2.json (with --models)
              of the one file in DIR/smollm2: its name, the number of its values, and per tensor the first 16
              digits of the SHA-256 of its float32 numbers, row-major

Needs gguf 0.19.0 and numpy. The same versions give the same bytes.
"""
import argparse
import hashlib
import importlib.metadata
import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Value

READ = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q4_K, Type.Q5_K, Type.Q6_K]
NOT_READ = [Type.IQ4_NL, Type.I32, Type.F64]
# Where the float16 numbers of a block lie, in bytes.
HALVES = {Type.Q4_1: [0, 2], Type.Q5_1: [0, 2], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}
# 0, -0, the smallest and the largest, infinity, and not a number: quiet, and signalling.
SPECIAL = [0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x7D01]

# Key: type, value. An array's type is that of its elements.
VALUES = {
    "u8": (Value.UINT8, 255),
    "i8": (Value.INT8, -128),
    "u16": (Value.UINT16, 65535),
    "i16": (Value.INT16, -32768),
    "u32": (Value.UINT32, 2**32 - 1),
    "i32": (Value.INT32, -(2**31)),
    "u64": (Value.UINT64, 2**64 - 1),
    "i64": (Value.INT64, -(2**63)),
    "f32": (Value.FLOAT32, 1e-5),
    "f64": (Value.FLOAT64, 0.1),
    "true": (Value.BOOL, True),
    "false": (Value.BOOL, False),
    "text": (Value.STRING, "naïve 東京\n\"quoted\""),
    "empty text": (Value.STRING, ""),
    "schlüssel": (Value.STRING, "a key beyond ASCII"),
    "u8s": (Value.UINT8, [0, 128, 255]),
    "i32s": (Value.INT32, [3, -1, 0, 2**31 - 1]),
    "u64s": (Value.UINT64, [1, 2**63 - 1]),
    "f32s": (Value.FLOAT32, [0.5, -2.25]),
    "f64s": (Value.FLOAT64, [1 / 3]),
    "bools": (Value.BOOL, [True, False, True]),
    "texts": (Value.STRING, ["", "Ġthe", "naïve", "a b"]),
}
SHORT = {
    Value.UINT8: "U8",
    Value.INT8: "I8",
    Value.UINT16: "U16",
    Value.INT16: "I16",
    Value.UINT32: "U32",
    Value.INT32: "I32",
    Value.UINT64: "U64",
    Value.INT64: "I64",
    Value.FLOAT32: "F32",
    Value.FLOAT64: "F64",
    Value.BOOL: "BOOL",
    Value.STRING: "STRING",
}


def add_values(writer, values):
    for key, (kind, value) in values.items():
        if isinstance(value, list):
            writer.add_key_value(key, value, Value.ARRAY, sub_type=kind)
        else:
            writer.add_key_value(key, value, kind)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_blocks(rng, kind):
    """A matrix of random blocks. Each float16 number in turn is special in some blocks, while the others are plain."""
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    shape = (6, 4) if numbers == 32 else (11, 2)
    blocks = rng.integers(0, 256, (shape[0] * shape[1], size), dtype=np.uint8)
    places = HALVES.get(kind, [0])
    halves = rng.normal(0, 0.02, (len(blocks), len(places))).astype(np.float16).view(np.uint16)
    for i, place in enumerate(places):
        halves[i * len(SPECIAL) : (i + 1) * len(SPECIAL), i] = SPECIAL
        blocks[:, place : place + 2] = halves[:, i : i + 1].copy().view(np.uint8)
    return blocks.reshape(shape[0], shape[1] * size)


def make_golden(out):
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(out / "golden.gguf", "none")
    add_values(writer, VALUES)
    plain = rng.normal(size=(5, 7)).astype(np.float32)
    writer.add_tensor("F32", plain)
    writer.add_tensor("F16", plain[0].astype(np.float16))
    writer.add_tensor("BF16", gguf.quantize(plain[:, :4], Type.BF16), raw_dtype=Type.BF16)
    numbers = b""
    with np.errstate(invalid="ignore"):
        for kind in READ:
            blocks = random_blocks(rng, kind)
            writer.add_tensor(kind.name, blocks, raw_dtype=kind)
            numbers += gguf.dequantize(blocks, kind).astype("<f4").tobytes()
    for kind in NOT_READ:
        block_bytes = gguf.GGML_QUANT_SIZES[kind][1]
        writer.add_tensor(kind.name, rng.integers(0, 256, (2, 3 * block_bytes), dtype=np.uint8), raw_dtype=kind)
    writer.add_tensor("rank 4", np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5))
    finish(writer)
    (out / "golden.f32").write_bytes(numbers)

    tensors = gguf.GGUFReader(out / "golden.gguf").tensors
    golden = {
        "gguf": importlib.metadata.version("gguf"),
        "numpy": np.__version__,
        "values": {key: [SHORT[kind], value] for key, (kind, value) in VALUES.items()},
        "tensors": [[t.name, t.tensor_type.name, [int(size) for size in reversed(t.shape)]] for t in tensors],
    }
    golden["values"]["f32"][1] = float(np.float32(VALUES["f32"][1]))
    (out / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", "utf-8")


def hard_numbers(rng):
    """(24, 64): blocks of 32 that are hard to quantise, then ordinary rows."""
    numbers = rng.normal(0, 0.02, (24, 64)).astype(np.float32)
    ties = np.arange(-16, 16, dtype=np.float32) + 0.5
    numbers[0, :32] = ties  # with d = 1 below: halves between two numbers
    numbers[0, 0] = 127
    numbers[0, 32:] = -3 * ties
    numbers[0, 63] = -127
    numbers[1] = 0
    numbers[2, :32] = -0.0
    numbers[2, 32:] = np.float32(1e-37) * rng.normal(size=32).astype(np.float32)  # d vanishes in float16
    numbers[3] *= np.float32(1e-5)  # d is below the normal numbers of float16
    numbers[4, :32] = 1 / 3
    numbers[5, 5] = 60000
    numbers[6] = np.nextafter(np.float32(1), np.float32(2)) * rng.integers(-3, 4, 64)
    halfway = np.array([2049, 2051, 4098, 4102, -2049, 1 + 2**-11, 1 + 3 * 2**-11], dtype=np.float32)
    numbers[7, :7] = halfway  # between two numbers of float16
    numbers[8, :4] = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1e-40], dtype=np.float32)  # of bfloat16
    return numbers


def make_written(out):
    rng = np.random.default_rng(2)
    numbers = {
        "matrix": hard_numbers(rng),
        "vector": rng.normal(size=96).astype(np.float32),
        "cube": rng.normal(size=(2, 3, 32)).astype(np.float32),
    }
    kinds = {"F32": Type.F32, "F16": Type.F16, "BF16": Type.BF16, "Q8_0": Type.Q8_0}
    source = gguf.GGUFWriter(out / "source.gguf", "none")
    written = gguf.GGUFWriter(out / "written.gguf", "none")
    for writer in (source, written):
        writer.add_custom_alignment(64)
        add_values(writer, VALUES)
    for name, values in numbers.items():
        source.add_tensor(name, values)
    with np.errstate(all="ignore"):
        for prefix, kind in kinds.items():
            for name, values in numbers.items():
                written.add_tensor(f"{prefix} {name}", gguf.quantize(values, kind), raw_dtype=kind)
    finish(source)
    finish(written)


def make_real(models, out):
    (path,) = (models / "smollm2").glob("*.gguf")
    reader = gguf.GGUFReader(path)
    digests = {}
    for tensor in reader.tensors:
        numbers = gguf.dequantize(tensor.data, tensor.tensor_type).astype("<f4")
        digests[tensor.name] = hashlib.sha256(numbers.tobytes()).hexdigest()[:16]
    # GGUF.version, GGUF.tensor_count and GGUF.kv_count are the reader's own.
    values = sum(not key.startswith("GGUF.") for key in reader.fields)
    golden = {"file": path.name, "values": values, "tensors": digests}
    (out / "smollm2.json").write_text(json.dumps(golden, indent=0) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--models", type=pathlib.Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    make_golden(options.out)
    make_written(options.out)
    if options.models:
        make_real(options.models, options.out)


if __name__ == "__main__":
    main()
