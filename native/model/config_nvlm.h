// config.json of NVLM-D, -X and -H (spec section 2).
#pragma once

#include "model/config.h"
#include "model/config_section.h"

namespace nvlm {

ModelConfig read_nvlm_config(const ConfigSection& root, const Family& family);

}  // namespace nvlm
