// devices(): what a model could run on here.
#include "addon/functions.h"
#include "addon/js.h"
#include "ops/ops.h"
#include "platform/memory.h"

namespace nvlm {

napi_value devices(napi_env env, napi_callback_info) {
  const nvlm_backend* backend = nvlm_cpu_backend();
  const nvlm_open_options options{};
  nvlm_device* device = nullptr;
  nvlm_capabilities capabilities{};
  const bool available = backend->open(&options, &device) == NVLM_OK;
  if (available) backend->capabilities(device, &capabilities);
  napi_value cpu = js::object(env, {{"id", js::string(env, "cpu")},
                                    {"name", js::string(env, "CPU")},
                                    {"available", js::boolean(env, available)},
                                    {"reason", available ? js::null(env) : js::string(env, backend->last_error(nullptr))},
                                    {"instructionSet", available ? js::string(env, capabilities.instruction_set) : js::null(env)},
                                    {"memoryTotal", js::number(env, static_cast<double>(total_memory()))},
                                    {"memoryFree", js::number(env, static_cast<double>(free_memory()))},
                                    {"threads", js::number(env, available ? capabilities.threads : usable_cpus())}});
  if (available) backend->close(device);
  js::Array list(env);
  list.add(cpu);
  return list.value();
}

}  // namespace nvlm
