#include "tune/student.h"

#include <ATen/ATen.h>

#include <utility>

#include "load/mapped_tensor.h"
#include "model/beside.h"

namespace coppice {
namespace {

Compute ComputeOf(Compute compute, bool streamed) {
  if (streamed) compute.memory = 0;
  return compute;
}

int64_t BytesOf(const Student::Tensors& tensors) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

}  // namespace

Student::Student(const Model& model, const Compute& compute, bool streamed)
    : model_(model),
      net_(Bind(model, ComputeOf(compute, streamed))),
      in_files_(BytesOf(model.tensors) > compute.memory) {}

at::Tensor Student::OutputWeight(size_t index) const {
  return model_.tensors.at(spec(index).output + ".weight")
      .to(net_.compute.device)
      .to(at::kDouble)
      .t();
}

void Student::Put(size_t index, const Tensors& tensors) {
  for (const auto& [name, tensor] : tensors) {
    const auto old = model_.tensors.find(name);
    const at::Tensor kept =
        old == model_.tensors.end() ? tensor : tensor.to(old->second.scalar_type());
    model_.tensors[name] = kept;
    (net_.streamed ? fresh_ : settled_)[name] = kept;
  }
  Rebind(model_, index, &net_);
}

void Student::Put(size_t index, const RepairResult& repair) {
  const std::string& output = spec(index).output;
  Tensors tensors;
  const at::Tensor& change = repair.weight_change;  // the published tuning's is on the CPU
  tensors[output + ".weight"] =
      (OutputWeight(index).to(change.device()) + change).t().to(at::kFloat).contiguous();
  const auto bias = model_.tensors.find(output + ".bias");
  const bool gets_bias = repair.bias_change.count_nonzero().item<int64_t>() > 0;
  if (bias != model_.tensors.end()) {
    const at::Tensor old = bias->second.to(repair.bias_change.device(), at::kDouble);
    tensors[output + ".bias"] = (old + repair.bias_change).to(at::kFloat);
  } else if (gets_bias) {
    tensors[output + ".bias"] = repair.bias_change.to(at::kFloat);
  }
  Put(index, tensors);
}

void Student::Settle(size_t index) {
  WaitForSettled();
  if (fresh_.empty()) return;
  left_ = index;
  leaving_ = Beside(net_.compute, [tensors = std::exchange(fresh_, {}), files = in_files_] {
    Tensors waiting;
    for (const auto& [name, tensor] : tensors)
      waiting[name] = files ? InFile(tensor) : tensor.to(at::kCPU);
    return waiting;
  });
  if (net_.compute.device.is_cpu()) WaitForSettled();  // one sub-layer's in memory at a time
}

void Student::WaitForSettled() {
  if (!leaving_.valid()) return;
  for (const auto& [name, tensor] : leaving_.get()) {
    model_.tensors[name] = tensor;
    settled_[name] = tensor;
  }
  Rebind(model_, left_, &net_);
}

Student::Tensors Student::Take() {
  WaitForSettled();
  return std::move(settled_);
}

}  // namespace coppice
