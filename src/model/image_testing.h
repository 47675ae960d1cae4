// What tests of image models share: the models and goldens of testdata/tiny-images.
#pragma once

#include <string>
#include <vector>

#include "model/device.h"
#include "model/image_sampling.h"
#include "model/model_testing.h"

namespace coppice {

inline const std::vector<std::string> kTinyImageNames = {"dense", "groups", "pruned"};

inline std::filesystem::path TinyImagePath(const std::string& name) {
  return SourceDir() / "testdata" / "tiny-images" / name;
}

struct TinyImage {
  explicit TinyImage(const std::string& name, at::ScalarType dtype = at::kFloat)
      : model(LoadModel(TinyImagePath(name))),
        net(Bind(model, {at::kCPU, dtype})),
        golden(ReadJson(TinyImagePath(name + ".golden.json"))),
        cases(golden["cases"].get<std::vector<nlohmann::json>>()) {
    UseThreads(1);  // many wait for each other more than they help
  }
  // All cases: the class, then all tokens but the last, which is batch.next.
  at::Tensor Ids(const nlohmann::json& one) const {
    std::vector<int64_t> ids = one["tokens"].get<std::vector<int64_t>>();
    ids.insert(ids.begin(), model.spec.vocabulary + one["class"].get<int64_t>());
    return at::tensor(ids, at::kLong);
  }
  Batch Together() const {
    std::vector<at::Tensor> rows;
    for (const nlohmann::json& one : cases) rows.push_back(Ids(one));
    const at::Tensor all = at::stack(rows);
    Batch batch;
    batch.ids = all.slice(1, 0, -1).contiguous();
    batch.type_ids = at::zeros_like(batch.ids);
    batch.mask = at::ones(batch.ids.sizes(), at::kBool);
    batch.next = all.select(1, -1).contiguous();
    for (int64_t row = 0; row < all.size(0); ++row) batch.samples.push_back(row);
    return batch;
  }
  Model model;
  Network net;
  nlohmann::json golden;
  std::vector<nlohmann::json> cases;
};

inline at::Tensor Matrix(const nlohmann::json& rows) {
  std::vector<at::Tensor> stacked;
  for (const nlohmann::json& row : rows) stacked.push_back(Numbers(row));
  return at::stack(stacked);
}

}  // namespace coppice
