// What could break: a character cut in two, a stop string that leaks over a token border, an invalid byte that swallows
// its neighbour.
#include <string>
#include <vector>

#include "engine/detokenizer.h"
#include "engine/stop_strings.h"
#include "support/check.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

// Every way to cut `bytes` into up to 2^(n-1) pieces: bit i set = a cut after byte i.
void every_split(const std::string& bytes, const std::function<void(const std::vector<std::string>&)>& body) {
  for (uint32_t cuts = 0; cuts < (1u << (bytes.size() - 1)); ++cuts) {
    std::vector<std::string> pieces(1);
    for (size_t i = 0; i < bytes.size(); ++i) {
      pieces.back().push_back(bytes[i]);
      if (i + 1 < bytes.size() && (cuts >> i & 1)) pieces.emplace_back();
    }
    body(pieces);
  }
}

std::string decode(const std::vector<std::string>& pieces) {
  Detokenizer detokenizer;
  std::string text;
  for (const std::string& piece : pieces) {
    detokenizer.push(piece, text);
    // Whole characters only: what came out so far never ends inside one.
    Detokenizer check_whole;
    std::string again, rest;
    check_whole.push(text, again);
    check_whole.flush(rest);
    if (!rest.empty() || again != text) check(false, "a character was split");
  }
  detokenizer.flush(text);
  return text;
}

struct Stopped {
  std::string text;
  int index;
};

Stopped stop(const std::vector<std::string>& strings, const std::vector<std::string>& pieces) {
  StopStrings stops(strings);
  std::string text;
  for (const std::string& piece : pieces) {
    const int index = stops.push(piece, text);
    if (index >= 0) return {text, index};
  }
  stops.flush(text);
  return {text, -1};
}

void stops_the_same(const std::vector<std::string>& strings, const std::string& bytes, const std::string& text,
                    int index) {
  bool good = true;
  every_split(bytes, [&](const std::vector<std::string>& pieces) {
    const Stopped got = stop(strings, pieces);
    good = good && got.text == text && got.index == index;
  });
  check(good, "'" + bytes + "' gives '" + text + "' however it is cut");
}

}  // namespace

int main() {
  run("text of 1 to 4 bytes a character comes out whole however it is cut", [] {
    const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";
    every_split(text, [&](const std::vector<std::string>& pieces) { test::equal(decode(pieces), text, "text"); });
  });

  run("invalid bytes become U+FFFD as a decoder of the whole would have it", [] {
    const std::string r = "\xEF\xBF\xBD";
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"\x80", r},          // lone continuation
        {"\xC0\xAF", r + r},  // overlong, two bytes
        {"\xC1\xBF"
         "a",
         r + r + "a"},
        {"\xE0\x80\x80", r + r + r},       // overlong, three bytes
        {"\xE0\xA0\x80", "\xE0\xA0\x80"},  // the first that is not
        {"\xED\xA0\x80", r + r + r},       // surrogate
        {"\xED\x9F\xBF", "\xED\x9F\xBF"},
        {"\xF0\x8F\xBF\xBF", r + r + r + r},  // overlong, four bytes
        {"\xF4\x90\x80\x80", r + r + r + r},  // above U+10FFFF
        {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},
        {"\xF5\x80", r + r},
        {"\xE2\x82", r},  // ends inside a character: one mark for its maximal part
        {"\xE2\x82"
         "a",
         r + "a"},
        {"\xF0\x9F\x98"
         "\xE2\x82\xAC",
         r + "\xE2\x82\xAC"},
        {"\xF0\x9F"
         "\xF0\x9F\x98\x80",
         r + "\xF0\x9F\x98\x80"},
        {"\xE2\xC3\xA9", r + "\xC3\xA9"},
        {"\xFF\xFE", r + r},
        {"\xEF\xBB\xBF"
         "a",
         "\xEF\xBB\xBF"
         "a"},  // a byte order mark is a character of the answer
    };
    for (const auto& [bytes, text] : cases)
      every_split(bytes, [&, &bytes = bytes, &text = text](const std::vector<std::string>& pieces) {
        test::equal(decode(pieces), text, "text");
      });
  });

  run("a stop string is found however it is cut, and nothing of it leaks", [] {
    stops_the_same({"END"}, "so it ENDs here", "so it ", 0);
    stops_the_same({"END"}, "so it EN is", "so it EN is", -1);
    stops_the_same({"END"}, "ends with EN", "ends with EN", -1);
    stops_the_same({"aab"}, "aaab", "a", 0);                   // fall back inside the pattern
    stops_the_same({"END", "x"}, "so EN, END", "so EN, ", 0);  // each pattern holds back its own
    stops_the_same({"abab", "ba"}, "xabab", "xa", 1);          // what is complete first counts
    stops_the_same({"b", "ab", "aab"}, "xaab", "x", 2);        // of those that end together, the longest
    stops_the_same({"\xE2\x82\xAC"}, "5\xE2\x82\xAC!", "5", 0);
    stops_the_same({"x", "x"}, "axb", "a", 0);
    stops_the_same({"\n\n"}, "a\nb\n\nc", "a\nb", 0);
    stops_the_same({}, "anything", "anything", -1);
  });

  run("a possible beginning is held back and let go as soon as it is none", [] {
    StopStrings stops({"STOP"});
    std::string out;
    stops.push("ab ST", out);
    test::equal(out, std::string("ab "), "held");
    stops.push("A", out);
    test::equal(out, std::string("ab STA"), "let go");
    stops.push("STO", out);
    test::equal(out, std::string("ab STA"), "held again");
    stops.flush(out);
    test::equal(out, std::string("ab STASTO"), "the rest");
  });

  run("the time of matching does not grow with the length of what is held", [] {
    const std::string pattern(200000, 'a');
    StopStrings stops({pattern + "b"});
    std::string out;
    for (int i = 0; i < 400000; ++i) stops.push("a", out);
    test::equal(out.size(), size_t{200000}, "what can't match any more came out");
  });
  return summary();
}
