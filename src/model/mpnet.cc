// MPNet (Song et al. 2020): RoBERTa's positions, no token types, and one table of relative position
// biases shared by the attention of all layers.
#include "model/encoder_family.h"

namespace coppice {

EncoderFamily MpnetFamily() {
  EncoderFamily family = RobertaFamily();
  family.model_type = "mpnet";
  family.class_prefix = "MPNet";
  family.prefix = "mpnet.";
  family.token_type = {};
  family.query = "attention.attn.q";
  family.key = "attention.attn.k";
  family.value = "attention.attn.v";
  family.attention_output = "attention.attn.o";
  family.attention_norm = "attention.LayerNorm";
  family.shared_relative_bias = "encoder.relative_attention_bias.weight";
  family.layer_relative_bias = "attention.relative_attention_bias.weight";
  return family;
}

}  // namespace coppice
