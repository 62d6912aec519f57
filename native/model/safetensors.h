// The header of one .safetensors file: 8 bytes of length, JSON, then the tensors' bytes back to back. No number in it
// is trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace nvlm {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as written: "F32", "BF16", "F16", "U8", …
  std::vector<std::int64_t> shape;
  std::uint64_t begin;  // bytes from the start of the file; [begin, end) lies inside it
  std::uint64_t end;    // end − begin == product of shape · size of dtype
};

// Longest header read. 72B's largest shard needs 8 KB.
inline constexpr std::uint64_t kMaxSafetensorsHeader = std::uint64_t{16} << 20;

// Entries in the order of their bytes. Throws corrupt-checkpoint (bad length, bad JSON, duplicate name, overlap, hole,
// out of the file, shape that overflows or does not match its bytes) or unsupported-dtype; `file` is for the messages.
std::vector<SafetensorsEntry> parse_safetensors(const std::byte* data, std::uint64_t size, const std::string& file);

}  // namespace nvlm
