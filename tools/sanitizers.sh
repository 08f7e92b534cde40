# shellcheck shell=sh
# How the sanitizers behave in tests, for a shell to source: the first report ends the program.
export ASAN_OPTIONS="${ASAN_OPTIONS:-abort_on_error=0:detect_stack_use_after_return=1:strict_string_checks=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1:suppressions=$PWD/tools/tsan.supp}"
# glib's own allocator hands memory from thread to thread where ThreadSanitizer does not see it.
export G_SLICE=always-malloc
