/*
 * A message of the kernel's uevent socket. Whatever the bytes are, they are refused, or are one whole message:
 * then its parts lie within it, agree with its head, and make the same message again.
 */
#include "hotplug/host/uevent.h"
#include "tests/fuzz/fuzz.h"

static bool within(const char *part, const char *data, size_t size)
{
    return part >= data && part + strlen(part) < data + size;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    /* Exactly as large, so that a read beyond is seen. */
    g_autofree char *data = g_memdup2(bytes, size);
    struct uevent e, again;

    if (!uevent_parse(data, size, &e))
        return 0;
    g_assert(within(e.action, data, size) && within(e.devpath, data, size) &&
             within(e.subsystem, data, size) && (!e.devpath_old || within(e.devpath_old, data, size)));
    g_assert(e.devpath[0] == '/' && !strstr(e.devpath, "//") && !strstr(e.devpath, "/../"));
    g_assert(*uevent_name(e.devpath) && !strchr(uevent_name(e.devpath), '/'));
    g_autoptr(GString) m = g_string_new(NULL);
    g_string_printf(m, "%s@%s%cACTION=%s%cDEVPATH=%s%cSUBSYSTEM=%s%cSEQNUM=%" G_GUINT64_FORMAT "%c", e.action,
                    e.devpath, 0, e.action, 0, e.devpath, 0, e.subsystem, 0, e.seqnum, 0);
    g_assert(m->len > UEVENT_MOST || (uevent_parse(m->str, m->len, &again) && again.seqnum == e.seqnum &&
                                      strcmp(again.devpath, e.devpath) == 0));
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
#define SEED(text) {text, sizeof(text)} /* with the last NUL */
    static const struct {
        const char *data;
        size_t size;
    } seeds[] = {
        SEED("add@/devices/pci0000:00/0000:00:02.0\0ACTION=add\0DEVPATH=/devices/pci0000:00/0000:00:02.0\0"
             "SUBSYSTEM=pci\0PCI_CLASS=20000\0PCI_ID=8086:1533\0PCI_SLOT_NAME=0000:00:02.0\0SEQNUM=2410"),
        SEED("move@/devices/virtual/net/b\0ACTION=move\0DEVPATH=/devices/virtual/net/b\0SUBSYSTEM=net\0"
             "DEVPATH_OLD=/devices/virtual/net/a\0INTERFACE=b\0IFINDEX=4\0SEQNUM=7"),
        SEED("remove@/a\0ACTION=remove\0DEVPATH=/a\0SUBSYSTEM=block\0MAJOR=8\0SEQNUM=18446744073709551615"),
        SEED("libudev\0\376\355\312\376\0\0\0\050"),
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const guint8 *)seeds[n].data, (guint)seeds[n].size);
    return true;
}
