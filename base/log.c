/* One line a message, one write a line: what two threads say never mixes. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static struct {
    const char *program;
    enum log_level most; /* least important level that is still shown */
    bool journal;
} front = {.program = "vmd", .most = LOG_LEVEL_INFO};

void log_init(const char *program)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"error", LOG_LEVEL_ERROR},
                  {"warning", LOG_LEVEL_WARNING},
                  {"info", LOG_LEVEL_INFO},
                  {"debug", LOG_LEVEL_DEBUG}};
    const char *want = g_getenv("VMD_LOG");

    front.program = program;
    front.journal = g_getenv("JOURNAL_STREAM") != NULL;
    for (size_t i = 0; want && i < G_N_ELEMENTS(levels); i++) {
        if (strcmp(want, levels[i].name) == 0)
            front.most = levels[i].level;
    }
}

void log_prefix(enum log_level level, char *out, size_t n)
{
    if (front.journal)
        g_snprintf(out, n, "<%d>", level);
    else
        g_snprintf(out, n, "%s: ", front.program);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    va_list ap;

    if (level > front.most)
        return;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_strdelimit(text, "\n\r", ' ');
    char prefix[64];
    log_prefix(level, prefix, sizeof(prefix));
    g_autofree char *line = g_strdup_printf("%s%s\n", prefix, text);
    if (write(STDERR_FILENO, line, strlen(line)) < 0) {
        /* Nowhere is left to say it. */
    }
}
