// Which pages of one kv cache (self or cross) are free. Pages carry a count of owners, so that sequences can come to
// share a prefix.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace nvlm {

class PagePool {
 public:
  explicit PagePool(int pages);

  int total() const { return static_cast<int>(owners_.size()); }
  int available() const { return static_cast<int>(free_.size()); }

  // `count` pages with one owner each, or nothing when there are not that many.
  std::optional<std::vector<int32_t>> take(int count);
  // One more owner of each page; all must be taken.
  void share(const std::vector<int32_t>& pages);
  // One owner less; a page without owners is free again. Leaves `pages` empty.
  void give_back(std::vector<int32_t>& pages);

 private:
  std::vector<int32_t> free_;    // a stack: the page used last is the warmest
  std::vector<int32_t> owners_;  // [page]
};

}  // namespace nvlm
