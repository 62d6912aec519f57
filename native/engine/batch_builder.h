// The arrays of one nvlm_batch, at addresses that never change (a CUDA graph records them). Refilled for each step.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/ops.h"

namespace nvlm {

struct Sequence;

class BatchBuilder {
 public:
  // Largest batch: rows, sequences (each at most one out row), entries of both page lists.
  BatchBuilder(int rows, int sequences, int self_pages, int cross_pages);
  BatchBuilder(const BatchBuilder&) = delete;
  BatchBuilder& operator=(const BatchBuilder&) = delete;

  void clear();
  int rows() const { return rows_; }
  int room() const { return static_cast<int>(token_.size()) - rows_; }

  // The next `count` pending positions of the sequence. When they are its last, their last row is an out row.
  // `token_bytes`: of an image token.
  void add(const Sequence& sequence, int count, uint64_t token_bytes);
  // One row of the cross program: the embedding of `token`, or `source` when that is not null.
  void add_cross_token(int32_t token, const void* source, int32_t page, int place);

  nvlm_batch step_batch();
  nvlm_batch cross_batch();
  // Some row attends to cross keys.
  bool cross() const { return cross_; }
  // What the sample op wrote, one entry an out row, in the order the sequences were added.
  const nvlm_sampled& sampled(int out) const { return sampled_[static_cast<size_t>(out)]; }

 private:
  void put(int32_t token, const void* source, int64_t slot);

  int rows_ = 0, sequences_ = 0, outs_ = 0;
  bool cross_ = false, sources_ = false;
  std::vector<int32_t> token_, position_;                                // [rows]
  std::vector<const void*> source_;                                      // [rows], each null or an image token [hidden]
  std::vector<int64_t> slot_;                                            // [rows]
  std::vector<int32_t> self_begin_, self_end_;                           // [rows], keys [begin, end)
  std::vector<int32_t> cross_begin_, cross_end_;                         // [rows], keys [begin, end)
  std::vector<int32_t> row_begin_, self_page_begin_, cross_page_begin_;  // [sequences + 1]
  std::vector<int32_t> self_page_, self_fill_;    // [pages of all sequences], from self_page_begin_ on
  std::vector<int32_t> cross_page_, cross_fill_;  // the same for cross pages
  std::vector<int32_t> out_row_;                  // [outs]
  std::vector<nvlm_sampling> sampling_;           // [outs]
  std::vector<nvlm_sampled> sampled_;             // [outs]
};

}  // namespace nvlm
