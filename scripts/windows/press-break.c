/* Presses Ctrl-Break: press-break FILE -- PROGRAM ARGUMENTS starts the program, waits for the file, and delivers the event as
   Windows does, by a thread of the program's that begins in CtrlRoutine. (GenerateConsoleCtrlEvent of Wine 10 kills the receivers
   of Ctrl-Break instead.) Ends as the program does. */
#include <stdio.h>
#include <wchar.h>
#include <windows.h>

static int fail(const char* what) {
  fprintf(stderr, "press-break: %s failed with %lu\n", what, GetLastError());
  return 99;
}

int wmain(int count, wchar_t** words) {
  wchar_t* command = wcsstr(GetCommandLineW(), L" -- ");
  if (count < 4 || !command) return 98;
  STARTUPINFOW start = {.cb = sizeof start};
  PROCESS_INFORMATION child;
  if (!CreateProcessW(NULL, command + 4, NULL, NULL, TRUE, 0, NULL, NULL, &start, &child)) return fail("CreateProcess");

  while (GetFileAttributesW(words[1]) == INVALID_FILE_ATTRIBUTES && WaitForSingleObject(child.hProcess, 20) == WAIT_TIMEOUT) {
  }
  FARPROC routine = GetProcAddress(GetModuleHandleW(L"kernelbase.dll"), "CtrlRoutine");
  if (!routine) return fail("GetProcAddress");
  if (!CreateRemoteThread(child.hProcess, NULL, 0, (LPTHREAD_START_ROUTINE)(void*)routine, (void*)(UINT_PTR)CTRL_BREAK_EVENT, 0, NULL))
    return fail("CreateRemoteThread");
  WaitForSingleObject(child.hProcess, INFINITE);
  DWORD status = 99;
  GetExitCodeProcess(child.hProcess, &status);
  return (int)status;
}
