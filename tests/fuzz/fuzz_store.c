/*
 * What the daemon finds in its store: the event log, a VM's file, the record of a run's end, a claim. Whatever the
 * bytes are, they are passed over or refused with a message, and what was taken can be written and read
 * again. The first byte chooses the file.
 */
#include "daemon/events.h"
#include "daemon/store.h"
#include "proto/jsonrpc/json.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <unistd.h>

static void put(const char *name, const uint8_t *data, size_t size)
{
    g_autofree char *path = g_build_filename(fuzz_folder(), name, NULL);
    autofd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    g_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
}

/* The log is mended when it is opened: the second time it reads the same. */
static void use_events(void)
{
    enum vm_state state = VM_STATE_DEFINED;
    uint64_t seq = 0, job = 0;

    for (int i = 0; i < 2; i++) {
        g_autoptr(GError) err = NULL;
        struct events *e = events_open(fuzz_folder(), &err);
        g_assert(e && !err);
        g_assert(i == 0 || (seq == events_vm_seq(e, "v") && job == events_last_job(e)));
        seq = events_vm_seq(e, "v");
        job = events_last_job(e);
        events_vm_state(e, "v", &state);
        g_assert(vm_state_to_string(state));
        events_vm_ended(e, "v");
        events_vm_deleted(e, "v");
        events_free(e);
    }
}

static void use_json(const struct codec_type *type)
{
    g_autofree char *path = g_build_filename(fuzz_folder(), "file", NULL);
    g_autoptr(json_object) json = NULL;
    g_autoptr(GError) err = NULL;

    if (!store_read(path, &json, &err)) {
        g_assert(err && !strchr(err->message, '\n'));
        return;
    }
    void *object = json ? codec_decode(type, json, "file", NULL) : NULL;
    if (!object)
        return;
    g_autoptr(json_object) again = codec_encode(type, object, 0);
    g_assert(store_write(path, again, false, NULL));
    codec_free(type, object);
    g_clear_pointer(&json, json_object_put);
    g_assert(store_read(path, &json, NULL));
    object = codec_decode(type, json, "file", NULL);
    g_assert(object);
    codec_free(type, object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct codec_type *const types[] = {[1] = &vm_info_type, &vm_end_type, &host_claim_info_type};

    if (size == 0)
        return 0;
    if (data[0] % 4 == 0) {
        /* The older half of the log, and the newer. */
        size_t half = 1 + (size - 1) / 2;
        put("events.old", data + 1, half - 1);
        put("events.log", data + half, size - half);
        use_events();
    } else {
        put("file", data + 1, size - 1);
        use_json(types[data[0] % 4]);
    }
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const seeds[] = {
        "\4{\"seq\":1,\"time_ns\":5,\"type\":\"vm.state\",\"vm\":\"v\",\"vm_id\":\"v\",\"data\":{\"from\":\"defined\","
        "\"to\":\"starting\"}}\n"
        "{\"seq\":2,\"time_ns\":5,\"type\":\"vm.warning\",\"vm\":\"v\",\"vm_id\":\"v\",\"data\":{\"text\":\"x\"},"
        "\"src\":7}\n"
        "{\"seq\":3,\"time_ns\":6,\"type\":\"vm.ended\",\"vm\":\"v\",\"vm_id\":\"v\",\"data\":{\"end\":{\"reason\":"
        "\"killed\",\"text\":\"t\",\"time_ns\":6}}}\n"
        "{\"seq\":4,\"time_ns\":6,\"type\":\"job.started\",\"data\":{\"job\":{\"id\":9}}}\n"
        "{\"seq\":5,\"time_ns\":7,\"type\":\"vm.deleted\",\"vm\":\"v\",\"vm_id\":\"v\",\"data\":{}}\n",
        "\1{\"id\":\"v\",\"name\":\"v\",\"state\":\"paused\",\"owner_uid\":0,\"owner\":\"root\",\"created_ns\":1,"
        "\"runs\":2,\"pause\":{\"reason\":\"disk-full\",\"text\":\"t\",\"disk\":\"disk0\",\"time_ns\":3},"
        "\"config\":{\"name\":\"v\",\"arch\":\"riscv64\",\"disks\":[{\"path\":\"/d\",\"onerror\":\"pause\"}]}}",
        "\2{\"reason\":\"vm-process-crashed\",\"text\":\"t\",\"time_ns\":3,\"signal\":9}",
        "\3{\"device\":\"pci:0000:01:00.0\",\"identity\":\"8086:1533:8086:0001\",\"vm\":\"v\",\"vm_id\":\"i\","
        "\"run\":false,\"present\":true}",
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const guint8 *)seeds[n], (guint)strlen(seeds[n]));
    return true;
}
