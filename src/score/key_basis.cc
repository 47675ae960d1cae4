#include "score/key_basis.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "model/forward.h"
#include "model/gram.h"
#include "model/row_sums.h"

namespace coppice {
namespace {

// Second moments of the heads' queries or keys, with that of their means apart.
struct Moments {
  at::Tensor gram;  // (heads, K, K) float64
  at::Tensor mean;  // (heads, K)
};

// Of y = W x + b with the moments of x, a head's rows at a time. linear: (heads * K, D).
Moments Project(const Model& model, const std::string& linear, int64_t width,
                const ReaderMoments& x) {
  const auto tokens = static_cast<double>(x.tokens);
  const at::Tensor weight = model.tensors.at(linear + ".weight").to(at::kCPU, at::kDouble);
  const at::Tensor heads = weight.view({-1, width, weight.size(1)});  // (heads, K, D)
  const at::Tensor mean_x = x.sum / tokens;
  const at::Tensor centred = x.gram / tokens - at::outer(mean_x, mean_x);
  Moments y;
  y.gram = at::matmul(at::matmul(heads, centred), heads.transpose(1, 2));
  y.mean = at::matmul(heads, mean_x);
  const auto bias = model.tensors.find(linear + ".bias");
  if (bias != model.tensors.end())
    y.mean = y.mean + bias->second.to(at::kCPU, at::kDouble).view({-1, width});
  return y;
}

// The square root of positive matrices (n, K, K), and its inverse, damped so that it stays one.
struct Roots {
  at::Tensor root, inverse;
};

Roots RootsOf(const at::Tensor& matrices) {
  constexpr double kDamping = 1e-4;  // times the mean diagonal
  const at::Tensor mean = matrices.diagonal(0, 1, 2).mean(1, /*keepdim=*/true);  // (n, 1)
  const auto [values, vectors] = at::linalg_eigh(matrices);
  const at::Tensor root =
      (values.clamp_min(0) + (kDamping * mean).clamp_min(1e-30)).sqrt().unsqueeze(1);  // (n, 1, K)
  const at::Tensor back = vectors.transpose(1, 2);
  return {at::matmul(vectors * root, back), at::matmul(vectors / root, back)};
}

std::vector<int64_t> OrderOfPairs(const at::Tensor& query, const at::Tensor& key, int64_t queries) {
  const auto energy = [](const at::Tensor& gram) {  // (heads, K / 2)
    return gram.diagonal(0, 1, 2).unflatten(1, {2, -1}).sum(1);
  };
  const at::Tensor products =
      energy(query) * energy(key).repeat_interleave(queries, 0);  // (heads, K / 2)
  const at::Tensor order =
      products.sqrt().sum(0).argsort(/*stable=*/true, -1, /*descending=*/true).contiguous();
  const int64_t* const pairs = order.const_data_ptr<int64_t>();
  return {pairs, pairs + order.numel()};
}

}  // namespace

std::vector<ReaderMoments> GatherReaderMoments(const Network& net, const Samples& samples,
                                               const Console& console) {
  at::NoGradGuard no_gradients;
  std::vector<ReaderMoments> moments(net.sub_layers.size());
  std::vector<ProductSum> grams(net.sub_layers.size());
  const std::vector<Batch> batches =
      MakeBatches(samples, net.spec, UsualBatchTokens(net.compute.device), net.compute.device);
  Progress progress(console, "keys", static_cast<int64_t>(batches.size()));
  for (const Batch& batch : batches) {
    const AttentionContext context = MakePackedContext(net, batch);
    at::Tensor hidden = Begin(net, batch, context).exact;  // (M, D)
    for (size_t i = 0; i < net.sub_layers.size(); ++i) {
      const Fetched sub = Fetch(net, i);
      if (sub->kind == UnitKind::kHead && sub->units > 0) {
        const at::Tensor x = ReadByBranch(net, *sub, hidden);
        grams[i].Add(x, x);
        const at::Tensor sum = SumOfRows(x);
        moments[i].sum = moments[i].sum.defined() ? moments[i].sum + sum : sum;
        moments[i].tokens += x.size(0);
      }
      hidden = ProjectAndAdd(net, *sub, hidden, UnitInputs(net, *sub, hidden, context)).exact;
    }
    progress.Step();
  }
  for (size_t i = 0; i < moments.size(); ++i) {
    if (moments[i].tokens == 0) continue;
    moments[i].gram = grams[i].Total().to(at::kCPU);
    moments[i].sum = moments[i].sum.to(at::kCPU);
  }
  return moments;
}

void AddKeyBasis(const Model& model, size_t index, const ReaderMoments& moments, HeadBasis* basis) {
  const SubLayerSpec& sub = model.spec.sub_layers[index];
  const Moments query = Project(model, sub.query, sub.key_width, moments);
  const Moments key = Project(model, sub.key, sub.key_width, moments);
  const at::Tensor means = at::matmul(query.mean.unsqueeze(2), query.mean.unsqueeze(1));
  if (!model.spec.rotary.frequencies.empty()) {
    const at::Tensor key_means = at::matmul(key.mean.unsqueeze(2), key.mean.unsqueeze(1));
    basis->pairs = OrderOfPairs(query.gram + means, key.gram + key_means, sub.queries);
    return;
  }
  const Roots q = RootsOf(query.gram + means), k = RootsOf(key.gram);
  const auto [u, s, v] = at::linalg_svd(at::matmul(q.root, k.root), /*full_matrices=*/false);
  const at::Tensor scale = s.sqrt().unsqueeze(1);  // (heads, 1, K)
  basis->query = at::matmul(q.inverse, u * scale);
  basis->key = at::matmul(k.inverse, v.transpose(1, 2) * scale);
}

}  // namespace coppice
