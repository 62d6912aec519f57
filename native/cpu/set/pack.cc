// Packing weights: vectors to float32, the rows of tables as they are, those of matrices into panels (linear.cc).
// Threads take blocks of rows.
#include <cstring>

#include "cpu/set/kernels.h"
#include "cpu/set/linear.h"
#include "ops/weight_source.h"

namespace nvlm::cpu::NVLM_CPU_SET {
namespace {

// Weight row -> its column in the panels. Gate and up rows take turns by vectors.
int64_t packed_column(const nvlm_weight_source& source, int64_t row) {
  if (!source.interleave) return row;
  const int64_t pair = row / 2;
  return pair / kLanes * kPanel + pair % kLanes + (row % 2) * kLanes;
}

int64_t panel_count(const nvlm_weight_source& source) {
  const int64_t rows = source_rows(source);
  return source.interleave ? (rows / 2 + kLanes - 1) / kLanes : (rows + kPanel - 1) / kPanel;
}

const char* stored_row(const nvlm_weight_source& source, int64_t row) {
  const SourceRow from = source_row(source, row);
  const auto& part = source.part[from.part];
  return static_cast<const char*>(part.data) +
         from.row * part.row_stride * static_cast<int64_t>(nvlm_dtype_bytes(part.dtype));
}

template <typename Stored>
void pack_row(const nvlm_weight_source& source, const nvlm_weight& weight, int64_t row) {
  const char* from = stored_row(source, row);
  const int64_t column = packed_column(source, row);
  Stored* to = static_cast<Stored*>(weight.data) + column / kPanel * weight.cols * kPanel + column % kPanel;
  for (int64_t k = 0; k < weight.cols; ++k)
    std::memcpy(to + k * kPanel, from + k * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
}

void pack_vector(const nvlm_weight_source& source, const nvlm_weight& weight) {
  auto* to = static_cast<float*>(weight.data);
  for (int32_t p = 0; p < source.parts; ++p) {
    for (int64_t i = 0; i < source.part[p].cols; ++i)
      *to++ = stored_value(source.part[p].data, source.part[p].dtype, i);
  }
}

}  // namespace

uint64_t packed_bytes(const nvlm_weight_source& source) {
  if (source.use == NVLM_VECTOR) return static_cast<uint64_t>(vector_length(source)) * sizeof(float);
  const int64_t rows = source.use == NVLM_TABLE ? source_rows(source) : panel_count(source) * kPanel;
  return static_cast<uint64_t>(rows) * static_cast<uint64_t>(source.part[0].cols) *
         nvlm_dtype_bytes(source.part[0].dtype);
}

void pack(const nvlm_weight_source& source, nvlm_weight& weight, const host::Threads& threads) {
  if (source.use == NVLM_VECTOR) return pack_vector(source, weight);
  const uint64_t row_bytes = static_cast<uint64_t>(weight.cols) * nvlm_dtype_bytes(weight.dtype);
  parallel_rows(threads, weight.rows, kPanel, [&](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; ++row) {
      if (source.use == NVLM_TABLE) {
        std::memcpy(static_cast<char*>(weight.data) + static_cast<uint64_t>(row) * row_bytes, stored_row(source, row),
                    row_bytes);
      } else if (weight.dtype == NVLM_F32) {
        pack_row<float>(source, weight, row);
      } else {
        pack_row<uint16_t>(source, weight, row);
      }
    }
  });
}

}  // namespace nvlm::cpu::NVLM_CPU_SET
