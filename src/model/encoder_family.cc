#include "model/encoder_family.h"

namespace coppice {

const std::vector<EncoderFamily>& EncoderFamilies() {
  static const std::vector<EncoderFamily> families = {BertFamily(), DistilBertFamily(),
                                                      RobertaFamily(), MpnetFamily()};
  return families;
}

}  // namespace coppice
