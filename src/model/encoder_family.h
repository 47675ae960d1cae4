// Encoders of BERT's kind as tables: which tensors there are, under which names, and what a config
// calls its numbers. A new family of this kind is one file with one table and one line in
// encoder_family.cc.
//
// The common form: word + position (+ token type) embeddings, layer norm, then L layers of
// attention, add, norm, feed-forward, add, norm ("post-norm"; Vaswani et al. 2017, section 3).
#pragma once

#include <string>
#include <vector>

#include "model/model.h"

namespace coppice {

struct EncoderFamily {
  std::string model_type;
  std::string class_prefix;  // of transformers' classes, e.g. "Bert"
  std::string prefix;  // of the encoder's tensors in a file that also has a head, e.g. "bert."

  // Keys of config.json.
  std::string width_key, layers_key, heads_key, channels_key, activation_key;
  double default_norm_eps = 1e-12;  // where the config has no layer_norm_eps

  // Embeddings; names relative to the prefix.
  std::string word, position, token_type, embedding_norm;
  PositionRule positions = PositionRule::kFromZero;

  // One layer; names relative to prefix + layer, where layer has one {} for the layer's number.
  std::string layer, query, key, value, attention_output, attention_norm, up, down, ffn_norm;
  // Optional: a (buckets, H) table shared by all layers, relative to the prefix. Each layer gets
  // its own copy of the columns it keeps, named by layer_relative_bias, since pruned layers keep
  // different heads.
  std::string shared_relative_bias, layer_relative_bias;

  std::vector<HeadLinear> classifier;  // full names; "{prefix}" is replaced
  std::string question_answering;      // full name of the span classifier
  std::vector<std::string>
      unused;  // prefixes of tensors that may be there and are passed on unread
};

EncoderFamily BertFamily();
EncoderFamily DistilBertFamily();
EncoderFamily RobertaFamily();
EncoderFamily MpnetFamily();

// The one list of encoder families.
const std::vector<EncoderFamily>& EncoderFamilies();

}  // namespace coppice
