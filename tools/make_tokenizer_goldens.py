#!/usr/bin/env python3
"""Makes testdata/tokenizers/: what the tokenizers library makes of texts that are easy to get wrong.

    tools/make_tokenizer_goldens.py OUT [--models DIR --data DIR]

wordpiece.json, byte_bpe.json   two small tokenizers, trained here on the text below
goldens.json                    tokens of every text of TEXTS and RAW by these and by variants of them
    tokenizers[]  name, base (one of the two files), patch (RFC 7386, applied to the file) and
                  tokens: per text, a list of [id, begin, end] (bytes), or a digest of these numbers
                  pairs: per entry of PAIRS, [ids, type ids, sequence] or a digest of these
    truncation    per maximum length, the tokens kept of two texts of 0 to 9 tokens each
unicode.json                    what becomes of "aCb", per character C: digests over blocks of code points
    ranges        the code points that are tried, first and last
    digests       normalized (code points), accents kept, bert and gpt2 (where each cuts: begin and end)
real.json (with --models and --data)
                  digests of ids and type ids over blocks of rows of real data, by real tokenizers: a row's
                  text, its pair cut at 128 tokens, or its question and context cut at 384

A digest is 64-bit FNV-1a over 32-bit numbers instead of bytes; each list in it follows its length.
Needs tokenizers. The same version gives the same bytes.
"""

import argparse
import collections
import copy
import glob
import json
import os
import pathlib
import unicodedata

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = """
The pruned model keeps the heads that matter and drops the others without any training at all.
A small hedge grows back when you cut it near the ground; foresters call that a coppice.
She said: "Don't worry, we'll finish 12 of the 25 pages by 9:30, won't we?" He's sure they've left.
Prices rose 3.5% in 2021 (from $1,200 to $1,242); nobody noticed, I'm told, until they'd paid.
playing played player unplayable replaying walking walked walker unwalkable talking talked talker
Café naïve résumé façade Ångström über señor São Łódź Đakovo smørrebrød crème brûlée
Москва слушает, а город спит. Η Αθήνα κοιμάται. שלום עולם. مرحبا بالعالم. हिन्दी में नमस्ते।
東京は大きい。北京很大。서울은 크다. 漢字かな交じり文。
aaaa aaaaaaaa aaaaaaaaaaaaaaaa the the the and and of of to to in in is is it it on on
f(x) = a*x^2 + b_i - c/d; if (a[i] <= 10) { return "ok"; } # comment @user https://example.org/?q=1&r=2
"""

