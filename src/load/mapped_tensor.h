// Tensors that live in files: views of a checkpoint, and data that waits on disk until it is
// wanted.
//
// Either kind is read through the mapping, page by page, and its pages can leave memory at any
// time: they are still in the file. Nothing here decides when (model/network.h,
// calibrate/residual_stream.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>

#include "load/mapped_file.h"

namespace coppice {

// A contiguous tensor of the mapping's bytes from `begin` on, which keeps the mapping alive. The
// bytes must be there and aligned for the dtype.
at::Tensor MappedTensor(const std::shared_ptr<MappedFile>& file, size_t begin,
                        at::IntArrayRef sizes, at::ScalarType dtype);

// A copy on the CPU in a temporary file of its own; none of its pages stays in memory. Throws Error
// (kEnvironment) when the disk has no room.
at::Tensor InFile(const at::Tensor& tensor);

// The pages of a tensor's file leave memory, and are read again when they are wanted. Does nothing
// to a tensor that lives in no file.
void DropPages(const at::Tensor& tensor);

}  // namespace coppice
