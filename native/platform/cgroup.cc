#include "platform/cgroup.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>

namespace nvlm::cgroup {
namespace {

// Version 1 writes "no limit" as a number near 2^63.
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 60;

std::optional<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<std::uint64_t> read_number(const std::string& path) {
  const auto text = read_text(path);
  if (!text || text->empty() || (*text)[0] < '0' || (*text)[0] > '9') return std::nullopt;  // "max" and "-1": no limit
  const std::uint64_t value = std::strtoull(text->c_str(), nullptr, 10);
  if (value >= kNoLimit) return std::nullopt;
  return value;
}

// A line "key value" of a file such as memory.stat.
std::uint64_t stat_value(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  std::uint64_t value = 0;
  while (file >> word >> value) {
    if (word == key) return value;
  }
  return 0;
}

// Path of this process in the hierarchy of a controller ("" names version 2): lines "id:controllers:path" of
// /proc/self/cgroup.
std::optional<std::string> group_path(const std::string& root, const std::string& controller) {
  std::ifstream file(root + "proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool match = controller.empty() ? names == ",," : names.find("," + controller + ",") != std::string::npos;
    if (match) return line.substr(second + 1);
  }
  return std::nullopt;
}

// Calls visit with the folder of the group and of each ancestor up to the mount. Inside a container the path of the
// host may not exist below the mount; the mount itself is then the container's own group, and is visited in any case.
void visit_groups(const std::string& root, const std::string& controller,
                  const std::function<void(const std::string& folder)>& visit) {
  auto path = group_path(root, controller);
  if (!path) return;
  const std::string mount = root + "sys/fs/cgroup" + (controller.empty() ? "" : "/" + controller);
  while (!path->empty() && *path != "/") {
    visit(mount + *path);
    path->resize(path->rfind('/') == std::string::npos ? 0 : path->rfind('/'));
  }
  visit(mount);
}

void lower(std::optional<std::uint64_t>& least, std::uint64_t value) {
  least = least ? std::min(*least, value) : value;
}

}  // namespace

std::optional<std::uint64_t> meminfo_bytes(const std::string& root, const std::string& key) {
  std::ifstream file(root + "proc/meminfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(key + ":", 0) == 0)
      return std::strtoull(line.c_str() + key.size() + 1, nullptr, 10) * 1024;  // "MemTotal:  123 kB"
  }
  return std::nullopt;
}

std::optional<std::uint64_t> memory_limit(const std::string& root) {
  std::optional<std::uint64_t> least;
  visit_groups(root, "", [&](const std::string& folder) {
    if (const auto limit = read_number(folder + "/memory.max")) lower(least, *limit);
  });
  visit_groups(root, "memory", [&](const std::string& folder) {
    if (const auto limit = read_number(folder + "/memory.limit_in_bytes")) lower(least, *limit);
  });
  return least;
}

std::optional<std::uint64_t> memory_left(const std::string& root) {
  std::optional<std::uint64_t> least;
  const auto consider = [&](std::optional<std::uint64_t> limit, std::optional<std::uint64_t> usage,
                            std::uint64_t cache) {
    if (!limit || !usage) return;
    const std::uint64_t used = *usage - std::min(*usage, cache);
    lower(least, *limit - std::min(*limit, used));
  };
  visit_groups(root, "", [&](const std::string& folder) {
    consider(read_number(folder + "/memory.max"), read_number(folder + "/memory.current"),
             stat_value(folder + "/memory.stat", "inactive_file"));
  });
  visit_groups(root, "memory", [&](const std::string& folder) {
    consider(read_number(folder + "/memory.limit_in_bytes"), read_number(folder + "/memory.usage_in_bytes"),
             stat_value(folder + "/memory.stat", "total_inactive_file"));
  });
  return least;
}

std::optional<int> cpu_quota(const std::string& root) {
  std::optional<std::uint64_t> least;
  const auto consider = [&](std::uint64_t quota, std::uint64_t period) {
    if (quota == 0 || period == 0) return;
    lower(least, std::clamp<std::uint64_t>(quota / period + (quota % period != 0), 1, 1 << 20));
  };
  visit_groups(root, "", [&](const std::string& folder) {
    std::ifstream file(folder + "/cpu.max");  // "200000 100000" or "max 100000"
    std::uint64_t quota = 0, period = 0;
    if (file >> quota >> period) consider(quota, period);
  });
  visit_groups(root, "cpu", [&](const std::string& folder) {
    const auto quota = read_number(folder + "/cpu.cfs_quota_us");
    const auto period = read_number(folder + "/cpu.cfs_period_us");
    if (quota && period) consider(*quota, *period);
  });
  if (!least) return std::nullopt;
  return static_cast<int>(*least);
}

}  // namespace nvlm::cgroup
