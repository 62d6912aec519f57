#include "model/fit.h"

#include <cstdio>
#include <functional>
#include <string>

#include "model/blueprint.h"
#include "model/device.h"
#include "platform/error.h"

namespace nvlm {
namespace {

std::string megabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

// The largest number in [1, end) that fits, given that smaller ones do where larger ones do; 0: none.
int largest(int end, const std::function<bool(int)>& fits) {
  int good = 0;
  while (end - good > 1) {
    const int middle = good + (end - good) / 2;
    (fits(middle) ? good : end) = middle;
  }
  return good;
}

// Settings with which the model would fit, planned again for each try; empty: changing these two is not enough.
std::string what_would_fit(const LoadOptions& options, const Device& device, uint64_t available) {
  const auto fits = [&](int context, int sequences) {
    LoadOptions tried = options;
    tried.context_length = context;
    tried.max_sequences = sequences;
    return plan_memory(Blueprint(tried, device), device).total() <= available;
  };
  // Key/value memory is planned in whole pages.
  const auto pages = static_cast<int>(nvlm_pages_for(options.context_length));
  const auto longest = [&](int sequences) {
    return NVLM_PAGE_KEYS * largest(pages, [&](int n) { return fits(n * NVLM_PAGE_KEYS, sequences); });
  };
  const auto context_length = [](int value) { return "contextLength: " + std::to_string(value); };

  const int sequences = largest(options.max_sequences, [&](int n) { return fits(options.context_length, n); });
  const int context = longest(options.max_sequences);
  if (sequences && context) return context_length(context) + " or maxSequences: " + std::to_string(sequences);
  if (sequences) return "maxSequences: " + std::to_string(sequences);
  if (context) return context_length(context);
  const int alone = longest(1);
  return alone ? context_length(alone) + " and maxSequences: 1" : std::string();
}

}  // namespace

void refuse_if_too_large(const Description& description, const Device& device) {
  const MemoryUse& plan = description.memory;
  const uint64_t available = description.memory_free;
  if (available == 0 || plan.total() <= available) return;
  const bool on_host = !device.has_own_memory();
  const std::string would_fit = what_would_fit(description.options, device, available);
  const std::string advice = !would_fit.empty()         ? "Load it with " + would_fit
                             : plan.weights < available ? "Lower maxImages and maxTiles too"
                                                        : "Use a device with more memory";
  throw Error("out-of-memory", "The model needs " + megabytes(plan.total()) + " (weights " + megabytes(plan.weights) +
                                   ", key/value cache " + megabytes(plan.kv_cache + plan.cross_cache) +
                                   ", activations " + megabytes(plan.activations) + ", images " +
                                   megabytes(plan.images) + ") but only " + megabytes(available) + " are free" +
                                   (on_host ? "" : " on " + device.choice.id) + ". " + advice +
                                   (on_host ? ", or free memory." : ", free memory, or use device: 'cpu'."));
}

}  // namespace nvlm
