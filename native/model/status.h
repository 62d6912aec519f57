// What a status of a backend means to whoever uses the model.
#pragma once

#include <string>

#include "ops/ops.h"

namespace nvlm {

// Throws the Error that a status stands for, with the backend's words and the mend; `doing` completes "… failed while
// ".
void check_status(const nvlm_backend& backend, nvlm_device* device, nvlm_status status, const std::string& doing);

}  // namespace nvlm
