/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* hiprtc's functions. See rtc.h. */
#include "guest/hip/rtc.h"

#include "guest/hip/entries.h"

#include <stdlib.h>
#include <string.h>

/* _hiprtcProgram */
struct program {
    char *name, *text, **headers; /* owned, as is all below: names of headers, and then texts */
    uint32_t n_headers;
    char **names; /* expressions */
    uint32_t n_names;
    struct rtc_bytes parts[RTC_PARTS];
};

/* --- programs --------------------------------------------------------------------------------- */

static void free_strings(char **strings, uint32_t n)
{
    for (uint32_t i = 0; strings && i < n; i++)
        free(strings[i]);
    free(strings);
}

static void clear_parts(struct program *p)
{
    for (unsigned i = 0; i < RTC_PARTS; i++)
        free(p->parts[i].at);
    memset(p->parts, 0, sizeof(p->parts));
}

static void free_program(struct program *p)
{
    clear_parts(p);
    free_strings(p->headers, 2 * p->n_headers);
    free_strings(p->names, p->n_names);
    free(p->name);
    free(p->text);
    free(p);
}

/* Copies N strings, to OUT, which has room for them. */
static bool copy_strings(char **out, const char *const *strings, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!strings[i] || !(out[i] = strdup(strings[i])))
            return false;
    }
    return true;
}

static bool fill(struct program *p, const char *text, const char *name, const char *const *texts,
                 const char *const *names)
{
    p->name = strdup(name ? name : "");
    p->text = strdup(text);
    p->headers = calloc(2 * (size_t)p->n_headers + 1, sizeof(*p->headers));
    return p->name && p->text && p->headers && copy_strings(p->headers, names, p->n_headers) &&
           copy_strings(p->headers + p->n_headers, texts, p->n_headers);
}

HIP_API hiprtcResult hiprtcCreateProgram(struct program **out, const char *text, const char *name,
                                         int n, const char *const *texts, const char *const *names)
{
    if (!out)
        return HIPRTC_ERROR_INVALID_PROGRAM;
    if (!text || n < 0 || (n && (!texts || !names)) || !gpu_source_strings((uint32_t)n, 0, 0))
        return HIPRTC_ERROR_INVALID_INPUT;
    struct program *p = calloc(1, sizeof(*p));
    if (!p)
        return HIPRTC_ERROR_OUT_OF_MEMORY;
    p->n_headers = (uint32_t)n;
    if (!fill(p, text, name, texts, names)) {
        free_program(p);
        return HIPRTC_ERROR_INVALID_INPUT;
    }
    *out = p;
    return HIPRTC_SUCCESS;
}

HIP_API hiprtcResult hiprtcDestroyProgram(struct program **p)
{
    if (!p)
        return HIPRTC_ERROR_INVALID_INPUT;
    if (*p)
        free_program(*p);
    *p = NULL;
    return HIPRTC_SUCCESS;
}

/* One that comes after a compile is for the next. */
HIP_API hiprtcResult hiprtcAddNameExpression(struct program *p, const char *expression)
{
    if (!p)
        return HIPRTC_ERROR_INVALID_PROGRAM;
    if (!expression || !*expression)
        return HIPRTC_ERROR_INVALID_INPUT;
    if (!gpu_source_strings(p->n_headers, p->n_names + 1, 0))
        return HIPRTC_ERROR_INVALID_INPUT;
    char *copy = strdup(expression);
    char **names = realloc(p->names, (p->n_names + 1) * sizeof(*names));
    p->names = names ? names : p->names;
    if (!copy || !names) {
        free(copy);
        return HIPRTC_ERROR_OUT_OF_MEMORY;
    }
    p->names[p->n_names++] = copy;
    return HIPRTC_SUCCESS;
}

/* --- compiling -------------------------------------------------------------------------------- */

static void set_source(const struct program *p, uint32_t n, const char *const *options,
                       struct gpu_source *s)
{
    s->headers = p->n_headers;
    s->names = p->n_names;
    s->options = n;
    s->strings[GPU_SOURCE_NAME] = p->name;
    s->strings[GPU_SOURCE_TEXT] = p->text;
    for (uint32_t i = 0; i < 2 * p->n_headers; i++)
        gpu_source_header_names(s)[i] = p->headers[i];
    for (uint32_t i = 0; i < p->n_names; i++)
        gpu_source_names(s)[i] = p->names[i];
    for (uint32_t i = 0; i < n; i++)
        gpu_source_options(s)[i] = options[i];
}

/* There is nobody to link what is relocatable. */
static hiprtcResult check_options(int n, const char *const *options)
{
    if (n < 0 || (n && !options))
        return HIPRTC_ERROR_INVALID_INPUT;
    for (int i = 0; i < n; i++) {
        if (!options[i])
            return HIPRTC_ERROR_INVALID_INPUT;
        if (strcmp(options[i], "-fgpu-rdc") == 0)
            return HIPRTC_ERROR_INVALID_OPTION;
    }
    return HIPRTC_SUCCESS;
}

/* A log ends with one 0, whatever the host's library makes of that. */
static void trim_log(struct rtc_bytes *log)
{
    while (log->bytes && !log->at[log->bytes - 1])
        log->bytes--;
}

HIP_API hiprtcResult hiprtcCompileProgram(struct program *p, int n, const char *const *options)
{
    hiprtcResult rc = p ? check_options(n, options) : HIPRTC_ERROR_INVALID_PROGRAM;

    if (rc)
        return rc;
    if (!gpu_source_strings(p->n_headers, p->n_names, (uint32_t)n))
        return HIPRTC_ERROR_INVALID_INPUT;
    struct gpu_source *s = malloc(sizeof(*s));
    if (!s)
        return HIPRTC_ERROR_OUT_OF_MEMORY;
    clear_parts(p);
    set_source(p, (uint32_t)n, options, s);
    rc = rtc_compile(s, p->parts);
    free(s);
    trim_log(&p->parts[RTC_LOG]);
    return rc;
}

