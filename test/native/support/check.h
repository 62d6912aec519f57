// The harness of the native tests: functions that count, one line for each failure, exit code 1 when anything failed.
//
//   int main() {
//     nvlm::test::run("a name that is a sentence", [] { nvlm::test::equal(1 + 1, 2, "sum"); });
//     return nvlm::test::summary();
//   }
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <source_location>
#include <sstream>
#include <string>
#include <vector>

#include "platform/error.h"

namespace nvlm::test {

inline int passed = 0;
inline int failed = 0;
inline std::string current;

inline bool report(bool good, const std::string& what, const std::source_location& at) {
  if (good) {
    ++passed;
  } else {
    ++failed;
    std::printf("FAILED %s:%u [%s] %s\n", at.file_name(), static_cast<unsigned>(at.line()), current.c_str(),
                what.c_str());
  }
  return good;
}

// Both return what they saw, so that a caller can stop before using what is not there.
inline bool check(bool good, const std::string& what,
                  const std::source_location& at = std::source_location::current()) {
  return report(good, what, at);
}

inline bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

template <typename A, typename B>
bool equal(const A& got, const B& expected, const std::string& what,
           const std::source_location& at = std::source_location::current()) {
  if (got == expected) return report(true, what, at);
  std::ostringstream text;
  text << what << ": expected " << expected << " but got " << got;
  return report(false, text.str(), at);
}

// The action must throw nvlm::Error with this code, and the message must hold every fragment.
inline bool throws(const std::string& code, const std::vector<std::string>& fragments,
                   const std::function<void()>& action,
                   const std::source_location& at = std::source_location::current()) {
  try {
    action();
  } catch (const Error& error) {
    const std::string message = error.what();
    if (error.code() != code)
      return report(false, "expected the code " + code + " but got " + error.code() + ": " + message, at);
    for (const std::string& fragment : fragments) {
      if (message.find(fragment) == std::string::npos)
        return report(false, "the message lacks '" + fragment + "': " + message, at);
    }
    return report(true, code, at);
  } catch (const std::exception& error) {
    return report(false, std::string("expected an Error ") + code + " but another exception came: " + error.what(), at);
  }
  return report(false, "expected an Error " + code + " but nothing was thrown", at);
}

// ‖got − expected‖ / ‖expected‖ ≤ limit, and every element finite (a NaN fails). Reports the first element that is far
// off.
inline bool close(const float* got, const float* expected, std::int64_t count, double limit, const std::string& what,
                  const std::source_location& at = std::source_location::current()) {
  double difference = 0, norm = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(got[i])) {
      return report(false, what + ": element " + std::to_string(i) + " is not finite", at);
    }
    const double d = double(got[i]) - double(expected[i]);
    difference += d * d;
    norm += double(expected[i]) * double(expected[i]);
  }
  const double relative = std::sqrt(difference) / (norm > 0 ? std::sqrt(norm) : 1.0);
  if (relative <= limit) return report(true, what, at);
  std::ostringstream text;
  text << what << ": relative error " << relative << " is above " << limit;
  const double rms = std::sqrt(norm / double(count > 0 ? count : 1));
  for (std::int64_t i = 0; i < count; ++i) {
    if (!(std::abs(double(got[i]) - double(expected[i])) <= limit * rms)) {
      text << "; first at element " << i << ": expected " << expected[i] << " but got " << got[i];
      break;
    }
  }
  return report(false, text.str(), at);
}

// A named group of checks; an exception that escapes it is a failure, not the end of the program.
inline void run(const std::string& name, const std::function<void()>& body) {
  current = name;
  const std::source_location at = std::source_location::current();
  try {
    body();
  } catch (const Error& error) {
    report(false, "Error " + error.code() + ": " + error.what(), at);
  } catch (const std::exception& error) {
    report(false, std::string("exception: ") + error.what(), at);
  }
  std::fflush(stdout);
}

// The last line of every test program, and its exit code. A program that checked nothing has failed.
inline int summary() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace nvlm::test
