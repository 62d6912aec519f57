#include "engine/detokenizer.h"

namespace nvlm {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

void Detokenizer::push(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (missing_ > 0) {
      if (byte >= lowest_ && byte <= highest_) {
        held_.push_back(c);
        lowest_ = 0x80;
        highest_ = 0xBF;
        if (--missing_ == 0) {
          out += held_;
          held_.clear();
        }
        continue;
      }
      flush(out);  // the byte that broke the character may begin the next one
    }
    if (byte < 0x80) {
      out.push_back(c);
    } else if (byte >= 0xC2 && byte <= 0xF4) {
      missing_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
      if (byte == 0xE0) lowest_ = 0xA0;
      if (byte == 0xED) highest_ = 0x9F;
      if (byte == 0xF0) lowest_ = 0x90;
      if (byte == 0xF4) highest_ = 0x8F;
      held_.push_back(c);
    } else {
      out += kReplacement;
    }
  }
}

void Detokenizer::flush(std::string& out) {
  if (!held_.empty()) out += kReplacement;
  held_.clear();
  missing_ = 0;
  lowest_ = 0x80;
  highest_ = 0xBF;
}

}  // namespace nvlm
