// What a caller may choose when a model is loaded, and what it comes to for one checkpoint on one device.
#pragma once

#include <string>

#include "model/config.h"

namespace nvlm {

struct LoadOptions {
  std::string folder;
  std::string device = "cpu";
  std::string cuda_library;     // file of the CUDA backend; empty: there is none
  std::string instruction_set;  // empty: the best there is
  int threads = 0;              // 0: one per usable core
  int max_tiles = 0;            // of one image, thumbnail not counted; 0: the checkpoint's max_dynamic_patch
  int context_length = 0;       // positions of one sequence; 0: min(max_positions, 8192)
  int max_sequences = 4;        // sequences in one batch; key/value memory is planned for as many full contexts
  int max_images = 4;           // full images of one prompt; cross keys/values and image tokens are planned for them
  // Decoder rows (or cross tokens) of one step at most, longer prompts run in chunks; 0: the device's own number.
  int step_rows = 0;
};

// The same without zeros for tiles, positions and rows. device_rows: the device's own number of step rows. Throws
// Error("bad-option") that names the option and its range.
LoadOptions resolve(LoadOptions options, const ModelConfig& config, int device_rows);

}  // namespace nvlm