TEXTS = {
    "empty": "",
    "one space": " ",
    "spaces only": " \t \n\r  ",
    "plain": "The walker kept playing.",
    "leading and trailing spaces": "   talked  about   it  ",
    "tabs and newlines": "a\tb\nc\r\nd\n\n\ne \n f",
    "punctuation": "Don't! (really?) \"no\" -- it's 3.5% of $1,242...",
    "ascii symbols": "a$b+c<d=e>f^g`h|i~j_k",
    "contractions": "'s't're've'm'll'd 'S 'T I'LL we'llx ''s '",
    "spaces before words": "a  b   c 'd  's\u00a0\u00a0e \u3000f",
    "digits": "1234567890 x2 3x ½ ٣٤ Ⅷ ① 〇",
    "upper case": "THE CAFÉ İSTANBUL ΣΊΣΥΦΟΣ ẞ Ǆ Ⅷ Ⓐ",
    "accents": "Café naïve Ångström São smørrebrød Łódź",
    "equal letters in odd numbers": "aaa aaaaa aaaaaaa aaaaaaaaa",
    "combining marks": "Cafe\u0301 n\u0303a\u0308i\u0302ve a\u0323\u0302\u0331b",
    "marks first": "\u0301abc \u0301 \u0300\u0301",
    "marks out of order": "a\u0301\u0323b \u1e69 \u1ead\u0331\u302ex a\u302e\u0316\u0345b",
    "marks newer than Unicode 8": "a\u1dfbb x\u08d4\u0316y \U0001e000 \U00011442\U0001e944",
    "categories that changed": "a\u166db a\u1734b a\u1885b a\ua9bdc a\u2e43b a\U000111c9b",
    "canonical singletons": "\u212b \u2126 \u1fbe \u0344 \u0f73 \uf900 \U0002f800 \u0958",
    "ideographs": "東京 is 北京 \u3400\u4dbf\u9fff \U00020000\U0002b81f\U0002b820\U0002b920 \u3007",
    "kana": "かなカナ が\u304b\u3099 ｶﾞ",
    "hangul": "서울은 크다 \u1109\u1165\u110b\u116e\u11af \u3131 한국어a",
    "right to left": "שלום עולם! مرحبا بالعالم \u200f(abc)\u200e",
    "devanagari": "हिन्दी में नमस्ते।",
    "thai": "ภาษาไทย \u0e33",
    "emoji": "👍🏽 👩‍👩‍👧 🇩🇪🇫🇷 ❤️ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "control characters": "a\x01b\x07c\x1fd\x7fe\x80f\x9fg\x0bh\x0ci\x85j",
    "nul": "a\x00b \x00\x00 c",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u034fh\u180ei",
    "odd spaces": "a\u00a0b\u1680c\u2003d\u2028e\u2029f\u202fg\u205fh\u3000i",
    "directional": "\u202aa\u202eb\u202c \u2066c\u2069",
    "replacement character": "a\ufffdb \ufffd",
    "private use": "a\ue000b\U000f0000c\U0010fffdd",
    "noncharacters": "a\ufdd0b\uffffc\U0001fffed",
    "mathematical": "𝔘𝔫𝔦 ﬁ ² ª ℌ Å",
    "odd letters": "\u0120 \u0100 Ċ ▁ ##ing #ing ##",
    "added tokens": "[CLS] the [MASK] of [SEP] it <s>the<mask> on</s>",
    "added tokens in words": "un[MASK]able x[MASK]y [mask] [ MASK ] [MASK",
    "added tokens side by side": "[MASK][MASK] [MASK]  [MASK]<mask><mask> <mask>  <mask>",
    "added tokens and spaces": "a \u3000[MASK]\t\n b  <mask> \u00a0c",
    "added words": "foo <x> FOO foobar xfoo foo. _foo f\u00f6o Foo fo\u0301o  foo  bar baz bazbar é É ébar",
    "markup": "<b>bold</b> &amp; <unk> [UNK] <pad>",
    "url": "https://example.org/?q=1&r=2#frag @user #tag",
    "code": "if (a[i] <= 10) { return \"ok\"; }",
    "word of 100 characters": {"repeat": ["walk", 25]},
    "word of 101 characters": {"repeat": ["walk", 25], "then": "s"},
    "word of 50 accents": {"repeat": ["e\u0301", 60]},
    "word of 10000 characters": {"repeat": ["unplayable", 1000]},
    "10000 equal letters": {"repeat": ["a", 10000]},
    "1000 unknown letters": {"repeat": ["\u0416", 1000]},
    "1000 spaces": {"repeat": [" ", 1000], "then": "a"},
    "1000 marks": {"repeat": ["\u0323\u0301", 500], "then": "a"},
    "1000 added tokens": {"repeat": ["[MASK] <mask>", 500]},
}

# Bytes that are not UTF-8, in hexadecimal.
RAW = {
    "lone bytes": "61ff62c0af63",
    "cut sequences": "61e2829f0920f09f9820c3",
    "surrogate and too large": "eda08020f490808062",
    "only broken": "fffefdfc",
    "broken beside added token": "ff5b4d41534b5dc3205b4d41534b5d80",
}

PAIRS = [  # first, second, maximum length or None
    ("plain", "punctuation", None), ("empty", "empty", None), ("plain", "empty", None),
    ("empty", "plain", None), ("punctuation", "plain", 8), ("plain", "punctuation", 9),
    ("plain", None, None), ("plain", None, 5), ("punctuation", "ideographs", 6),
    ("empty", None, None), ("1000 spaces", "combining marks", 7), ("added tokens", "emoji", 16),
]

