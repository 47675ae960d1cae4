// RoBERTa (Liu et al. 2019): BERT's layers; positions are counted after the padding id.
#include "model/encoder_family.h"

namespace coppice {

EncoderFamily RobertaFamily() {
  EncoderFamily family = BertFamily();
  family.model_type = "roberta";
  family.class_prefix = "Roberta";
  family.prefix = "roberta.";
  family.default_norm_eps = 1e-12;
  family.positions = PositionRule::kAfterPadding;
  family.classifier = {{"classifier.dense", Activation::kTanh}, {"classifier.out_proj"}};
  family.unused = {"{prefix}pooler.", "{prefix}embeddings.position_ids", "lm_head."};
  return family;
}

}  // namespace coppice
