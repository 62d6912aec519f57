#include "addon/js.h"

#include <cmath>
#include <cstdio>
#include <cstring>

namespace nvlm::js {
namespace {

std::string digits_of(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

}  // namespace

Failure mismatch(const std::string& fact) {
  return {"internal", fact + " Install library and addon of the same version."};
}

Napi::Value to_js(Napi::Env env, const Failure& failure) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("code", failure.code);
  object.Set("message", failure.message);
  return object;
}

// ---- Fields ----

Fields::Fields(Napi::Value object, const char* what, Failure& failure)
    : object_(object), what_(what), failure_(failure) {
  if (!object_.IsObject() && !failure_)
    failure_ = mismatch(std::string("Expected an object for the addon's ") + what_ + ".");
}

void Fields::refuse(const char* name, const std::string& expected) {
  if (!failure_)
    failure_ = mismatch(std::string("Expected ") + expected + " for the addon's " + what_ + "." + name + ".");
}

Napi::Value Fields::read(const char* name, napi_status status, napi_value value) {
  if (status == napi_ok) return Napi::Value(object_.Env(), value);
  napi_value ignored = nullptr;  // what the program's own code threw; none where the environment is ending
  napi_get_and_clear_last_exception(object_.Env(), &ignored);
  refuse(name, "a readable value");
  return Napi::Value();
}

Napi::Value Fields::get(const char* name) {
  if (failure_) return Napi::Value();
  napi_value value = nullptr;
  // Not Object::Get: see the head of js.h.
  const napi_status status = napi_get_named_property(object_.Env(), object_, name, &value);
  return read(name, status, value);
}

std::vector<Napi::Value> Fields::array(const char* name) {
  const Napi::Value value = get(name);
  if (!value.IsArray()) {
    refuse(name, "an array");
    return {};
  }
  std::vector<Napi::Value> elements;
  const uint32_t length = value.As<Napi::Array>().Length();
  for (uint32_t i = 0; i < length && !failure_; ++i) {
    napi_value element = nullptr;
    const napi_status status = napi_get_element(object_.Env(), value, i, &element);  // an element may be a getter too
    elements.push_back(read(name, status, element));
  }
  return elements;
}

bool Fields::has(const char* name) {
  const Napi::Value value = get(name);
  return !value.IsUndefined() && !value.IsNull();
}

double Fields::number(const char* name, double least, double most) {
  const Napi::Value value = get(name);
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    if (number >= least && number <= most) return number;
  }
  refuse(name, "a number between " + digits_of(least) + " and " + digits_of(most));
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
  const Napi::Value value = get(name);
  if (value.IsString()) return value.As<Napi::String>().Utf8Value();
  refuse(name, "a string");
  return {};
}

std::vector<int32_t> Fields::int32_array(const char* name) {
  std::vector<int32_t> values;
  if (!as_int32(get(name), &values)) refuse(name, "an Int32Array");
  return values;
}

Napi::Uint8Array Fields::bytes(const char* name) {
  Napi::Uint8Array array;
  if (!as_bytes(get(name), &array)) refuse(name, "a Uint8Array");
  return array;
}

// ---- Typed arrays ----

bool as_bytes(Napi::Value value, Napi::Uint8Array* out) {
  if (!value.IsTypedArray()) return false;
  *out = value.As<Napi::Uint8Array>();
  return out->TypedArrayType() == napi_uint8_array;
}

bool as_int32(Napi::Value value, std::vector<int32_t>* out) {
  if (!value.IsTypedArray()) return false;
  Napi::Int32Array array = value.As<Napi::Int32Array>();
  if (array.TypedArrayType() != napi_int32_array) return false;
  if (array.Data()) out->assign(array.Data(), array.Data() + array.ElementLength());
  return true;
}

Napi::Value to_js(Napi::Env env, const std::vector<int32_t>& values) {
  Napi::Int32Array array = Napi::Int32Array::New(env, values.size());
  if (array.Data() && !values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(int32_t));
  return array;
}

Napi::Value or_null(Napi::Env env, const std::string& text) {
  return text.empty() ? env.Null() : Napi::Value::From(env, text);
}

}  // namespace nvlm::js
