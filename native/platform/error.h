// The one exception of the native code. It never crosses the C table of a backend or the addon's border, where it
// becomes {code, message}.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace nvlm {

// `code` is a key of the table in lib/errors.ts; the message is a sentence of fact and one that says what to do.
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

}  // namespace nvlm
