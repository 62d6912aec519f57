// The C table of a backend in host memory. What it shares with others of its kind is all but its kernels and threads.
// Used by reference/ and cpu/.
#pragma once

#include "host/kernels.h"
#include "host/threads.h"
#include "ops/ops.h"

namespace nvlm::host {

// Everything but name and open filled in.
nvlm_backend backend_table();
// What the table's `open` does in the end: release_pool(threads.pool) follows when the device is closed; nullptr: there
// is none.
nvlm_status open_device(const Kernels& kernels, const char* backend_name, const Threads& threads,
                        void (*release_pool)(void*), nvlm_device** device);
void set_open_error(const char* message);  // what last_error(NULL) answers on this thread

}  // namespace nvlm::host
