// What could break: two tensors that live at once share bytes; a kept tensor is overwritten; the arena is larger than
// the worst moment.
#include "ops/planner.h"

#include <random>

#include "support/check.h"

using nvlm::plan_arena;
namespace test = nvlm::test;

namespace {

nvlm_record op(int32_t in, int32_t out) {
  nvlm_record r{};
  r.in = in;
  r.out = out;
  return r;
}

struct Case {
  std::vector<nvlm_tensor> tensors;
  std::vector<nvlm_record> records;
  std::vector<int32_t> kept;
};

constexpr int64_t kCounts[NVLM_EXTENT_COUNT] = {3, 7, 2};

uint64_t bytes_of(const nvlm_tensor& t) {
  const auto bytes = static_cast<uint64_t>(t.rows_each * kCounts[t.extent] * t.cols) * sizeof(float);
  return (bytes + nvlm::kArenaAlignment - 1) / nvlm::kArenaAlignment * nvlm::kArenaAlignment;
}

// Runs the program on labels instead of numbers: every record must still find its input's label in all bytes of the
// input.
bool inputs_survive(const Case& c, uint64_t arena) {
  std::vector<int32_t> owner(arena / nvlm::kArenaAlignment, -1);
  const auto whole = [&](int32_t t) {
    const uint64_t from = c.tensors[t].offset / nvlm::kArenaAlignment,
                   to = from + bytes_of(c.tensors[t]) / nvlm::kArenaAlignment;
    for (uint64_t i = from; i < to; ++i) {
      if (i >= owner.size() || owner[i] != t) return false;
    }
    return true;
  };
  std::vector<bool> written(c.tensors.size(), false);
  for (const nvlm_record& r : c.records) {
    if (r.in >= 0 && !whole(r.in)) return false;
    if (r.out < 0) continue;
    if (written[r.out] && !whole(r.out)) return false;  // in place: what was there must still be there
    const uint64_t from = c.tensors[r.out].offset / nvlm::kArenaAlignment,
                   to = from + bytes_of(c.tensors[r.out]) / nvlm::kArenaAlignment;
    if (to > owner.size()) return false;
    for (uint64_t i = from; i < to; ++i) owner[i] = r.out;
    written[r.out] = true;
    if (r.in >= 0 && !whole(r.in)) return false;  // the output must not lie on the input
  }
  for (const int32_t t : c.kept) {
    if (!whole(t)) return false;
  }
  return true;
}

Case random_case(std::mt19937& random) {
  Case c;
  const int steps = 1 + static_cast<int>(random() % 12);
  for (int s = 0; s < steps; ++s) {
    c.tensors.push_back({static_cast<nvlm_extent>(random() % NVLM_EXTENT_COUNT), static_cast<int64_t>(1 + random() % 3),
                         static_cast<int64_t>(1 + random() % 40), 0, NVLM_F32});
    const int32_t in = s == 0 ? -1 : static_cast<int32_t>(random() % s);
    c.records.push_back(op(in, s));
    if (s > 1 && random() % 3 == 0) {
      const auto a = static_cast<int32_t>(random() % s), b = static_cast<int32_t>(random() % s);
      if (a != b) c.records.push_back(op(a, b));  // in place on an older tensor
    }
    if (random() % 5 == 0) c.kept.push_back(s);
  }
  return c;
}

}  // namespace

int main() {
  test::run("tensors that live together never share bytes, over 2000 random programs", [] {
    for (uint32_t seed = 0; seed < 2000; ++seed) {
      std::mt19937 random(seed);
      Case c = random_case(random);
      const uint64_t arena = plan_arena(c.tensors, c.records, kCounts, c.kept);
      if (!test::check(inputs_survive(c, arena), "seed " + std::to_string(seed))) return;
    }
  });
  test::run("a chain needs two tensors' room, however long it is", [] {
    Case c;
    for (int32_t i = 0; i < 50; ++i) {
      c.tensors.push_back({NVLM_ROWS, 1, 16, 0, NVLM_F32});
      c.records.push_back(op(i - 1, i));
    }
    test::equal(plan_arena(c.tensors, c.records, kCounts, {}), 2 * bytes_of(c.tensors[0]), "arena");
  });
  test::run("a size that overflows is refused", [] {
    std::vector<nvlm_tensor> tensors = {{NVLM_ROWS, int64_t{1} << 40, int64_t{1} << 40, 0, NVLM_F32}};
    test::throws("out-of-memory", {"maxTiles"}, [&] { plan_arena(tensors, {op(-1, 0)}, kCounts, {}); });
  });
  return test::summary();
}
