#include "model/family.h"

#include <iterator>

#include "model/config_nvlm.h"
#include "model/tensor_names.h"

namespace nvlm {
namespace {

constexpr Family kFamilies[] = {
    // architecture, name; in the sequence, cross-attended; tags: attended, limit attention; layers of the projector;
    // names
    {"NVLM_D", "NVLM-D", TileSet::all, TileSet::none, false, false, 2, read_nvlm_config, nvlm_tensor_names},
    {"NVLM_X", "NVLM-X", TileSet::none, TileSet::all, false, true, 1, read_nvlm_config, nvlm_tensor_names},
    {"NVLM_H", "NVLM-H", TileSet::thumbnail, TileSet::regular, true, false, 2, read_nvlm_config, nvlm_tensor_names},
};

}  // namespace

TileRange tiles_in(TileSet set, int32_t tiles) {
  switch (set) {
    case TileSet::none: break;
    case TileSet::all: return {0, tiles};
    case TileSet::thumbnail: return {tiles - 1, tiles};
    case TileSet::regular: return {0, tiles - 1};
  }
  return {0, 0};
}

const Family* find_family(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (family.architecture == architecture) return &family;
  }
  return nullptr;
}

std::string supported_architectures() {
  std::string names;
  for (const Family& family : kFamilies) {
    if (&family != kFamilies) names += &family + 1 == std::end(kFamilies) ? " and " : ", ";
    names += family.architecture;
  }
  return names;
}

}  // namespace nvlm