LIST_LIMIT = 60  # more tokens than this are kept as a digest


def make_wordpiece():
    # Pieces are counted here, since the library's trainer breaks ties by chance.
    normalizer, cut = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    counts = collections.Counter()
    for text in (CORPUS, normalizer.normalize_str(CORPUS)):
        for word, _ in cut.pre_tokenize_str(text):
            for begin in range(len(word)):
                for end in range(begin + 1, len(word) + 1):
                    counts[("##" if begin else "") + word[begin:end]] += end - begin
    characters = sorted(piece for piece in counts if len(piece.removeprefix("##")) == 1)
    others = sorted(counts.keys() - set(characters), key=lambda piece: (-counts[piece], piece))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = special + characters + others[:260]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, cut
    tokenizer.add_special_tokens(special)
    ids = [(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids)
    return json.loads(tokenizer.to_str())


def make_byte_bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(CORPUS.strip().splitlines(), trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return json.loads(tokenizer.to_str())


def added(id, content, special=False, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": not special, "special": special}
    token.update(flags)
    return token


def variants(bases):
    bert, roberta = ("[SEP]", 3, "[CLS]", 2), ("</s>", 2, "<s>", 0)

    def processor(type, tokens, **more):
        sep, sep_id, cls, cls_id = tokens
        return {"post_processor": None} if type is None else {
            "post_processor": {"type": type, "sep": [sep, sep_id], "cls": [cls, cls_id],
                               "single": None, "pair": None, "special_tokens": None, **more}}

    def words(base):
        tokens = copy.deepcopy(bases[base]["added_tokens"])
        vocab = {**bases[base]["model"]["vocab"], **{t["content"]: t["id"] for t in tokens}}
        for content, flags in [
                ("foo", {}), ("fooba", {"normalized": False}), ("foobar", {"normalized": False}),
                ("Foo", {"normalized": False}), ("bar", {"single_word": True}),
                ("baz", {"lstrip": True, "rstrip": True}),
                ("É", {"single_word": True, "lstrip": True}), ("fo\u0301o", {"special": True}),
                ("<x>", {"special": True, "rstrip": True, "normalized": False})]:
            tokens.append(added(vocab.setdefault(content, len(vocab)), content, **flags))
        return {"added_tokens": tokens}

    def strip_all(base):
        tokens = copy.deepcopy(bases[base]["added_tokens"])
        for token in tokens:
            token.update(lstrip=True, rstrip=True)
        return {"added_tokens": tokens}

    yield "wordpiece", "wordpiece", {}
    yield "cased", "wordpiece", {"normalizer": {"lowercase": False}}
    yield "cased, accents stripped", "wordpiece", {
        "normalizer": {"lowercase": False, "strip_accents": True}}
    yield "accents kept", "wordpiece", {"normalizer": {"strip_accents": False}}
    yield "text not cleaned", "wordpiece", {"normalizer": {"clean_text": False}}
    yield "ideographs not spaced", "wordpiece", {"normalizer": {"handle_chinese_chars": False}}
    yield "wordpiece, not normalised", "wordpiece", {"normalizer": None}
    yield "short words", "wordpiece", {"model": {"max_input_chars_per_word": 6}}
    yield "own truncation and padding", "wordpiece", {
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": None,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}}
    yield "wordpiece, added words", "wordpiece", words("wordpiece")
    yield "wordpiece, added tokens take spaces", "wordpiece", strip_all("wordpiece")
    yield "BertProcessing", "wordpiece", processor("BertProcessing", bert)
    yield "RobertaProcessing", "wordpiece", processor("RobertaProcessing", bert, trim_offsets=True,
                                                      add_prefix_space=False)
    yield "no post-processor", "wordpiece", processor(None, bert)
    yield "sequences of one", "wordpiece", {
        "normalizer": {"type": "Sequence", "normalizers": [bases["wordpiece"]["normalizer"]]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}]}}

    yield "byte_bpe", "byte_bpe", {}
    yield "prefix space", "byte_bpe", {"pre_tokenizer": {"add_prefix_space": True},
                                       "post_processor": {"add_prefix_space": True}}
    yield "prefix space, trimmed", "byte_bpe", {"pre_tokenizer": {"add_prefix_space": True}}
    yield "not trimmed", "byte_bpe", {"post_processor": {"trim_offsets": False}}
    yield "no regex", "byte_bpe", {"pre_tokenizer": {"use_regex": False}}
    yield "ByteLevel processor", "byte_bpe", {
        "post_processor": {"type": "ByteLevel", "sep": None, "cls": None, "trim_offsets": True,
                           "add_prefix_space": True, "use_regex": True}}
    yield "byte_bpe, no post-processor", "byte_bpe", processor(None, roberta)
    yield "byte_bpe, normalised", "byte_bpe", {"normalizer": bases["wordpiece"]["normalizer"]}
    yield "byte_bpe, normalised, prefix space", "byte_bpe", {
        "normalizer": bases["wordpiece"]["normalizer"], "pre_tokenizer": {"add_prefix_space": True},
        "post_processor": {"add_prefix_space": True}}
    yield "tokens that no merge forms", "byte_bpe", {
        "model": {"merges": bases["byte_bpe"]["model"]["merges"][:100]}}
    yield "byte_bpe, added words", "byte_bpe", words("byte_bpe")
    yield "byte_bpe, added tokens take spaces", "byte_bpe", strip_all("byte_bpe")


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


def load(document):
    document = {"normalizer": None, "post_processor": None, "decoder": None, **document}
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def expand(text):
    if isinstance(text, str):
        return text
    return text["repeat"][0] * text["repeat"][1] + text.get("then", "")


def decode(raw):
    """A text for any bytes, and for every boundary between its characters the place in the bytes."""
    text, places, i = "", [0], 0
    while i < len(raw):
        for length in range(1, 5):
            try:
                text += raw[i:i + length].decode("utf-8")
                break
            except UnicodeDecodeError as error:
                length = error.end
        else:
            try:
                raw[i:].decode("utf-8")
            except UnicodeDecodeError as error:
                length = error.end
            text += "\ufffd"
        i += length
        places.append(i)
    assert text == raw.decode("utf-8", "replace")
    return text, places


def digest(*lists):
    value = 0xCBF29CE484222325
    for numbers in lists:
        for number in (len(numbers), *numbers):
            value = (value ^ (number & 0xFFFFFFFF)) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def tokens_of(tokenizer, raw):
    text, places = decode(raw)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return [[id, places[begin], places[end]]
            for id, (begin, end) in zip(encoding.ids, encoding.offsets)]


def encode(tokenizer, first, second, limit):
    tokenizer.no_truncation()
    if limit is not None:
        tokenizer.enable_truncation(limit, strategy="longest_first")
    encoding = tokenizer.encode(first, second)
    tokenizer.no_truncation()
    return [encoding.ids, encoding.type_ids,
            [-1 if s is None else s for s in encoding.sequence_ids]]


def make_goldens(bases):
    texts = {name: expand(text) for name, text in TEXTS.items()}
    raws = {**{name: text.encode() for name, text in texts.items()},
            **{name: bytes.fromhex(text) for name, text in RAW.items()}}
    entries = []
    for name, base, patch in variants(bases):
        tokenizer = load(merge_patch(bases[base], patch))
        plain = not patch
        tokens, pairs = {}, []
        for text, raw in raws.items():
            found = tokens_of(tokenizer, raw)
            tokens[text] = found if plain and len(found) <= LIST_LIMIT else digest(
                [number for token in found for number in token])
        for first, second, limit in PAIRS:
            result = encode(tokenizer, texts[first], None if second is None else texts[second], limit)
            pairs.append(result if plain else digest(*result))
        entries.append({"name": name, "base": base, "patch": patch, "tokens": tokens, "pairs": pairs})
    tokenizer = load(bases["wordpiece"])
    truncation = {}
    for limit in (3, 4, 5, 8, 9, 12, 30):
        kept = []
        for n1 in range(10):
            for n2 in range(10):
                sequence = encode(tokenizer, "a " * n1, "a " * n2, limit)[2]
                kept.append([sequence.count(0), sequence.count(1)])
        truncation[str(limit)] = kept
    return {"texts": TEXTS, "raw": RAW, "pairs": PAIRS, "tokenizers": entries, "truncation": truncation}


def make_unicode():
    """Every character of the first three planes that Python knows."""
    ranges = []
    for code in range(0x30000):
        if unicodedata.category(chr(code)) in ("Cn", "Cs"):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bert = pre_tokenizers.BertPreTokenizer()
    kept = normalizers.BertNormalizer(strip_accents=False)

    def cuts(pre_tokenizer, text):
        return [place for _, span in pre_tokenizer.pre_tokenize_str(text) for place in span]

    kinds = {
        "normalized": lambda text: map(ord, normalizers.BertNormalizer().normalize_str(text)),
        "accents kept": lambda text: map(ord, kept.normalize_str(text)),
        "bert": lambda text: cuts(bert, text),
        "gpt2": lambda text: cuts(gpt2, text),
    }
    digests = {}
    for name, function in kinds.items():
        blocks = collections.defaultdict(list)
        for first, last in ranges:
            for code in range(first, last + 1):
                blocks[code >> 12].append(list(function(f"a{chr(code)}b")))
        digests[name] = {f"{block:x}": digest(*lists) for block, lists in blocks.items()}
    return {"ranges": ranges, "digests": digests}


def make_real(model_folder, data_folder):
    block, limits = 500, {"pair": 128, "question": 384}
    files = {}
    loaded = {name: load(json.loads((model_folder / name / "tokenizer.json").read_text()))
              for name in ("minilm", "mpnet")}
    for path in sorted(glob.glob(os.path.join(data_folder, "*.jsonl"))):
        rows = [json.loads(line) for line in open(path, encoding="utf-8")]
        digests = {}
        for name, tokenizer in loaded.items():
            digests[name] = []
            for start in range(0, len(rows), block):
                lists = []
                for row in rows[start:start + block]:
                    if "question" in row:
                        arguments = row["question"], row["context"], limits["question"]
                    elif "text_pair" in row:
                        arguments = row["text"], row["text_pair"], limits["pair"]
                    else:
                        arguments = row["text"], None, None
                    lists += encode(tokenizer, *arguments)[:2]
                digests[name].append(digest(*lists))
        files[os.path.basename(path)] = {"rows": len(rows), "digests": digests}
    return {"block": block, "limits": limits, "files": files}


def write(path, value, indent):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    if indent:  # one line a member of the outer levels
        text = dump(value, indent)
    path.write_text(text + "\n")


def dump(value, levels):
    if levels == 0 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    if isinstance(value, list):
        return "[\n" + ",\n".join(dump(v, levels - 1) for v in value) + "\n]"
    return "{\n" + ",\n".join(f"{json.dumps(k)}:{dump(v, levels - 1)}" for k, v in value.items()) + "\n}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--models", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path)
    arguments = parser.parse_args()
    made_by = {"made_by": "tools/make_tokenizer_goldens.py",
               "versions": {"tokenizers": tokenizers.__version__,
                            "unicode": unicodedata.unidata_version}}
    bases = {"wordpiece": make_wordpiece(), "byte_bpe": make_byte_bpe()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, base in bases.items():
        write(arguments.out / f"{name}.json", base, 1)
    write(arguments.out / "goldens.json", {**made_by, **make_goldens(bases)}, 4)
    write(arguments.out / "unicode.json", {**made_by, **make_unicode()}, 2)
    if arguments.models and arguments.data:
        write(arguments.out / "real.json", {**made_by, **make_real(arguments.models, arguments.data)}, 2)


if __name__ == "__main__":
    main()
