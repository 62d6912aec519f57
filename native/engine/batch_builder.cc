#include "engine/batch_builder.h"

#include <algorithm>

#include "engine/sequence.h"
#include "platform/error.h"

namespace nvlm {
namespace {

// Appends to a list whose capacity was fixed at the start, so that its address stays.
void append(std::vector<int32_t>& list, int32_t value) {
  if (list.size() == list.capacity())
    throw Error("internal", "A batch holds more key/value pages than there are. Please report this.");
  list.push_back(value);
}

nvlm_sampling sampling_of(const Sequence& sequence) {
  const Sampling& asked = sequence.request.sampling;
  nvlm_sampling sampling{};
  sampling.temperature = asked.temperature;
  sampling.top_k = asked.top_k;
  sampling.top_p = asked.top_p;
  sampling.min_p = asked.min_p;
  sampling.repetition_penalty = asked.repetition_penalty;
  sampling.presence_penalty = asked.presence_penalty;
  sampling.frequency_penalty = asked.frequency_penalty;
  sampling.seed = asked.seed;
  sampling.step = static_cast<uint64_t>(sequence.generated);
  sampling.history = sequence.history.data();
  sampling.history_len = static_cast<int32_t>(sequence.history.size());
  sampling.prompt_len = sequence.prompt_length;
  sampling.top_logprobs = asked.top_logprobs;
  return sampling;
}

}  // namespace

BatchBuilder::BatchBuilder(int rows, int sequences, int self_pages, int cross_pages) {
  const auto row_count = static_cast<size_t>(rows), sequence_count = static_cast<size_t>(sequences);
  for (auto* list : {&token_, &position_, &self_begin_, &self_end_, &cross_begin_, &cross_end_})
    list->resize(row_count);
  source_.resize(row_count);
  slot_.resize(row_count);
  for (auto* list : {&row_begin_, &self_page_begin_, &cross_page_begin_}) list->resize(sequence_count + 1);
  for (auto* list : {&self_page_, &self_fill_}) list->reserve(static_cast<size_t>(self_pages));
  for (auto* list : {&cross_page_, &cross_fill_}) list->reserve(static_cast<size_t>(cross_pages));
  out_row_.resize(sequence_count);
  sampling_.resize(sequence_count);
  sampled_.resize(sequence_count);
}

void BatchBuilder::clear() {
  rows_ = sequences_ = outs_ = 0;
  cross_ = sources_ = false;
  row_begin_[0] = self_page_begin_[0] = cross_page_begin_[0] = 0;
  for (auto* list : {&self_page_, &self_fill_, &cross_page_, &cross_fill_}) list->clear();
}

void BatchBuilder::put(int32_t token, const void* source, int64_t slot) {
  const auto row = static_cast<size_t>(rows_++);
  token_[row] = source ? 0 : token;
  source_[row] = source;
  sources_ |= source != nullptr;
  slot_[row] = slot;
  position_[row] = self_begin_[row] = self_end_[row] = cross_begin_[row] = cross_end_[row] = 0;
}

void BatchBuilder::add(const Sequence& sequence, int count, uint64_t token_bytes) {
  for (int position = sequence.fed; position < sequence.fed + count; ++position) {
    const auto at = static_cast<size_t>(position);
    const void* source = nullptr;
    if (position < sequence.prompt_length && sequence.routing.sources[at].image >= 0) {
      const Routing::Source& from = sequence.routing.sources[at];
      source = sequence.images[static_cast<size_t>(from.image)]->tokens.get() +
               static_cast<uint64_t>(from.row) * token_bytes;
    }
    const int64_t page = sequence.self_pages[at / NVLM_PAGE_KEYS];
    put(sequence.history[at], source, page * NVLM_PAGE_KEYS + position % NVLM_PAGE_KEYS);
    const auto row = static_cast<size_t>(rows_ - 1);
    position_[row] = position;
    self_end_[row] = position + 1;
    // What is generated sees what the last position of the prompt sees.
    const auto seen = static_cast<size_t>(std::min(position, sequence.prompt_length - 1));
    cross_begin_[row] = sequence.routing.cross_begin[seen];
    cross_end_[row] = sequence.routing.cross_end[seen];
    cross_ |= cross_begin_[row] < cross_end_[row];
  }
  const int keys = sequence.fed + count;
  for (int first = 0; first < keys; first += NVLM_PAGE_KEYS) {
    append(self_page_, sequence.self_pages[static_cast<size_t>(first / NVLM_PAGE_KEYS)]);
    append(self_fill_, std::min(NVLM_PAGE_KEYS, keys - first));
  }
  for (size_t i = 0; i < sequence.cross_pages.size(); ++i) {
    append(cross_page_, sequence.cross_pages[i]);
    append(cross_fill_, sequence.cross_fill[i]);
  }
  if (count == sequence.pending()) {
    const auto out = static_cast<size_t>(outs_++);
    out_row_[out] = rows_ - 1;
    sampling_[out] = sampling_of(sequence);
    sampled_[out] = {};
    sampled_[out].token = -1;
  }
  const auto end = static_cast<size_t>(++sequences_);
  row_begin_[end] = rows_;
  self_page_begin_[end] = static_cast<int32_t>(self_page_.size());
  cross_page_begin_[end] = static_cast<int32_t>(cross_page_.size());
}

void BatchBuilder::add_cross_token(int32_t token, const void* source, int32_t page, int place) {
  put(token, source, static_cast<int64_t>(page) * NVLM_PAGE_KEYS + place);
}

nvlm_batch BatchBuilder::cross_batch() {
  nvlm_batch batch{};
  batch.rows = rows_;
  batch.token = token_.data();
  batch.source = sources_ ? source_.data() : nullptr;
  batch.kv_slot = slot_.data();
  batch.position = position_.data();
  return batch;
}

nvlm_batch BatchBuilder::step_batch() {
  nvlm_batch batch = cross_batch();
  batch.outs = outs_;
  batch.sequences = sequences_;
  batch.self_begin = self_begin_.data();
  batch.self_end = self_end_.data();
  batch.cross_begin = cross_begin_.data();
  batch.cross_end = cross_end_.data();
  batch.row_begin = row_begin_.data();
  batch.self_pages = {self_page_begin_.data(), self_page_.data(), self_fill_.data()};
  batch.cross_pages = {cross_page_begin_.data(), cross_page_.data(), cross_fill_.data()};
  batch.out_row = out_row_.data();
  batch.sampling = sampling_.data();
  batch.sampled = sampled_.data();
  return batch;
}

}  // namespace nvlm
