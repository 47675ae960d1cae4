#include "pipeline/generate.h"

#include <ATen/core/Tensor.h>

#include "core/error.h"
#include "model/device.h"
#include "pipeline/image_data.h"

namespace coppice {
namespace {

void RefuseToReplace(const GenerateOptions& options) {
  std::error_code error;
  if (std::filesystem::is_directory(options.out, error)) {
    ThrowUsage({.what = "the output is a folder",
                .where = options.out.string(),
                .expected = "a new file"});
  }
  if (!std::filesystem::exists(options.out, error)) return;
  if (options.replace && std::filesystem::is_regular_file(options.out, error)) return;
  ThrowUsage({.what = "the output exists",
              .where = options.out.string(),
              .hint = "name another file, or replace it with --force"});
}

}  // namespace

GenerateReport Generate(const GenerateOptions& options, const Console& console) {
  RefuseToReplace(options);
  UseThreads(options.threads);
  const Compute compute = ChooseCompute(options.device, options.dtype, Purpose::kMeasure);
  const Model model = LoadModel(options.model);
  if (model.spec.image.grid == 0) {
    ThrowBadInput({.what = "the model does not draw images",
                   .where = options.model.string(),
                   .expected = "a class-conditional model of image tokens",
                   .found = model.spec.family});
  }
  const Network net = Bind(model, compute);
  GenerateReport report;
  report.device = DeviceName(compute);
  report.dtype = DtypeName(compute);
  ImageTokens images;
  {
    const StageClock clock(&report.seconds);
    images = DrawImages(net,
                        {.classes = options.classes.value_or(AllClasses(model.spec)),
                         .per_class = options.per_class,
                         .sampling = options.sampling,
                         .seed = options.seed},
                        console);
  }
  report.images = images.tokens.size(0);
  report.tokens = images.tokens.numel();
  WriteImageTokens(options.out, images);
  return report;
}

}  // namespace coppice
