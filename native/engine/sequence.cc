#include "engine/sequence.h"

#include <algorithm>
#include <utility>

namespace nvlm {
namespace {

Event finish_event(Sequence& sequence, const char* reason, int stop_string) {
  sequence.timings.decode = milliseconds_since(sequence.stage_began);
  Event event = event_of(Event::Type::finish, sequence.id);
  event.code = reason;
  event.stop_string = stop_string;
  event.generated = sequence.generated;
  event.timings = sequence.timings;
  return event;
}

// No more bytes will come: what was held back comes out.
void flush(Sequence& sequence, std::string& text) {
  std::string bytes;
  sequence.stops.flush(bytes);
  sequence.characters.push(bytes, text);
  sequence.characters.flush(text);
}

Logprob logprob_of(const nvlm_sampled& sampled) {
  Logprob logprob{sampled.token, sampled.logprob, {}};
  for (int32_t i = 0; i < sampled.top_count; ++i)
    logprob.top.emplace_back(sampled.top_token[i], sampled.top_logprob[i]);
  return logprob;
}

}  // namespace

std::vector<Event> accept(Sequence& sequence, const nvlm_sampled& sampled, const Vocabulary& vocabulary) {
  if (sequence.generated == 0) {
    sequence.timings.prefill = milliseconds_since(sequence.stage_began);
    sequence.stage_began = Clock::now();
  }
  Event event = event_of(Event::Type::text, sequence.id);
  const std::vector<int32_t>& stop_ids = sequence.request.stop_ids;
  if (std::find(stop_ids.begin(), stop_ids.end(), sampled.token) != stop_ids.end()) {
    flush(sequence, event.text);
    Event finish = finish_event(sequence, "stop", -1);
    if (event.text.empty()) return {std::move(finish)};
    return {std::move(event), std::move(finish)};
  }

  sequence.history.push_back(sampled.token);
  ++sequence.generated;
  event.ids = {sampled.token};
  if (sequence.request.sampling.top_logprobs >= 0) event.logprobs.push_back(logprob_of(sampled));
  std::string bytes;
  const int stop_string = sequence.stops.push(vocabulary[sampled.token], bytes);
  sequence.characters.push(bytes, event.text);
  if (stop_string >= 0) {
    sequence.characters.flush(event.text);
    Event finish = finish_event(sequence, "stop", stop_string);
    return {std::move(event), std::move(finish)};
  }
  if (sequence.generated == sequence.request.max_tokens) {
    flush(sequence, event.text);
    Event finish = finish_event(sequence, "length", -1);
    return {std::move(event), std::move(finish)};
  }
  return {std::move(event)};
}

}  // namespace nvlm
