"""Encode texts with the tokenizer of a written folder, as transformers finds it.

    python transformers_tokens.py FOLDER < TEXTS > IDS

TEXTS is a JSON list of texts, IDS one of lists of ids, special tokens included. Run by
src/export/transformers_tokenizer_test.cc; works in transformers 4.57 and 5.
"""
import json
import sys

import transformers

transformers.logging.set_verbosity_error()
tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
json.dump([tokenizer(text)["input_ids"] for text in json.load(sys.stdin)], sys.stdout)
