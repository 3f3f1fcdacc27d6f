// Whether a function of an NVIDIA library has the type that this project declares, checked where the library's own
// header is available.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace mora {

template <size_t bytes>
struct Structure;

/// A type as its calling convention sees it: enumerations are 32-bit integers, pointers addresses, and structures their
/// size.
template <typename T>
struct PlainType {
  using type = std::conditional_t<std::is_pointer_v<T>, void*, std::conditional_t<std::is_enum_v<T>, int32_t, T>>;
};
template <typename T>
requires std::is_class_v<T>
struct PlainType<T> {
  using type = Structure<sizeof(T)>*;
};
template <typename T>
using Plain = typename PlainType<T>::type;

template <typename Ours, typename Theirs>
struct SameSignature;
template <typename R, typename... Args, typename S, typename... Others>
struct SameSignature<R (*)(Args...), S (*)(Others...)> {
  static constexpr bool value = std::is_same_v<Plain<R>(Plain<Args>...), Plain<S>(Plain<Others>...)>;
};

}  // namespace mora
