// Whether a function of a library of NVIDIA's is what this project declares it to be, where the library's own header
// is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace mora {

template <size_t bytes>
struct Structure;

/// What is left of a type when it is called: enumerations count as 32-bit integers, pointers as addresses, structures
/// by their size.
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
