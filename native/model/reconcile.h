// A config and the tensors it describes, brought together.
#pragma once

namespace nvlm {

class Checkpoint;
struct ModelConfig;

// Takes from the tensors what config files are known to get wrong: biases of q/k/v, tied heads, head sizes, dummy heads
// and the projector's width. Throws unsupported-config when the two can't be brought together, corrupt-checkpoint when
// a tensor that decides is missing.
void reconcile(ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace nvlm
