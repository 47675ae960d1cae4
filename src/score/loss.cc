#include "score/loss.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/random.h"

namespace coppice {
namespace {

// Index drawn from softmax(logits); one row, on the CPU.
int64_t DrawClass(const at::Tensor& logits, Random* random) {
  const at::Tensor cumulative = at::cumsum(at::softmax(logits.to(at::kDouble), 0), 0);
  const double point = random->Uniform();
  const int64_t drawn =
      at::searchsorted(cumulative, point, /*out_int32=*/false, /*right=*/true).item<int64_t>();
  return std::min(drawn, logits.size(0) - 1);
}

at::Tensor DrawTargets(Task task, const at::Tensor& output, const Batch& batch, uint64_t seed) {
  const at::Tensor logits = output.detach().to(at::kCPU, at::kFloat);
  std::vector<at::Tensor> rows;
  for (int64_t row = 0; row < batch.rows(); ++row) {
    Random random(seed, 1 + static_cast<uint64_t>(batch.samples[static_cast<size_t>(row)]));
    const at::Tensor one = logits[row];
    if (task == Task::kClassification) {
      rows.push_back(at::scalar_tensor(DrawClass(one, &random), at::kLong));
    } else if (task == Task::kQuestionAnswering) {
      const int64_t start = DrawClass(one.select(1, 0), &random);
      const int64_t end = DrawClass(one.select(1, 1), &random);
      rows.push_back(
          at::stack({at::scalar_tensor(start, at::kLong), at::scalar_tensor(end, at::kLong)}));
    } else {
      at::Tensor noisy = one.clone().contiguous();
      float* values = noisy.data_ptr<float>();
      for (int64_t i = 0; i < noisy.numel(); ++i) values[i] += static_cast<float>(random.Normal());
      rows.push_back(task == Task::kRegression ? noisy.squeeze() : noisy);
    }
  }
  return at::stack(rows).to(output.device());
}

// Random signs like `shape`'s rows, a stream of its own for every sample: (B, n) float32.
at::Tensor RandomSigns(const Batch& batch, int64_t count, uint64_t seed) {
  at::Tensor signs = at::empty({batch.rows(), count}, at::kFloat);
  auto rows = signs.accessor<float, 2>();
  for (int64_t row = 0; row < batch.rows(); ++row) {
    Random random(seed, 1 + static_cast<uint64_t>(batch.samples[static_cast<size_t>(row)]));
    for (int64_t i = 0; i < count; ++i) rows[row][i] = random.Next() >> 63 ? 1.0F : -1.0F;
  }
  return signs;
}

// v = L e for the distributions of logits (B, C): exact Cholesky factor L of diag(p) - p p'. With
// s_k the sum of p from k on, L_jk = -p_j sqrt(p_k / (s_k s_k+1)) below the diagonal and
// L_kk = sqrt(p_k s_k+1 / s_k).
at::Tensor SoftmaxProbe(const at::Tensor& logits, const at::Tensor& signs) {
  const at::Tensor p = at::softmax(logits.to(at::kDouble), 1);
  const at::Tensor from = p.flip(1).cumsum(1).flip(1);                     // s_k
  const at::Tensor after = at::constant_pad_nd(from.slice(1, 1), {0, 1});  // s_k+1
  const at::Tensor tiny = at::full({}, 1e-300, p.options());
  const at::Tensor diagonal = (p * after / from.maximum(tiny)).sqrt();
  const at::Tensor below = (p / (from * after).maximum(tiny)).sqrt() * after.gt(0);
  const at::Tensor e = signs.to(p.options());
  const at::Tensor before = (below * e).cumsum(1) - below * e;  // sum over k < j
  return (diagonal * e - p * before).to(logits.scalar_type());
}

}  // namespace

std::string LabelSourceName(LabelSource source) {
  if (source == LabelSource::kProbe) return "probe";
  return source == LabelSource::kModel ? "model" : "data";
}

at::Tensor ExpectedLosses(Task task, const at::Tensor& output) {
  const auto entropy = [](const at::Tensor& logits) {
    return at::special_entr(at::softmax(logits, 1)).sum(1);
  };
  // Outputs that are no numbers have no loss either.
  const auto noise = [&](double variance) { return (output - output).sum(1) + variance; };
  switch (task) {
    case Task::kClassification:
      return entropy(output);
    case Task::kQuestionAnswering:
      return (entropy(output.select(2, 0)) + entropy(output.select(2, 1))) / 2;
    case Task::kRegression:  // the variance that labels are drawn with
      return noise(1);
    case Task::kNone:
      return noise(static_cast<double>(output.size(1)) / 2);
    case Task::kLanguageModel:
      break;
  }
  Check(false, "a language model's labels are its tokens");
  return {};
}

at::Tensor ProbeLosses(Task task, const at::Tensor& output, const Batch& batch, uint64_t seed) {
  const at::Tensor z = output.detach();
  const int64_t numbers = output.numel() / batch.rows();
  // Not waited for: a GPU is still busy with what the output is made of.
  const at::Tensor signs = RandomSigns(batch, numbers, seed).to(z.device(), /*non_blocking=*/true);
  switch (task) {
    case Task::kClassification:
      return (SoftmaxProbe(z, signs) * output).sum(1);
    case Task::kQuestionAnswering: {
      // The loss is the mean of two: the Fisher information is a quarter of either's, summed. A
      // token's signs stand together, so that padding behind it does not change them.
      const at::Tensor of_ends = signs.view(output.sizes());  // (B, T, 2)
      at::Tensor sum;
      for (const int64_t end : {0, 1}) {
        const at::Tensor v = SoftmaxProbe(z.select(2, end), of_ends.select(2, end));
        const at::Tensor logits = output.select(2, end);
        const at::Tensor part =
            at::where(logits.isfinite(), logits, at::zeros_like(logits)).mul(v).sum(1) / 2;
        sum = sum.defined() ? sum + part : part;
      }
      return sum;
    }
    case Task::kRegression:
    case Task::kNone:
      return (signs.view(output.sizes()) * output).sum(1);
    case Task::kLanguageModel:
      break;
  }
  Check(false, "a language model has no probe");
  return {};
}

at::Tensor MakeTargets(const ModelSpec& spec, const Samples& samples, const Batch& batch,
                       const at::Tensor& output, LabelSource source, uint64_t seed) {
  if (source != LabelSource::kData) return DrawTargets(spec.task, output, batch, seed);
  const bool classes = spec.task == Task::kClassification;
  const bool spans = spec.task == Task::kQuestionAnswering;
  Check(spec.task != Task::kNone, "an embedding has no labels");
  std::vector<double> numbers;
  for (const int64_t index : batch.samples) {
    const Sample& sample = samples.samples[static_cast<size_t>(index)];
    if (spans) {
      numbers.push_back(static_cast<double>(sample.start));
      numbers.push_back(static_cast<double>(sample.end));
    } else {
      numbers.push_back(sample.label);
    }
  }
  at::Tensor targets =
      at::tensor(numbers, at::kDouble).to(classes || spans ? at::kLong : at::kFloat);
  if (spans) targets = targets.view({batch.rows(), 2});
  return targets.to(output.device(), /*non_blocking=*/true);
}

at::Tensor SampleLosses(Task task, const at::Tensor& output, const at::Tensor& targets) {
  const auto entropy = [](const at::Tensor& logits, const at::Tensor& classes) {
    return at::nll_loss(at::log_softmax(logits, 1), classes, {}, at::Reduction::None);
  };
  switch (task) {
    case Task::kClassification:
      return entropy(output, targets);
    case Task::kRegression:
      return at::square(output.squeeze(1) - targets);
    case Task::kQuestionAnswering:
      return (entropy(output.select(2, 0), targets.select(1, 0)) +
              entropy(output.select(2, 1), targets.select(1, 1))) /
             2;
    case Task::kNone:
      return at::square(output - targets).sum(1) / 2;
    case Task::kLanguageModel:
      break;
  }
  Check(false, "unknown task");
  return {};
}

}  // namespace coppice
