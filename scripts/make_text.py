#!/usr/bin/env python3
"""Make plain English text out of the language reference that comes with Python (pydoc_data.topics).

    make_text.py CALIBRATE HELDOUT

Both are paragraphs of prose, one a line, with blank lines between; no paragraph is in both. Titles, tables, grammars and code
are left out. Every fifth topic is held out. The text, and so its numbers, differ a little between versions of Python.
"""
import argparse
import pathlib
import re

from pydoc_data import topics

MIN_WORDS = 6
HELD_OUT_EVERY = 5
TABLE_GRAMMAR_OR_CODE = re.compile(r"::=|>>>|[-+=*~^|]{3}|^(\.\.|#) |\S {3}", re.MULTILINE)
MARKUP = [
    (re.compile(r"^(\*|\d+\.) "), ""),  # an item of a list
    (re.compile(r"\*\*"), ""),
    (re.compile(r"(?<!\w)\*(\w[^*]*)\*"), r"\1"),  # *emphasis*
    (re.compile(r"\s*\[\d+\]"), ""),  # a footnote's number
]


def prose(text):
    """The paragraphs of one topic, each on one line."""
    for paragraph in re.split(r"\n\s*\n", text):
        if TABLE_GRAMMAR_OR_CODE.search(paragraph.strip()):
            continue
        line = " ".join(paragraph.split())
        for pattern, replacement in MARKUP:
            line = pattern.sub(replacement, line)
        line = line.strip()
        letters = sum(c.isalpha() or c == " " for c in line)
        if len(line.split()) >= MIN_WORDS and letters > 0.8 * len(line) and line[-1] in ".:)":
            yield line


def split_topics():
    seen, parts = set(), ([], [])
    for number, name in enumerate(sorted(topics.topics)):
        held_out = number % HELD_OUT_EVERY == 0
        for paragraph in prose(topics.topics[name]):
            if paragraph not in seen:  # topics quote each other
                seen.add(paragraph)
                parts[held_out].append(paragraph)
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibrate", type=pathlib.Path)
    parser.add_argument("heldout", type=pathlib.Path)
    args = parser.parse_args()
    for file, paragraphs in zip((args.calibrate, args.heldout), split_topics()):
        file.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
