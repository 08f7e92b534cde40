/*
 * base/log.h: the logging front of our programs. Libraries return errors and don't log.
 *
 * Lines go to standard error with sd-daemon(3) priority prefixes when the journal reads it
 * (JOURNAL_STREAM is set), else with the program's name. Thread-safe: one write(2) a line.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* Call once, first thing in main(): PROGRAM is kept by reference. VMD_LOG=debug|info|warning|error
 * in the environment sets what is shown (default info). */
void log_init(const char *program);

void log_write(enum log_level level, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* What a line of LEVEL begins with, as "vmd: " or "<4>", into OUT of N bytes: for signal handlers, which
 * must write lines of their own. */
void log_prefix(enum log_level level, char *out, size_t n);

#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
