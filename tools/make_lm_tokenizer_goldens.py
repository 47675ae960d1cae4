#!/usr/bin/env python3
"""Makes testdata/tokenize-lm/: what the tokenizers library makes of texts that are easy to get wrong, with the tokenizers
of language models.

    tools/make_lm_tokenizer_goldens.py OUT [--gguf FILE --data DIR [--vocabulary FILE]]

smollm.json, llama3.json, qwen2.json, llama2.json, joined.json
                  small tokenizers, trained here: their names say whose components they have; joined.json is like
                  llama2.json, but its tokens reach over the ends of words
goldens.json      tokens of every text of TEXTS and RAW by these and by variants of them
    tokenizers[]  name, base (one of the files), patch (RFC 7386, applied to the file) and
                  tokens: per text, a list of [id, begin, end] (bytes), or a digest of these numbers; or "ids " and a
                  digest of ids alone, where the library's offsets are not those of the characters
                  decoded: what their ids are as text, where that is not the text itself; a string, or a digest of bytes
                  encoded: ids of "plain" and of the pair "plain", "digits", special tokens included
                  ids: lists of ids, and what they are as text, with special tokens and without
unicode.json      where a text with a character C is cut, per C: digests over blocks of code points; the ranges of code
                  points are those of testdata/tokenizers/unicode.json
sentencepiece.json a vocabulary trained by sentencepiece, ids by it of TEXTS that hold no control token, and their text
real.json (with --gguf and --data)
                  the tokenizer of SmolLM2, put together from the vocabulary in a GGUF file: number and digest of the
                  ids of whole text files; of the texts in .jsonl files, row by row
--vocabulary      also writes the vocabulary of the GGUF file as JSON, which a test reads where it finds it

Texts, digests and formats are those of make_tokenizer_goldens.py, which see. Needs tokenizers, sentencepiece 0.2.x and,
for real.json, gguf. The same versions give the same bytes.
"""

import argparse
import glob
import io
import json
import os
import pathlib
import random
import unicodedata

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from make_tokenizer_goldens import (CORPUS, LIST_LIMIT, RAW, TEXTS as MORE_TEXTS, added, decode, digest, expand,
                                    merge_patch, write)

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
MARK = "\u2581"

