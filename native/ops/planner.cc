#include "ops/planner.h"

#include <algorithm>
#include <numeric>

#include "ops/op_info.h"
#include "platform/error.h"

namespace nvlm {
namespace {

struct Life {
  int32_t first = -1, last = -1;
  uint64_t bytes = 0;
  bool overlaps(const Life& other) const { return first <= other.last && other.first <= last; }
};

uint64_t times(uint64_t a, uint64_t b) {
  constexpr uint64_t kMost = uint64_t{1} << 62;
  if (b != 0 && a > kMost / b) {
    throw Error(
        "out-of-memory",
        "An activation of this model would need more bytes than an address can hold. Lower maxTiles or contextLength.");
  }
  return a * b;
}

uint64_t tensor_bytes(const nvlm_tensor& t, const int64_t (&max_count)[NVLM_EXTENT_COUNT]) {
  const uint64_t rows = times(static_cast<uint64_t>(t.rows_each), static_cast<uint64_t>(max_count[t.extent]));
  const uint64_t bytes = times(times(rows, static_cast<uint64_t>(t.cols)), nvlm_dtype_bytes(t.dtype));
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

std::vector<Life> lives(const std::vector<nvlm_tensor>& tensors, const std::vector<nvlm_record>& records,
                        const int64_t (&max_count)[NVLM_EXTENT_COUNT], const std::vector<int32_t>& kept) {
  std::vector<Life> life(tensors.size());
  const auto record_count = static_cast<int32_t>(records.size());
  for (int32_t r = 0; r < record_count; ++r) {
    for (const int32_t t : {records[r].in, records[r].out}) {
      if (t < 0) continue;
      if (life[t].first < 0) life[t].first = r;
      life[t].last = r;
    }
  }
  for (int32_t r = 0; r + 1 < record_count; ++r) {
    if (is_norm(records[r].op) && records[r].in >= 0)
      life[records[r].in].last = std::max(life[records[r].in].last, r + 1);
  }
  for (const int32_t t : kept) life[t].last = record_count;
  for (size_t t = 0; t < tensors.size(); ++t) life[t].bytes = tensor_bytes(tensors[t], max_count);
  return life;
}

}  // namespace

uint64_t plan_arena(std::vector<nvlm_tensor>& tensors, const std::vector<nvlm_record>& records,
                    const int64_t (&max_count)[NVLM_EXTENT_COUNT], const std::vector<int32_t>& kept) {
  const std::vector<Life> life = lives(tensors, records, max_count, kept);

  // Largest first, each at the lowest place that is free for its whole life.
  std::vector<int32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return life[a].bytes > life[b].bytes; });

  uint64_t arena = 0;
  std::vector<int32_t> placed;  // by ascending offset
  for (const int32_t t : order) {
    uint64_t at = 0;
    for (const int32_t other : placed) {
      if (!life[t].overlaps(life[other])) continue;
      if (tensors[other].offset >= at + life[t].bytes) break;
      at = std::max(at, tensors[other].offset + life[other].bytes);
    }
    tensors[t].offset = at;
    arena = std::max(arena, at + life[t].bytes);
    const auto place = std::upper_bound(placed.begin(), placed.end(), t,
                                        [&](int32_t a, int32_t b) { return tensors[a].offset < tensors[b].offset; });
    placed.insert(place, t);
  }
  return arena;
}

}  // namespace nvlm
