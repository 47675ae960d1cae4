// Checks a model's tensors against what its family expects, each once, and refuses those that
// nobody asked for: an unknown tensor might be coupled to units that are cut.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace coppice {

class TensorChecker {
 public:
  // tensors must outlive the checker. where: the folder or file, for messages. All checks throw
  // Error (kBadInput).
  TensorChecker(const std::map<std::string, at::Tensor>& tensors, std::string where)
      : tensors_(tensors), where_(std::move(where)) {}

  // The tensor is there with this shape, in a floating dtype.
  const at::Tensor& Expect(const std::string& name, const std::vector<int64_t>& shape);
  // NAME.weight (out, in) and NAME.bias (out).
  void ExpectLinear(const std::string& name, int64_t out, int64_t in);
  // The same where the bias may be missing; whether it is there.
  bool ExpectLinearMaybeBias(const std::string& name, int64_t out, int64_t in);
  // NAME.weight and NAME.bias (width).
  void ExpectNorm(const std::string& name, int64_t width);
  void RefuseUnknown(const std::vector<std::string>& unused_prefixes) const;

 private:
  std::string Where(const std::string& name) const;

  const std::map<std::string, at::Tensor>& tensors_;
  std::string where_;
  std::set<std::string> known_;
};

}  // namespace coppice
