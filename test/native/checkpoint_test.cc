// Safetensors headers and checkpoints: what a good one gives, and each way a file can be wrong, by message. The mutator
// is checkpoint_mutation_test.
#include "model/checkpoint.h"

#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "model/safetensors.h"
#include "platform/mapped_file.h"
#include "support/check.h"
#include "support/golden.h"
#include "support/scratch_folder.h"

using namespace nvlm;
using namespace nvlm::test;
using nlohmann::json;

namespace {

using Files = std::map<std::string, std::string>;

std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[static_cast<std::size_t>(i)] = static_cast<char>(length >> (8 * i));
  return file + rest;
}

std::string safetensors(const std::string& header, std::size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, 'd'));
}

Checkpoint open_files(const Files& files) {
  return Checkpoint::open_from(
      [&](const std::string& name) -> std::optional<std::span<const std::byte>> {
        const auto found = files.find(name);
        if (found == files.end()) return std::nullopt;
        return std::as_bytes(std::span(found->second.data(), found->second.size()));
      },
      "folder");
}

std::uint64_t bytes_of(const Checkpoint& checkpoint) {
  std::uint64_t total = 0;
  for (const auto& [name, tensor] : checkpoint.tensors()) total += tensor.bytes;
  return total;
}

void opens(const std::string& header, std::size_t data_bytes) {
  const Files files{{"model.safetensors", safetensors(header, data_bytes)}};
  check(bytes_of(open_files(files)) == data_bytes, header);
}

void refuses(const std::string& header, std::size_t data_bytes, const std::string& fragment,
             const std::string& code = "corrupt-checkpoint") {
  const Files files{{"model.safetensors", safetensors(header, data_bytes)}};
  current = "refused: " + header.substr(0, 200);
  throws(code, {"model.safetensors", fragment}, [&] { open_files(files); });
}

void golden_checkpoints_open() {
  for (const std::string& name : golden_names()) {
    const std::string folder = load_golden(name).folder;
    Checkpoint checkpoint = Checkpoint::open(folder);
    test::equal(checkpoint.has("language_model.model.norm.weight"), true, name);
    test::equal(checkpoint.find("no.such.tensor") == nullptr, true, name);
    const nvlm_dtype dtype = checkpoint.tensors().begin()->second.dtype;
    test::equal(dtype, name == "d-one-tile" ? NVLM_F32 : name == "x-six-tiles" ? NVLM_F16 : NVLM_BF16, name + " dtype");
    std::set<std::string> files;
    for (const auto& [tensor, stored] : checkpoint.tensors()) files.insert(stored.file);
    check(name.ends_with("-sharded") ? files.size() > 1 : files.size() == 1, name + " files");
    for (const std::string& file : files) check(std::filesystem::exists(folder + "/" + file), file);
  }
}

void values_are_those_of_the_file() {
  const std::string header =
      R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[2,10]},"a":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]},"__metadata__":{"format":"pt"}}  )";
  std::string file = safetensors(header, 10);
  const float numbers[2] = {1.5f, -3.0f};
  std::memcpy(file.data() + 8 + header.size() + 2, numbers, 8);
  const Files files{{"model.safetensors", file}};
  Checkpoint c = open_files(files);
  const StoredTensor& b = c.get("b", {2});
  check(std::memcmp(b.data, numbers, 8) == 0, "bytes of b");
  test::equal(b.bytes, std::uint64_t{8}, "bytes");
  test::equal(b.dtype, NVLM_F32, "dtype");
  test::equal(c.get("a", {1, 1}).dtype, NVLM_BF16, "dtype of a");
  test::equal(c.tensors().size(), std::size_t{2}, "metadata is no tensor");
  c.expect_all_used();
}

