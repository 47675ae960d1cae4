#include "load/image_tokens.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "core/error.h"
#include "load/safetensors.h"

namespace coppice {
namespace {

std::string Where(const std::filesystem::path& file, const char* tensor) {
  return fmt::format("{}: tensor \"{}\"", Printable(file.string(), 500), tensor);
}

at::Tensor ReadIntegers(const SafetensorsFile& source, const std::filesystem::path& file,
                        const char* name, int64_t dimensions) {
  if (source.tensors().count(name) == 0) {
    ThrowBadInput({.what = "tensor is missing",
                   .where = Where(file, name),
                   .expected = "\"tokens\" (images, tokens) and \"classes\" (images)"});
  }
  const at::Tensor tensor = source.Get(name);
  if (!at::isIntegralType(tensor.scalar_type(), /*includeBool=*/false)) {
    ThrowBadInput({.what = "dtype is not of token ids",
                   .where = Where(file, name),
                   .expected = "an integer dtype",
                   .found = c10::toString(tensor.scalar_type())});
  }
  if (tensor.dim() != dimensions) {
    ThrowBadInput({.what = "shape is not of image tokens",
                   .where = Where(file, name),
                   .expected = fmt::format("{} dimensions", dimensions),
                   .found = fmt::format("[{}]", fmt::join(tensor.sizes().vec(), ", "))});
  }
  return tensor.to(at::kLong);
}

void CheckRange(const at::Tensor& tensor, int64_t last, const std::string& what,
                const std::string& where) {
  const at::Tensor bad = tensor.lt(0).logical_or(tensor.gt(last)).nonzero();
  if (bad.size(0) == 0) return;
  const auto image = bad[0][0].item<int64_t>();
  const at::Tensor row = tensor[image];
  const int64_t found =
      tensor.dim() == 1 ? row.item<int64_t>() : row[bad[0][1].item<int64_t>()].item<int64_t>();
  ThrowBadInput({.what = what,
                 .where = fmt::format("{}, image {}", where, image),
                 .expected = fmt::format("0 to {}", last),
                 .found = fmt::to_string(found)});
}

void CheckGrid(int64_t tokens, int64_t grid, const std::string& where) {
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(tokens))));
  if (side * side != tokens) {
    ThrowBadInput({.what = "the grid is not square",
                   .where = where,
                   .expected = fmt::format("{0} x {0} = {1} tokens an image", grid, grid * grid),
                   .found = fmt::format("{}", tokens)});
  }
  if (side != grid) {
    ThrowBadInput({.what = "the grid is not the model's",
                   .where = where,
                   .expected = fmt::format("{0} x {0} tokens an image", grid),
                   .found = fmt::format("{0} x {0}", side)});
  }
}

}  // namespace

ImageTokens ReadImageTokens(const std::filesystem::path& file, const ImageTokenLimits& limits) {
  const SafetensorsFile source = SafetensorsFile::Open(file);
  ImageTokens images;
  images.tokens = ReadIntegers(source, file, "tokens", 2);
  images.classes = ReadIntegers(source, file, "classes", 1);
  CheckGrid(images.tokens.size(1), limits.grid, Where(file, "tokens"));
  if (images.classes.size(0) != images.tokens.size(0)) {
    ThrowBadInput({.what = "images and classes are not as many",
                   .where = Where(file, "classes"),
                   .expected = fmt::format("[{}]", images.tokens.size(0)),
                   .found = fmt::format("[{}]", images.classes.size(0))});
  }
  if (images.tokens.size(0) == 0)
    ThrowBadInput({.what = "no images", .where = Printable(file.string(), 500)});
  CheckRange(images.tokens, limits.vocabulary - 1, "token out of range", Where(file, "tokens"));
  CheckRange(images.classes, limits.classes, "class out of range", Where(file, "classes"));
  return images;
}

void WriteImageTokens(const std::filesystem::path& file, const ImageTokens& images) {
  WriteSafetensors(file, {{"tokens", images.tokens.to(at::kCPU, at::kInt)},
                          {"classes", images.classes.to(at::kCPU, at::kInt)}});
}

}  // namespace coppice
