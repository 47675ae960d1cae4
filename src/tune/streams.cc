#include "tune/streams.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "model/at_once.h"
#include "model/forward.h"

namespace coppice {
namespace {

// Where what sub-layers are to give waits.
Place PlaceOfTargets(const Network& student, const std::vector<Streams>& streams) {
  return PlaceFor(student.compute, TokensOf(streams) * student.spec.width * 4);
}

struct SplitSums {
  MomentSum fitted, held_out, rival;
  MomentSum& Of(const Streams& s) { return s.held_out ? held_out : fitted; }
  SplitMoments Take() { return {fitted.Take(), held_out.Take(), rival.Take()}; }
};

// How many parts of the batches are gathered at once, each on a thread of the CPU: what stands
// between products takes one thread each then. One part where there is no room for sums that keep
// half of the threads busy.
int64_t PartsOf(const Network& student, size_t index, const std::vector<Streams>& streams) {
  constexpr int64_t kBytes = int64_t{1} << 29;  // of sums in float32 and float64
  const SubLayer& sub = student.sub_layers[index];
  const int64_t inputs = std::max(sub.units * sub.width, student.spec.width);
  const int64_t threads = AtOnce(student.compute);
  const int64_t parts = std::min(threads, kBytes / (12 * inputs * inputs));
  const bool room =
      !student.streamed && 2 * parts >= threads && PlaceOfTargets(student, streams) != Place::kFile;
  return room && static_cast<int64_t>(streams.size()) >= 2 * parts ? parts : 1;
}

// The moments that visit(batch, sums) adds of all batches, those of each part in their order.
SplitMoments Gather(const Network& student, size_t index, std::vector<Streams>* streams,
                    const std::function<void(Streams*, SplitSums*)>& visit) {
  const int64_t parts = PartsOf(student, index, *streams);
  const auto batches = static_cast<int64_t>(streams->size());
  std::vector<SplitMoments> moments(static_cast<size_t>(parts));
  ForEachAtOnce(student.compute, parts, [&](int64_t part) {
    SplitSums sums;
    for (int64_t k = batches * part / parts; k < batches * (part + 1) / parts; ++k)
      visit(&(*streams)[static_cast<size_t>(k)], &sums);
    moments[static_cast<size_t>(part)] = sums.Take();
  });
  SplitMoments all = std::move(moments[0]);
  for (size_t part = 1; part < moments.size(); ++part) all.Add(moments[part]);
  return all;
}

void Start(const Network& teacher, const Samples& samples, int64_t batch_tokens, bool held_out,
           Place place, std::vector<Streams>* streams) {
  for (Batch& batch : MakeBatches(samples, teacher.spec, batch_tokens, teacher.compute.device)) {
    AttentionContext context = MakePackedContext(teacher, batch);
    const at::Tensor hidden = Begin(teacher, batch, context).exact;
    streams->push_back({std::move(batch),
                        std::move(context),
                        ResidualStream(hidden, place),
                        ResidualStream(hidden, place),
                        held_out,
                        {},
                        {}});
  }
}

// What a network's sub-layer adds to the stream.
at::Tensor Branch(const Network& net, const SubLayer& sub, const at::Tensor& hidden,
                  const AttentionContext& context) {
  return Project(sub, UnitInputs(net, sub, hidden, context));
}

}  // namespace

int64_t TokensOf(const std::vector<Streams>& streams) {
  int64_t tokens = 0;
  for (const Streams& s : streams) tokens += s.batch.real.numel();
  return tokens;
}

std::vector<Streams> StartStreams(const Network& teacher, const FitSamples& samples,
                                  int64_t batch_tokens) {
  const int64_t tokens = samples.fitted.tokens() + samples.held_out.tokens();
  const Place place = PlaceFor(teacher.compute, 2 * tokens * teacher.spec.width * 4);
  std::vector<Streams> streams;
  Start(teacher, samples.fitted, batch_tokens, /*held_out=*/false, place, &streams);
  Start(teacher, samples.held_out, batch_tokens, /*held_out=*/true, place, &streams);
  return streams;
}

SplitMoments FitMoments(const Network& teacher, const Network& student, size_t index,
                        const FitRules& rules, std::vector<Streams>* streams) {
  const Target target = rules.target;
  const Fetched wanted = Fetch(teacher, index);
  const Fetched present = Fetch(student, index);
  Prefetch(teacher, index + 1);
  if (rules.next_is_known) Prefetch(student, index + 1);
  const bool fit_unpruned = rules.unpruned != nullptr && wanted->kind == UnitKind::kChannel;
  const Fetched unpruned = fit_unpruned ? Fetch(*rules.unpruned, index) : Fetched();
  const Place targets = PlaceOfTargets(student, *streams);
  return Gather(student, index, streams, [&](Streams* batch, SplitSums* sums) {
    Streams& s = *batch;
    const at::Tensor of_teacher = s.teacher.Get();
    const at::Tensor of_student = s.student.Get();
    const at::Tensor& read_by_dense = target == Target::kOwn ? of_student : of_teacher;
    const at::Tensor& read_by_student = target == Target::kDense ? of_teacher : of_student;
    const at::Tensor branch = Branch(teacher, *wanted, read_by_dense, s.context);
    const at::Tensor inputs = UnitInputs(student, *present, read_by_student, s.context);
    const at::Tensor given = Project(*present, inputs);
    at::Tensor residual =
        (fit_unpruned ? Branch(*rules.unpruned, *unpruned, read_by_dense, s.context) : branch) -
        given;
    if (target == Target::kDrift) residual = residual + (of_teacher - of_student);
    const auto rows = [&](const at::Tensor& x) {
      return rules.first_only ? FirstOfEach(s.context.texts, x) : x;
    };
    if (rules.keep_target) s.target.emplace(residual + given, targets);
    const at::Tensor x = rows(inputs);
    sums->Of(s).Add(x, rows(residual));
    if (rules.own_rival && !s.held_out)
      sums->rival.AddResidual(x, rows(Branch(teacher, *wanted, of_student, s.context) - given));
    if (target != Target::kOwn) {
      s.teacher.Set(AddBranch(teacher, *wanted, of_teacher, branch));
    } else if (s.held_out) {  // what the end is compared with
      s.teacher.Set(
          AddBranch(teacher, *wanted, of_teacher, Branch(teacher, *wanted, of_teacher, s.context)));
    }
    if (rules.keep_inputs && target != Target::kDense) s.inputs = inputs;
  });
}

SplitMoments RefitMoments(const Network& student, size_t index, bool keep_inputs,
                          std::vector<Streams>* streams) {
  const Fetched sub = Fetch(student, index);
  return Gather(student, index, streams, [&](Streams* s, SplitSums* sums) {
    const at::Tensor inputs = UnitInputs(student, *sub, s->student.Get(), s->context);
    const at::Tensor residual = s->target->Get() - Project(*sub, inputs);
    sums->Of(*s).Add(inputs, residual);
    if (keep_inputs) s->inputs = inputs;
  });
}

SplitMoments InputMoments(const Network& teacher, const Network& student, size_t index,
                          std::vector<Streams>* streams) {
  return Gather(student, index, streams, [&](Streams* s, SplitSums* sums) {
    const at::Tensor of_teacher =
        ReadByBranch(teacher, teacher.sub_layers[index], s->teacher.Get());
    const at::Tensor of_student =
        ReadByBranch(student, student.sub_layers[index], s->student.Get());
    // What matrices read is rounded to the compute dtype.
    sums->Of(*s).Add(of_student.to(student.compute.dtype), of_teacher - of_student);
  });
}

void Advance(const Network& student, size_t index, std::vector<Streams>* streams) {
  const bool all_kept = std::all_of(streams->begin(), streams->end(),
                                    [](const Streams& s) { return s.inputs.defined(); });
  const Fetched sub = all_kept ? FetchOutput(student, index) : Fetch(student, index);
  const auto move = [&](Streams* s) {
    const at::Tensor hidden = s->student.Get();
    const at::Tensor inputs =
        s->inputs.defined() ? s->inputs : UnitInputs(student, *sub, hidden, s->context);
    s->student.Set(ProjectAndAdd(student, *sub, hidden, inputs).exact);
    s->inputs.reset();
    s->target.reset();
  };
  if (PartsOf(student, index, *streams) == 1) {
    for (Streams& s : *streams) move(&s);
    return;
  }
  ForEachAtOnce(student.compute, static_cast<int64_t>(streams->size()),
                [&](int64_t k) { move(&(*streams)[static_cast<size_t>(k)]); });
}

Divergence HeldOutDivergence(const Network& teacher, const Network& student,
                             const std::vector<Streams>& streams) {
  const auto at_end = [](const Streams& s, const ResidualStream& stream) {
    return Unpacked(s.context.texts, stream.Get());
  };
  std::vector<const Streams*> held_out;
  for (const Streams& s : streams)
    if (s.held_out) held_out.push_back(&s);
  // Distributions over a vocabulary take too much room to be there twice.
  const bool language = teacher.spec.task == Task::kLanguageModel;
  Divergence sum;
  InRounds(
      teacher.compute, static_cast<int64_t>(held_out.size()),
      language ? 1 : AtOnce(teacher.compute),
      [&](int64_t k) {
        const Streams& s = *held_out[static_cast<size_t>(k)];
        const Reference reference = ReadReference(teacher, at_end(s, s.teacher), s.batch);
        return DivergenceFrom(reference, student, at_end(s, s.student), s.batch);
      },
      [&](int64_t, const Divergence& one) { sum.Add(one); });
  return sum;
}

}  // namespace coppice
