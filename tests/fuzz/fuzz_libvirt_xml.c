/*
 * Domain XML that a client sends: any text as a domain, as a device and as metadata. A
 * configuration that was read must come out as XML that is read to the same again.
 */
#include "proto/libvirt/xml/storage.h"
#include "proto/libvirt/xml/xml.h"
#include "tests/fuzz/fuzz.h"

#include <json-c/json.h>
#include <string.h>

static const char id[] = "11111111-2222-3333-4444-555555555555";
static const struct xml_run run = {1, "/run/vmd/vms/1"};
static const struct xml_options own = {.sockets = "/run/vmd/vms"};

static void domain(const char *text)
{
    g_autofree char *uuid = NULL, *again_uuid = NULL;
    g_autoptr(GError) err = NULL;
    g_autoptr(vm_config) config = domain_xml_read(text, NULL, NULL, &uuid, &err);

    g_assert((config != NULL) == (err == NULL));
    /* Beyond the schema's bounds it is refused by the method that takes it. */
    if (!config || !codec_check(&vm_config_type, config, "config", NULL))
        return;
    g_autofree char *xml = domain_xml_write(config, id, &run);
    g_autoptr(vm_config) again = domain_xml_read(xml, &own, config, &again_uuid, &err);
    g_assert(again);
    g_assert(strcmp(again_uuid, id) == 0);
    g_autoptr(json_object) a = vm_config_encode(config), b = vm_config_encode(again);
    g_assert(json_object_equal(a, b));
    g_autoptr(device_spec) spec = device_xml_read(text, NULL, NULL);
    g_autofree char *found = device_xml_find(text, config, NULL);
}

static void metadata(const char *text)
{
    g_autoptr(vm_config) config = vm_config_new();

    if (!domain_xml_keep(config, "metadata", "http://u", "u", text, NULL))
        return;
    g_autofree char *kept = domain_xml_kept(config, "metadata", "http://u");
    g_assert(kept);
    g_assert(domain_xml_keep(config, "metadata", "http://u", NULL, NULL, NULL));
}

/* A pool that is read is written so that it is read the same. */
static void storage(const char *text)
{
    struct pool_state state = {.there = true, .mode = 0755};
    struct pool_xml pool, again;
    struct volume_xml volume;

    if (volume_xml_read(text, &volume, NULL)) {
        g_assert(volume.name);
        volume_xml_clear(&volume);
    }
    if (!pool_xml_read(text, &pool, NULL))
        return;
    if (!pool.uuid)
        pool.uuid = g_strdup("11111111-2222-3333-4444-555555555555");
    g_autofree char *xml = pool_xml_write(&pool, &state);
    g_assert(pool_xml_read(xml, &again, NULL));
    g_assert(strcmp(again.name, pool.name) == 0 && strcmp(again.path, pool.path) == 0 &&
             strcmp(again.uuid, pool.uuid) == 0);
    pool_xml_clear(&again);
    pool_xml_clear(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(device_spec) spec = device_xml_read(text, NULL, NULL);

    domain(text);
    metadata(text);
    storage(text);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const seeds[] = {
        "<domain type='kvm' "
        "xmlns:o='http://o'><name>a</name><uuid>11111111-2222-3333-4444-555555555555</"
        "uuid><title>t</title>"
        "<metadata><o:x/></metadata><memory "
        "unit='MiB'>64</memory><currentMemory>32768</currentMemory><vcpu current='1'>2</vcpu>"
        "<os><type "
        "arch='riscv64'>hvm</type><kernel>/k</kernel><initrd>/i</initrd><cmdline>c</cmdline></os>"
        "<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source "
        "file='/d'/>"
        "<target dev='vda' bus='virtio'/><readonly/><serial>s</serial></disk><interface "
        "type='user'>"
        "<mac address='52:54:00:00:00:01'/><model type='virtio'/></interface><interface "
        "type='ethernet'>"
        "<target dev='tap0'/></interface><console type='pty'><target type='virtio'/></console>"
        "<memballoon model='none'/><rng model='virtio'/></devices></domain>",
        "<domain type='qemu'><name>b</name><memory unit='b'>67108864</memory><os><type "
        "arch='aarch64'>hvm</type>"
        "<loader>/f</loader><nvram>/v</nvram></os><on_reboot>destroy</on_reboot>"
        "<vcpu cpuset='0-3,^2'>2</vcpu><cputune><vcpupin vcpu='1' cpuset='1,8-9'/></cputune>"
        "<devices><memballoon model='virtio'><stats period='5'/></memballoon></devices></domain>",
        "<disk type='block'><source dev='/dev/x'/><target dev='vdb'/></disk>",
        "<interface type='user'/>",
        "<pool type='dir'><name>p</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"
        "<target><path>/p</path></target></pool>",
        "<volume><name>v</name><capacity unit='G'>1</capacity><allocation>0</allocation><target>"
        "<format type='qcow2'/></target><backingStore><path>/b</path><format type='raw'/>"
        "</backingStore></volume>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "<y xmlns='http://u'>text</y>",
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const guint8 *)seeds[n], (guint)strlen(seeds[n]));
    return true;
}
