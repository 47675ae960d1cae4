// The graph of an encoder of any shape, with its head.
//
// Inputs, (batch, sequence) int64, both sizes free: input_ids; attention_mask, 1 for real tokens
// and 0 for padding; token_type_ids where the model tells types apart. Outputs, float32, under the
// names that Hugging Face's Optimum gives them: logits (batch, labels); start_logits and end_logits
// (batch, sequence), padding unmasked; without a head last_hidden_state (batch, sequence, D) and
// sentence_embedding (batch, D), the mean over real tokens, scaled to length 1.
#pragma once

#include "export/onnx_graph.h"
#include "export/onnx_layers.h"

namespace coppice {

// The graph's tensors are views of the model's where they can be. For encoders alone.
OnnxGraph MakeOnnxEncoder(const Model& model, OnnxStyle style);

}  // namespace coppice
