// The CUDA backend as the C table of ops/ops.h: the one symbol that the library exports.
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "cuda/availability.h"
#include "cuda/cut_tiles.h"
#include "cuda/device.h"
#include "cuda/launchers.h"
#include "cuda/nvml.h"
#include "cuda/plan.h"
#include "cuda/weights.h"

namespace nvlm::gpu {
namespace {

// A weight of 2 bytes gives 2 operations a row: below 989 TFLOP/s / 3.35 TB/s = 295 rows an H100 waits for its memory
// (A100: 156, H200: 206), and at half the peak, which mma.sync reaches, reading takes 15 % of the time that 1024 rows
// compute. Their 8 tiles of 128 rows also fill its 132 multiprocessors without splitting the depth where a product has
// 2176 columns or more. More rows gain little, and running answers wait for them: a step of a 7B takes 30 ms.
constexpr int32_t kStepRows = 1024;

thread_local char open_error[sizeof nvlm_device_description::reason];  // as in gpu.cu, no std::string

// On this device, whichever the calling thread used before: the host's threads take turns. An allocation that the host
// refuses must not cross the table.
template <typename Action>
nvlm_status on(nvlm_device* device, Action action) {
  try {
    const nvlm_status status = device->check(use_device(device->index), "turning to the device");
    return status == NVLM_OK ? action() : status;
  } catch (const std::bad_alloc&) {
    device->error = "the system refused memory";
    return NVLM_OUT_OF_MEMORY;
  }
}

void put(char* to, size_t bytes, const std::string& words) {
  std::strncpy(to, words.c_str(), bytes - 1);
  to[bytes - 1] = '\0';
}

// ---- Devices ----

int32_t table_device_count() {
  std::string reason;
  const int count = count_devices(&reason);
  if (count > 0) keep_loaded();
  return count;
}

void describe(int32_t index, nvlm_device_description* out) {
  *out = {};
  const std::string reason = unavailable(index);
  put(out->reason, sizeof out->reason, reason);
  out->available = reason.empty();
  driver_version(&out->driver);
  DeviceInfo info;
  if (table_device_count() <= index || device_info(index, &info) != Status::ok) return;
  put(out->name, sizeof out->name, info.name);
  out->compute_major = info.major;
  out->compute_minor = info.minor;
  out->memory_total = info.memory;
  if (out->available) free_memory(index, info, &out->memory_free);
}

// Runs a kernel, so that a GPU that can't is refused here and not in the first answer.
Status probe(nvlm_device* device) {
  void* word = nullptr;
  uint32_t found = 0;
  if (const Status status = alloc(&word, sizeof found, device->stream); status != Status::ok) return status;
  Status status = enqueue_probe(static_cast<uint32_t*>(word), device->stream);
  if (status == Status::ok) status = device->staging.fetch(&found, word, sizeof found);
  gpu::free(word, device->stream);
  if (status == Status::ok) status = wait(device->stream);  // so that what is free then is
  return status == Status::ok && found != kProbed ? Status::fault : status;
}

nvlm_status open(const nvlm_open_options* options, nvlm_device** out) {
  try {
    const std::string reason = unavailable(options->device);
    put(open_error, sizeof open_error, reason);
    if (!reason.empty()) return NVLM_UNSUPPORTED;
    keep_loaded();
    auto device = std::make_unique<nvlm_device>();
    device->index = options->device;
    Status status = device_info(device->index, &device->info);
    if (status == Status::ok) status = use_device(device->index);
    if (status == Status::ok) status = keep_freed_memory();
    if (status == Status::ok) status = create_stream(&device->stream);
    if (status == Status::ok) status = device->staging.open(device->stream);
    if (status == Status::ok) status = probe(device.get());
    if (status == Status::ok) status = trim();  // what other models of this process have freed is free for this one
    if (status != Status::ok) {
      put(open_error, sizeof open_error, refusal(device->info, status));
      return status == Status::out_of_memory ? NVLM_OUT_OF_MEMORY
             : status == Status::no_kernel   ? NVLM_UNSUPPORTED
                                             : NVLM_DEVICE_FAILED;
    }
    *out = device.release();
    return NVLM_OK;
  } catch (const std::bad_alloc&) {
    put(open_error, sizeof open_error, "The system refused memory. Close other programs.");
    return NVLM_OUT_OF_MEMORY;
  }
}

void close(nvlm_device* device) {
  use_device(device->index);
  delete device;
}

void capabilities(nvlm_device* device, nvlm_capabilities* out) {
  *out = {"cuda", device->info.name, 0, NVLM_BF16, kStepRows, 0, 0};
  use_device(device->index);
  memory_info(&out->memory_free, &out->memory_total);
}

// ---- Memory ----

nvlm_status alloc(nvlm_device* device, uint64_t bytes, void** memory) {
  return on(device, [&] { return device->take(bytes, memory); });
}

void release(nvlm_device* device, void* memory, uint64_t) {
  use_device(device->index);
  if (memory) device->give(memory);
}

nvlm_status copy(nvlm_device* device, void* to, const void* from, uint64_t bytes) {
  if (bytes == 0) return NVLM_OK;
  return on(device, [&] {
    const bool to_device = device->owns(to), from_device = device->owns(from);
    Status status = Status::ok;
    if (to_device && from_device) {
      status = copy_on_device(to, from, bytes, device->stream);
    } else if (to_device) {
      status = device->staging.send(to, from, bytes);
    } else if (from_device) {
      status = device->staging.fetch(to, from, bytes);
    } else {
      std::memcpy(to, from, bytes);
    }
    return device->check(status, "copying");
  });
}

uint64_t table_weight_bytes(nvlm_device*, const nvlm_weight_source* source) { return weight_bytes(*source); }

nvlm_status table_upload_weight(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** weight) {
  return on(device, [&] { return upload_weight(device, source, weight); });
}

void free_weight(nvlm_device* device, nvlm_weight* weight) {
  use_device(device->index);
  device->give(weight->data);
  delete weight;
}

// ---- Plans ----

uint64_t table_plan_bytes(nvlm_device* device, const nvlm_program* program) { return plan_bytes(*device, *program); }

nvlm_status table_compile(nvlm_device* device, const nvlm_program* program, nvlm_plan** plan) {
  return on(device, [&] { return compile(device, program, plan); });
}

void free_plan(nvlm_device* device, nvlm_plan* plan) {
  use_device(device->index);
  if (device->running == plan) device->running = nullptr;
  delete plan;
}

nvlm_status table_run(nvlm_device* device, nvlm_plan* plan, const nvlm_batch* batch, const volatile int32_t* cancel) {
  return on(device, [&] {
    device->running = plan;
    return run(device, plan, batch, cancel);
  });
}

nvlm_status table_wait(nvlm_device* device) {
  nvlm_plan* plan = std::exchange(device->running, nullptr);
  return on(device, [&] {
    const nvlm_status status = device->check(wait(device->stream), "waiting for the device");
    if (status == NVLM_OK && plan) finish(plan);
    return status;
  });
}

nvlm_status table_cut_tiles(nvlm_device* device, const nvlm_picture* picture, uint8_t* tiles) {
  return on(device, [&] { return cut_tiles(device, *picture, tiles); });
}

uint64_t used_bytes(nvlm_device* device) { return device->used; }
const char* last_error(nvlm_device* device) { return device ? device->error.c_str() : open_error; }

constexpr nvlm_backend kBackend = {
    NVLM_BACKEND_VERSION,
    "cuda",
    table_device_count,
    describe,
    open,
    close,
    capabilities,
    alloc,
    release,
    copy,
    copy,
    table_weight_bytes,
    table_upload_weight,
    free_weight,
    table_plan_bytes,
    table_compile,
    free_plan,
    table_run,
    table_wait,
    table_cut_tiles,
    used_bytes,
    last_error,
};

}  // namespace
}  // namespace nvlm::gpu

extern "C" __attribute__((visibility("default"))) const nvlm_backend* nvlm_cuda_backend(void) {
  return &nvlm::gpu::kBackend;
}