void wrong_use_names_the_tensor() {
  const Files files{
      {"model.safetensors", safetensors(R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24)}};
  Checkpoint c = open_files(files);
  throws("corrupt-checkpoint", {"missing.weight", "[4, 2]", "lacks"}, [&] { c.get("missing.weight", {4, 2}); });
  throws("corrupt-checkpoint", {" w ", "model.safetensors", "[2, 3]", "[3, 2]"}, [&] { c.get("w", {3, 2}); });
  throws("corrupt-checkpoint", {"[2, 3]", "[6]"}, [&] { c.get("w", {6}); });
  throws("corrupt-checkpoint", {"[2, 3]", "[2]"}, [&] { c.get("w", {2}); });
  throws("corrupt-checkpoint", {"[2, 3]", "[2, 3, 1]"}, [&] { c.get("w", {2, 3, 1}); });
  throws("corrupt-checkpoint", {"1 tensor ", "w (model.safetensors)"}, [&] { c.expect_all_used(); });
  throws("corrupt-checkpoint", {"1 tensor "}, [&] { (void)c.find("w"), c.expect_all_used(); });
  c.get("w", {2, 3});
  c.expect_all_used();

  std::string header = "{";
  for (int i = 0; i < 12; ++i) {
    header += (i ? "," : "") + std::string("\"layers.") + std::to_string(i) +
              ".w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[" + std::to_string(4 * i) + "," +
              std::to_string(4 * i + 4) + "]}";
  }
  const Files many{{"model.safetensors", safetensors(header + "}", 48)}};
  Checkpoint layers = open_files(many);
  throws("corrupt-checkpoint", {"12 tensors", "layers.0.w", "…"}, [&] { layers.expect_all_used(); });
  layers.ignore("layers.1.");
  throws("corrupt-checkpoint", {"11 tensors"}, [&] { layers.expect_all_used(); });
  layers.ignore("layers.");
  layers.expect_all_used();
}

void headers_that_lie_are_refused() {
  const Files none{{"model.safetensors", ""}}, seven{{"model.safetensors", "1234567"}};
  throws("corrupt-checkpoint", {"only 0 bytes"}, [&] { open_files(none); });
  throws("corrupt-checkpoint", {"only 7 bytes"}, [&] { open_files(seven); });
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    const Files files{{"model.safetensors", with_length(length, "{}")}};
    throws("corrupt-checkpoint", {"its header should have " + std::to_string(length)}, [&] { open_files(files); });
  }
  const Files large{{"model.safetensors",
                     with_length(kMaxSafetensorsHeader + 1, "{}" + std::string(kMaxSafetensorsHeader - 1, ' '))}};
  throws("corrupt-checkpoint", {"above the limit"}, [&] { open_files(large); });
  for (const char* text : {"", "{", "[]", "null", "{}x", "\xff", "{\"a\":\xc0\x80}"})
    refuses(text, 0, "not a JSON object");
  refuses(std::string(1000000, '['), 0, "not a JSON object");
  refuses("{\"a\":" + std::string(1000000, '[') + std::string(1000000, ']') + "}", 0, "nests deeper");
  refuses("{}", 1, "1 bytes at its end belong to no tensor");
}

