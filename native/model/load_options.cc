#include "model/load_options.h"

#include <algorithm>
#include <cstdint>

#include "platform/error.h"

namespace nvlm {
namespace {

constexpr int kDefaultContext = 8192;
constexpr int kMostTiles = 12;  // as the published inference code allows

int in_range(const char* name, int value, int least, int most) {
  if (value >= least && value <= most) return value;
  throw Error("bad-option", "Expected an integer between " + std::to_string(least) + " and " + std::to_string(most) +
                                " for options." + name + " but received " + std::to_string(value) +
                                ". Leave it out for the default.");
}

}  // namespace

LoadOptions resolve(LoadOptions o, const ModelConfig& c, int device_rows) {
  o.max_tiles = in_range("maxTiles", o.max_tiles ? o.max_tiles : c.max_tiles, 1, std::max(kMostTiles, c.max_tiles));
  o.context_length = in_range("contextLength",
                              o.context_length ? o.context_length : std::min(c.decoder.max_positions, kDefaultContext),
                              1, c.decoder.max_positions);
  o.max_sequences = in_range("maxSequences", o.max_sequences, 1, 64);
  o.max_images = in_range("maxImages", o.max_images, 1, 256);
  // All that a step could be asked for, and never less than a row of each sequence.
  const int64_t all = static_cast<int64_t>(o.max_sequences) * o.context_length;
  o.step_rows =
      static_cast<int>(std::min<int64_t>(std::max(o.step_rows ? o.step_rows : device_rows, o.max_sequences), all));
  return o;
}

}  // namespace nvlm
