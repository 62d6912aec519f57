#include "model/status.h"

#include "platform/error.h"

namespace nvlm {

void check_status(const nvlm_backend& backend, nvlm_device* device, nvlm_status status, const std::string& doing) {
  if (status == NVLM_OK) return;
  if (status == NVLM_CANCELLED) throw Error("aborted", "Aborted while " + doing + ". Ask again if it is still wanted.");
  const std::string words =
      std::string("The ") + backend.name + " backend failed while " + doing + ": " + backend.last_error(device) + ". ";
  if (status == NVLM_OUT_OF_MEMORY)
    throw Error("out-of-memory", words + "Close other models or programs, or send less at once.");
  if (status == NVLM_DEVICE_FAILED)
    throw Error("device-failed", words +
                                     "End this process and start it anew; if that fails too, check the device "
                                     "(nvidia-smi), or use device: 'cpu'.");
  throw Error("internal", words + "Please report this.");
}

}  // namespace nvlm
