// Images as calibration and measuring data of a model of image tokens: read from a file, or drawn
// from the model itself, as Shen et al. 2024 calibrate (128 images a class).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "calibrate/samples.h"
#include "core/console.h"
#include "load/image_tokens.h"
#include "model/image_sampling.h"
#include "model/network.h"
#include "pipeline/calibration_data.h"

namespace coppice {

struct DrawImagesOptions {
  std::vector<int64_t> classes;
  int64_t per_class = 1;
  ImageSampling sampling;
  uint64_t seed = 0;
};

// Images class by class. Image j of class c has random numbers of its own, which depend on seed, c
// and j alone. Throws Error: kBadInput for a class that the model does not have, kUsage for
// sampling options that make no sense.
ImageTokens DrawImages(const Network& net, const DrawImagesOptions& options,
                       const Console& console);

std::vector<int64_t> AllClasses(const ModelSpec& spec);

// Samples of a file of image tokens. Throws Error (kBadInput).
Samples ReadImageSamples(const ModelSpec& spec, const std::filesystem::path& file,
                         const DrawOptions& options);

struct ImageCalibrationOptions {
  std::filesystem::path data;  // a file, or kSelf
  int64_t per_class = 128;     // kSelf: images of each class
  ImageSampling sampling;      // kSelf
  int64_t count = 0;           // images of a file that are drawn; 0: all
  uint64_t seed = 0;
  double null_share = 0.1;  // of the images, which are read with the null class, as in training
};

// Throws Error (kUsage) where options are not the usual ones and the model is of no images, so that
// nobody would read them.
void RefuseImageOptions(const ModelSpec& spec, const ImageCalibrationOptions& options);

Samples CalibrateOnImages(const Network& net, const ImageCalibrationOptions& options,
                          const Console& console);

}  // namespace coppice
