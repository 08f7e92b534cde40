/* proto: the strict JSON reader, the generated decoders and encoders, the tables. */
#include "proto/jsonrpc/json.h"
#include "proto/jsonrpc/rpc.h"
#include "proto/schema/api.h"
#include "proto/schema/vmi.h"
#include "tests/unit/unit.h"

/* --- JSON ---------------------------------------------------------------------------------- */

#define LONG_NUMBER "1.0000000000000000000000000000000000000000000000000000000000000001"

static const struct {
    const char *text;
    const char *again; /* as written back; NULL: refused */
} texts[] = {
    {"{}", "{}"},
    {" [ 1 , 2 ] ", "[1,2]"},
    {"null", "null"},
    {"true", "true"},
    {"\"a\\u00e9\\n\"", "\"a\xc3\xa9\\n\""},
    {"\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
    {"18446744073709551615", "18446744073709551615"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"1.5e3", "1.5e3"},
    {"-0", "0"},
    {"\"/\"", "\"/\""},
    {"", NULL},
    {"{", NULL},
    {"{} {}", NULL},
    {"[1,]", NULL},
    {"[1 2]", NULL},
    {"{\"a\":1,}", NULL},
    {"{\"a\":1,\"a\":2}", NULL},
    {"{a:1}", NULL},
    {"{'a':1}", NULL},
    {"{\"a\"}", NULL},
    {"// comment\n1", NULL},
    {"NaN", NULL},
    {"Infinity", NULL},
    {"-", NULL},
    {"01", NULL},
    {"1.", NULL},
    {".5", NULL},
    {"1e", NULL},
    {"+1", NULL},
    {"0x10", NULL},
    {"tru", NULL},
    {"True", NULL},
    {"1e999", NULL},
    {"18446744073709551616", NULL},
    {"-9223372036854775809", NULL},
    {"99999999999999999999999999999999999999999", NULL},
    {LONG_NUMBER, NULL},
    {"\"a", NULL},
    {"\"\\x\"", NULL},
    {"\"\\u12\"", NULL},
    {"\"\\u0000\"", NULL},
    {"\"\\ud800\"", NULL},
    {"\"\\ud800\\u0041\"", NULL},
    {"\"\\udc00\"", NULL},
    {"\"tab\there\"", NULL},
    {"\"\xff\"", NULL},
    {"\"\xc0\x80\"", NULL},
    {"\"\xed\xa0\x80\"", NULL},
};

START_TEST(json_rows)
{
    g_autoptr(json_object) v = NULL;
    g_autoptr(GError) err = NULL;
    const char *text = texts[_i].text, *want = texts[_i].again;
    bool ok = json_read(text, strlen(text), &v, &err);

    ck_assert_msg(ok == (want != NULL), "%s: read %d", text, ok);
    ck_assert_msg(ok == (err == NULL), "%s: error and result disagree", text);
    if (!ok)
        return;
    g_autofree char *again = json_write(v, NULL);
    ck_assert_str_eq(again, want);
}
END_TEST

static char *nested(unsigned depth)
{
    GString *s = g_string_new(NULL);

    for (unsigned i = 0; i < depth; i++)
        g_string_append_c(s, '[');
    for (unsigned i = 0; i < depth; i++)
        g_string_append_c(s, ']');
    return g_string_free(s, FALSE);
}

START_TEST(json_depth)
{
    g_autofree char *most = nested(LIMIT_RPC_DEPTH), *more = nested(LIMIT_RPC_DEPTH + 1);
    g_autofree char *huge = nested(500000);
    g_autoptr(json_object) v = NULL;
    g_autoptr(GError) err = NULL;

    ck_assert(json_read(most, strlen(most), &v, NULL));
    ck_assert(!json_read(more, strlen(more), &v, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
    ck_assert(!json_read(huge, strlen(huge), &v, NULL));
}
END_TEST

START_TEST(json_values)
{
    g_autoptr(json_object) v = NULL;
    g_autoptr(json_object) w = NULL;
    g_autoptr(GError) err = NULL;

    ck_assert(json_read_limited("[1,2]", 5, 3, &v, NULL));
    ck_assert(!json_read_limited("[1,2,3]", 7, 3, &w, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
    g_clear_error(&err);
    ck_assert(!json_read("1\0"
                         "2",
                         3, &w, &err));
}
END_TEST

/* --- decoders ------------------------------------------------------------------------------ */

#define DISK  "{\"path\":\"/d\"}"
#define D4    DISK "," DISK "," DISK "," DISK
#define D16   D4 "," D4 "," D4 "," D4
#define MIN_C "\"name\":\"a\",\"arch\":\"riscv64\""

static const struct {
    const char *json;
    const char *error; /* how the message begins; NULL: accepted */
} configs[] = {
    {"{" MIN_C "}", NULL},
    {"{" MIN_C ",\"cpus\":1024}", NULL},
    {"{" MIN_C ",\"cpus\":1025}", "vm_config.cpus: 1025 is above the most, 1024"},
    {"{" MIN_C ",\"cpus\":0}", "vm_config.cpus: 0 is below the least, 1"},
    {"{" MIN_C ",\"cpus\":-1}", "vm_config.cpus: -1 is negative"},
    {"{" MIN_C ",\"cpus\":1.0}", "vm_config.cpus: an integer expected, not 1.0"},
    {"{" MIN_C ",\"cpus\":1e3}", "vm_config.cpus: an integer expected, not 1e3"},
    {"{" MIN_C ",\"cpus\":4294967297}", "vm_config.cpus: 4294967297 is above"},
    {"{" MIN_C ",\"cpus\":18446744073709551615}", "vm_config.cpus: 18446744073709551615 is above"},
    {"{" MIN_C ",\"cpus\":\"1\"}", "vm_config.cpus: an integer expected, not string"},
    {"{" MIN_C ",\"cpus\":true}", "vm_config.cpus: an integer expected, not boolean"},
    {"{" MIN_C ",\"cpus\":null}", "vm_config.cpus: an integer expected, not null"},
    {"{" MIN_C ",\"cpus\":[]}", "vm_config.cpus: an integer expected, not array"},
    {"{" MIN_C ",\"memory\":33554432}", NULL},
    {"{" MIN_C ",\"memory\":33554431}", "vm_config.memory: 33554431 is below"},
    {"{" MIN_C ",\"memory\":1099511627776}", NULL},
    {"{" MIN_C ",\"memory\":1099511627777}", "vm_config.memory: 1099511627777 is above"},
    {"{\"arch\":\"riscv64\"}", "vm_config.name: missing"},
    {"{\"name\":\"a\"}", "vm_config.arch: missing"},
    {"{" MIN_C ",\"colour\":1}", "vm_config: no member 'colour' is known here"},
    {"{\"name\":\"\",\"arch\":\"riscv64\"}", "vm_config.name: may not be empty"},
    {"{\"name\":\"-a\",\"arch\":\"riscv64\"}", "vm_config.name: '-a' is not a name"},
    {"{\"name\":\"a/b\",\"arch\":\"riscv64\"}", "vm_config.name: 'a/b' is not a name"},
    {"{\"name\":\"a\",\"arch\":\"sparc\"}",
     "vm_config.arch: 'sparc' is not riscv64, aarch64 or x86_64"},
    {"{\"name\":\"a\",\"arch\":3}", "vm_config.arch: a string expected, not int"},
    {"{" MIN_C ",\"kernel\":\"vmlinux\"}", "vm_config.kernel: 'vmlinux' is not an absolute path"},
    {"{" MIN_C ",\"kernel\":\"/boot/vmlinux\"}", NULL},
    {"{" MIN_C ",\"ephemeral\":1}", "vm_config.ephemeral: true or false expected, not int"},
    {"{" MIN_C ",\"disks\":{}}", "vm_config.disks: an array expected, not object"},
    {"{" MIN_C ",\"disks\":[" D16 "]}", NULL},
    {"{" MIN_C ",\"disks\":[" D16 "," DISK "]}", "vm_config.disks: 17 elements, where 16"},
    {"{" MIN_C ",\"disks\":[" DISK ",{}]}", "vm_config.disks[1].path: missing"},
    {"{" MIN_C ",\"disks\":[" DISK ",7]}", "vm_config.disks[1]: an object expected, not int"},
    {"{" MIN_C ",\"disks\":[" DISK ",null]}", "vm_config.disks[1]: an object expected, not null"},
    {"{" MIN_C ",\"disks\":[{\"path\":\"/d\",\"format\":\"vmdk\"}]}",
     "vm_config.disks[0].format: 'vmdk' is not auto, raw or qcow2"},
    {"{" MIN_C ",\"disks\":[{\"path\":\"/d\",\"serial\":\"123456789012345678901\"}]}",
     "vm_config.disks[0].serial: 21 bytes, where 20 are the most"},
    {"{" MIN_C ",\"nics\":[{\"mac\":\"52:54:00:12:34:56\"}]}", NULL},
    {"{" MIN_C ",\"nics\":[{\"mac\":\"53:54:00:12:34:56\"}]}", "vm_config.nics[0].mac: '53:54"},
    {"{" MIN_C ",\"nics\":[{\"mac\":\"52:54:00:12:34\"}]}", "vm_config.nics[0].mac: shorter"},
    {"{" MIN_C ",\"nics\":[{\"tap\":\"a/b\"}]}", "vm_config.nics[0].tap: 'a/b' is not the name"},
    {"{" MIN_C ",\"nics\":[{\"hostfwd\":[{\"host_port\":0,\"guest_port\":1}]}]}",
     "vm_config.nics[0].hostfwd[0].host_port: 0 is below"},
    {"{" MIN_C ",\"nics\":[{\"hostfwd\":[{\"host_port\":65536,\"guest_port\":1}]}]}",
     "vm_config.nics[0].hostfwd[0].host_port: 65536 is above"},
    {"{" MIN_C ",\"nics\":[{\"hostfwd\":[{\"host_addr\":\"1.2.3\",\"host_port\":1,"
     "\"guest_port\":1}]}]}",
     "vm_config.nics[0].hostfwd[0].host_addr: '1.2.3' is not an IPv4"},
    {"{" MIN_C ",\"nics\":[{\"hostfwd\":[{\"host_addr\":\"::1\",\"host_port\":1,"
     "\"guest_port\":1}]}]}",
     NULL},
    {"{" MIN_C ",\"devices\":{\"rng\":false}}", NULL},
    {"{" MIN_C ",\"devices\":{\"gpu\":false}}", "vm_config.devices: no member 'gpu'"},
    {"[]", "vm_config: an object expected, not array"},
    {"null", "vm_config: an object expected, not null"},
};

START_TEST(decode_rows)
{
    g_autoptr(json_object) v = NULL;
    g_autoptr(vm_config) c = NULL;
    g_autoptr(GError) err = NULL;
    const char *json = configs[_i].json, *want = configs[_i].error;

    ck_assert_msg(json_read(json, strlen(json), &v, NULL), "%s is no JSON", json);
    bool ok = vm_config_decode(v, &c, &err);
    ck_assert_msg(ok == (want == NULL), "%s: %s", json, err ? err->message : "accepted");
    ck_assert_msg(ok == (c != NULL), "%s: struct and result disagree", json);
    if (!ok)
        ck_assert_msg(g_str_has_prefix(err->message, want), "%s: %s", json, err->message);
    else
        ck_assert(codec_check(&vm_config_type, c, "config", NULL));
}
END_TEST

START_TEST(decode_defaults)
{
    static const char json[] = "{" MIN_C ",\"disks\":[" DISK "]}";
    g_autoptr(json_object) v = NULL;
    g_autoptr(vm_config) c = NULL;

    ck_assert(json_read(json, strlen(json), &v, NULL));
    ck_assert(vm_config_decode(v, &c, NULL));
    ck_assert_int_eq(c->arch, VM_ARCH_RISCV64);
    ck_assert_int_eq(c->accel, VM_ACCEL_AUTO);
    ck_assert_uint_eq(c->cpus, 1);
    ck_assert_uint_eq(c->memory, MIB(512));
    ck_assert_ptr_null(c->kernel);
    ck_assert_uint_eq(c->n_disks, 1);
    ck_assert_str_eq(c->disks[0]->path, "/d");
    ck_assert_ptr_null(c->disks[0]->id);
    ck_assert(c->devices->rng);
    ck_assert_uint_eq(c->xlate->tier, 2);
    ck_assert(!c->xlate->has_cache_bytes);
    ck_assert_int_eq(c->on_reset, VM_ON_RESET_RESET);
}
END_TEST

START_TEST(round_trip)
{
    static const char json[] =
        "{\"name\":\"a\",\"arch\":\"aarch64\",\"accel\":\"kvm\",\"cpus\":4,\"pins\":[],\"memory\":1073741824,"
        "\"kernel\":\"/k\",\"append\":\"console=ttyS0 \\\"x\\\"\",\"disks\":[{\"path\":\"/d\","
        "\"format\":\"qcow2\",\"readonly\":true,\"id\":\"disk0\",\"onerror\":\"report\"}],\"nics\":"
        "[{\"kind\":\"user\","
        "\"hostfwd\":[{\"proto\":\"udp\",\"host_addr\":\"::1\",\"host_port\":65535,"
        "\"guest_port\":1}]}],\"host_devices\":[],\"devices\":{\"rng\":true,\"balloon\":false,\"memory_period_s\":0,\"console\":true,"
        "\"rtc\":true},\"channels\":[],\"hotplug\":{\"ports\":2,\"scsi\":false,\"nics\":1,\"host\":false},\"ephemeral\":true,\"on_"
        "reset\":\"end\",\"xlate\":{\"cache_bytes\":1048576,"
        "\"tier\":1,\"warm\":false},\"autostart\":true,\"libvirt_xml\":\"<title/>\"}";
    g_autoptr(json_object) v = NULL;
    g_autoptr(json_object) again = NULL;
    g_autoptr(vm_config) c = NULL;
    g_autoptr(vm_config) copy = NULL;

    ck_assert(json_read(json, strlen(json), &v, NULL));
    ck_assert(vm_config_decode(v, &c, NULL));
    copy = vm_config_copy(c);
    vm_config_free(g_steal_pointer(&c));
    again = vm_config_encode(copy);
    g_autofree char *text = json_write(again, NULL);
    ck_assert_str_eq(text, json);
}
END_TEST

START_TEST(taken_members)
{
    g_autoptr(vm_config) c = vm_config_new();
    g_autofree char *name = NULL;

    c->name = g_strdup("x");
    c->disks = g_new0(struct vm_disk_config *, 2);
    c->disks[0] = vm_disk_config_new();
    c->n_disks = 1;
    name = g_steal_pointer(&c->name);
    ck_assert_str_eq(name, "x");
}
END_TEST

/* What was built in C is held to the same rules. */
START_TEST(check_built)
{
    g_autoptr(vm_config) c = vm_config_new();
    g_autoptr(GError) err = NULL;

    ck_assert(!codec_check(&vm_config_type, c, "config", &err));
    ck_assert_str_eq(err->message, "config.name: missing");
    g_clear_error(&err);
    c->name = g_strdup("x");
    ck_assert(codec_check(&vm_config_type, c, "config", NULL));
    c->cpus = LIMIT_VCPUS + 1;
    ck_assert(!codec_check(&vm_config_type, c, "config", &err));
    ck_assert_int_eq(err->code, VMD_ERROR_LIMIT);
    g_clear_error(&err);
    c->cpus = 1;
    c->arch = (enum vm_arch)77;
    ck_assert(!codec_check(&vm_config_type, c, "config", &err));
    c->arch = VM_ARCH_X86_64;
    c->kernel = g_strdup("/\xff");
    g_clear_error(&err);
    ck_assert(!codec_check(&vm_config_type, c, "config", &err));
    ck_assert_str_eq(err->message, "config.kernel: not UTF-8");
}
END_TEST

START_TEST(doubles)
{
    g_autoptr(vm_xlate_stats) s = vm_xlate_stats_new();
    g_autoptr(vm_xlate_stats) back = NULL;

    s->hit_rate = 0.975;
    s->link_rate = 0.0 / 0.0;
    s->bytes = UINT64_MAX;
    g_autoptr(json_object) v = vm_xlate_stats_encode(s);
    g_autofree char *text = json_write(v, NULL);
    g_autoptr(json_object) w = NULL;
    ck_assert_msg(json_read(text, strlen(text), &w, NULL), "%s", text);
    ck_assert(vm_xlate_stats_decode(w, &back, NULL));
    ck_assert(back->hit_rate == 0.975);
    ck_assert(back->link_rate == 0);
    ck_assert(back->bytes == UINT64_MAX);
}
END_TEST

/* A peer of an older release is not sent what it does not know. */
START_TEST(older_release)
{
    static const struct codec_field fields[] = {
        {.name = "old", .kind = CODEC_UINT, .since = 100, .size = 4, .max = 9},
        {.name = "new", .kind = CODEC_UINT, .since = 200, .size = 4, .offset = 4, .max = 9}};
    static const struct codec_type type = {"pair", "", 8, fields, 2};
    uint32_t pair[2] = {1, 2};
    g_autoptr(json_object) v = codec_encode(&type, pair, 100);
    g_autofree char *text = json_write(v, NULL);

    ck_assert_str_eq(text, "{\"old\":1}");
}
END_TEST

/* --- tables -------------------------------------------------------------------------------- */

START_TEST(enum_names)
{
    enum vm_state s = VM_STATE_DEFINED;
    g_autoptr(GError) err = NULL;

    ck_assert(vm_state_from_string("crashed", &s, NULL));
    ck_assert_int_eq(s, VM_STATE_CRASHED);
    ck_assert(!vm_state_from_string("asleep", &s, &err));
    ck_assert_int_eq(s, VM_STATE_CRASHED);
    ck_assert_str_eq(vm_state_to_string(VM_STATE_STOPPING), "stopping");
    ck_assert_ptr_null(vm_state_to_string((enum vm_state)VM_STATE_COUNT));
}
END_TEST

START_TEST(errors_are_mapped)
{
    for (int k = 0; k <= VMD_ERROR_GONE; k++) {
        const struct rpc_error_row *row = rpc_error_row(k);
        ck_assert_str_eq(row->name, vmd_error_name(k));
        ck_assert_str_ne(row->hint, "");
        g_autoptr(GError) err = g_error_new_literal(VMD_ERROR, k, "text");
        g_autoptr(json_object) v = rpc_error_encode(err);
        g_autofree char *hint = NULL;
        g_autoptr(GError) back = rpc_error_decode(v, &hint);
        ck_assert_msg(g_error_matches(back, VMD_ERROR, k), "%s", row->name);
        ck_assert_str_eq(back->message, "text");
        ck_assert_str_eq(hint, row->hint);
    }
}
END_TEST

static void check_service(const struct rpc_service *s)
{
    g_autoptr(json_object) doc = NULL;
    struct json_object *methods = NULL;

    for (size_t i = 0; i < s->n_methods; i++) {
        const struct rpc_method *m = &s->methods[i];
        ck_assert_int_eq(rpc_service_find(s, m->name), (int)i);
        ck_assert_msg(m->params != NULL, "%s", m->name);
    }
    ck_assert_int_eq(rpc_service_find(s, "no.such"), -1);
    ck_assert(json_read(s->discover, strlen(s->discover), &doc, NULL));
    ck_assert(json_object_object_get_ex(doc, "methods", &methods));
    ck_assert_uint_eq(json_object_array_length(methods), s->n_methods);
}

START_TEST(services)
{
    check_service(&api_service);
    check_service(&vmi_service);
    ck_assert_str_eq(api_service.methods[API_VM_CREATE].name, "vm.create");
    ck_assert_str_eq(api_service.events[API_EVENT_VM_STATE].name, "vm.state");
    ck_assert_str_eq(vmi_service.events[VMI_EVENT_ENDED].name, "vmi.ended");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto");
    TCase *tc = tcase_create("all");

    tcase_add_loop_test(tc, json_rows, 0, G_N_ELEMENTS(texts));
    tcase_add_test(tc, json_depth);
    tcase_add_test(tc, json_values);
    tcase_add_loop_test(tc, decode_rows, 0, G_N_ELEMENTS(configs));
    tcase_add_test(tc, decode_defaults);
    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, taken_members);
    tcase_add_test(tc, check_built);
    tcase_add_test(tc, doubles);
    tcase_add_test(tc, older_release);
    tcase_add_test(tc, enum_names);
    tcase_add_test(tc, errors_are_mapped);
    tcase_add_test(tc, services);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
