// How far a device may be off at the end of a chain of records: the ops once more, in double, with what each of their values may be off.
//
// A value carries a limit and a variance. The limit is the worst case: of every error that came in, times the most that the op makes of it; of the op's own sums in
// float32, as the case files of the single ops derive it; and, on a device that writes bf16, of the rounding of what it writes (OpCase::rounding). Own sums are
// counted twice, since the reference, with which a device is compared, makes such errors too. The variance takes the same errors as independent of each other, each
// at the most it can be, and adds squares: the sum of all squared errors stays below the sum of the variances (Bounds::size is their root, Bounds::rms 1). A wrong page,
// row, pair or weight moves outcomes by a share of their size; the variances make that some hundred times what is allowed, where limits alone, which grow with
// every sum, would let it pass.
#pragma once

#include "support/op_case.h"

namespace nvlm::test {

// Of the last record's output and of the self cache. rms_norm, layer_norm, all linear ops, rope_kv_write, and attention over pages.
Bounds chain_bounds(const OpCase& c);

}  // namespace nvlm::test