TEXTS = {
    **{name: text for name, text in MORE_TEXTS.items() if not name.startswith("added")},
    "one letter": "a",
    "contractions in any case": "I'M he'S we'Re they'VE I'lL 'D 'T 'sa 'RED '\u017f '\u017fa ''s '\u00e9 ' s '",
    "numbers": "1 12 123 1234 12345 1234567 a1b22c333d4444 1.5 1,000,000 \u00bd\u00bd\u00bd\u00bd \u0663\u0664\u0665\u0666",
    "spaces and numbers": "in 2010  1  22\t3\n4 \n5   6  7,  8.",
    "spaces and line ends": "a\n b\n\n c \n d  \n\n  e\r\n\r\nf\r \n\rg\n\t\nh\t\t\ni   ",
    "spaces before the end": "a  ", "line ends before the end": "a \n \n", "tabs before letters": "\ta\t\tb \tc\td",
    "line ends behind marks": "a!\n\nb ?\r\n\r\n c...\n \n) \n( x\n)\n",
    "marks before letters": "(abc) .def \u2014x -y _z @a #b $1 \u00a0c \u3000d \u0301e /f//g \u20aca",
    "leading spaces": "  a", "one leading space": " a", "leading line end": "\na",
    "space marks": f"{MARK} {MARK}{MARK}a a{MARK}b {MARK} x{MARK}", "space mark first": f"{MARK}a",
    "names of bytes": "<0x41> <0x0A>a <0x4> <0xzz><0x00>",
    "chat": "<|im_start|>user\nhi  there<|im_end|>\n<|im_start|><|im_end|> <|im_start|>",
    "control tokens": "<s> a </s>b <unk> </s></s><s>\n <s>", "cut control tokens": "<s <|im_start|> <|im_start| im_end|>",
    "user tokens": "<user>a<user> <user>  <userb>  x<user>",
    "first control characters": "".join(map(chr, range(32))) + "a\x04b",
    "decomposed": "Cafe\u0301 n\u0303o \u1109\u1165\u110b\u116e\u11af \u212b \u0958 \u0344 a\u0323\u0307 \u2adc A\u030a",
    "decomposed, newer": "a\u08d4\u0323 \U00011936\U00011930 \U0001e130\u0301",
    "800 marks in no order": {"repeat": ["\u0301\u0323\u0344\u0f73\u0f71\u0f72\u093c\u0334", 100], "then": "a\u0301"},
    "a letter and 400 marks": {"repeat": ["a\u0323\u0301\u0307\u0308", 100], "then": "\u0323"},
    "a letter under 400 marks": {"repeat": ["a" + "\u0301\u0323\u0334" * 130, 2], "then": "b"},
    "rare ideographs": "\u9f98\U00020000 \U0003134a\u4e00", "planes": "a\U00050000b\U0010ffff\U000f0000",
    "word of 10000 letters": {"repeat": ["walkplayertalkingunplayable", 370], "then": "talkplayer"},
    "10000 digits": {"repeat": ["31415926535", 909], "then": "7"}, "1000 line ends": {"repeat": ["\n", 1000]},
    "lines": {"repeat": ["  the player\n", 300]}, "1000 spaces and a line end": {"repeat": [" ", 1000], "then": "\n x"},
    "1000 quotes": {"repeat": ["'", 1000], "then": "s"}, "1000 ideographs": {"repeat": ["\u6771\u4eac", 500]},
}

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def train_bytes(pre_tokenizer, size, absent=()):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    alphabet = [c for c in pre_tokenizers.ByteLevel.alphabet() if c not in absent]
    tokenizer.train_from_iterator([CORPUS], trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=CONTROL, show_progress=False))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def split_then_bytes(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def make_smollm():
    # Some bytes have no token, as in the model's own vocabulary.
    tokenizer = train_bytes(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]), 500, "\u0104\u0106\u00f1\u00ff")
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return json.loads(tokenizer.to_str())


def make_llama3():
    tokenizer = train_bytes(split_then_bytes(LLAMA3), 600)
    document = json.loads(tokenizer.to_str())
    model = document["model"]
    for token in ("\u0120unplay", "nobody's", "pages", "ables", "\u010a\u010a"):  # no merge forms these
        model["vocab"].setdefault(token, len(model["vocab"]))
    model["ignore_merges"] = True
    bos = len(model["vocab"])
    document["added_tokens"] += [added(bos, "<|begin_of_text|>", True), added(bos + 1, "<user>", False)]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
        special_tokens=[("<|begin_of_text|>", bos)])])
    return json.loads(tokenizer.to_str())


def make_qwen2():
    tokenizer = train_bytes(split_then_bytes(QWEN2), 500)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return json.loads(tokenizer.to_str())


