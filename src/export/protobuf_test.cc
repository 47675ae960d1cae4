// Bytes worked out by hand from the description of the wire format.
#include "export/protobuf.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

std::string Bytes(std::initializer_list<int> bytes) {
  std::string text;
  for (const int byte : bytes) text.push_back(static_cast<char>(byte));
  return text;
}

TEST(ProtoMessage, WritesNumbersAsVarints) {
  ProtoMessage message;
  message.Int(1, 0);
  message.Int(1, 127);
  message.Int(1, 150);
  message.Int(16, 1);
  EXPECT_EQ(message.bytes(), Bytes({0x08, 0, 0x08, 0x7f, 0x08, 0x96, 0x01, 0x80, 0x01, 1}));
  ProtoMessage negative;
  negative.Int(1, -1);
  EXPECT_EQ(negative.bytes(),
            Bytes({0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}));
  ProtoMessage several;
  several.Ints(8, {3, 270});
  EXPECT_EQ(several.bytes(), Bytes({0x40, 3, 0x40, 0x8e, 0x02}));
}

TEST(ProtoMessage, WritesFloatsAndBytes) {
  ProtoMessage message;
  message.Float(2, -2.0F);
  message.Bytes(2, "testing");
  message.Bytes(3, "");
  EXPECT_EQ(message.bytes(), Bytes({0x15, 0, 0, 0, 0xc0, 0x12, 7}) + "testing" + Bytes({0x1a, 0}));
}

TEST(ProtoMessage, NestsMessages) {
  ProtoMessage inner, outer, header;
  inner.Int(1, 150);
  outer.Message(3, inner);
  EXPECT_EQ(outer.bytes(), Bytes({0x1a, 3, 0x08, 0x96, 0x01}));
  header.BytesHeader(3, 300);
  EXPECT_EQ(header.bytes(), Bytes({0x1a, 0xac, 0x02}));
}

}  // namespace
}  // namespace coppice
