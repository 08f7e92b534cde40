/*
 * Code objects and bundles: whatever is in them, nothing past their end is read; what parses is
 * consistent, so that packing arguments stays in its segment; what does not has words for it.
 */
#include "gpu/code/kernarg.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

static void pack(const struct code_kernel *k)
{
    static const struct kernarg_launch launch = {
        .grid = {1, 2, 3}, .block = {4, 5, 6}, .shared = 7};
    g_autofree uint8_t *segment = g_malloc(MAX(k->kernarg_bytes, 1));
    g_autofree uint8_t *value = g_malloc0(CODE_KERNARG);
    g_autofree void **params = g_new(void *, MAX(k->n_given, 1));

    g_assert(k->given_bytes <= k->kernarg_bytes && k->n_given <= k->n_args);
    for (unsigned i = 0; i < k->n_given; i++)
        params[i] = value;
    kernarg_pack(k, &launch, params, segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const devices[] = {"gfx90a:sramecc+:xnack-", "gfx1030", "gfx1100"};
    g_autofree uint8_t *image = g_memdup2(data, MAX(size, 1));
    size_t at, bytes;

    for (size_t i = 0; i < G_N_ELEMENTS(devices); i++) {
        g_autoptr(GError) err = NULL;
        if (code_object_choose(image, size, devices[i], &at, &bytes, &err))
            g_assert(at <= size && bytes <= size - at && !err);
        else
            g_assert(err);
    }
    g_autoptr(GError) err = NULL;
    struct code_object *o = code_object_new(image, size, &err);
    g_assert((o != NULL) == (err == NULL));
    for (unsigned i = 0; o && i < code_object_kernels(o); i++)
        pack(code_object_kernel_at(o, i));
    code_object_free(o);
    return 0;
}

/* Files that clang made, and a bundle. */
bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const names[] = {"kernels.gfx90a.v4.co", "kernels.gfx1030.v5.co",
                                        "kernels.gfx103generic.v6.co", "kernels.bundle"};
    g_autofree char *path =
        n < G_N_ELEMENTS(names) ? g_build_filename(FUZZ_CODE_OBJECTS, names[n], NULL) : NULL;
    g_autofree char *text = NULL;
    size_t length;

    if (!path)
        return false;
    if (!g_file_get_contents(path, &text, &length, NULL)) {
        fprintf(stderr, "reading %s failed\n", path);
        exit(1);
    }
    g_byte_array_append(out, (const uint8_t *)text, (guint)MIN(length, 65536));
    return true;
}
