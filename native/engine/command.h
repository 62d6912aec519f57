// What other threads ask of the engine's.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "engine/request.h"
#include "engine/sequence.h"
#include "engine/vocabulary.h"

namespace nvlm::command {

struct Submit {
  uint64_t id;
  Request request;
  Clock::time_point submitted;
};
struct Encode {
  uint64_t id;
  ImageInput image;
  std::vector<std::vector<int32_t>> tile_tags;
  Clock::time_point submitted;
};
struct Release {
  uint64_t handle;
};
using Any = std::variant<Submit, Encode, Release, Vocabulary>;

}  // namespace nvlm::command