def make_llama2(across_words):
    control, every_byte = ["<unk>", "<s>", "</s>"], [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if not across_words:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", MARK)
    text = "\n".join(line for line in CORPUS.split("\n") if line.isascii()) + " é ü Москва"
    tokenizer.train_from_iterator([text.replace("\n", " ")], trainers.BpeTrainer(
        vocab_size=560, special_tokens=control + every_byte, show_progress=False))
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = document["added_tokens"][:3]
    return document


def variants(bases):
    def sequence(*components):
        return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(components)}}

    def byte_level(**changes):
        return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True, **changes}

    def split(regex, **changes):
        return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False, **changes}

    def metaspace(decode=True, **fields):
        component = {"type": "Metaspace", "replacement": MARK, **fields}
        return {"normalizer": None, "pre_tokenizer": component, **({"decoder": component} if decode else {})}

    def words(base, normalized):
        tokens = bases[base]["added_tokens"]
        vocab = {**bases[base]["model"]["vocab"], **{t["content"]: t["id"] for t in tokens}}
        new = [added(vocab.setdefault(content, len(vocab)), content, special, normalized=normalized, **flags)
               for content, special, flags in [("<user>", False, {}), ("play", False, {"single_word": True}),
                                               ("e\u0301", True, {}), ("<|im_start|>", True, {"rstrip": True}),
                                               ("  ", False, {})]
               if content not in {t["content"] for t in tokens}]
        return {"added_tokens": tokens + new}

    yield "smollm", "smollm", {}
    yield "runs of digits", "smollm", sequence({"type": "Digits", "individual_digits": False}, byte_level())
    yield "gpt2", "smollm", {"pre_tokenizer": byte_level()}
    yield "gpt2, a space in front", "smollm", {"pre_tokenizer": byte_level(add_prefix_space=True),
                                               "post_processor": {"add_prefix_space": True}}
    yield "gpt2, written as a Split", "smollm", sequence(split(GPT2), byte_level(use_regex=False))
    yield "digits, then llama3", "smollm", sequence(
        {"type": "Digits", "individual_digits": True}, split(LLAMA3), byte_level(use_regex=False))
    yield "unknown bytes", "smollm", {"model": {"unk_token": "<|endoftext|>"}}
    yield "unknown bytes, fused", "smollm", {"model": {"unk_token": "<|endoftext|>", "fuse_unk": True}}
    yield "smollm, added words", "smollm", words("smollm", False)
    yield "smollm, no decoder", "smollm", {"decoder": None}

    yield "llama3", "llama3", {}
    yield "llama3, merges not ignored", "llama3", {"model": {"ignore_merges": False}}
    yield "llama3, the rest removed", "llama3", sequence(
        split(LLAMA3, behavior="Removed", invert=True), byte_level(use_regex=False))
    yield "llama3, trimmed", "llama3", {"post_processor": {"processors": [
        byte_level(add_prefix_space=True), bases["llama3"]["post_processor"]["processors"][1]]}}
    yield "qwen2", "qwen2", {}
    yield "qwen2, not composed", "qwen2", {"normalizer": None}
    yield "qwen2, added words, normalised", "qwen2", words("qwen2", True)

    yield "llama2", "llama2", {}
    yield "llama2, space in front of the first", "llama2", metaspace(prepend_scheme="first", split=False)
    yield "llama2, space in front of all", "llama2", metaspace(prepend_scheme="always", split=False)
    yield "llama2, no space in front", "llama2", metaspace(prepend_scheme="never", split=False)
    yield "llama2, split", "llama2", metaspace(prepend_scheme="first", split=True)
    yield "llama2, old Metaspace", "llama2", metaspace(add_prefix_space=True)
    yield "llama2, no post-processor, spaces kept", "llama2", {
        **metaspace(False, prepend_scheme="first", split=False), "post_processor": None}
    yield "llama2, not normalised", "llama2", {"normalizer": None}
    yield "llama2, added words", "llama2", words("llama2", False)
    yield "llama2, added words, normalised", "llama2", words("llama2", True)
    yield "llama2, added words, Metaspace", "llama2", {
        **metaspace(prepend_scheme="first", split=False), **words("llama2", True)}
    yield "llama2, no bytes", "llama2", {"model": {"byte_fallback": False}}
    yield "llama2, no bytes, not fused", "llama2", {"model": {"byte_fallback": False, "fuse_unk": False}}
    yield "llama2, no bytes, no unknown token", "llama2", {"model": {"byte_fallback": False, "unk_token": None}}
    yield "llama2, some bytes", "llama2", {"model": {"vocab": {
        **{f"<0x{byte:02X}>": None for byte in range(0xE0, 0xF8)},
        **{f"[{byte}]": 3 + byte for byte in range(0xE0, 0xF8)}}}}
    yield "llama2, no mark", "llama2", {"normalizer": None, "model": {
        "vocab": {MARK: None, "[mark]": bases["llama2"]["model"]["vocab"][MARK]},
        "merges": [m for m in bases["llama2"]["model"]["merges"] if MARK not in m], "byte_fallback": False}}

    yield "joined", "joined", {}
    yield "joined, Metaspace", "joined", metaspace(prepend_scheme="first", split=False)
    yield "joined, split", "joined", metaspace(prepend_scheme="always", split=True)


