/* Byte counts as people write them. */
#include "base/base.h"

#include <math.h>

static const char suffixes[] = "KMGT";

bool size_parse(const char *text, uint64_t *out, GError **err)
{
    char *end = NULL;
    double v;

    if (!g_ascii_isdigit(text[0]))
        return vmd_fail(err, VMD_ERROR_INVALID, "'%s' is not a size: write 512M or 2G", text);
    v = g_ascii_strtod(text, &end);
    if (*end) {
        const char *s = strchr(suffixes, g_ascii_toupper(*end));
        if (s) {
            v = ldexp(v, 10 * (int)(s - suffixes + 1));
            end++;
        }
        if (g_ascii_strcasecmp(end, "ib") == 0 || g_ascii_strcasecmp(end, "b") == 0)
            end = "";
    }
    if (*end || text[1] == 'x' || text[1] == 'X')
        return vmd_fail(err, VMD_ERROR_INVALID, "'%s' is not a size: write 512M or 2G", text);
    if (!(v < 9.2e18))
        return vmd_fail(err, VMD_ERROR_INVALID, "size '%s' is too large", text);
    *out = (uint64_t)v;
    return true;
}

char *size_format(uint64_t bytes)
{
    double v = (double)bytes;
    unsigned unit = 0;

    while (v >= 1024 && unit < strlen(suffixes)) {
        v /= 1024;
        unit++;
    }
    if (unit == 0)
        return g_strdup_printf("%" G_GUINT64_FORMAT " B", bytes);
    return g_strdup_printf(v == floor(v) ? "%.0f %ciB" : "%.1f %ciB", v, suffixes[unit - 1]);
}
