#include "model/config_section.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "model/printable.h"
#include "platform/error.h"

namespace nvlm {

using nlohmann::json;

void ConfigSection::refuse(const std::string& key, const std::string& what) const {
  throw Error("unsupported-config", "The key " + prefix_ + key + " in " + file_ + " " + what + ".");
}

const json* ConfigSection::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

ConfigSection ConfigSection::section(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) refuse(key, "is missing. It must be an object");
  if (!value->is_object()) refuse(key, "must be an object");
  return ConfigSection(*value, prefix_ + key + ".", file_);
}

int ConfigSection::integer(const char* key, int least, int most, std::optional<int> fallback) const {
  const std::string range =
      "It must be a whole number between " + std::to_string(least) + " and " + std::to_string(most);
  const json* value = find(key);
  if (value == nullptr) {
    if (fallback) return *fallback;
    refuse(key, "is missing. " + range);
  }
  if (!value->is_number_integer()) refuse(key, "is " + shown(*value) + ". " + range);
  // Unsigned values above 2^63 would turn negative as signed ones.
  if (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(most))
    refuse(key, "is " + shown(*value) + ". " + range);
  const auto number = value->get<std::int64_t>();
  if (number < least || number > most) refuse(key, "is " + shown(*value) + ". " + range);
  return static_cast<int>(number);
}

double ConfigSection::number(const char* key, double least, double most, std::optional<double> fallback) const {
  char range[80];
  std::snprintf(range, sizeof(range), "It must be a number above %g and at most %g", least, most);
  const json* value = find(key);
  if (value == nullptr) {
    if (fallback) return *fallback;
    refuse(key, std::string("is missing. ") + range);
  }
  if (!value->is_number()) refuse(key, "is " + shown(*value) + ". " + range);
  const double result = value->get<double>();
  if (!(result > least && result <= most)) refuse(key, "is " + shown(*value) + ". " + range);
  return result;
}

bool ConfigSection::boolean(const char* key, bool fallback) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(key, "is " + shown(*value) + ". It must be true or false");
  return value->get<bool>();
}

std::string ConfigSection::string(const char* key, const std::string& fallback) const {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) refuse(key, "is " + shown(*value) + ". It must be a string");
  return value->get<std::string>();
}

std::string ConfigSection::one_of(const char* key, const std::vector<std::string>& allowed,
                                  const std::string& fallback) const {
  const std::string value = string(key, fallback);
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return value;
  std::string names;
  for (const std::string& name : allowed) names += (names.empty() ? "'" : ", '") + name + "'";
  refuse(key, "is '" + printable(value) + "'. Supported: " + names);
}

std::optional<std::string> ConfigSection::only_name(const char* key) const {
  const json* names = find(key);
  if (names == nullptr || !names->is_array() || names->size() != 1 || !names->front().is_string()) return std::nullopt;
  return names->front().get<std::string>();
}

void ConfigSection::must_be_absent(const char* key, const std::string& why) const {
  if (find(key) != nullptr) refuse(key, why);
}

std::string ConfigSection::shown(const json& value) {
  if (value.is_string()) return "the string '" + printable(value.get<std::string>()) + "'";
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  return value.dump();
}

}  // namespace nvlm
