#include "model/config.h"

#include <cstdint>
#include <filesystem>

#include "model/config_section.h"
#include "model/printable.h"
#include "platform/error.h"
#include "platform/mapped_file.h"

namespace nvlm {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{1} << 20;

const Family& read_family(const ConfigSection& root, const std::string& file) {
  const std::string supported = "Supported are " + supported_architectures() + ".";
  const std::optional<std::string> name = root.only_name("architectures");
  if (!name) {
    throw Error("unsupported-architecture",
                "The key architectures in " + file + " is not a list of one name. " + supported);
  }
  if (const Family* family = find_family(*name)) return *family;
  throw Error("unsupported-architecture",
              "The architecture '" + printable(*name) + "' in " + file + " is not supported. " + supported);
}

}  // namespace

ModelConfig parse_config(std::string_view text, const std::string& file) {
  const json object = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded() || !object.is_object()) {
    throw Error("corrupt-checkpoint", "The file " + file + " is not a JSON object. Download or copy it again.");
  }
  const ConfigSection root(object, "", file);
  const Family& family = read_family(root, file);
  return family.read_config(root, family);
}

ModelConfig read_config(const std::string& folder) {
  std::error_code ignored;
  if (!std::filesystem::exists(folder, ignored)) {
    throw Error("file-not-found", "There is no folder " + folder + ". Check the path.");
  }
  if (!std::filesystem::is_directory(folder, ignored)) {
    throw Error("not-a-checkpoint",
                folder + " is not a folder. Give the folder that holds config.json and the safetensors files.");
  }
  const std::string file = folder + "/config.json";
  const auto bytes = MappedFile::open(file);
  if (!bytes) {
    throw Error("not-a-checkpoint", "The folder " + folder +
                                        " has no config.json. Give the folder of a checkpoint in Hugging Face layout.");
  }
  if (bytes->size() > kMaxConfigBytes) {
    throw Error("corrupt-checkpoint", "The file " + file + " has " + std::to_string(bytes->size()) +
                                          " bytes, more than a config needs. Download or copy it again.");
  }
  return parse_config({reinterpret_cast<const char*>(bytes->data()), static_cast<std::size_t>(bytes->size())}, file);
}

}  // namespace nvlm
