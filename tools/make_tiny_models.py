#!/usr/bin/env python3
"""Make the tiny random models of testdata/tiny: Hugging Face folders of every encoder family and head.

    python3 tools/make_tiny_models.py testdata/tiny

FAMILY-classification (3 labels), FAMILY-regression, FAMILY-question-answering and FAMILY-base (no head) for bert, distilbert,
roberta and mpnet, in float32; and one small BERT classifier in three forms: bert-sharded, bert-float16 and bert-bfloat16. The
classifiers of BERT and MPNet have width 32, 4 heads of 8 and 64 channels; all others half of that width, so that the repository
stays small and no test can rely on one shape. Weights are wide enough that outputs differ clearly between inputs; biases,
LayerNorm's weights and the embedding of the padding token are random too, so that leaving one out shows. Same versions, same
bytes.
Needs transformers and tokenizers.
"""
import argparse
import copy
import json
import os
import shutil
import zlib

import numpy as np
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

MAX_TOKENS = 64
# Far above the usual, so that ignoring config.json's value shows. (DistilBERT's is not in its config.)
LAYER_NORM_EPS = 1e-3
LAYERS = 2
HEADS = 4
LABELS = 3
WIDE = ["bert-classification", "mpnet-classification"]
WIDE_WIDTH = 32
NARROW_WIDTH = 16
SHARD_SIZE = "16KB"

# Words with a token of their own; every other word falls into letters.
WORDS = """the is was it in on and of to not he she they we you who what where cat dog bird film book river house city
red old good bad slow great very sat ran saw made likes""".split()
SUFFIXES = ["ing", "ed", "er", "ly", "able"]
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
# No piece continues a word with one of these: "taxi" as a whole becomes [UNK].
NEVER_INSIDE = "jqxz"
MARKS = list(".,?!'-") + list("0123456789")

BPE_TEXT = """The cat sat on the old river house. The dog was in the red house, and the bird saw the film. Who made the film?
Where is the book? It is not good. They like the city, and she likes the slow bird. He ran to the river. What a great film!"""
BPE_MERGES = 40


def wordpiece_vocabulary(first, last):
    pieces = first + MARKS + LETTERS + WORDS
    pieces += ["##" + piece for piece in LETTERS + SUFFIXES if piece not in NEVER_INSIDE]
    return {piece: index for index, piece in enumerate(pieces + last)}


def wordpiece(vocabulary, specials, post_processor):
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = post_processor
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(name, special=True, lstrip=name == "<mask>") for name in specials])
    return tokenizer


def bert_tokenizer():
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    template = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", specials.index("[CLS]")), ("[SEP]", specials.index("[SEP]"))],
    )
    return wordpiece(wordpiece_vocabulary(specials, []), specials, template)


def roberta_template():
    return processors.RobertaProcessing(sep=("</s>", 2), cls=("<s>", 0), trim_offsets=True, add_prefix_space=False)


