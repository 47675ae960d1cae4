#include "model/generate.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "model/forward.h"

namespace coppice {

at::Tensor Extend(const Network& net, const at::Tensor& ids, Generation* generation) {
  Check(net.spec.task == Task::kLanguageModel, "only a language model is extended");
  Batch batch;
  batch.ids = ids;
  batch.mask = at::ones(ids.sizes(), ids.options().dtype(at::kBool));
  batch.samples.resize(static_cast<size_t>(ids.size(0)));
  generation->caches.resize(net.sub_layers.size());
  const AttentionContext context = MakeContext(net, batch, generation->tokens);
  at::Tensor hidden = Embed(net, batch);
  for (size_t i = 0; i < net.sub_layers.size(); ++i) {
    const Fetched sub = Fetch(net, i);
    const at::Tensor inputs = UnitInputs(net, *sub, hidden, context, &generation->caches[i]);
    hidden = ProjectAndAdd(net, *sub, hidden, inputs).exact;
  }
  generation->tokens += ids.size(1);
  return ApplyHead(net, hidden.slice(1, -1), batch).squeeze(1);
}

}  // namespace coppice
