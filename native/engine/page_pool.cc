#include "engine/page_pool.h"

#include <string>

#include "platform/error.h"

namespace nvlm {

PagePool::PagePool(int pages) : owners_(static_cast<size_t>(pages), 0) {
  free_.reserve(owners_.size());
  for (int32_t page = pages; page-- > 0;) free_.push_back(page);
}

std::optional<std::vector<int32_t>> PagePool::take(int count) {
  if (count > available()) return std::nullopt;
  std::vector<int32_t> pages;
  pages.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    pages.push_back(free_.back());
    free_.pop_back();
    owners_[static_cast<size_t>(pages.back())] = 1;
  }
  return pages;
}

void PagePool::share(const std::vector<int32_t>& pages) {
  for (const int32_t page : pages) {
    if (owners_.at(static_cast<size_t>(page)) == 0)
      throw Error("internal", "A free key/value page (" + std::to_string(page) + ") was shared. Please report this.");
    ++owners_[static_cast<size_t>(page)];
  }
}

void PagePool::give_back(std::vector<int32_t>& pages) {
  for (const int32_t page : pages) {
    int32_t& owners = owners_.at(static_cast<size_t>(page));
    if (owners == 0)
      throw Error("internal",
                  "A key/value page (" + std::to_string(page) + ") was given back twice. Please report this.");
    if (--owners == 0) free_.push_back(page);
  }
  pages.clear();
}

}  // namespace nvlm
