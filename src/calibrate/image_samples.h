// Images of tokens as samples: a class id, then all tokens but the last, which is only predicted.
#pragma once

#include "calibrate/samples.h"
#include "load/image_tokens.h"

namespace coppice {

// The first options.first images, or options.count drawn with the seed, or all. What the file holds
// has been checked against the model (load/image_tokens.h).
Samples MakeImageSamples(const ModelSpec& spec, const ImageTokens& images,
                         const DrawOptions& options);

ImageTokenLimits ImageLimits(const ModelSpec& spec);

}  // namespace coppice
