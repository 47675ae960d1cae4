// BERT (Devlin et al. 2019): the pooler belongs to the classification head.
#include "model/encoder_family.h"

namespace coppice {

EncoderFamily BertFamily() {
  return {
      .model_type = "bert",
      .class_prefix = "Bert",
      .prefix = "bert.",
      .width_key = "hidden_size",
      .layers_key = "num_hidden_layers",
      .heads_key = "num_attention_heads",
      .channels_key = "intermediate_size",
      .activation_key = "hidden_act",
      .word = "embeddings.word_embeddings.weight",
      .position = "embeddings.position_embeddings.weight",
      .token_type = "embeddings.token_type_embeddings.weight",
      .embedding_norm = "embeddings.LayerNorm",
      .layer = "encoder.layer.{}.",
      .query = "attention.self.query",
      .key = "attention.self.key",
      .value = "attention.self.value",
      .attention_output = "attention.output.dense",
      .attention_norm = "attention.output.LayerNorm",
      .up = "intermediate.dense",
      .down = "output.dense",
      .ffn_norm = "output.LayerNorm",
      .shared_relative_bias = {},
      .layer_relative_bias = {},
      .classifier = {{"{prefix}pooler.dense", Activation::kTanh}, {"classifier"}},
      .question_answering = "qa_outputs",
      .unused = {"{prefix}pooler.", "{prefix}embeddings.position_ids", "cls."},
  };
}

}  // namespace coppice
