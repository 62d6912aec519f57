// Tables with an entry for each op, each entry beside its op's name: one in which an op is missing, stands twice or is
// none does not compile.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "ops/ops.h"

namespace nvlm {

template <typename T>
using OpTable = std::array<T, NVLM_OP_COUNT>;

template <typename T>
struct OpEntry {
  nvlm_op op;
  T entry;
};

template <typename T, size_t count>
consteval OpTable<T> op_table(const OpEntry<T> (&entries)[count]) {
  static_assert(count == NVLM_OP_COUNT, "an op is missing from this table, or stands in it twice");
  OpTable<T> table{};
  bool filled[NVLM_OP_COUNT] = {};
  for (const OpEntry<T>& e : entries) {
    if (static_cast<uint32_t>(e.op) >= NVLM_OP_COUNT) throw "there is no such op";
    if (filled[e.op]) throw "an op stands in this table twice, and so another is missing";
    filled[e.op] = true;
    table[e.op] = e.entry;
  }
  return table;
}

}  // namespace nvlm
