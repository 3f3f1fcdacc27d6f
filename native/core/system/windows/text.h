// Texts of Windows, which are in UTF-16, and its reasons.
#pragma once
#include <cstdint>
#include <string>

namespace mora {

std::wstring wide(const std::string& utf8);
std::string narrow(const std::wstring& utf16);

/// The system's words for an error's number, without their full stop.
std::string reasonOf(uint32_t error);

}  // namespace mora
