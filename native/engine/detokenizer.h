// From a stream of bytes to whole UTF-8 characters. Tokens end anywhere, also inside a character; what is not yet a
// character is held back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nvlm {

class Detokenizer {
 public:
  // Appends to `out` the characters that `bytes` completes. Each maximal invalid piece becomes one U+FFFD, so that the
  // text of all pieces together is what a decoder would make of the whole (the WHATWG rule, also Rust's
  // from_utf8_lossy, which Hugging Face tokenizers use).
  void push(std::string_view bytes, std::string& out);
  // The stream has ended: an unfinished character becomes U+FFFD.
  void flush(std::string& out);

 private:
  std::string held_;  // first bytes of an unfinished character, at most 3
  int missing_ = 0;   // continuation bytes still to come
  // Range of the next continuation byte: narrower after E0, ED, F0 and F4 (overlong forms, surrogates, above U+10FFFF).
  uint8_t lowest_ = 0x80;
  uint8_t highest_ = 0xBF;
};

}  // namespace nvlm
