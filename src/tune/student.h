// The student of a repair: the shrunk model and its network, which take new tensors sub-layer by
// sub-layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <future>
#include <map>
#include <string>

#include "model/model.h"
#include "model/network.h"
#include "tune/repair.h"

namespace coppice {

class Student {
 public:
  using Tensors = std::map<std::string, at::Tensor>;

  // compute: the teacher's; streamed: whether matrices stream, as the teacher's do, whatever the
  // size. New tensors wait in files where the model is beyond compute.memory.
  Student(const Model& model, const Compute& compute, bool streamed);

  const Model& model() const { return model_; }
  const Network& net() const { return net_; }
  const SubLayerSpec& spec(size_t index) const { return model_.spec.sub_layers[index]; }

  // The output projection of a sub-layer, (I, D) float64 on the device.
  at::Tensor OutputWeight(size_t index) const;

  // Puts new tensors of a sub-layer where everybody reads them, in the dtype that they will be
  // written in. They stay on the device where the student does: what a trial rejects is never
  // copied. Where it streams, until Settle().
  void Put(size_t index, const Tensors& tensors);

  // The same of a repaired output projection. The change is added to the weights as the file has
  // them, not as the compute dtype rounds them.
  void Put(size_t index, const RepairResult& repair);

  // Nothing runs the sub-layer again: what was put leaves the device beside the next one's repair.
  void Settle(size_t index);

  // All that was put, where it waits; at the end.
  Tensors Take();

 private:
  void WaitForSettled();

  Model model_;
  Network net_;
  bool in_files_;                 // where new tensors wait if the network streams
  Tensors settled_;               // what was put, there
  Tensors fresh_;                 // of the present sub-layer, on the device still
  std::future<Tensors> leaving_;  // of the one before, on their way from it
  size_t left_ = 0;               // which that is
};

}  // namespace coppice
