#include "shrink/select.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace coppice {

at::Tensor Select(const at::Tensor& x, int64_t axis, const std::vector<int64_t>& positions) {
  const int64_t size = x.size(axis), count = static_cast<int64_t>(positions.size());
  for (const int64_t at : positions) Check(at >= 0 && at < size, "a position that is not there");
  if (!x.is_cpu()) return x.index_select(axis, at::tensor(positions, at::kLong).to(x.device()));
  const at::Tensor from = x.contiguous();
  std::vector<int64_t> shape = x.sizes().vec();
  shape[static_cast<size_t>(axis)] = count;
  at::Tensor to = at::empty(shape, x.options());
  if (to.numel() == 0) return to;
  // Of one position: what lies side by side.
  const auto bytes = static_cast<int64_t>(from.stride(axis) * x.element_size());
  const int64_t outer = to.numel() / (count * from.stride(axis));
  const auto* source = static_cast<const char*>(from.const_data_ptr());
  auto* target = static_cast<char*>(to.mutable_data_ptr());
  constexpr int64_t kBytes = 1 << 16;  // that are worth another thread
  at::parallel_for(
      0, outer * count, std::max<int64_t>(1, kBytes / bytes), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end;) {
          const int64_t of_outer = i / count, first = i % count;
          const int64_t most = std::min(count, first + end - i);
          int64_t next = first + 1;
          while (next < most && positions[next] == positions[next - 1] + 1) ++next;
          std::memcpy(target + i * bytes, source + (of_outer * size + positions[first]) * bytes,
                      static_cast<size_t>((next - first) * bytes));
          i += next - first;
        }
      });
  return to;
}

}  // namespace coppice