/* --- what came of it -------------------------------------------------------------------------- */

static hiprtcResult give(const struct program *p, enum rtc_part part, size_t zeros, char *to)
{
    if (!p || !to)
        return p ? HIPRTC_ERROR_INVALID_INPUT : HIPRTC_ERROR_INVALID_PROGRAM;
    if (p->parts[part].bytes)
        memcpy(to, p->parts[part].at, p->parts[part].bytes + zeros);
    return HIPRTC_SUCCESS;
}

static hiprtcResult give_size(const struct program *p, enum rtc_part part, size_t zeros,
                              size_t *bytes)
{
    if (!p || !bytes)
        return p ? HIPRTC_ERROR_INVALID_INPUT : HIPRTC_ERROR_INVALID_PROGRAM;
    *bytes = p->parts[part].bytes ? p->parts[part].bytes + zeros : 0;
    return HIPRTC_SUCCESS;
}

HIP_API hiprtcResult hiprtcGetCodeSize(const struct program *p, size_t *bytes)
{
    return give_size(p, RTC_CODE, 0, bytes);
}

HIP_API hiprtcResult hiprtcGetCode(const struct program *p, char *code)
{
    return give(p, RTC_CODE, 0, code);
}

/* With the 0 behind it. */
HIP_API hiprtcResult hiprtcGetProgramLogSize(const struct program *p, size_t *bytes)
{
    return give_size(p, RTC_LOG, 1, bytes);
}

HIP_API hiprtcResult hiprtcGetProgramLog(const struct program *p, char *log)
{
    return give(p, RTC_LOG, 1, log);
}

/* The name of number I, or NULL. */
static const char *lowered(const struct rtc_bytes *names, uint32_t i)
{
    const char *at = names->at, *end = at + names->bytes;

    while (i-- && at < end)
        at += strlen(at) + 1;
    return at < end && *at ? at : NULL;
}

/* "&f" is what "f" is. */
static const char *bare(const char *expression)
{
    return expression + (*expression == '&');
}

/* Before there is a compile no name is valid. */
HIP_API hiprtcResult hiprtcGetLoweredName(const struct program *p, const char *expression,
                                          const char **name)
{
    if (!p || !expression || !name)
        return p ? HIPRTC_ERROR_INVALID_INPUT : HIPRTC_ERROR_INVALID_PROGRAM;
    for (uint32_t i = 0; i < p->n_names; i++) {
        const char *found =
            strcmp(bare(p->names[i]), bare(expression)) ? NULL : lowered(&p->parts[RTC_NAMES], i);
        if (found) {
            *name = found;
            return HIPRTC_SUCCESS;
        }
    }
    return HIPRTC_ERROR_NAME_EXPRESSION_NOT_VALID;
}

/* --- the library ------------------------------------------------------------------------------ */

/* As ROCm 6 says. */
HIP_API hiprtcResult hiprtcVersion(int *major, int *minor)
{
    if (!major || !minor)
        return HIPRTC_ERROR_INVALID_INPUT;
    *major = 9;
    *minor = 0;
    return HIPRTC_SUCCESS;
}

HIP_API const char *hiprtcGetErrorString(hiprtcResult rc)
{
    static const char *const names[] = {
        "HIPRTC_SUCCESS",
        "HIPRTC_ERROR_OUT_OF_MEMORY",
        "HIPRTC_ERROR_PROGRAM_CREATION_FAILURE",
        "HIPRTC_ERROR_INVALID_INPUT",
        "HIPRTC_ERROR_INVALID_PROGRAM",
        "HIPRTC_ERROR_INVALID_OPTION",
        "HIPRTC_ERROR_COMPILATION",
        "HIPRTC_ERROR_BUILTIN_OPERATION_FAILURE",
        "HIPRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION",
        "HIPRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
        "HIPRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
        "HIPRTC_ERROR_INTERNAL_ERROR",
    };

    if (rc == HIPRTC_ERROR_LINKING)
        return "HIPRTC_ERROR_LINKING";
    return rc >= 0 && rc < (int)(sizeof(names) / sizeof(names[0])) ? names[rc] : NULL;
}

/* --- what is lacking: bitcode, and linking of it ---------------------------------------------- */

HIP_API hiprtcResult hiprtcGetBitcodeSize(const struct program *p, size_t *bytes)
{
    return p && bytes ? HIPRTC_ERROR_INVALID_PROGRAM : HIPRTC_ERROR_INVALID_INPUT;
}

HIP_API hiprtcResult hiprtcGetBitcode(const struct program *p, char *bitcode)
{
    return p && bitcode ? HIPRTC_ERROR_INVALID_PROGRAM : HIPRTC_ERROR_INVALID_INPUT;
}

HIP_API hiprtcResult hiprtcLinkCreate(void)
{
    return HIPRTC_ERROR_LINKING;
}

HIP_API hiprtcResult hiprtcLinkAddFile(void)
{
    return HIPRTC_ERROR_LINKING;
}

HIP_API hiprtcResult hiprtcLinkAddData(void)
{
    return HIPRTC_ERROR_LINKING;
}

HIP_API hiprtcResult hiprtcLinkComplete(void)
{
    return HIPRTC_ERROR_LINKING;
}

HIP_API hiprtcResult hiprtcLinkDestroy(void)
{
    return HIPRTC_ERROR_LINKING;
}
