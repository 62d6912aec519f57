#include "host/backend.h"

#include <cstring>
#include <new>
#include <string>

#include "host/device.h"
#include "host/plan.h"
#include "host/weights.h"
#include "platform/memory.h"

namespace nvlm::host {
namespace {

// A core with AVX2 does 48 G multiply-adds a second and gets 2 to 5 G weights from memory: from some 20 rows on a step
// is bound by the products. More than these would not be faster, and running answers would wait longer for their step.
constexpr int32_t kStepRows = 256;

thread_local std::string open_error;

// The table's opaque types. Ours have names of their own, since a test program links another backend beside this one.
Device& of(nvlm_device* device) { return *reinterpret_cast<Device*>(device); }
Plan* of(nvlm_plan* plan) { return reinterpret_cast<Plan*>(plan); }

// ---- Devices ----

int32_t device_count() { return 1; }

void describe(int32_t, nvlm_device_description* out) {
  *out = {};
  std::strcpy(out->name, "CPU");
  out->available = 1;
  out->memory_free = free_memory();
  out->memory_total = total_memory();
}

void close(nvlm_device* device) {
  if (of(device).release_pool) of(device).release_pool(of(device).threads.pool);
  delete &of(device);
}

void capabilities(nvlm_device* device, nvlm_capabilities* out) {
  const Device& d = of(device);
  *out = {d.backend_name, d.kernels->name, d.threads.count, NVLM_F32, kStepRows, 0, 0};
}

nvlm_status wait(nvlm_device*) { return NVLM_OK; }
uint64_t used_bytes(nvlm_device* device) { return of(device).used; }
const char* last_error(nvlm_device* device) { return device ? of(device).error.c_str() : open_error.c_str(); }

// ---- Memory ----

nvlm_status table_alloc(nvlm_device* device, uint64_t bytes, void** memory) { return of(device).take(bytes, memory); }
void table_free(nvlm_device* device, void* memory, uint64_t bytes) { of(device).give(memory, bytes); }

nvlm_status copy(nvlm_device*, void* to, const void* from, uint64_t bytes) {
  if (bytes) std::memcpy(to, from, bytes);
  return NVLM_OK;
}

uint64_t table_weight_bytes(nvlm_device* device, const nvlm_weight_source* source) {
  return of(device).kernels->packed_bytes(*source);
}
nvlm_status table_upload_weight(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** weight) {
  return upload_weight(of(device), *source, weight);
}
void table_free_weight(nvlm_device* device, nvlm_weight* weight) { free_weight(of(device), weight); }

// ---- Plans ----

uint64_t table_plan_bytes(nvlm_device* device, const nvlm_program* program) { return plan_bytes(of(device), *program); }

nvlm_status table_compile(nvlm_device* device, const nvlm_program* program, nvlm_plan** plan) {
  Plan* compiled = nullptr;
  const nvlm_status status = compile(of(device), *program, &compiled);
  if (status == NVLM_OK) *plan = reinterpret_cast<nvlm_plan*>(compiled);
  return status;
}

void table_free_plan(nvlm_device* device, nvlm_plan* plan) { free_plan(of(device), of(plan)); }

nvlm_status table_run(nvlm_device* device, nvlm_plan* plan, const nvlm_batch* batch, const volatile int32_t* cancel) {
  return run(of(device), *of(plan), *batch, cancel);
}

}  // namespace

void set_open_error(const char* message) { open_error = message; }

nvlm_status open_device(const Kernels& kernels, const char* backend_name, const Threads& threads,
                        void (*release_pool)(void*), nvlm_device** device) {
  auto* opened = new (std::nothrow) Device{&kernels, backend_name, threads, release_pool};
  if (!opened) {
    set_open_error("The system refused memory. Close other programs.");
    return NVLM_OUT_OF_MEMORY;
  }
  *device = reinterpret_cast<nvlm_device*>(opened);
  return NVLM_OK;
}

nvlm_backend backend_table() {
  nvlm_backend b{};
  b.version = NVLM_BACKEND_VERSION;
  b.device_count = device_count;
  b.describe = describe;
  b.close = close;
  b.capabilities = capabilities;
  b.alloc = table_alloc;
  b.free = table_free;
  b.write = copy;
  b.read = copy;
  b.weight_bytes = table_weight_bytes;
  b.upload_weight = table_upload_weight;
  b.free_weight = table_free_weight;
  b.plan_bytes = table_plan_bytes;
  b.compile = table_compile;
  b.free_plan = table_free_plan;
  b.run = table_run;
  b.wait = wait;
  b.used_bytes = used_bytes;
  b.last_error = last_error;
  return b;
}

}  // namespace nvlm::host
