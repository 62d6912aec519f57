// The families of models as data: what they differ in once the prompt is prepared (spec section 1). No other file knows
// a family by its name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nvlm {

class ConfigSection;
struct ModelConfig;
struct TensorNames;

// Which tiles of an image. The thumbnail is the last of several tiles, or the only one.
enum class TileSet { none, all, thumbnail, regular };

struct TileRange {
  int32_t begin, end;
};
// The set's numbers among the `tiles` tiles of an image, thumbnail included.
TileRange tiles_in(TileSet set, int32_t tiles);

struct Family {
  std::string_view architecture;  // as config.json writes it
  std::string_view name;          // for people
  TileSet in_sequence;            // tiles whose tokens stand in the decoder's sequence
  TileSet cross_attended;         // tiles whose tokens are cross-attended
  bool tags_are_attended;         // a cross-attended tile's tag stands before its tokens, as embeddings
  bool tags_limit_attention;      // the positions of a tile's tag in the sequence attend to that tile alone
  int projector_layers;           // 1: straight to the decoder's width; 2: with a GELU between
  ModelConfig (*read_config)(const ConfigSection& root, const Family& family);
  TensorNames (*tensor_names)(const ModelConfig& config);

  bool operator==(const Family&) const = default;
};

// nullptr: not supported.
const Family* find_family(std::string_view architecture);
// "NVLM_D, NVLM_X and NVLM_H"
std::string supported_architectures();

}  // namespace nvlm
