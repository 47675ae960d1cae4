#include "load/mapped_tensor.h"

#include <ATen/ATen.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

namespace coppice {
namespace {

using Owner = std::shared_ptr<MappedFile>;

// Of a mapped tensor's storage; also what it is known by.
void Release(void* owner) { const std::unique_ptr<Owner> last(static_cast<Owner*>(owner)); }

}  // namespace

at::Tensor MappedTensor(const std::shared_ptr<MappedFile>& file, size_t begin,
                        at::IntArrayRef sizes, at::ScalarType dtype) {
  auto owner = std::make_unique<Owner>(file);
  return at::for_blob(const_cast<std::byte*>(file->data()) + begin, sizes)
      .context(owner.release(), Release)
      .options(at::TensorOptions(dtype))
      .make_tensor();
}

at::Tensor InFile(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return tensor.to(at::kCPU);
  const at::Tensor copy =
      MappedTensor(MappedFile::Temporary(tensor.nbytes()), 0, tensor.sizes(), tensor.scalar_type());
  copy.copy_(tensor);
  DropPages(copy);
  return copy;
}

void DropPages(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.has_storage()) return;
  const at::DataPtr& data = tensor.storage().data_ptr();
  if (data.get_deleter() != &Release) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data.get());
  const uintptr_t end = begin + tensor.storage().nbytes();
  const uintptr_t first = (begin + page - 1) / page * page;  // whole pages alone
  const uintptr_t last = end / page * page;
  // Written pages of a shared mapping, and pages that were only read, are all in the file.
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace coppice
