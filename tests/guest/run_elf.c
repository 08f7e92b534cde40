/*
 * tests/guest/run_elf: runs programs on a bare machine, each alone; a line and a count of those
 * that pass (they store 1 to tohost).
 *
 *   run_elf [--tier N] [--harts N] [--supervisor] [--seconds N] [--arg N] [--quiet] PROGRAM...
 */
#include "tests/guest/bare.h"

#include <stdio.h>

static bool run(const char *file, struct bare_config config, uint64_t *value, GError **err)
{
    g_autofree char *elf = NULL;
    bool ok = false;

    if (!g_file_get_contents(file, &elf, &config.elf_size, err))
        return false;
    config.elf = (const uint8_t *)elf;
    struct bare *bare = bare_new(&config, err);
    if (bare)
        ok = bare_run(bare, value, err);
    bare_free(bare);
    return ok;
}

int main(int argc, char **argv)
{
    int tier = 1, harts = 1, seconds = 10, passed = 0;
    int64_t arg = 0;
    gboolean quiet = FALSE, supervisor = FALSE;
    const GOptionEntry entries[] = {
        {"tier", 0, 0, G_OPTION_ARG_INT, &tier, "0 interprets", "N"},
        {"harts", 0, 0, G_OPTION_ARG_INT, &harts, "how many", "N"},
        {"supervisor", 0, 0, G_OPTION_ARG_NONE, &supervisor, "harts start in S-mode", NULL},
        {"seconds", 0, 0, G_OPTION_ARG_INT, &seconds, "most a program may run", "N"},
        {"arg", 0, 0, G_OPTION_ARG_INT64, &arg, "what harts get in a1", "N"},
        {"quiet", 0, 0, G_OPTION_ARG_NONE, &quiet, "failures alone", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("PROGRAM... - on a bare machine");
    g_autoptr(GError) err = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err)) {
        fprintf(stderr, "%s\n", err->message);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        struct bare_config config = {.tier = tier, .vcpus = harts, .seconds = seconds,
                                     .supervisor = supervisor,
                                     .room = MIB(4), .arg = arg};
        g_autoptr(GError) why = NULL;
        uint64_t value = 0;
        bool ok = run(argv[i], config, &value, &why) && value == 1;

        passed += ok;
        if (!ok || !quiet)
            printf("%s %s: %s (%" G_GINT64_MODIFIER "x)\n", ok ? "pass" : "FAIL", argv[i],
                   why ? why->message : ok ? "well" : "its own test failed", value);
        fflush(stdout);
    }
    printf("%d of %d pass\n", passed, argc - 1);
    return passed == argc - 1 ? 0 : 1;
}
