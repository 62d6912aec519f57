// The families by name, as only tests ask for them.
#pragma once

#include "model/family.h"

namespace nvlm::test {

inline const Family kNvlmD = *find_family("NVLM_D"), kNvlmX = *find_family("NVLM_X"), kNvlmH = *find_family("NVLM_H");

}  // namespace nvlm::test
