// How far a device may be off at the end of a chain of records: the ops once more, in double, with what each of their
// values may be off.
//
// A value carries a limit and a variance. The limit is the worst case: of every error that came in, times the most that
// the op makes of it; of the op's own sums in float32, as the case files of the single ops derive it; and, on a device
// that writes bf16, of the rounding of what it writes (OpCase::rounding). Own sums are counted twice, since the
// reference, with which a device is compared, makes such errors too.
//
// The worst case grows with every sum and soon is larger than the values. So the variance adds the squares of the same
// errors, each taken at its largest, as if they were independent: then, by Hoeffding's inequality, an outcome is off by
// more than 8 roots of it once in 4e13 times, and the sum of all squared errors stays below the sum of the variances.
// An element may be off by the smaller of the two (Bounds::limit); Bounds::size is the variance's root, Bounds::rms 1.
#pragma once

#include "support/op_case.h"

namespace nvlm::test {

// Of the last record's output and of the self cache. rms_norm, layer_norm, all linear ops, rope_kv_write, and attention
// over pages.
Bounds chain_bounds(const OpCase& c);

}  // namespace nvlm::test
