// Finds stop strings in the bytes of an answer, however tokens cut them, and holds back whatever may still become one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace nvlm {

class StopStrings {
 public:
  // None of the strings is empty.
  explicit StopStrings(const std::vector<std::string>& strings);

  // Appends to `out` the bytes that can't be part of a match any more. Returns the index of the string matched, or -1.
  // The match completed first counts (the longest of those that end at the same byte); only what comes before
  // it comes out, and nothing may be pushed after it.
  int push(std::string_view bytes, std::string& out);
  // The answer ended without a match: what was held back comes out.
  void flush(std::string& out);

 private:
  // Knuth-Morris-Pratt: one comparison a byte, so a long stop string costs no more than a short one.
  struct Pattern {
    std::string bytes;
    std::vector<size_t> fallback;  // [i]: longest proper prefix of bytes[0, i + 1) that ends it too
    size_t matched = 0;            // bytes of the pattern that the stream ends with
  };

  std::vector<Pattern> patterns_;
  std::string held_;  // the longest partial match
};

}  // namespace nvlm
