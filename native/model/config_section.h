// One object of config.json and checked readers of its keys: what every family's config is read with.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace nvlm {

class ConfigSection {
 public:
  // `prefix`: the path of the object's keys, for messages: "" or "llm_config.".
  ConfigSection(const nlohmann::json& object, std::string prefix, const std::string& file)
      : object_(object), prefix_(std::move(prefix)), file_(file) {}

  // Throws unsupported-config: "The key … in … `what`."
  [[noreturn]] void refuse(const std::string& key, const std::string& what) const;

  // Each of the readers below refuses what has another type or is out of range, and an absent key without a fallback.
  // null counts as absent, as in Hugging Face's own readers.
  const nlohmann::json* find(const char* key) const;
  bool has(const char* key) const { return object_.contains(key); }  // present, even as null
  ConfigSection section(const char* key) const;
  int integer(const char* key, int least, int most, std::optional<int> fallback = std::nullopt) const;
  // A finite number with least < value <= most.
  double number(const char* key, double least, double most, std::optional<double> fallback = std::nullopt) const;
  bool boolean(const char* key, bool fallback) const;
  std::string string(const char* key, const std::string& fallback) const;
  std::string one_of(const char* key, const std::vector<std::string>& allowed, const std::string& fallback) const;
  // The name in a list of one; nothing when it is anything else.
  std::optional<std::string> only_name(const char* key) const;
  // A key that would change what the model computes, in a way that is not supported.
  void must_be_absent(const char* key, const std::string& why) const;

  // A value for a message. Containers are not printed, since they may nest deeply.
  static std::string shown(const nlohmann::json& value);

 private:
  const nlohmann::json& object_;
  std::string prefix_;
  const std::string& file_;
};

}  // namespace nvlm