def load(document):
    return Tokenizer.from_str(json.dumps(
        {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None, **document}))


def short(text):
    return text if len(text) <= 200 else digest(text.encode())


def has_offsets(tokenizer, base, model, given, encoding):
    """Not where it composes, where it leaves something out and counts on, and where bytes overtake an unknown token."""
    if isinstance(tokenizer.normalizer, normalizers.NFC):
        return tokenizer.normalizer.normalize_str(given) == given
    if model.get("byte_fallback"):
        return "<0xE2>" in model["vocab"] or "<unk>" not in encoding.tokens
    if base == "smollm" and not model.get("unk_token"):
        return not {0x04, 0x06, 0xF1, 0xFF} & set(given.encode())
    return base != "llama2" or model.get("unk_token") is not None


def make_entry(name, base, patch, document, raws):
    tokenizer = load(document)
    tokens, decoded = {}, {}
    for text, raw in raws.items():
        given, places = decode(raw)
        encoding = tokenizer.encode(given, add_special_tokens=False)
        found = [[id, places[begin], places[end]] for id, (begin, end) in zip(encoding.ids, encoding.offsets)]
        if not has_offsets(tokenizer, base, document["model"], given, encoding):
            tokens[text] = "ids " + digest(encoding.ids)
        elif not patch and len(found) <= LIST_LIMIT:
            tokens[text] = found
        else:
            tokens[text] = digest([number for token in found for number in token])
        back = tokenizer.decode(encoding.ids, skip_special_tokens=False)
        if back != given:
            decoded[text] = short(back)
    plain, digits = expand(TEXTS["plain"]), expand(TEXTS["digits"])
    generator = random.Random(name)
    ids = []
    for size in (1, 2, 5, 20, 60):
        chosen = [generator.randrange(tokenizer.get_vocab_size() + 2) for _ in range(size)]
        ids.append([chosen, tokenizer.decode(chosen, skip_special_tokens=False),
                    tokenizer.decode(chosen, skip_special_tokens=True)])
    return {"name": name, "base": base, "patch": patch, "tokens": tokens, "decoded": decoded,
            "encoded": [tokenizer.encode(plain).ids, tokenizer.encode(plain, digits).ids], "ids": ids}


def make_goldens(bases):
    raws = {**{name: expand(text).encode() for name, text in TEXTS.items()},
            **{name: bytes.fromhex(text) for name, text in RAW.items()}}
    entries = [make_entry(name, base, patch, merge_patch(bases[base], patch), raws)
               for name, base, patch in variants(bases)]
    return {"texts": TEXTS, "raw": RAW, "tokenizers": entries}


def make_unicode(ranges):
    """Every character in places where the regular expressions tell classes apart; composed, too."""
    splits = {"gpt2": pre_tokenizers.Split(Regex(GPT2), "isolated"),
              "llama3": pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
              "qwen2": pre_tokenizers.Split(Regex(QWEN2), "isolated"),
              "digits": pre_tokenizers.Digits(True), "numbers": pre_tokenizers.Digits(False)}
    compose = normalizers.NFC()
    kinds = {name: lambda text, split=split: [place for _, span in split.pre_tokenize_str(text) for place in span]
             for name, split in splits.items()}
    kinds["nfc"] = lambda text: list(map(ord, compose.normalize_str(text)))
    digests = {}
    for name, function in kinds.items():
        blocks = {}
        for first, last in ranges:
            for code in range(first, last + 1):
                c = chr(code)
                text = f"a{c}b '{c}x 1{c}22 {c}{c} \n{c}\u0323\u0307" if name != "nfc" else f"A{c}\u0301\u0323a{c}"
                blocks.setdefault(code >> 12, []).append(function(text))
        digests[name] = {f"{block:x}": digest(*lists) for block, lists in blocks.items()}
    return {"digests": digests}


