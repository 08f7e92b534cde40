/* See cpulist.h. */
#include "base/cpulist.h"

/* A number at *AT, behind which that is then; -1: there is none, or it is too large. */
static int take_number(const char **at)
{
    char *end = NULL;

    if (!g_ascii_isdigit(**at))
        return -1;
    guint64 n = g_ascii_strtoull(*at, &end, 10);
    *at = end;
    return n < CPU_SETSIZE ? (int)n : -1;
}

/* One part, up to its comma or the end. */
static bool take_part(const char **at, cpu_set_t *set)
{
    bool out = **at == '^';

    *at += out;
    int first = take_number(at), last = first;
    if (first >= 0 && **at == '-') {
        (*at)++;
        last = take_number(at);
    }
    if (first < 0 || last < first)
        return false;
    for (int i = first; i <= last; i++) {
        if (out)
            CPU_CLR(i, set);
        else
            CPU_SET(i, set);
    }
    return true;
}

bool cpulist_parse(const char *text, cpu_set_t *out, GError **err)
{
    const char *at = text;
    cpu_set_t set;

    CPU_ZERO(&set);
    bool ok = take_part(&at, &set);
    while (ok && *at == ',') {
        at++;
        ok = take_part(&at, &set);
    }
    if (!ok || *at || CPU_COUNT(&set) == 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "'%s' is no list of processors: write 0-3,8", text);
    *out = set;
    return true;
}

char *cpulist_format(const cpu_set_t *set)
{
    GString *text = g_string_new(NULL);

    for (int first = 0; first < CPU_SETSIZE; first++) {
        int last = first;
        if (!CPU_ISSET(first, set))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
            last++;
        g_string_append_printf(text, text->len ? ",%d" : "%d", first);
        if (last > first)
            g_string_append_printf(text, "-%d", last);
        first = last;
    }
    return g_string_free(text, FALSE);
}
