// The harness of the native tests: functions that count, one line for each failure, exit code 1 when anything failed.
//
//   int main() {
//     nvlm::test::run("a name that is a sentence", [] { nvlm::test::equal(1 + 1, 2, "sum"); });
//     return nvlm::test::summary();
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <source_location>
#include <sstream>
#include <string>
#include <vector>

#include "platform/error.h"

namespace nvlm::test {

using Location = std::source_location;

extern std::string current;  // the name of the group that runs

bool report(bool good, const std::string& what, const Location& at);

// Both return what they saw, so that a caller can stop before using what is not there.
bool check(bool good, const std::string& what, const Location& at = Location::current());
template <typename A, typename B>
bool equal(const A& got, const B& expected, const std::string& what, const Location& at = Location::current()) {
  if (got == expected) return report(true, what, at);
  std::ostringstream text;
  text << what << ": expected " << expected << " but got " << got;
  return report(false, text.str(), at);
}

inline bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The action must throw nvlm::Error with this code, and the message must hold every fragment.
bool throws(const std::string& code, const std::vector<std::string>& fragments, const std::function<void()>& action,
            const Location& at = Location::current());

// ‖got − expected‖ / ‖expected‖ ≤ limit, and every element finite (a NaN fails). Reports the first element that is far
// off.
bool close(const float* got, const float* expected, std::int64_t count, double limit, const std::string& what,
           const Location& at = Location::current());

// A named group of checks; an exception that escapes it is a failure, not the end of the program.
void run(const std::string& name, const std::function<void()>& body);

// The last line of every test program, and its exit code. A program that checked nothing has failed.
int summary();

}  // namespace nvlm::test
