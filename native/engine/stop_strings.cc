#include "engine/stop_strings.h"

#include <algorithm>

namespace nvlm {
namespace {

size_t advance(const std::string& bytes, const std::vector<size_t>& fallback, size_t matched, char next) {
  while (matched > 0 && (matched == bytes.size() || bytes[matched] != next)) matched = fallback[matched - 1];
  return bytes[matched] == next ? matched + 1 : matched;
}

}  // namespace

StopStrings::StopStrings(const std::vector<std::string>& strings) {
  for (const std::string& bytes : strings) {
    Pattern pattern{bytes, std::vector<size_t>(bytes.size(), 0), 0};
    for (size_t i = 1; i < bytes.size(); ++i)
      pattern.fallback[i] = advance(bytes, pattern.fallback, pattern.fallback[i - 1], bytes[i]);
    patterns_.push_back(std::move(pattern));
  }
}

int StopStrings::push(std::string_view bytes, std::string& out) {
  size_t partial = held_.size();
  for (const char byte : bytes) {
    held_.push_back(byte);
    partial = 0;
    int found = -1;
    size_t longest = 0;
    for (size_t i = 0; i < patterns_.size(); ++i) {
      Pattern& pattern = patterns_[i];
      pattern.matched = advance(pattern.bytes, pattern.fallback, pattern.matched, byte);
      partial = std::max(partial, pattern.matched);
      if (pattern.matched == pattern.bytes.size() && pattern.matched > longest) {
        found = static_cast<int>(i);
        longest = pattern.matched;
      }
    }
    if (found >= 0) {
      out.append(held_, 0, held_.size() - longest);
      held_.clear();
      return found;
    }
  }
  const size_t free = held_.size() - partial;
  out.append(held_, 0, free);
  held_.erase(0, free);
  return -1;
}

void StopStrings::flush(std::string& out) {
  out += held_;
  held_.clear();
  for (Pattern& pattern : patterns_) pattern.matched = 0;
}

}  // namespace nvlm
