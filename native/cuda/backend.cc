// The CUDA backend as the C table of ops/ops.h: what the library exports.
#include <new>
#include <string>

#include "cuda/device.h"
#include "cuda/plan.h"
#include "cuda/weights.h"

namespace nvlm::gpu {
namespace {

thread_local std::string open_error;
thread_local nvlm_plan* last_plan = nullptr;

nvlm_status refuse_open(nvlm_status status, std::string words) {
  open_error = std::move(words);
  return status;
}

// An allocation of the host that fails must not cross the table.
template <typename Action>
nvlm_status guarded(nvlm_device* device, Action action) {
  try {
    return action();
  } catch (const std::bad_alloc&) {
    return device->refuse(NVLM_OUT_OF_MEMORY, "the system refused memory");
  }
}

nvlm_status open(const nvlm_open_options* options, nvlm_device** out) {
  const std::string reason = unavailable(options->device);
  if (!reason.empty()) return refuse_open(NVLM_UNSUPPORTED, reason);
  auto device = std::make_unique<nvlm_device>();
  device->index = options->device;
  Status status = use_device(device->index);
  if (status == Status::ok) status = device_info(device->index, &device->info);
  if (status == Status::ok) status = create_stream(&device->stream);
  if (status == Status::ok) status = device->staging.open(device->stream);
  if (status != Status::ok) return refuse_open(status == Status::out_of_memory ? NVLM_OUT_OF_MEMORY : NVLM_DEVICE_FAILED, message());
  *out = device.release();
  return NVLM_OK;
}

}  // namespace
}  // namespace nvlm::gpu
