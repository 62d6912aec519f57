// Which backend a device name means, in programs whose weights are random: in place of model/backends.cc, which the
// linker then leaves out of the program.
#include <stdexcept>
#include <vector>

#include "model/backends.h"
#include "platform/error.h"
#include "random_weights.h"

namespace nvlm {
namespace {

// The CPU packs weights as it likes, from memory: it gets them written out.
nvlm_status upload_to_cpu(nvlm_device* device, const nvlm_weight_source* source, nvlm_weight** weight) {
  nvlm_weight_source written = *source;
  std::vector<gpu::bf16> values[NVLM_MAX_PARTS];
  for (int32_t p = 0; p < source->parts; ++p) {
    auto& part = written.part[p];
    const random::Values random = random::values_of(part.data, part.row_stride);
    values[p].reserve(static_cast<size_t>(part.rows * part.cols));
    for (int64_t r = 0; r < part.rows; ++r) {
      for (int64_t c = 0; c < part.cols; ++c) values[p].push_back(random_value(random, r, c));
    }
    part.data = values[p].data();
    part.row_stride = part.cols;
  }
  return nvlm_cpu_backend()->upload_weight(device, &written, weight);
}

}  // namespace

BackendChoice choose_backend(const std::string& device, const std::string& library) {
  BackendChoice choice;
  choice.id = device;
  if (device == "cpu") {
    static nvlm_backend table = *nvlm_cpu_backend();
    table.upload_weight = upload_to_cpu;
    choice.backend = &table;
    return choice;
  }
  std::string reason;
  choice.library = DynamicLibrary::open(library, &reason);
  if (!choice.library) throw Error("device-unavailable", reason);
  const auto get = reinterpret_cast<const nvlm_backend* (*)(void)>(choice.library->symbol("nvlm_random_backend"));
  if (!get) throw Error("device-unavailable", library + " is not a library with random weights (test/native/gpu)");
  choice.backend = get();
  nvlm_device_description description{};
  choice.backend->describe(0, &description);
  if (!description.available) throw Error("device-unavailable", description.reason);
  return choice;
}

}  // namespace nvlm
