// devices(): what a model could run on here.
#include "addon/functions.h"
#include "ops/ops.h"
#include "platform/memory.h"

namespace nvlm {

Napi::Value devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const nvlm_backend* backend = nvlm_cpu_backend();
  const nvlm_open_options options{};
  nvlm_device* device = nullptr;
  nvlm_capabilities capabilities{};
  const bool available = backend->open(&options, &device) == NVLM_OK;
  if (available) backend->capabilities(device, &capabilities);

  Napi::Object cpu = Napi::Object::New(env);
  cpu.Set("id", "cpu");
  cpu.Set("name", "CPU");
  cpu.Set("available", available);
  cpu.Set("reason", available ? env.Null() : Napi::Value::From(env, backend->last_error(nullptr)));
  cpu.Set("instructionSet", available ? Napi::Value::From(env, capabilities.instruction_set) : env.Null());
  cpu.Set("memoryTotal", total_memory());
  cpu.Set("memoryFree", free_memory());
  cpu.Set("threads", available ? capabilities.threads : usable_cpus());
  if (available) backend->close(device);

  Napi::Array list = Napi::Array::New(env);
  list.Set(0u, cpu);
  return list;
}

}  // namespace nvlm
