/* Options. See compile_options.h. */
#include "gpu/server/compile_options.h"

#define BLANKS " \t\n\v\f\r\"'"

/* What is said to a part of the compiler is looked at as if it were said to all of it. */
static const char *without_carrier(const char *word)
{
    static const char *const carriers[] = {"-Xclang=", "-mllvm=", "--mllvm="};

    for (size_t i = 0; i < G_N_ELEMENTS(carriers); i++) {
        if (g_str_has_prefix(word, carriers[i]))
            return word + strlen(carriers[i]);
    }
    return word;
}

/* Text that may say anything. */
static bool is_text(const char *word)
{
    return g_str_has_prefix(word, "-D") || g_str_has_prefix(word, "-U") ||
           g_str_has_prefix(word, "-I");
}

static bool is_refused(const char *word)
{
    static const char *const refused[] = {
        "@",         "-load",     "--load",   "--config",     "-config",          "-fuse-ld",
        "-wrapper",  "--wrapper", "-B",       "--prefix",     "-specs",           "--specs",
        "--ld-path", "-Wl,",      "-Xlinker", "--for-linker", "-Xoffload-linker",
    };

    word = without_carrier(word);
    if (*word == '-' && !is_text(word) && strstr(word, "plugin"))
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        if (g_str_has_prefix(word, refused[i]))
            return true;
    }
    return false;
}

bool compile_option_is_refused(const char *option)
{
    g_auto(GStrv) words = g_strsplit_set(option, BLANKS, -1);
    bool text = is_text(option); /* the first word of a macro */

    for (size_t i = 0; words[i]; i++) {
        if (*words[i] && !(text && i == 0) && is_refused(words[i]))
            return true;
    }
    return false;
}
