#include "support/check.h"

#include <cmath>
#include <cstdio>

namespace nvlm::test {
namespace {

int passed = 0;
int failed = 0;

}  // namespace

std::string current;

bool report(bool good, const std::string& what, const Location& at) {
  if (good) {
    ++passed;
  } else {
    ++failed;
    std::printf("FAILED %s:%u [%s] %s\n", at.file_name(), static_cast<unsigned>(at.line()), current.c_str(),
                what.c_str());
  }
  return good;
}

bool check(bool good, const std::string& what, const Location& at) { return report(good, what, at); }

bool throws(const std::string& code, const std::vector<std::string>& fragments, const std::function<void()>& action,
            const Location& at) {
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

bool close(const float* got, const float* expected, std::int64_t count, double limit, const std::string& what,
           const Location& at) {
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

void run(const std::string& name, const std::function<void()>& body) {
  current = name;
  const Location at = Location::current();
  try {
    body();
  } catch (const Error& error) {
    report(false, "Error " + error.code() + ": " + error.what(), at);
  } catch (const std::exception& error) {
    report(false, std::string("exception: ") + error.what(), at);
  }
  std::fflush(stdout);
}

int summary() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace nvlm::test
