// Writes an OnnxGraph as a file: IR version 8, operator set 17 (the widest reach; ONNX Runtime 1.12
// and later), com.microsoft 1 where its operators are used. Field numbers are those of onnx.proto.
//
// A file of Protocol Buffers ends at 2 GB. Where the tensors take more than `external_above` bytes,
// those of 1 KiB and more go into FILE_data beside it (model.onnx_data, as others call it), which
// ONNX Runtime maps into memory: large ones start at multiples of 64 KiB, others of 64 bytes.
#pragma once

#include <cstdint>
#include <filesystem>

#include "export/onnx_graph.h"

namespace coppice {

inline constexpr uint64_t kOnnxExternalAbove = uint64_t{1} << 30;

// The same graph gives the same bytes; one tensor at a time is in memory as a copy. Throws Error
// (kEnvironment) when the disk fails.
void WriteOnnxFile(const OnnxGraph& graph, const std::filesystem::path& file,
                   uint64_t external_above = kOnnxExternalAbove);

}  // namespace coppice