def make_sentencepiece():
    model = io.BytesIO()
    text = CORPUS.strip().split("\n")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=model, model_type="bpe", vocab_size=520, byte_fallback=True,
        normalization_rule_name="identity", add_dummy_prefix=True, remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=0.98, user_defined_symbols=["<user>"], num_threads=1,
        minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = range(processor.get_piece_size())
    types = [2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 6 if processor.is_byte(i) else
             4 if processor.id_to_piece(i) == "<user>" else 1 for i in pieces]
    control = [processor.id_to_piece(i) for i in pieces if types[i] in (2, 3)]
    expected = {}
    for name, text in TEXTS.items():
        text = expand(text)
        # Behind a user token, llama.cpp and the tokenizers library put a space in front again.
        if not any(token in text for token in control + ["<user>"]):
            ids = processor.encode(text)
            expected[name] = [ids if len(ids) <= LIST_LIMIT else digest(ids), short(processor.decode(ids))]
    return {"tokens": [processor.id_to_piece(i) for i in pieces], "scores": [processor.get_score(i) for i in pieces],
            "token_types": types, "unk": processor.unk_id(), "bos": processor.bos_id(), "eos": processor.eos_id(),
            "expected": expected}


def read_gguf(path):
    import gguf
    fields = gguf.GGUFReader(path).fields

    def get(key):
        return fields[f"tokenizer.ggml.{key}"].contents() if f"tokenizer.ggml.{key}" in fields else None

    return {"model": get("model"), "pre": get("pre"), "tokens": get("tokens"), "token_types": get("token_type"),
            "scores": get("scores"), "merges": get("merges"), "bos": get("bos_token_id"), "eos": get("eos_token_id"),
            "unk": get("unknown_token_id"), "pad": get("padding_token_id"), "add_bos": get("add_bos_token"),
            "add_eos": get("add_eos_token"), "add_space_prefix": get("add_space_prefix")}


def load_smollm2(vocabulary):
    """The tokenizer.json that the file was made from has these components."""
    tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(vocabulary["tokens"])},
                                     [tuple(merge.split(" ")) for merge in vocabulary["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token, type
                                  in zip(vocabulary["tokens"], vocabulary["token_types"]) if type == 3])
    return tokenizer


def make_real(vocabulary, folder):
    tokenizer = load_smollm2(vocabulary)
    files = {}
    for path in sorted(glob.glob(os.path.join(folder, "*"))):
        name = os.path.basename(path)
        if path.endswith(".txt"):
            texts = [open(path, encoding="utf-8", newline="").read()]
        elif path.endswith(".jsonl"):
            rows = [json.loads(line) for line in open(path, encoding="utf-8")]
            texts = [row[key] for row in rows for key in ("text", "text_pair", "question", "context") if key in row]
        else:
            continue
        lists = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        files[name] = {"texts": len(lists), "tokens": sum(map(len, lists)), "digest": digest(*lists)}
    return {"files": files}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--gguf", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--vocabulary", type=pathlib.Path)
    arguments = parser.parse_args()
    made_by = {"made_by": "tools/make_lm_tokenizer_goldens.py",
               "versions": {"tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__,
                            "unicode": unicodedata.unidata_version}}
    bases = {"smollm": make_smollm(), "llama3": make_llama3(), "qwen2": make_qwen2(), "llama2": make_llama2(False),
             "joined": make_llama2(True)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, base in bases.items():
        write(arguments.out / f"{name}.json", base, 1)
    write(arguments.out / "goldens.json", {**made_by, **make_goldens(bases)}, 4)
    known = arguments.out.parent / "tokenizers" / "unicode.json"
    write(arguments.out / "unicode.json", {**made_by, **make_unicode(json.loads(known.read_text())["ranges"])}, 2)
    write(arguments.out / "sentencepiece.json", {**made_by, **make_sentencepiece()}, 2)
    if arguments.gguf and arguments.data:
        vocabulary = read_gguf(arguments.gguf)
        write(arguments.out / "real.json", {**made_by, **make_real(vocabulary, arguments.data)}, 2)
        if arguments.vocabulary:
            write(arguments.vocabulary, vocabulary, 0)


if __name__ == "__main__":
    main()
