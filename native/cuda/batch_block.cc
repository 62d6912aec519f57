#include "cuda/batch_block.h"

#include <algorithm>
#include <cstring>

namespace nvlm::gpu {
namespace {

constexpr uint64_t kAlignment = 256;

// Where each array stands in the block: computed from the limits alone, so that addresses never change.
struct Layout {
  uint64_t token, source, position, kv_slot, self_begin, self_end, cross_begin, cross_end, row_sequence, out_row,
      sampling, history;
  uint64_t self_page_begin, self_page, self_fill, self_first, cross_page_begin, cross_page, cross_fill, cross_first,
      self_tiles, cross_tiles;
  uint64_t pixels;   // behind all that is small
  uint64_t sampled;  // written by the device
  uint64_t bytes;

  explicit Layout(const BatchLimits& m) {
    bytes = 0;
    const auto rows = static_cast<uint64_t>(m.rows);
    for (uint64_t* at : {&token, &position, &self_begin, &self_end, &cross_begin, &cross_end, &row_sequence})
      *at = take(rows * 4);
    source = take(rows * 8);
    kv_slot = take(rows * 8);
    out_row = take(static_cast<uint64_t>(m.outs) * 4);
    sampling = take(static_cast<uint64_t>(m.outs) * sizeof(nvlm_sampling));
    self_page_begin = take((rows + 1) * 4);
    cross_page_begin = take((rows + 1) * 4);
    for (uint64_t* at : {&self_page, &self_fill, &self_first}) *at = take(static_cast<uint64_t>(m.self_pages) * 4);
    for (uint64_t* at : {&cross_page, &cross_fill, &cross_first}) *at = take(static_cast<uint64_t>(m.cross_pages) * 4);
    self_tiles = take(rows * sizeof(RowTile));
    cross_tiles = take(rows * sizeof(RowTile));
    history = take(static_cast<uint64_t>(m.history) * 4);
    pixels = take(static_cast<uint64_t>(m.tiles * m.tile_bytes));
    sampled = take(static_cast<uint64_t>(m.outs) * sizeof(nvlm_sampled));
  }

