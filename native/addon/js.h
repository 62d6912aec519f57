// The few words of Node-API that this folder is written in: reading fields one by one, building objects, calling back.
//
// Plain node_api.h on purpose. The C++ wrapper raises its own errors by throwing into JavaScript and aborts the process where that is impossible (a
// getter that throws null, an environment that is being terminated). Here every status is looked at: reading answers a Failure, writing gives up quietly.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "platform/error.h"

namespace nvlm::js {

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

// Fields of an object that lib/ built. The first mismatch is kept in `failure` (code "internal": the library and the addon disagree); afterwards, and
// in its case, the readers answer zeros and empty values.
class Fields {
 public:
  // `what` names the object in messages: "request", "options".
  Fields(napi_env env, napi_value object, const char* what, Failure& failure);

  napi_value get(const char* name);  // nullptr when it can't be read
  bool has(const char* name);        // there, and neither undefined nor null
  double number(const char* name, double least, double most);
  int integer(const char* name, int least, int most);
  uint64_t id(const char* name);  // 1 … 2^53 − 1
  std::string string(const char* name);
  std::vector<int32_t> int32_array(const char* name);
  // Bytes stay where they are: valid as long as the typed array lives and is not detached.
  const uint8_t* bytes(const char* name, size_t& length);
  // Elements of an array.
  std::vector<napi_value> array(const char* name);

  Failure& failure() { return failure_; }
  void refuse(const char* name, const std::string& expected);

 private:
  napi_env env_;
  napi_value object_;
  const char* what_;
  Failure& failure_;
};

// False when `value` is no Uint8Array.
bool as_bytes(napi_env env, napi_value value, const uint8_t** data, size_t* length);
bool as_int32(napi_env env, napi_value value, std::vector<int32_t>* out);
bool is_function(napi_env env, napi_value value);

napi_value undefined(napi_env env);
napi_value null(napi_env env);
napi_value boolean(napi_env env, bool value);
napi_value number(napi_env env, double value);
napi_value string(napi_env env, const std::string& value);
napi_value int32_array(napi_env env, const std::vector<int32_t>& values);
napi_value failure(napi_env env, const Failure& failure);

struct Property {
  const char* name;
  napi_value value;
};
napi_value object(napi_env env, std::initializer_list<Property> properties);

// Grows by one element each time.
class Array {
 public:
  explicit Array(napi_env env);
  void add(napi_value value);
  napi_value value() const { return array_; }

 private:
  napi_env env_;
  napi_value array_ = nullptr;
  uint32_t length_ = 0;
};

// Calls a function from the event loop. What it throws is an uncaught exception of the program, as from any other callback.
void call(napi_env env, napi_value function, std::initializer_list<napi_value> arguments);

// Forgets an exception that reading a property raised.
void clear_exception(napi_env env);

}  // namespace nvlm::js
