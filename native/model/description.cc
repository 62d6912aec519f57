#include "model/description.h"

#include "model/blueprint.h"
#include "model/device.h"
#include "platform/memory.h"

namespace nvlm {

Description describe(const Blueprint& blueprint, const Device& device) {
  const nvlm_capabilities capabilities = device.capabilities();
  const bool on_host = !device.has_own_memory();
  Description d;
  d.config = blueprint.config;
  d.options = blueprint.options;
  d.options.device = device.choice.id;
  // Beside a GPU the CPU cuts the tiles that the GPU has no memory for.
  if (on_host) d.options.threads = capabilities.threads;
  if (d.options.threads == 0) d.options.threads = usable_cpus();
  d.memory = plan_memory(blueprint, device);
  d.parameters = blueprint.parameters;
  if (on_host) d.instruction_set = capabilities.instruction_set;
  d.program = (blueprint.decode_cross.records.empty() ? blueprint.decode_text : blueprint.decode_cross).lines();
  d.memory_free = device.free_memory();
  d.fallback = device.choice.fallback;
  return d;
}

}  // namespace nvlm
