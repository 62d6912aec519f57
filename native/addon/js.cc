#include "addon/js.h"

#include <cmath>
#include <cstdio>
#include <cstring>

namespace nvlm::js {
namespace {

constexpr double kMostSafeInteger = 9007199254740991.0;

std::string spoken(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

}  // namespace

// ---- Reading ----

Fields::Fields(napi_env env, napi_value object, const char* what, Failure& failure) : env_(env), object_(object), what_(what), failure_(failure) {
  napi_valuetype type = napi_undefined;
  if (!object_ || napi_typeof(env_, object_, &type) != napi_ok || type != napi_object) {
    object_ = nullptr;
    if (!failure_) failure_ = {"internal", std::string("Expected an object for the addon's ") + what_ + ". Install library and addon of the same version."};
  }
}

void Fields::refuse(const char* name, const std::string& expected) {
  if (failure_) return;
  failure_ = {"internal", std::string("Expected ") + expected + " for the addon's " + what_ + "." + name + ". Install library and addon of the same version."};
}

napi_value Fields::get(const char* name) {
  napi_value value = nullptr;
  if (!object_ || failure_) return nullptr;
  if (napi_get_named_property(env_, object_, name, &value) == napi_ok) return value;
  clear_exception(env_);
  refuse(name, "a readable value");
  return nullptr;
}

bool Fields::has(const char* name) {
  napi_value value = get(name);
  napi_valuetype type = napi_undefined;
  return value && napi_typeof(env_, value, &type) == napi_ok && type != napi_undefined && type != napi_null;
}

double Fields::number(const char* name, double least, double most) {
  napi_value value = get(name);
  double result = 0;
  if (value && napi_get_value_double(env_, value, &result) == napi_ok && result >= least && result <= most) return result;
  refuse(name, "a number between " + spoken(least) + " and " + spoken(most));
  return 0;
}

int Fields::integer(const char* name, int least, int most) {
  const double value = number(name, least, most);
  if (value != std::floor(value)) refuse(name, "a whole number");
  return static_cast<int>(value);
}

uint64_t Fields::id(const char* name) {
  const double value = number(name, 1, kMostSafeInteger);
  if (value != std::floor(value)) refuse(name, "a whole number");
  return static_cast<uint64_t>(value);
}

std::string Fields::string(const char* name) {
  napi_value value = get(name);
  size_t length = 0;
  if (!value || napi_get_value_string_utf8(env_, value, nullptr, 0, &length) != napi_ok) {
    refuse(name, "a string");
    return {};
  }
  std::string text(length + 1, '\0');
  napi_get_value_string_utf8(env_, value, text.data(), text.size(), &length);
  text.resize(length);
  return text;
}

std::vector<int32_t> Fields::int32_array(const char* name) {
  std::vector<int32_t> values;
  napi_value value = get(name);
  if (!value || !as_int32(env_, value, &values)) refuse(name, "an Int32Array");
  return values;
}

const uint8_t* Fields::bytes(const char* name, size_t& length) {
  const uint8_t* data = nullptr;
  length = 0;
  napi_value value = get(name);
  if (!value || !as_bytes(env_, value, &data, &length)) refuse(name, "a Uint8Array");
  return data;
}

std::vector<napi_value> Fields::array(const char* name) {
  std::vector<napi_value> elements;
  napi_value value = get(name);
  uint32_t length = 0;
  if (!value || napi_get_array_length(env_, value, &length) != napi_ok) {
    refuse(name, "an array");
    return elements;
  }
  for (uint32_t i = 0; i < length; ++i) {
    napi_value element = nullptr;
    if (napi_get_element(env_, value, i, &element) != napi_ok) {
      clear_exception(env_);
      refuse(name, "readable elements");
      return {};
    }
    elements.push_back(element);
  }
  return elements;
}

bool as_bytes(napi_env env, napi_value value, const uint8_t** data, size_t* length) {
  bool typed = false;
  if (napi_is_typedarray(env, value, &typed) != napi_ok || !typed) return false;
  napi_typedarray_type type = napi_int8_array;
  void* memory = nullptr;
  if (napi_get_typedarray_info(env, value, &type, length, &memory, nullptr, nullptr) != napi_ok || type != napi_uint8_array) return false;
  *data = static_cast<const uint8_t*>(memory);
  if (!memory) *length = 0;  // detached
  return true;
}

bool as_int32(napi_env env, napi_value value, std::vector<int32_t>* out) {
  bool typed = false;
  if (napi_is_typedarray(env, value, &typed) != napi_ok || !typed) return false;
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* memory = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &memory, nullptr, nullptr) != napi_ok || type != napi_int32_array) return false;
  if (memory) out->assign(static_cast<const int32_t*>(memory), static_cast<const int32_t*>(memory) + length);
  return true;
}

bool is_function(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  return value && napi_typeof(env, value, &type) == napi_ok && type == napi_function;
}

// ---- Writing ----

napi_value undefined(napi_env env) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  return value;
}

napi_value null(napi_env env) {
  napi_value value = nullptr;
  napi_get_null(env, &value);
  return value;
}

napi_value boolean(napi_env env, bool truth) {
  napi_value value = nullptr;
  napi_get_boolean(env, truth, &value);
  return value;
}

napi_value number(napi_env env, double amount) {
  napi_value value = nullptr;
  napi_create_double(env, amount, &value);
  return value;
}

napi_value string(napi_env env, const std::string& text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &value);
  return value;
}

napi_value int32_array(napi_env env, const std::vector<int32_t>& values) {
  napi_value buffer = nullptr, array = nullptr;
  void* memory = nullptr;
  const size_t bytes = values.size() * sizeof(int32_t);
  if (napi_create_arraybuffer(env, bytes, &memory, &buffer) != napi_ok) return nullptr;
  if (bytes) std::memcpy(memory, values.data(), bytes);
  napi_create_typedarray(env, napi_int32_array, values.size(), buffer, 0, &array);
  return array;
}

napi_value failure(napi_env env, const Failure& what) { return object(env, {{"code", string(env, what.code)}, {"message", string(env, what.message)}}); }

napi_value object(napi_env env, std::initializer_list<Property> properties) {
  napi_value result = nullptr;
  if (napi_create_object(env, &result) != napi_ok) return nullptr;
  for (const Property& property : properties) {
    if (property.value) napi_set_named_property(env, result, property.name, property.value);
  }
  return result;
}

Array::Array(napi_env env) : env_(env) { napi_create_array(env, &array_); }

void Array::add(napi_value value) {
  if (array_ && value) napi_set_element(env_, array_, length_++, value);
}

// ---- Calling ----

void call(napi_env env, napi_value function, std::initializer_list<napi_value> arguments) {
  for (napi_value argument : arguments) {
    if (!argument) return;  // the environment refuses to make values: it is ending
  }
  if (napi_call_function(env, undefined(env), function, arguments.size(), arguments.begin(), nullptr) == napi_ok) return;
  bool thrown = false;
  napi_value exception = nullptr;
  if (napi_is_exception_pending(env, &thrown) != napi_ok || !thrown) return;
  if (napi_get_and_clear_last_exception(env, &exception) == napi_ok) napi_fatal_exception(env, exception);
}

void clear_exception(napi_env env) {
  bool thrown = false;
  napi_value exception = nullptr;
  if (napi_is_exception_pending(env, &thrown) == napi_ok && thrown) napi_get_and_clear_last_exception(env, &exception);
}

}  // namespace nvlm::js
