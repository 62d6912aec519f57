// What Linux control groups (versions 1 and 2) and /proc say about memory and CPUs. `root` is "/" except in tests,
// which bring a file tree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace nvlm::cgroup {

// "MemAvailable", "MemTotal" of /proc/meminfo, in bytes.
std::optional<std::uint64_t> meminfo_bytes(const std::string& root, const std::string& key);

// The lowest memory limit of this process's group and its ancestors; nothing when there is none.
std::optional<std::uint64_t> memory_limit(const std::string& root);

// The least of limit − usage over the group and its ancestors; inactive page cache does not count as used.
std::optional<std::uint64_t> memory_left(const std::string& root);

// CPUs' worth of time the group may use, rounded up, at least 1; nothing when there is no quota.
std::optional<int> cpu_quota(const std::string& root);

}  // namespace nvlm::cgroup
