// Unicode's composed form, NFC: "e" and a combining acute become "é". Code points newer than
// Unicode 9 are left alone, as by the tokenizers library.
//
// What becomes of a sequence that changes stands for the whole sequence. (The library's offsets
// name its first character alone there; ids do not depend on them.)
#pragma once

#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <memory>
#include <string_view>

#include "tokenize/aligned_text.h"
#include "tokenize/unicode.h"

namespace coppice {

class CanonicalComposer {
 public:
  CanonicalComposer();
  AlignedText Compose(AlignedView text) const;

 private:
  size_t SequenceEnd(std::string_view text, size_t begin) const;

  CanonicalDecomposer decomposer_;
  std::shared_ptr<const icu::UnicodeSet> known_;  // outlives nfc_, which refers to it
  std::shared_ptr<const icu::Normalizer2> nfc_;
};

}  // namespace coppice
