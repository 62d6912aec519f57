// The tensors of a checkpoint: model.safetensors, or the shards named by model.safetensors.index.json, mapped and never
// copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "ops/ops.h"
#include "platform/mapped_file.h"

namespace nvlm {

struct StoredTensor {
  const std::byte* data;  // little endian, may be unaligned; lives as long as the Checkpoint
  nvlm_dtype dtype;
  std::vector<std::int64_t> shape;
  std::string name;
  std::string file;     // name of the file inside the folder
  std::uint64_t bytes;  // product of shape · size of dtype
};

// "[3, 14, 14]"
std::string shape_text(const std::vector<std::int64_t>& shape);

class Checkpoint {
 public:
  // Bytes of a file of the checkpoint, or nothing when it has no such file.
  using FileReader = std::function<std::optional<std::span<const std::byte>>(const std::string& file)>;

  // Maps the folder's files and checks every header. Throws file-not-found, not-a-checkpoint, corrupt-checkpoint or
  // unsupported-dtype.
  static Checkpoint open(const std::string& folder);

  // The same over bytes that the caller keeps alive (tests). `folder` is for the messages.
  static Checkpoint open_from(const FileReader& reader, const std::string& folder);

  Checkpoint(Checkpoint&&) noexcept = default;
  Checkpoint& operator=(Checkpoint&&) noexcept = default;

  bool has(const std::string& name) const;

  // nullptr when there is none. Does not count as used.
  const StoredTensor* find(const std::string& name) const;

  // The tensor, which must have exactly this shape, and counts as used. Throws corrupt-checkpoint naming
  // the tensor, the file and both shapes.
  const StoredTensor& get(const std::string& name, const std::vector<std::int64_t>& expected_shape);

  // Tensors whose name starts with the prefix count as used: layers above select_layer.
  void ignore(const std::string& prefix);

  // Throws corrupt-checkpoint naming the tensors that nothing asked for (the first few, and how many).
  void expect_all_used() const;

  // Unmaps the files once everything is packed; no tensor may be read after that.
  void close() {
    tensors_.clear();
    files_.clear();
  }

  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }

 private:
  Checkpoint() = default;
  std::string folder_;
  std::vector<MappedFile> files_;
  std::map<std::string, StoredTensor> tensors_;
  std::set<std::string> used_;
};

}  // namespace nvlm