def mpnet_tokenizer():
    """As the real one: RoBERTa's special tokens before BERT's words, [UNK] among the words, <mask> at the very end."""
    vocabulary = wordpiece_vocabulary(["<s>", "<pad>", "</s>", "<unk>", "[UNK]"], ["<mask>"])
    return wordpiece(vocabulary, ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"], roberta_template())


def roberta_tokenizer():
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = roberta_template()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(specials) + len(alphabet) + BPE_MERGES,
        special_tokens=[AddedToken(name, special=True, lstrip=name == "<mask>") for name in specials],
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(BPE_TEXT.split("\n"), trainer)
    return tokenizer


def common_config(width):
    return {
        "hidden_size": width,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * width,
        "hidden_act": "gelu",
    }


def bert_config(width, vocabulary_size):
    return transformers.BertConfig(
        vocab_size=vocabulary_size,
        max_position_embeddings=MAX_TOKENS,
        layer_norm_eps=LAYER_NORM_EPS,
        pad_token_id=0,
        **common_config(width),
    )


def distilbert_config(width, vocabulary_size):
    return transformers.DistilBertConfig(
        vocab_size=vocabulary_size,
        max_position_embeddings=MAX_TOKENS,
        dim=width,
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_dim=2 * width,
        activation="gelu",
        pad_token_id=0,
    )


def roberta_config(width, vocabulary_size):
    # Positions count from pad_token_id + 1, so that the table has two rows more than tokens.
    return transformers.RobertaConfig(
        vocab_size=vocabulary_size,
        max_position_embeddings=MAX_TOKENS + 2,
        type_vocab_size=1,
        layer_norm_eps=LAYER_NORM_EPS,
        **common_config(width),
    )


def mpnet_config(width, vocabulary_size):
    return transformers.MPNetConfig(
        vocab_size=vocabulary_size, max_position_embeddings=MAX_TOKENS + 2, layer_norm_eps=LAYER_NORM_EPS, **common_config(width)
    )


FAMILIES = {
    "bert": (bert_config, bert_tokenizer, "Bert"),
    "distilbert": (distilbert_config, bert_tokenizer, "DistilBert"),
    "roberta": (roberta_config, roberta_tokenizer, "Roberta"),
    "mpnet": (mpnet_config, mpnet_tokenizer, "MPNet"),
}
HEAD_CLASSES = {
    "base": "Model",
    "classification": "ForSequenceClassification",
    "regression": "ForSequenceClassification",
    "question-answering": "ForQuestionAnswering",
}


def draw_weights(model, seed):
    """Fills every parameter from a generator of its own, so that no weight depends on the order of the others."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
            values = generator.standard_normal(tuple(parameter.shape))
            is_norm = "layernorm" in name.lower() or "layer_norm" in name.lower()
            if is_norm and name.endswith("weight"):
                values = 1 + 0.2 * values
            elif name.endswith("bias") and parameter.dim() == 1:
                values = 0.2 * values
            elif "embedding" in name or "relative_attention_bias" in name:
                values = 0.5 * values
            else:  # a linear layer's weight (out, in)
                values = 1.2 / np.sqrt(parameter.shape[1]) * values
            parameter.copy_(torch.from_numpy(values))


def make_model(family, head, width, vocabulary_size):
    make_config, _, class_prefix = FAMILIES[family]
    config = make_config(width, vocabulary_size)
    if head == "classification":
        config.num_labels = LABELS
    elif head == "regression":
        config.num_labels = 1
        config.problem_type = "regression"
    model = getattr(transformers, class_prefix + HEAD_CLASSES[head])(config)
    draw_weights(model, zlib.crc32(f"{family}-{head}".encode()))
    return model.eval()


def write_tokenizer(folder, family, tokenizer):
    tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": FAMILIES[family][2] + "Tokenizer", "model_max_length": MAX_TOKENS}
    if family != "roberta":
        config["do_lower_case"] = True
        by_id = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
            file.writelines(piece + "\n" for piece, _ in by_id)
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        file.write(json.dumps(config, indent=2) + "\n")


def write_folder(out, name, family, model, tokenizer, **save_options):
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, safe_serialization=True, **save_options)
    write_tokenizer(folder, family, tokenizer)
    for file in os.listdir(folder):  # transformers makes weights readable by their owner alone
        os.chmod(os.path.join(folder, file), 0o644)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder that receives one folder a model; its namesakes are replaced")
    out = parser.parse_args().out

    for family, (_, make_tokenizer, _) in FAMILIES.items():
        tokenizer = make_tokenizer()
        for head in HEAD_CLASSES:
            name = f"{family}-{head}"
            width = WIDE_WIDTH if name in WIDE else NARROW_WIDTH
            model = make_model(family, head, width, tokenizer.get_vocab_size())
            write_folder(out, name, family, model, tokenizer)

    tokenizer = bert_tokenizer()
    narrow = make_model("bert", "classification", NARROW_WIDTH, tokenizer.get_vocab_size())
    write_folder(out, "bert-sharded", "bert", narrow, tokenizer, max_shard_size=SHARD_SIZE)
    for name, dtype in [("bert-float16", torch.float16), ("bert-bfloat16", torch.bfloat16)]:
        write_folder(out, name, "bert", copy.deepcopy(narrow).to(dtype), tokenizer)


if __name__ == "__main__":
    main()
