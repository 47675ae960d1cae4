// DistilBERT (Sanh et al. 2019): BERT without token types and pooler, half the layers, its own
// names.
#include "model/encoder_family.h"

namespace coppice {

EncoderFamily DistilBertFamily() {
  return {
      .model_type = "distilbert",
      .class_prefix = "DistilBert",
      .prefix = "distilbert.",
      .width_key = "dim",
      .layers_key = "n_layers",
      .heads_key = "n_heads",
      .channels_key = "hidden_dim",
      .activation_key = "activation",
      .word = "embeddings.word_embeddings.weight",
      .position = "embeddings.position_embeddings.weight",
      .token_type = {},
      .embedding_norm = "embeddings.LayerNorm",
      .layer = "transformer.layer.{}.",
      .query = "attention.q_lin",
      .key = "attention.k_lin",
      .value = "attention.v_lin",
      .attention_output = "attention.out_lin",
      .attention_norm = "sa_layer_norm",
      .up = "ffn.lin1",
      .down = "ffn.lin2",
      .ffn_norm = "output_layer_norm",
      .shared_relative_bias = {},
      .layer_relative_bias = {},
      .classifier = {{"pre_classifier", Activation::kRelu}, {"classifier"}},
      .question_answering = "qa_outputs",
      .unused = {"{prefix}embeddings.position_ids", "vocab_"},
  };
}

}  // namespace coppice
