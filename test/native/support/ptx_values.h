// What each wrapper of native/cuda/ptx computes from seeded random data, and how far two machines may differ in it.
// ptx_values.cu makes the values, on a GPU or in the emulator, whichever it is built for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nvlm::test {

struct PtxValues {
  enum Kind {
    bits,   // the same everywhere
    pairs,  // two bf16 a word: the same, but that a NaN may be any NaN
    sums,   // float32 sums, in what order a machine likes: see `size`
    close   // float32 of an approximation: units of the last place; what is denormal may be 0
  };
  std::string name;
  Kind kind;
  std::vector<uint32_t> in, out;  // words as they lie in device memory
  std::vector<float> size;        // of sums: the magnitude of the terms
};

// Throws std::runtime_error when the device fails.
std::vector<PtxValues> ptx_values(uint64_t seed);

}  // namespace nvlm::test
