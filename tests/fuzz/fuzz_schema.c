/*
 * The decoders of every method: the first byte chooses the method, the rest is its params. What is
 * accepted must pass the check of structs made in C, and survive encoding and decoding again.
 */
#include "proto/jsonrpc/json.h"
#include "proto/schema/api.h"
#include "proto/schema/vmi.h"
#include "tests/fuzz/fuzz.h"

static const struct rpc_service *const services[] = {&api_service, &vmi_service};

static const struct codec_type *choose(unsigned n)
{
    for (size_t i = 0; i < G_N_ELEMENTS(services); i++) {
        if (n < services[i]->n_methods)
            return services[i]->methods[n].params;
        n -= services[i]->n_methods;
    }
    return NULL;
}

static void there_and_back(const struct codec_type *type, void *params)
{
    g_autoptr(json_object) json = codec_encode(type, params, 0);
    g_autofree char *text = json_write(json, NULL);
    void *again = codec_decode(type, json, "again", NULL);
    void *copy = codec_copy(type, params);

    g_assert(again && copy && codec_check(type, params, "params", NULL));
    g_autoptr(json_object) json_again = codec_encode(type, again, 0);
    g_autoptr(json_object) json_copy = codec_encode(type, copy, 0);
    g_autofree char *text_again = json_write(json_again, NULL);
    g_autofree char *text_copy = json_write(json_copy, NULL);
    g_assert_cmpstr(text, ==, text_again);
    g_assert_cmpstr(text, ==, text_copy);
    codec_free(type, again);
    codec_free(type, copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct codec_type *type = size ? choose(data[0]) : NULL;
    g_autoptr(json_object) json = NULL;
    g_autoptr(GError) err = NULL;

    if (!type || !json_read((const char *)data + 1, size - 1, &json, NULL))
        return 0;
    void *params = codec_decode(type, json, "params", &err);
    g_assert(!params == !!err);
    if (params)
        there_and_back(type, params);
    codec_free(type, params);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const params[] = {
        "{}",
        "{\"vm\":\"a\"}",
        "{\"config\":{\"name\":\"a\",\"arch\":\"riscv64\",\"cpus\":4,\"memory\":536870912,\"append\":\"x\","
        "\"disks\":[{\"path\":\"/d\",\"format\":\"qcow2\",\"readonly\":true}],"
        "\"nics\":[{\"hostfwd\":[{\"host_port\":1,\"guest_port\":2,\"host_addr\":\"::1\"}],"
        "\"mac\":\"52:54:00:12:34:56\"}],\"devices\":{\"rng\":false},\"xlate\":{\"tier\":1}}}",
        "{\"vm\":\"a\",\"types\":[\"vm.*\"],\"after\":5,\"limit\":7,\"timeout_s\":3,\"force\":true}",
    };
    unsigned methods = 0;

    while (choose(methods))
        methods++;
    if (n >= methods * G_N_ELEMENTS(params))
        return false;
    uint8_t method = (uint8_t)(n / G_N_ELEMENTS(params));
    const char *text = params[n % G_N_ELEMENTS(params)];
    g_byte_array_append(out, &method, 1);
    g_byte_array_append(out, (const guint8 *)text, (guint)strlen(text));
    return true;
}