 private:
  uint64_t take(uint64_t size) {
    const uint64_t at = bytes;
    bytes += (size + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  }
};

template <typename T>
void put(unsigned char* to, const T* from, int64_t count) {
  if (count > 0) std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
}

int64_t list_length(const nvlm_pages& pages, int32_t sequences) { return pages.begin[sequences]; }

// A program without such attention may get batches without such pages.
bool uses_self(const BatchLimits& limits) { return limits.self_rows_per_tile > 0; }
bool uses_cross(const BatchLimits& limits) { return limits.cross_rows_per_tile > 0; }

// The page list with the number of each page's first key.
void put_pages(unsigned char* block, uint64_t begin, uint64_t page, uint64_t fill, uint64_t first,
               const nvlm_pages& from, int32_t sequences) {
  put(block + begin, from.begin, sequences + 1);
  put(block + page, from.page, list_length(from, sequences));
  put(block + fill, from.fill, list_length(from, sequences));
  auto* first_key = reinterpret_cast<int32_t*>(block + first);
  for (int32_t s = 0; s < sequences; ++s) {
    int32_t keys = 0;
    for (int32_t p = from.begin[s]; p < from.begin[s + 1]; ++p) {
      first_key[p] = keys;
      keys += from.fill[p];
    }
  }
}

// Rows of a sequence in groups of at most `rows_each`, with the pages that their intervals touch.
int32_t put_tiles(RowTile* tiles, const nvlm_batch& b, const nvlm_pages& pages, const int32_t* begin,
                  const int32_t* end, int32_t rows_each) {
  int32_t count = 0;
  for (int32_t s = 0; s < b.sequences; ++s) {
    for (int32_t row = b.row_begin[s]; row < b.row_begin[s + 1]; row += rows_each) {
      RowTile tile{s, row, std::min(rows_each, b.row_begin[s + 1] - row), 0, 0};
      int32_t first = INT32_MAX, last = 0;
      for (int32_t r = row; r < row + tile.rows; ++r) {
        if (begin[r] >= end[r]) continue;
        first = std::min(first, begin[r]);
        last = std::max(last, end[r]);
      }
      int32_t key = 0;
      tile.first_page = tile.last_page = pages.begin[s];
      bool inside = false;
      for (int32_t p = pages.begin[s]; p < pages.begin[s + 1]; ++p) {
        if (key < last && key + pages.fill[p] > first) {
          if (!inside) tile.first_page = p;
          inside = true;
          tile.last_page = p + 1;
        }
        key += pages.fill[p];
      }
      tiles[count++] = tile;
    }
  }
  return count;
}

bool penalised(const nvlm_sampling& s) {
  return s.repetition_penalty != 1 || s.presence_penalty != 0 || s.frequency_penalty != 0;
}

}  // namespace

uint64_t BatchBlock::bytes(const BatchLimits& limits) { return Layout(limits).bytes; }

std::string BatchBlock::excess(const BatchLimits& limits, const nvlm_batch& b) {
  int64_t history = 0;
  for (int64_t o = 0; b.sampling && o < b.outs; ++o)
    history += penalised(b.sampling[o]) ? b.sampling[o].history_len : 0;
  if (b.sequences > b.rows) return "the batch has more sequences than rows";
  if ((uses_self(limits) && list_length(b.self_pages, b.sequences) > limits.self_pages) ||
      (uses_cross(limits) && list_length(b.cross_pages, b.sequences) > limits.cross_pages)) {
    return "the batch's page lists are longer than its plan";
  }
  if (history > limits.history) return "the batch's histories are longer than its plan";
  return {};
}

Status BatchBlock::open(const BatchLimits& limits, void* device_memory, Stream stream) {
  limits_ = limits;
  device_ = static_cast<unsigned char*>(device_memory);
  stream_ = stream;
  void* memory = nullptr;
  for (Image& image : images_) {
    if (const Status status = alloc_pinned(&memory, Layout(limits).sampled); status != Status::ok) return status;
    image.pinned = static_cast<unsigned char*>(memory);
    if (const Status status = create_event(&image.sent); status != Status::ok) return status;
  }
  const Status status = alloc_pinned(&memory, static_cast<uint64_t>(limits.outs) * sizeof(nvlm_sampled));
  sampled_ = static_cast<nvlm_sampled*>(memory);
  return status;
}

BatchBlock::~BatchBlock() {
  for (Image& image : images_) {
    if (image.sent) destroy_event(image.sent);
    if (image.pinned) free_pinned(image.pinned);
  }
  if (sampled_) free_pinned(sampled_);
}

Status BatchBlock::upload(const nvlm_batch& b, DeviceBatch* out) {
  const Layout at(limits_);
  Image& image = images_[next_];
  next_ ^= 1;
  if (const Status status = wait_for(image.sent); status != Status::ok) return status;
  unsigned char* block = image.pinned;

  *out = {};
  out->tiles = b.tiles;
  out->rows = b.rows;
  out->outs = b.outs;
  out->sequences = b.sequences;
  out->one_row_each = b.sequences == b.rows;
  const std::pair<uint64_t, const int32_t*> by_row[] = {
      {at.token, b.token},       {at.position, b.position},       {at.self_begin, b.self_begin},
      {at.self_end, b.self_end}, {at.cross_begin, b.cross_begin}, {at.cross_end, b.cross_end}};
  for (const auto& [offset, list] : by_row) {
    if (list) put(block + offset, list, b.rows);
  }
  if (b.kv_slot) put(block + at.kv_slot, b.kv_slot, b.rows);
  if (b.source) {
    put(block + at.source, b.source, b.rows);
  } else {
    std::memset(block + at.source, 0, static_cast<size_t>(b.rows) * 8);
  }
  auto* row_sequence = reinterpret_cast<int32_t*>(block + at.row_sequence);
  for (int32_t s = 0; s < b.sequences; ++s) {
    out->one_row_each &= b.row_begin[s + 1] - b.row_begin[s] == 1;
    std::fill(row_sequence + b.row_begin[s], row_sequence + b.row_begin[s + 1], s);
  }
  if (uses_self(limits_)) {
    put_pages(block, at.self_page_begin, at.self_page, at.self_fill, at.self_first, b.self_pages, b.sequences);
    out->self_tile_count = put_tiles(reinterpret_cast<RowTile*>(block + at.self_tiles), b, b.self_pages, b.self_begin,
                                     b.self_end, limits_.self_rows_per_tile);
  }
  if (uses_cross(limits_)) {
    put_pages(block, at.cross_page_begin, at.cross_page, at.cross_fill, at.cross_first, b.cross_pages, b.sequences);
    out->cross_tile_count = put_tiles(reinterpret_cast<RowTile*>(block + at.cross_tiles), b, b.cross_pages,
                                      b.cross_begin, b.cross_end, limits_.cross_rows_per_tile);
  }
  if (b.out_row) put(block + at.out_row, b.out_row, b.outs);
  int64_t history = 0;
  if (b.sampling) {
    auto* sampling = reinterpret_cast<nvlm_sampling*>(block + at.sampling);
    for (int64_t o = 0; o < b.outs; ++o) {
      sampling[o] = b.sampling[o];
      sampling[o].history = reinterpret_cast<const int32_t*>(device_ + at.history) + history;
      if (!penalised(sampling[o])) sampling[o].history_len = sampling[o].prompt_len = 0;  // nothing reads it
      put(block + at.history + static_cast<uint64_t>(history) * 4, b.sampling[o].history, sampling[o].history_len);
      history += sampling[o].history_len;
    }
  }
  // What is long stands last, and is sent only as far as it is used.
  uint64_t used = at.history + static_cast<uint64_t>(history) * 4;
  if (b.pixels && b.tiles > 0) {
    put(block + at.pixels, b.pixels, b.tiles * limits_.tile_bytes);
    used = at.pixels + static_cast<uint64_t>(b.tiles * limits_.tile_bytes);
  }
  if (const Status status = copy_to_device(device_, block, used, stream_); status != Status::ok) return status;

  const auto at_device = [this](uint64_t offset) { return device_ + offset; };
  const auto ints = [&](uint64_t offset) { return reinterpret_cast<const int32_t*>(at_device(offset)); };
  out->pixels = at_device(at.pixels);
  out->token = ints(at.token);
  out->source = reinterpret_cast<const bf16* const*>(at_device(at.source));
  out->position = ints(at.position);
  out->kv_slot = reinterpret_cast<const int64_t*>(at_device(at.kv_slot));
  out->self_begin = ints(at.self_begin);
  out->self_end = ints(at.self_end);
  out->cross_begin = ints(at.cross_begin);
  out->cross_end = ints(at.cross_end);
  out->row_sequence = ints(at.row_sequence);
  out->self_pages = {ints(at.self_page_begin), ints(at.self_page), ints(at.self_fill), ints(at.self_first)};
  out->cross_pages = {ints(at.cross_page_begin), ints(at.cross_page), ints(at.cross_fill), ints(at.cross_first)};
  out->self_tiles = reinterpret_cast<const RowTile*>(at_device(at.self_tiles));
  out->cross_tiles = reinterpret_cast<const RowTile*>(at_device(at.cross_tiles));
  out->out_row = ints(at.out_row);
  out->sampling = reinterpret_cast<const nvlm_sampling*>(at_device(at.sampling));
  out->sampled = b.sampled ? reinterpret_cast<nvlm_sampled*>(at_device(at.sampled)) : nullptr;
  return record(image.sent, stream_);
}

Status BatchBlock::download(int64_t outs) {
  return copy_to_host(sampled_, device_ + Layout(limits_).sampled, static_cast<uint64_t>(outs) * sizeof(nvlm_sampled),
                      stream_);
}

}  // namespace nvlm::gpu
