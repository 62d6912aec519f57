// What the double of NVML answers, and what it was asked. Each opened library has one state, which its symbol
// `fake_nvml` gives.
#pragma once

#include <atomic>
#include <string>

namespace nvlm::test {

struct FakeNvml {
  std::string address;  // of the one GPU that there is
  unsigned long long total = 0, free = 0, used = 0;
  int init_code = 0, find_code = 0, memory_code = 0;  // what the function answers; 0: it succeeds
  std::atomic<int> inits{0}, open{0}, questions{0};   // inits that succeeded; those that no shutdown has followed yet
};

}  // namespace nvlm::test
