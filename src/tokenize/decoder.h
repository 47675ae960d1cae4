// Token ids back to text: the tokens' spellings go through a list of steps, as in the tokenizers
// library, and are put together. Without a decoder, spaces stand between them.
//
// A decoder that is not known is refused when it is used, not when it is read: tokenizing does not
// need it, and the encoders' decoders are not known.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "tokenize/json_node.h"

namespace coppice {

class Decoder {
 public:
  struct ByteLevel {};     // characters that spell bytes become them
  struct ByteFallback {};  // tokens <0x00> to <0xFF> become bytes; those that are not UTF-8, U+FFFD
  struct Fuse {};          // all tokens become one
  struct Replace {
    std::string pattern;  // not empty
    std::string content;
  };
  // Takes up to this many of a text away at a token's ends.
  struct Strip {
    std::string content;  // not empty
    size_t start = 0;
    size_t stop = 0;
  };
  // Marks become spaces; those of the first token go, if one was put there.
  struct Metaspace {
    std::string mark;
    bool drop_first = true;
  };
  struct Unknown {
    std::string type;
  };
  using Step = std::variant<ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, Unknown>;

  explicit Decoder(std::vector<Step> steps = {}) : steps_(std::move(steps)) {}
  // Reads "decoder".
  static Decoder Read(const JsonNode& root);

  // Throws Error (kBadInput) if a step is not known.
  std::string Decode(std::vector<std::string> tokens) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace coppice
