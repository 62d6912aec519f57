// Names from files, made safe for a message.
#pragma once

#include <string>

namespace nvlm {

// Cut at 120 bytes, everything but printable ASCII as '?'.
std::string printable(const std::string& name);

}  // namespace nvlm
