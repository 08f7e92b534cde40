/* Line by line; escape sequences and carriage returns don't count as text. */
#include "vm/panic.h"

static const char PANIC[] = "Kernel panic - not syncing";
static const char END[] = "---[ end Kernel panic";

void panic_reset(struct panic_watch *watch)
{
    memset(watch, 0, sizeof(*watch));
}

/* The text behind a time stamp: "[    1.234567] text", or the line itself. */
static const char *after_stamp(const char *line)
{
    const char *p = line;

    if (*p != '[')
        return line;
    for (p++; *p == ' ' || *p == '.' || *p == 'T' || *p == 'C' || g_ascii_isdigit(*p); p++)
        ;
    if (*p != ']')
        return line;
    return p[1] == ' ' ? p + 2 : p[1] == '[' ? p + 1 : line;
}

static void end_line(struct panic_watch *w)
{
    const char *text;

    w->line[w->n] = 0;
    text = after_stamp(w->line);
    /* With callers printed there may be a second bracket: "[    1.2][    T1] text". */
    if (*text == '[')
        text = after_stamp(text);
    if (strncmp(text, PANIC, strlen(PANIC)) == 0 && w->state == PANIC_NONE) {
        w->state = PANIC_SEEN;
        g_strlcpy(w->text, text, sizeof(w->text));
    } else if (strncmp(text, END, strlen(END)) == 0 && w->state == PANIC_SEEN) {
        w->state = PANIC_END;
    }
    w->n = 0;
}

enum panic_state panic_feed(struct panic_watch *w, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (data[i] == '\n')
            end_line(w);
        else if (data[i] != '\r' && w->n < sizeof(w->line) - 1)
            w->line[w->n++] = (char)data[i];
    }
    return w->state;
}