void entries_that_lie_are_refused() {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return "{\"w\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";
  };
  opens(entry("\"F32\"", "[2,3]", "[0,24]"), 24);
  opens(entry("\"F32\"", "[]", "[0,4]"), 4);
  opens(entry("\"F32\"", "[0,3]", "[0,0]"), 0);
  refuses(R"({"w":5})", 0, "'w' is not described by an object");
  refuses(R"({"w":{"shape":[1],"data_offsets":[0,4]}})", 4, "'w' has no dtype");
  refuses(R"({"w":{"dtype":"F32","data_offsets":[0,4]}})", 4, "'w' has no shape");
  refuses(R"({"w":{"dtype":"F32","shape":[1]}})", 4, "'w' has no data_offsets");
  refuses(entry("7", "[1]", "[0,4]"), 4, "dtype that is not a string");
  refuses(entry("\"Q4_0\"", "[1]", "[0,4]"), 4, "Q4_0", "unsupported-dtype");
  refuses(entry("\"I64\"", "[1]", "[0,8]"), 8, "I64", "unsupported-dtype");
  refuses(entry("\"F8_E4M3\"", "[4]", "[0,4]"), 4, "F8_E4M3", "unsupported-dtype");
  refuses(entry("\"F32\"", "{}", "[0,4]"), 4, "not a list");
  refuses(entry("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "at most 8");
  for (const char* size : {"-1", "1.0", "\"1\"", "null", "1e3", "9223372036854775808"})
    refuses(entry("\"F32\"", std::string("[") + size + "]", "[0,4]"), 4, "other than whole numbers");
  refuses(entry("\"F32\"", "[[1]]", "[0,4]"), 4, "nests deeper");
  refuses(entry("\"F32\"", "[9223372036854775807,9223372036854775807]", "[0,4]"), 4, "beyond 64 bits");
  refuses(entry("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, "beyond 64 bits");  // the product is 0 modulo 2^64
  refuses(entry("\"F32\"", "[4611686018427387905]", "[0,4]"), 4, "beyond 64 bits");    // times 4 is 4 modulo 2^64
  refuses(entry("\"F32\"", "[0,4294967296,4294967296]", "[0,0]"), 0, "beyond 64 bits");
  refuses(entry("\"F32\"", "[2]", "[0,4]"), 4, "need 8");
  refuses(entry("\"BF16\"", "[4]", "[0,4]"), 4, "need 8");
  for (const char* offsets : {"[0]", "[0,4,8]", "4", "[4,0]", "[-4,0]", "[0.0,4]", "[\"0\",4]", "{\"0\":0,\"1\":4}"})
    refuses(entry("\"F32\"", "[1]", offsets), 4, "not two ascending numbers");
  refuses(entry("\"F32\"", "[1]", "[4,8]"), 4, "truncated?");
  refuses(entry("\"F32\"", "[1]", "[9223372036854775803,9223372036854775807]"), 4, "truncated?");
  refuses(entry("\"F32\"", "[1]", "[4,8]"), 8, "no tensor owns the 4 bytes before 'w'");
  refuses(entry("\"F32\"", "[1]", "[0,4]"), 9, "5 bytes at its end");
  const auto two = [](const std::string& a, const std::string& b) {
    return "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" + a +
           "},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" + b + "}}";
  };
  opens(two("[8,16]", "[0,8]"), 16);
  refuses(two("[0,8]", "[4,12]"), 12, "'b' overlap");
  refuses(two("[0,8]", "[0,8]"), 8, "overlap");
  refuses(two("[0,8]", "[9,17]"), 17, "no tensor owns the 1 bytes");
  refuses(
      R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      8, "'w' is listed twice");
  refuses(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "a tensor name of 0 bytes");
  refuses("{\"" + std::string(257, 'n') + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
          "a tensor name of 257 bytes");
  refuses("{\"a\\u001b[2J\":5}", 0, "'a?[2J'");
}

void shards_follow_the_index() {
  const std::string a = safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
                    b = safetensors(R"({"b":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2);
  const auto with_index = [&](const std::string& index) {
    return Files{{"model.safetensors.index.json", index},
                 {"model-00001-of-00002.safetensors", a},
                 {"model-00002-of-00002.safetensors", b}};
  };
  const auto refuses_index = [&](const std::string& index, const std::string& code, const std::string& fragment) {
    current = "refused: " + index.substr(0, 200);
    const Files files = with_index(index);
    throws(code, {fragment}, [&] { open_files(files); });
  };
  const Files good = with_index(
      R"({"metadata":{},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
  Checkpoint c = open_files(good);
  test::equal(c.get("b", {1}).file, std::string("model-00002-of-00002.safetensors"), "file of b");
  test::equal(bytes_of(c), std::uint64_t{6}, "bytes");

  refuses_index("{", "corrupt-checkpoint", "index.json");
  refuses_index("[]", "corrupt-checkpoint", "weight_map");
  refuses_index("{}", "corrupt-checkpoint", "weight_map");
  refuses_index(R"({"weight_map":["model-00001-of-00002.safetensors"]})", "corrupt-checkpoint",
                "holds no JSON object with a weight_map");
  refuses_index(R"({"weight_map":{}})", "corrupt-checkpoint", "empty");
  refuses_index(R"({"weight_map":{"a":5}})", "corrupt-checkpoint", "not a string");
  for (const char* name : {"../model.safetensors", "/etc/passwd", "a/b.safetensors", "a\\\\b.safetensors", "..", "",
                           "c:x.safetensors", "model.bin", "x\\u0000.safetensors"}) {
    refuses_index(std::string(R"({"weight_map":{"a":")") + name + "\"}}", "corrupt-checkpoint", "same folder");
  }
  refuses_index(R"({"weight_map":{"a":"model-00003-of-00002.safetensors"}})", "file-not-found",
                "model-00003-of-00002.safetensors");
  refuses_index(R"({"weight_map":{"a":"model-00002-of-00002.safetensors"}})", "corrupt-checkpoint",
                "no shard holds it");
  refuses_index(R"({"weight_map":{"a":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors"}})",
                "corrupt-checkpoint", "it is in model-0000");
  refuses_index(R"({"weight_map":{"c":"model-00001-of-00002.safetensors"}})", "corrupt-checkpoint", "'c'");
  refuses_index(R"({"weight_map":)" + std::string(100000, '[') + "}", "corrupt-checkpoint", "weight_map");
  refuses_index(std::string((4 << 20) + 1, ' '), "corrupt-checkpoint", "more than an index needs");

  Files twice = good;
  twice["model-00002-of-00002.safetensors"] = safetensors(
      R"({"b":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"a":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
      6);
  throws("corrupt-checkpoint", {"'a' is in both"}, [&] { open_files(twice); });
  Files unlisted = good;  // opens, and is met when all is loaded
  unlisted["model-00002-of-00002.safetensors"] = safetensors(
      R"({"b":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"z":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
      6);
  Checkpoint extra = open_files(unlisted);
  extra.get("a", {1}), extra.get("b", {1});
  throws("corrupt-checkpoint", {"z (model-00002-of-00002.safetensors)"}, [&] { extra.expect_all_used(); });
}

void folders_on_disk() {
  const ScratchFolder scratch("checkpoint");
  throws("not-a-checkpoint", {scratch.path()}, [&] { Checkpoint::open(scratch.path()); });
  throws("not-a-checkpoint", {"nowhere"}, [&] { Checkpoint::open(scratch.path() + "/nowhere"); });
  scratch.write("model.safetensors/inside", "a folder in the file's place");
  throws("file-not-found", {"model.safetensors", "not a regular file"}, [&] { Checkpoint::open(scratch.path()); });
  std::filesystem::remove_all(scratch.path() + "/model.safetensors");
  scratch.write("model.safetensors", "");
  throws("corrupt-checkpoint", {"only 0 bytes"}, [&] { Checkpoint::open(scratch.path()); });

  // The mapping outlives a move of the checkpoint and the file's name.
  scratch.write("model.safetensors", safetensors(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  Checkpoint first = Checkpoint::open(scratch.path());
  std::filesystem::remove(scratch.path() + "/model.safetensors");
  Checkpoint second = std::move(first);
  check(std::memcmp(second.get("w", {1}).data, "dddd", 4) == 0, "bytes after a move");
  static_assert(!std::is_copy_constructible_v<Checkpoint>, "tensors point into the mapping: a copy would outlive it");
}

void mapped_files_move() {
  const ScratchFolder scratch("mapped");
  scratch.write("a", "first");
  scratch.write("b", "second");
  auto a = MappedFile::open(scratch.path() + "/a"), b = MappedFile::open(scratch.path() + "/b");
  if (!check(a && b, "both open")) return;
  const std::byte* const place = b->data();
  *a = std::move(*b);
  check(a->data() == place && a->size() == 6, "a move keeps the address");
  check(b->data() == nullptr && b->size() == 0, "what was moved from is empty");
  MappedFile& self = *a;
  *a = std::move(self);
  check(a->data() == place && a->size() == 6, "a move onto itself changes nothing");
  check(a->data()[0] == std::byte{'s'}, "and what is mapped can be read");
  const MappedFile built = std::move(*a);
  check(a->data() == nullptr && a->size() == 0 && built.data() == place && built.size() == 6, "a move that builds");
  check(!MappedFile::open(scratch.path() + "/c"), "no such file");
  throws("file-not-found", {"zero byte"}, [&] { MappedFile::open(scratch.path() + std::string("/a\0b", 4)); });
}

}  // namespace

int main() {
  run("the golden checkpoints open", golden_checkpoints_open);
  run("values are those of the file", values_are_those_of_the_file);
  run("wrong use names the tensor", wrong_use_names_the_tensor);
  run("headers that lie are refused", headers_that_lie_are_refused);
  run("entries that lie are refused", entries_that_lie_are_refused);
  run("shards follow the index", shards_follow_the_index);
  run("folders on disk", folders_on_disk);
  run("mapped files move", mapped_files_move);
  return summary();
}
