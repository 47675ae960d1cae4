#!/usr/bin/env python3
"""Quantise a GGUF file with stock llama.cpp's own quantiser, llama_model_quantize() of its prebuilt library.

    python3 tools/quantize_gguf.py build/llama_cpp IN.gguf OUT.gguf Q4_K_M

The folder is the one that scripts/fetch_llama_cpp makes. Types: F16, Q8_0, Q4_K_M. For tests of written files; needs no package.
"""
import argparse
import ctypes
import pathlib
import sys

TYPES = {"F16": 1, "Q8_0": 7, "Q4_K_M": 15}  # enum llama_ftype


class Parameters(ctypes.Structure):
    """llama_model_quantize_params: the two fields that are set, and room for those that keep their defaults."""

    _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("rest", ctypes.c_byte * 504)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("llama_cpp", "source", "target"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("type", choices=TYPES)
    options = parser.parse_args()
    libraries = sorted(options.llama_cpp.glob("node_modules/@node-llama-cpp/*/bins/*/libllama.*so*"))
    if not libraries:
        sys.exit(f"no libllama below {options.llama_cpp}")
    for name in sorted(libraries[0].parent.glob("libggml*.so")):
        if "cpu" not in name.name:
            ctypes.CDLL(str(name), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(libraries[0]))
    library.llama_model_quantize_default_params.restype = Parameters
    library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters)]
    parameters = library.llama_model_quantize_default_params()
    parameters.threads, parameters.file_type = 1, TYPES[options.type]
    status = library.llama_model_quantize(
        str(options.source).encode(), str(options.target).encode(), ctypes.byref(parameters)
    )
    sys.exit(f"llama_model_quantize failed: {status}" if status else 0)


if __name__ == "__main__":
    main()
