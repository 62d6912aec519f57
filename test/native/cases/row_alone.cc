// A row's result does not depend on its company: alone it has the same bits as among the others. What could break: sums
// of another order where a kernel takes few rows, a row that reads its neighbour.
#include <algorithm>
#include <cstring>

#include "cases/cases.h"
#include "support/check.h"

namespace nvlm::test {
namespace {

template <typename T>
void keep_only(std::vector<T>& values, int64_t row, int64_t each = 1) {
  if (values.empty()) return;
  const auto first = values.begin() + row * each;
  values = std::vector<T>(first, first + each);
}

// Where every tensor has one row for each row of the batch, and no row reads what another one wrote.
bool rows_are_apart(const OpCase& c) {
  return c.before.empty() && c.record.out >= 0 && c.record.op != NVLM_SAMPLE && c.batch.rows > 1 &&
         c.batch.tiles == 0 && std::all_of(c.tensors.begin(), c.tensors.end(), [](const Tensor& t) {
           return t.extent == NVLM_ROWS && t.rows_each == 1;
         });
}

OpCase alone(const OpCase& c, int64_t row) {
  OpCase one = c;
  Batch& b = one.batch;
  b.rows = 1;
  for (Tensor& t : one.tensors) keep_only(t.data, row, t.cols);
  for (auto* list : {&b.token, &b.position, &b.self_begin, &b.self_end, &b.cross_begin, &b.cross_end})
    keep_only(*list, row);
  keep_only(b.source, row);
  keep_only(b.kv_slot, row);
  for (int32_t& begin : b.row_begin) begin = begin > row ? 1 : 0;
  return one;
}

}  // namespace

void test_rows_alone(const Device& device) {
  for (const OpCase& c : all_cases()) {
    if (!rows_are_apart(c)) continue;
    run(device.name() + ": a row alone: " + c.name, [&] {
      const std::vector<float> together = run_case(device, c).out;
      for (const int64_t row : {int64_t{0}, c.batch.rows / 2, c.batch.rows - 1}) {
        const std::vector<float> got = run_case(device, alone(c, row)).out;
        const size_t cols = got.size();
        if (!check(cols > 0 && together.size() == cols * static_cast<size_t>(c.batch.rows), "one row")) return;
        const float* expected = together.data() + static_cast<size_t>(row) * cols;
        for (size_t i = 0; i < cols; ++i) {
          if (std::memcmp(&got[i], expected + i, sizeof(float)) == 0) continue;
          check(false, "row " + std::to_string(row) + ", column " + std::to_string(i) + ": " + std::to_string(got[i]) +
                           " alone, " + std::to_string(expected[i]) + " among the others");
          break;
        }
      }
    });
  }
}

}  // namespace nvlm::test
