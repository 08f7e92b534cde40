/* Parsing by table: --name VALUE, --name=VALUE, flags, "--", and what is left. */
#include "vmctl/command.h"

#include <stdlib.h>

static const struct option_row *find_option(const struct command *c, const char *name, size_t n)
{
    const struct option_row *tables[] = {c->options, common_options};

    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const struct option_row *o = tables[t]; o && o->name; o++) {
            if (strlen(o->name) == n && strncmp(o->name, name, n) == 0)
                return o;
        }
    }
    return NULL;
}

/* One option at ARGV[*I]; moves *I over a value of its own. */
static bool parse_option(struct arguments *args, int argc, char **argv, int *i, GError **err)
{
    const char *text = argv[*i] + 2;
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : strlen(text);
    const struct option_row *o = find_option(args->command, text, n);

    if (!o)
        return vmd_fail(err, VMD_ERROR_INVALID, "unknown option --%.*s", (int)n, text);
    if (!o->arg && equals)
        return vmd_fail(err, VMD_ERROR_INVALID, "--%s takes no value", o->name);
    if (o->arg && !equals && ++*i >= argc)
        return vmd_fail(err, VMD_ERROR_INVALID, "--%s needs %s", o->name, o->arg);
    g_ptr_array_add(args->names, (gpointer)o->name);
    g_ptr_array_add(args->values,
                    (gpointer)(!o->arg ? "" : equals ? equals + 1 : (const char *)argv[*i]));
    return true;
}

/* Names and texts go to the daemon as JSON. */
static bool check_text(int argc, char **argv, GError **err)
{
    for (int i = 0; i < argc; i++) {
        g_autofree char *valid = g_utf8_make_valid(argv[i], -1);
        if (strcmp(valid, argv[i]) != 0)
            return vmd_fail(err, VMD_ERROR_INVALID, "'%s' is not UTF-8 text", valid);
    }
    return true;
}

bool arguments_parse(const struct command *command, int argc, char **argv, struct arguments *out,
                     GError **err)
{
    bool only_positional = false;

    out->command = command;
    out->names = g_ptr_array_new();
    out->values = g_ptr_array_new();
    out->positional = g_ptr_array_new();
    if (!check_text(argc, argv, err))
        return false;
    for (int i = 0; i < argc; i++) {
        if (!only_positional && strcmp(argv[i], "--") == 0) {
            only_positional = true;
        } else if (!only_positional && strcmp(argv[i], "-h") == 0) {
            g_ptr_array_add(out->names, (gpointer) "help");
            g_ptr_array_add(out->values, (gpointer) "");
        } else if (!only_positional && g_str_has_prefix(argv[i], "--")) {
            if (!parse_option(out, argc, argv, &i, err))
                return false;
        } else if (!only_positional && argv[i][0] == '-' && argv[i][1]) {
            return vmd_fail(err, VMD_ERROR_INVALID, "unknown option %s", argv[i]);
        } else {
            g_ptr_array_add(out->positional, argv[i]);
        }
    }
    if (arguments_has(out, "help"))
        return true;
    if (out->positional->len < command->least)
        return vmd_fail(err, VMD_ERROR_INVALID, "%s is missing", command->synopsis);
    if (out->positional->len > command->most)
        return vmd_fail(err, VMD_ERROR_INVALID, "unexpected argument '%s'",
                        (char *)g_ptr_array_index(out->positional, command->most));
    return true;
}

void arguments_clear(struct arguments *args)
{
    g_ptr_array_free(args->names, TRUE);
    g_ptr_array_free(args->values, TRUE);
    g_ptr_array_free(args->positional, TRUE);
}

const char *arguments_get(const struct arguments *args, const char *name)
{
    for (guint i = args->names->len; i-- > 0;) {
        if (strcmp(g_ptr_array_index(args->names, i), name) == 0)
            return g_ptr_array_index(args->values, i);
    }
    return NULL;
}

bool arguments_has(const struct arguments *args, const char *name)
{
    return arguments_get(args, name) != NULL;
}

bool arguments_number(const struct arguments *args, const char *name, uint64_t max, uint64_t *out,
                      GError **err)
{
    const char *text = arguments_get(args, name);
    guint64 v;

    if (!text)
        return true;
    if (!g_ascii_string_to_unsigned(text, 10, 0, max, &v, NULL))
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "--%s takes a number from 0 to %" G_GUINT64_FORMAT ", not '%s'", name, max,
                        text);
    *out = v;
    return true;
}

const char *arguments_at(const struct arguments *args, unsigned index)
{
    return index < args->positional->len ? g_ptr_array_index(args->positional, index) : NULL;
}
