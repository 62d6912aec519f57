#include "model/safetensors.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "model/printable.h"
#include "platform/error.h"

namespace nvlm {
namespace {

using nlohmann::json;

[[noreturn]] void corrupt(const std::string& file, const std::string& what) {
  throw Error("corrupt-checkpoint", "The file " + file + " is damaged: " + what + ". Download or copy it again.");
}

// Bytes of one element; nothing for a name the format does not define (types below one byte are left out: none is read
// here).
std::optional<std::uint64_t> element_size(std::string_view dtype) {
  struct Size {
    std::string_view name;
    std::uint64_t bytes;
  };
  static constexpr Size kSizes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
                                    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
                                    {"F32", 4},  {"I64", 8}, {"U64", 8}, {"F64", 8}};
  for (const Size& size : kSizes) {
    if (size.name == dtype) return size.bytes;
  }
  return std::nullopt;
}

std::string in_quotes(const std::string& name) { return "'" + printable(name) + "'"; }

std::uint64_t read_length(const std::byte* data) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | std::to_integer<std::uint64_t>(data[i]);
  return value;
}

// JSON of the header. A name that appears twice is refused, since the second would silently hide the first. The format
// never nests deeper than three levels, and deeper values are not kept: a header of nothing but brackets would cost
// many times its size.
json parse_header(std::string_view text, const std::string& file) {
  std::set<std::string> names;
  std::optional<std::string> twice;
  bool deep = false;
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!names.insert(name).second) twice = name;
    }
    if (depth > 3) deep = true;
    return depth <= 3;
  };
  json header = json::parse(text, watch, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object()) corrupt(file, "its header is not a JSON object");
  if (deep) corrupt(file, "its header nests deeper than the format does");
  if (twice) corrupt(file, "the tensor " + in_quotes(*twice) + " is listed twice");
  return header;
}

// A whole number below 2^63, or nothing. The parser keeps only non-negative integers as unsigned: 1.0, -1 and 1e30 are
// none.
std::optional<std::uint64_t> whole(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<std::uint64_t>();
  if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
  return number;
}

SafetensorsEntry parse_entry(const std::string& name, const json& value, std::uint64_t data_begin,
                             std::uint64_t data_size, const std::string& file) {
  const std::string tensor = "the tensor " + in_quotes(name);
  const auto member = [&](const char* key) -> const json& {
    const auto found = value.find(key);
    if (found == value.end()) corrupt(file, tensor + " has no " + key);
    return *found;
  };
  if (!value.is_object()) corrupt(file, tensor + " is not described by an object");

  SafetensorsEntry entry;
  entry.name = name;
  const json& dtype = member("dtype");
  if (!dtype.is_string()) corrupt(file, tensor + " has a dtype that is not a string");
  entry.dtype = dtype.get<std::string>();
  const auto size = element_size(entry.dtype);
  if (!size) {
    throw Error("unsupported-dtype", "The tensor " + in_quotes(name) + " in " + file + " has the dtype " +
                                         in_quotes(entry.dtype) +
                                         ", which is not known. Convert the checkpoint to BF16, F16 or F32.");
  }

  // Shape: the running product stays below 2^64 because every factor is checked against what is left.
  const json& shape = member("shape");
  if (!shape.is_array() || shape.size() > 8)
    corrupt(file, tensor + " has a shape that is not a list of at most 8 numbers");
  std::uint64_t bytes = *size;
  bool empty = false, overflow = false;
  for (const json& dimension : shape) {
    const auto extent = whole(dimension);
    if (!extent) corrupt(file, tensor + " has a shape with something other than whole numbers from 0");
    entry.shape.push_back(static_cast<std::int64_t>(*extent));
    if (*extent == 0) {
      empty = true;
    } else if (bytes > std::numeric_limits<std::uint64_t>::max() / *extent) {
      overflow = true;
    } else {
      bytes *= *extent;
    }
  }
  if (overflow) corrupt(file, tensor + " has a shape whose product is beyond 64 bits");
  if (empty) bytes = 0;

  const json& offsets = member("data_offsets");
  std::optional<std::uint64_t> begin, end;
  if (offsets.is_array() && offsets.size() == 2) {
    begin = whole(offsets[0]);
    end = whole(offsets[1]);
  }
  if (!begin || !end || *begin > *end) corrupt(file, tensor + " has data_offsets that are not two ascending numbers");
  if (*end > data_size) {
    corrupt(file, tensor + " ends at byte " + std::to_string(*end) + " of the data, but the file holds only " +
                      std::to_string(data_size) + " bytes of data (truncated?)");
  }
  if (*end - *begin != bytes) {
    corrupt(file, tensor + " has " + std::to_string(*end - *begin) + " bytes, but its shape and dtype " + entry.dtype +
                      " need " + std::to_string(bytes));
  }
  entry.begin = data_begin + *begin;
  entry.end = data_begin + *end;
  return entry;
}

}  // namespace

std::vector<SafetensorsEntry> parse_safetensors(const std::byte* data, std::uint64_t size, const std::string& file) {
  // ---- Length of the header ----
  if (size < 8) corrupt(file, "it has only " + std::to_string(size) + " bytes");
  const std::uint64_t length = read_length(data);
  if (length > size - 8) {
    corrupt(file, "its header should have " + std::to_string(length) + " bytes, but the file has " +
                      std::to_string(size) + " (truncated, or not a safetensors file)");
  }
  if (length > kMaxSafetensorsHeader) {
    corrupt(file, "its header of " + std::to_string(length) + " bytes is above the limit of " +
                      std::to_string(kMaxSafetensorsHeader));
  }

  // ---- Entries ----
  const json header = parse_header({reinterpret_cast<const char*>(data) + 8, static_cast<std::size_t>(length)}, file);
  std::vector<SafetensorsEntry> entries;
  entries.reserve(header.size());
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;  // free text of the writer
    if (name.empty() || name.size() > 256)
      corrupt(file, "it has a tensor name of " + std::to_string(name.size()) + " bytes");
    entries.push_back(parse_entry(name, value, 8 + length, size - 8 - length, file));
  }

  // ---- Back to back: the format allows neither overlap nor hole, and both are how a damaged index shows ----
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : (a.end != b.end ? a.end < b.end : a.name < b.name);
  });
  std::uint64_t reached = 8 + length;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin < reached) corrupt(file, "the bytes of the tensor " + in_quotes(entry.name) + " overlap another's");
    if (entry.begin > reached)
      corrupt(file,
              "no tensor owns the " + std::to_string(entry.begin - reached) + " bytes before " + in_quotes(entry.name));
    reached = entry.end;
  }
  if (reached != size) corrupt(file, std::to_string(size - reached) + " bytes at its end belong to no tensor");
  return entries;
}

}  // namespace nvlm
