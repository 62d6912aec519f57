#include "model/printable.h"

namespace nvlm {

std::string printable(const std::string& name) {
  std::string text = name.substr(0, 120);
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return name.size() > 120 ? text + "..." : text;
}

}  // namespace nvlm
