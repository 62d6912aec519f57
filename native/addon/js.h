// What this folder adds to node-addon-api: reading the objects lib/ passes in field by field, and failures in the
// form that both sides use.
//
// Wrapper calls that fail raise a JavaScript exception. That is right for making values, which fails only where the
// environment is ending (and then NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS keeps them from aborting the process). It is
// wrong for reading: a field may be a getter or a proxy, so that a program's code runs and throws whatever it likes,
// null included. The wrapper makes an object of that and throws it again; where the code was ended by a timeout of
// node:vm it aborts the process. Fields therefore reads through the plain call and returns a Failure.
#pragma once

#include <napi.h>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "platform/error.h"

namespace nvlm::js {

constexpr double kMostSafeInteger = 9007199254740991.0;  // 2^53 − 1

// What becomes { code, message }. Empty code: all is well.
struct Failure {
  std::string code;
  std::string message;
  explicit operator bool() const { return !code.empty(); }
  void set(const Error& error) {
    code = error.code();
    message = error.what();
  }
};

// Library and addon disagree about what crosses between them.
Failure mismatch(const std::string& fact);
Napi::Value to_js(Napi::Env env, const Failure& failure);

// Fields of an object that lib/ built. The first mismatch is kept in `failure`; from then on the readers
// return zeros and empty values.
class Fields {
 public:
  // `what` names the object in messages: "request", "options".
  Fields(Napi::Value object, const char* what, Failure& failure);

  Napi::Value get(const char* name);  // empty when it can't be read
  bool has(const char* name);         // there, and neither undefined nor null
  double number(const char* name, double least, double most);
  int integer(const char* name, int least, int most);
  uint64_t id(const char* name);  // 1 … 2^53 − 1
  std::string string(const char* name);
  std::vector<int32_t> int32_array(const char* name);
  // Bytes stay where they are: valid as long as the typed array lives and is not detached.
  Napi::Uint8Array bytes(const char* name);
  std::vector<Napi::Value> array(const char* name);

  void refuse(const char* name, const std::string& expected);

 private:
  Napi::Value read(const char* name, napi_status status, napi_value value);

  Napi::Value object_;
  const char* what_;
  Failure& failure_;
};

// False when `value` is not such an array. A detached one is empty.
bool as_bytes(Napi::Value value, Napi::Uint8Array* out);
bool as_int32(Napi::Value value, std::vector<int32_t>* out);
Napi::Value to_js(Napi::Env env, const std::vector<int32_t>& values);
Napi::Value or_null(Napi::Env env, const std::string& text);  // null for an empty text

// A function for JavaScript. No C++ exception may cross into the environment; only a refused allocation can come to
// that.
template <Napi::Value (*body)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return body(info);
  } catch (const std::exception& error) {
    return to_js(info.Env(),
                 Failure{"out-of-memory", std::string("The system refused memory for this call (") + error.what() +
                                              "). Close other programs, or send less at once."});
  }
}

template <Napi::Value (*body)(const Napi::CallbackInfo&)>
Napi::Function function(Napi::Env env, const char* name) {
  return Napi::Function::New<guarded<body>>(env, name);
}

}  // namespace nvlm::js
