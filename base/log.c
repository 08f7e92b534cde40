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

void log_write(enum log_level level, const char *fmt, ...)
{
    va_list ap;

    if (level > front.most)
        return;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_strdelimit(text, "\n\r", ' ');
    g_autofree char *line = front.journal ? g_strdup_printf("<%d>%s\n", level, text)
                                          : g_strdup_printf("%s: %s\n", front.program, text);
    if (write(STDERR_FILENO, line, strlen(line)) < 0) {
        /* Nowhere is left to say it. */
    }
}
