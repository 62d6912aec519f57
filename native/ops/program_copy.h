// A program that a plan keeps: the caller's arrays may go away once it is compiled.
#pragma once

#include <string>
#include <vector>

#include "ops/ops.h"

namespace nvlm {

struct ProgramCopy {
  explicit ProgramCopy(const nvlm_program& p)
      : name(p.name),
        records(p.records, p.records + p.record_count),
        tensors(p.tensors, p.tensors + p.tensor_count),
        packed(p.weights, p.weights + p.weight_count),
        program(p) {
    program.name = name.c_str();
    program.records = records.data();
    program.tensors = tensors.data();
    program.weights = packed.data();
  }
  ProgramCopy(const ProgramCopy&) = delete;
  ProgramCopy& operator=(const ProgramCopy&) = delete;

  std::string name;
  std::vector<nvlm_record> records;
  std::vector<nvlm_tensor> tensors;
  std::vector<nvlm_weight*> packed;
  nvlm_program program;  // pointers into the above
};

}  // namespace nvlm
