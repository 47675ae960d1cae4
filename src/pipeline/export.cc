#include "pipeline/export.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "export/forms.h"
#include "export/gguf.h"
#include "model/device.h"
#include "pipeline/source.h"

namespace coppice {
namespace {

// A folder with a file's name is what nobody wants.
void RefuseFileName(const ExportOptions& options) {
  for (const std::string& name : options.forms) {
    const Form& form = FindForm(name);
    if (options.out.extension().empty() ||
        options.out.extension() != std::filesystem::path(form.file).extension())
      continue;
    ThrowUsage({.what = "the output is a folder, not a file",
                .where = options.out.string(),
                .expected = "a folder's name",
                .hint = fmt::format("the file in it will be {}", form.file)});
  }
}

int64_t BytesIn(const std::filesystem::path& folder, const std::string& start) {
  int64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with(start))
      bytes += static_cast<int64_t>(entry.file_size());
  }
  return bytes;
}

}  // namespace

ExportReport Export(const ExportOptions& options, const Console& console) {
  const double start = Now();
  RefuseFileName(options);
  const FormOptions form_options = {
      .gguf_type = ParseGgufType(options.gguf_type),
      .vocabulary = options.vocabulary,
      .onnx_style = options.plain ? OnnxStyle::kPlain : OnnxStyle::kFused};
  RefuseToReplace({options.model, options.vocabulary}, options.out);
  OutputFolder folder(options.out, options.replace);
  UseThreads(options.threads);
  const Model model = LoadModel(options.model);
  RequireForms(model, options.forms, form_options);

  ExportReport report;
  report.out = options.out;
  for (const std::string& name : options.forms) {
    const Form& form = FindForm(name);
    console.Note(fmt::format("writing {}", form.file));
    form.write(model, form_options, folder.path());
    report.bytes += BytesIn(folder.path(), form.file);
  }
  report.forms = ProveForms(model, options.forms, folder.path(), RandomProofSamples(model.spec),
                            {options.threads, UsualMemoryBytes()}, console);
  folder.Commit();
  report.seconds = Now() - start;
  return report;
}

}  // namespace coppice
