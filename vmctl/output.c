/* Tables, times and JSON. */
#include "vmctl/command.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

void print_json(struct json_object *json)
{
    int flags = JSON_C_TO_STRING_NOSLASHESCAPE;

    if (isatty(STDOUT_FILENO))
        flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
    puts(json_object_to_json_string_ext(json, flags));
}

struct table {
    unsigned columns;
    GPtrArray *cells; /* char *, row by row; headers first */
};

struct table *table_new(const char *const *headers, unsigned columns)
{
    struct table *t = g_new0(struct table, 1);

    t->columns = columns;
    t->cells = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < columns; i++)
        g_ptr_array_add(t->cells, g_strdup(headers[i]));
    return t;
}

void table_add(struct table *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_ptr_array_add(t->cells, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

void table_print(struct table *t, FILE *to)
{
    g_autofree size_t *width = g_new0(size_t, t->columns);

    for (guint i = 0; i < t->cells->len; i++)
        width[i % t->columns] =
            MAX(width[i % t->columns], (size_t)g_utf8_strlen(g_ptr_array_index(t->cells, i), -1));
    for (guint i = 0; i < t->cells->len; i++) {
        const char *cell = g_ptr_array_index(t->cells, i);
        bool last = i % t->columns == t->columns - 1;
        int pad = (int)(width[i % t->columns] - (size_t)g_utf8_strlen(cell, -1));
        fprintf(to, "%s%*s%s", cell, last ? 0 : pad, "", last ? "\n" : "  ");
    }
    g_ptr_array_free(t->cells, TRUE);
    g_free(t);
}

char *format_duration(uint64_t ns)
{
    uint64_t s = ns / 1000000000u;

    if (s < 60)
        return g_strdup_printf("%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT " s", s,
                               ns / 100000000u % 10);
    if (s < 3600)
        return g_strdup_printf("%" G_GUINT64_FORMAT " min %02" G_GUINT64_FORMAT " s", s / 60,
                               s % 60);
    if (s < 86400)
        return g_strdup_printf("%" G_GUINT64_FORMAT " h %02" G_GUINT64_FORMAT " min", s / 3600,
                               s / 60 % 60);
    return g_strdup_printf("%" G_GUINT64_FORMAT " d %" G_GUINT64_FORMAT " h", s / 86400,
                           s / 3600 % 24);
}

char *format_age(uint64_t time_ns)
{
    uint64_t now = (uint64_t)g_get_real_time() * 1000;
    g_autofree char *age = format_duration(now > time_ns ? now - time_ns : 0);

    return g_strconcat(age, " ago", NULL);
}
