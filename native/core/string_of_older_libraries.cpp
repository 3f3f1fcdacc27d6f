// Strings of GCC 13 and newer call a function that GCC 12's libstdc++ lacks: with it in here, one build runs with both.
#include <string>

#if defined(_GLIBCXX_RELEASE) && _GLIBCXX_RELEASE >= 13
template void std::basic_string<char>::_M_replace_cold(pointer, size_type, const_pointer, const size_type,
                                                       const size_type);
#endif
