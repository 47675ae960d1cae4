// Which device and dtype a run uses: what --device, --dtype and --threads mean.
#pragma once

#include <string>

#include "model/network.h"

namespace coppice {

// What the products are for: measuring wants float32, calibration takes the fastest dtype that
// serves.
enum class Purpose { kMeasure, kCalibrate };

// device: "auto", "cpu", "cuda", "cuda:N". dtype: "auto", "float32", "bfloat16"; auto is bfloat16
// for calibration where the processor multiplies it in hardware, float32 otherwise. Throws Error:
// kUsage for an unknown name, kEnvironment for a device that is not there. Sets, in the whole
// process, what suits the work: no attention of cuDNN's, a GPU's memory in blocks that grow.
Compute ChooseCompute(const std::string& device, const std::string& dtype, Purpose purpose);

// Whether it does so in hardware.
bool ProcessorMultipliesBfloat16();

// Gives back what is kept of a device's memory for further tensors: between stages whose tensors
// have other sizes.
void ReleaseKeptMemory(const Compute& compute);

// 0: as many as the machine has for this process.
void UseThreads(int threads);

// Most memory that was taken of the device so far, by tensors and by what is kept for further ones;
// 0 of the CPU.
int64_t PeakDeviceBytes(const Compute& compute);

std::string DeviceName(const Compute& compute);   // "cpu", "cuda:0"
std::string DeviceModel(const Compute& compute);  // "NVIDIA H200"; empty of the CPU
std::string DtypeName(const Compute& compute);    // "float32", "bfloat16"

}  // namespace coppice
