/* Domain XML in and out: what is taken, what is refused and by which name, and that what was
 * written is read the same. */
#include "proto/libvirt/xml/xml.h"
#include "tests/unit/unit.h"

#include <json-c/json.h>

#define ID   "11111111-2222-3333-4444-555555555555"
#define OS   "<os><type arch='riscv64' machine='virt'>hvm</type><kernel>/k</kernel></os>"
#define HEAD "<domain type='kvm'><name>a</name><memory unit='MiB'>64</memory>"
/* A domain with MORE in it, and one with DEVICES. */
#define DOMAIN(more)   HEAD OS more "</domain>"
#define DEVICES(inner) DOMAIN("<devices>" inner "</devices>")
#define HOSTDEV(domain, bus, slot, function)                                                       \
    "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='" domain          \
    "' bus='" bus "' slot='" slot "' function='" function "'/></source></hostdev>"
#define CHANNEL(in, name)                                                                          \
    "<channel type='unix'>" in "<target type='virtio' name='" name "'/></channel>"
#define DISK(attrs, in)                                                                            \
    DEVICES("<disk " attrs "><source file='/d'/><target dev='vda' bus='virtio'/>" in "</disk>")

static const struct xml_run run = {7, "/run/vmd/vms/" ID};
static const struct xml_options own = {.sockets = "/run/vmd/vms"};

static struct vm_config *read_ok(const char *text, const struct vm_config *base)
{
    g_autofree char *uuid = NULL;
    g_autoptr(GError) err = NULL;
    struct vm_config *config = domain_xml_read(text, NULL, base, &uuid, &err);

    ck_assert_msg(config != NULL, "%s: %s", err ? err->message : "", text);
    ck_assert_ptr_null(err);
    return config;
}

/* The member PATH of CONFIG as JSON, names and numbers separated by '.'. */
static const char *member(struct json_object *v, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, ".", -1);

    for (size_t i = 0; names[i] && v; i++) {
        if (json_object_is_type(v, json_type_array))
            v = json_object_array_get_idx(v, (size_t)atoi(names[i]));
        else if (!json_object_object_get_ex(v, names[i], &v))
            v = NULL;
    }
    return v ? json_object_get_string(v) : "none";
}

/* What becomes of an element. */
static const struct {
    const char *xml, *path, *value;
} taken[] = {
    {DOMAIN(""), "arch", "riscv64"},
    {DOMAIN(""), "accel", "auto"},
    {DOMAIN(""), "memory", "67108864"},
    {DOMAIN(""), "cpus", "1"},
    {DOMAIN(""), "max_cpus", "none"},
    {DOMAIN(""), "devices.rng", "false"},
    {DOMAIN(""), "devices.console", "false"},
    {DOMAIN(""), "devices.balloon", "true"},
    {DOMAIN(""), "kernel", "/k"},
    {DOMAIN(""), "firmware", "none"},
    {DOMAIN(""), "libvirt_xml", "none"},
    {"<domain type='qemu'><name>a</name><memory>65536</memory>" OS "</domain>", "accel", "xlate"},
    {"<domain type='kvm'><name>a</name><memory>65537</memory>" OS "</domain>", "memory",
     "67112960"},
    {"<domain type='kvm'><name>a</name><memory unit='GiB'>1</memory>" OS "</domain>", "memory",
     "1073741824"},
    {"<domain type='kvm'><name>a</name><memory unit='b'>67108864</memory>" OS "</domain>", "memory",
     "67108864"},
    {DOMAIN("<currentMemory unit='MiB'>32</currentMemory>"), "memory", "33554432"},
    {DOMAIN("<currentMemory unit='MiB'>32</currentMemory>"), "max_memory", "67108864"},
    {DOMAIN("<currentMemory unit='MiB'>64</currentMemory>"), "max_memory", "none"},
    {DOMAIN("<vcpu placement='static'>4</vcpu>"), "cpus", "4"},
    {DOMAIN("<vcpu current='2'>4</vcpu>"), "cpus", "2"},
    {DOMAIN("<vcpu current='2'>4</vcpu>"), "max_cpus", "4"},
    {DOMAIN("<on_reboot>destroy</on_reboot>"), "on_reset", "end"},
    {DOMAIN("<on_reboot>restart</on_reboot>"), "on_reset", "reset"},
    {DOMAIN("<title>x &lt; y</title>"), "libvirt_xml", "<title>x &lt; y</title>"},
    {DOMAIN("<features><acpi/></features><clock offset='utc'/><cpu mode='host-passthrough'/><pm/>"),
     "libvirt_xml", "none"},
    {HEAD "<os><type arch='aarch64'>hvm</type><loader "
          "type='pflash'>/f</loader><nvram>/v</nvram><boot dev='hd'/></os></domain>",
     "firmware", "/f"},
    {HEAD "<os><type arch='aarch64'>hvm</type><loader>/f</loader><nvram>/v</nvram></os></domain>",
     "firmware_vars", "/v"},
    {HEAD "<os><type arch='x86_64'>hvm</type><kernel>/k</kernel><initrd>/i</initrd><cmdline>a  "
          "'b'</cmdline></os></domain>",
     "append", "a  'b'"},
    {DISK("type='file' device='disk'", ""), "disks.0.path", "/d"},
    {DISK("type='file'", ""), "disks.0.format", "auto"},
    {DISK("type='file'", "<driver type='raw'/>"), "disks.0.format", "raw"},
    {DISK("type='file'", ""), "disks.0.id", "vda"},
    {DISK("type='file'", "<driver name='qemu' type='qcow2' cache='none'/>"), "disks.0.format",
     "qcow2"},
    {DISK("type='file'", "<driver error_policy='stop'/>"), "disks.0.onerror", "pause"},
    {DISK("type='file'", "<readonly/><serial>S1</serial>"), "disks.0.readonly", "true"},
    {DISK("type='file'", "<readonly/><serial>S1</serial>"), "disks.0.serial", "S1"},
    {DISK("type='file' device='cdrom'", ""), "disks.0.readonly", "true"},
    {DEVICES("<disk type='block'><source dev='/dev/x'/><target dev='vdb'/></disk>"), "disks.0.path",
     "/dev/x"},
    {DEVICES("<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"), "disks.0",
     "none"},
    {DEVICES("<interface type='user'><mac address='52:54:00:AB:00:01'/></interface>"), "nics.0.mac",
     "52:54:00:ab:00:01"},
    {DEVICES("<interface type='user'><link state='down'/></interface>"), "nics.0.kind", "none"},
    {DEVICES("<interface type='network'><source network='default'/></interface>"), "nics.0.network",
     "default"},
    {DEVICES("<interface type='ethernet'><link state='down'/></interface>"), "hotplug.nics", "1"},
    {DEVICES("<interface type='ethernet'><target dev='tap0' managed='no'/><model "
             "type='virtio'/></interface>"),
     "nics.0.tap", "tap0"},
    {DEVICES(HOSTDEV("0x0000", "0x0a", "0x1f", "0x7")), "host_devices.0.device", "0000:0a:1f.7"},
    {DEVICES(HOSTDEV("0", "10", "0", "1")), "host_devices.0.device", "0000:0a:00.1"},
    {DEVICES("<hostdev type='pci'><source><address bus='6' slot='2' function='0'/></source></hostdev>"),
     "host_devices.0.device", "0000:06:02.0"},
    {DEVICES("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"),
     "devices.rng", "true"},
    {DISK("type='file'", "<readonly/><shareable/>"), "disks.0.readonly", "true"},
    {DOMAIN("<vcpu>2</vcpu><cputune><vcpupin vcpu='1' cpuset=' 0-3, ^2'/></cputune>"), "pins.0.cpus",
     "0-1,3"},
    {DOMAIN("<vcpu cpuset='1'>2</vcpu><cputune><vcpupin vcpu='0' cpuset='0'/></cputune>"),
     "pins.1.cpus", "1"},
    {DOMAIN("<cputune/>"), "pins.0", "none"},
    {DEVICES("<memballoon model='none'/>"), "devices.balloon", "false"},
    {DEVICES("<memballoon model='virtio'><stats period='5'/></memballoon>"),
     "devices.memory_period_s", "5"},
    {DEVICES("<memballoon model='virtio'/>"), "devices.memory_period_s", "0"},
    {DEVICES("<console type='pty'><target type='virtio'/></console>"), "devices.console", "true"},
    {DEVICES("<emulator>/q</emulator><controller type='usb'/><input type='tablet' "
             "bus='usb'/><serial type='pty'/>"
             "<channel type='spicevmc'><target type='virtio' "
             "name='com.redhat.spice.0'/></channel><audio id='1' type='none'/>"),
     "disks.0", "none"},
    {DEVICES("<channel type='spicevmc'><target type='virtio' name='s'/></channel>"), "channels.0",
     "none"},
    {DEVICES(CHANNEL("", "a.0") CHANNEL("<source mode='bind'/><alias name='x'/>", "b.0")),
     "channels.1", "b.0"},
    {DEVICES(CHANNEL("", "a.0")), "devices.console", "true"},
};

START_TEST(elements_taken)
{
    g_autoptr(vm_config) config = read_ok(taken[_i].xml, NULL);
    g_autoptr(json_object) json = vm_config_encode(config);
    const char *got = member(json, taken[_i].path);

    ck_assert_msg(strcmp(got, taken[_i].value) == 0, "%s is %s, not %s: %s", taken[_i].path, got,
                  taken[_i].value, taken[_i].xml);
}
END_TEST

static const struct {
    const char *xml;
    enum vmd_error kind;
    const char *text;
} refused[] = {
    {"", VMD_ERROR_INVALID, "XML"},
    {"<domain", VMD_ERROR_INVALID, "line 1"},
    {"<:domain/>", VMD_ERROR_INVALID, "line 1"},
    {DOMAIN("<metadata><p:x/></metadata>"), VMD_ERROR_INVALID, "line 1"},
    {"<network/>", VMD_ERROR_INVALID, "no <domain>"},
    {"<!DOCTYPE d [<!ENTITY e 'x'>]>" DOMAIN("<title>&e;</title>"), VMD_ERROR_INVALID,
     "document type"},
    {"<!DOCTYPE d SYSTEM 'file:///etc/passwd'>" DOMAIN(""), VMD_ERROR_INVALID, "document type"},
    {"<domain type='kvm'><memory>1</memory>" OS "</domain>", VMD_ERROR_INVALID, "<name>"},
    {"<domain type='kvm'><name>a</name>" OS "</domain>", VMD_ERROR_INVALID, "<memory>"},
    {HEAD "</domain>", VMD_ERROR_INVALID, "<os>"},
    {DOMAIN("<uuid>11111111</uuid>"), VMD_ERROR_INVALID, "<uuid>"},
    {DOMAIN("<memory>65536</memory>"), VMD_ERROR_INVALID, "<memory> is there twice"},
    {DOMAIN("<title>a</title><pm/><title>b</title>"), VMD_ERROR_INVALID, "<title> is there twice"},
    {"<domain type='kvm'><name>a</name><memory>x</memory>" OS "</domain>", VMD_ERROR_INVALID,
     "no size"},
    {"<domain type='kvm'><name>a</name><memory>-1</memory>" OS "</domain>", VMD_ERROR_INVALID,
     "no size"},
    {"<domain type='kvm'><name>a</name><memory unit='TiB'>99999999999</memory>" OS "</domain>",
     VMD_ERROR_INVALID, "no size"},
    {"<domain type='kvm'><name>a</name><memory unit='ells'>1</memory>" OS "</domain>",
     VMD_ERROR_INVALID, "ells"},
    {DOMAIN("<vcpu>0</vcpu>"), VMD_ERROR_INVALID, "<vcpu>"},
    {DOMAIN("<vcpu>99999999999</vcpu>"), VMD_ERROR_INVALID, "<vcpu>"},
    {DOMAIN("<vcpu current='3'>2</vcpu>"), VMD_ERROR_INVALID, "current='3'"},
    {"<domain type='xen'><name>a</name><memory>1</memory>" OS "</domain>", VMD_ERROR_UNSUPPORTED,
     "xen"},
    {HEAD "<os><type arch='ppc64'>hvm</type></os></domain>", VMD_ERROR_UNSUPPORTED, "ppc64"},
    {HEAD "<os><type>exe</type></os></domain>", VMD_ERROR_UNSUPPORTED, "exe"},
    {HEAD
     "<os><type arch='riscv64'>hvm</type><kernel>/k</kernel><boot dev='network'/></os></domain>",
     VMD_ERROR_UNSUPPORTED, "network"},
    {HEAD "<os><type arch='riscv64'>hvm</type><dtb>/x</dtb></os></domain>", VMD_ERROR_UNSUPPORTED,
     "<dtb>"},
    {DOMAIN("<genid/>"), VMD_ERROR_UNSUPPORTED, "<genid>"},
    {DOMAIN("<cputune><shares>1</shares></cputune>"), VMD_ERROR_UNSUPPORTED, "<shares>"},
    {DOMAIN("<cputune><emulatorpin cpuset='0'/></cputune>"), VMD_ERROR_UNSUPPORTED, "<emulatorpin>"},
    {DOMAIN("<cputune><vcpupin vcpu='1' cpuset='0'/></cputune>"), VMD_ERROR_INVALID, "vcpu='1'"},
    {DOMAIN("<cputune><vcpupin cpuset='0'/></cputune>"), VMD_ERROR_INVALID, "vcpupin"},
    {DOMAIN("<cputune><vcpupin vcpu='0'/></cputune>"), VMD_ERROR_INVALID, "<vcpupin cpuset>"},
    {DOMAIN("<cputune><vcpupin vcpu='0' cpuset='0-1,^0-1'/></cputune>"), VMD_ERROR_INVALID,
     "<vcpupin cpuset>"},
    {DOMAIN("<cputune><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='0' cpuset='1'/></cputune>"),
     VMD_ERROR_INVALID, "one twice"},
    {DOMAIN("<vcpu cpuset='1024'>1</vcpu>"), VMD_ERROR_INVALID, "<vcpu cpuset>"},
    {DOMAIN("<whatever/>"), VMD_ERROR_UNSUPPORTED, "<whatever>"},
    {DOMAIN("<q:commandline xmlns:q='http://q'/>"), VMD_ERROR_UNSUPPORTED, "<q:commandline>"},
    {DISK("type='network'", ""), VMD_ERROR_UNSUPPORTED, "disk vda: type='network'"},
    {DEVICES("<disk type='volume'><source pool='p' volume='v'/><target dev='vda'/></disk>"),
     VMD_ERROR_INVALID, "no <source>"},
    {DISK("type='file' device='lun'", ""), VMD_ERROR_UNSUPPORTED, "device='lun'"},
    {DISK("type='file'", "<driver type='vmdk'/>"), VMD_ERROR_UNSUPPORTED, "vmdk"},
    {DISK("type='file'", "<shareable/>"), VMD_ERROR_UNSUPPORTED, "<shareable>"},
    {DISK("type='file'", "<iotune/>"), VMD_ERROR_UNSUPPORTED, "<iotune>"},
    {DEVICES("<disk type='file'><source file='/d'/><target dev='vfa'/></disk>"), VMD_ERROR_INVALID,
     "dev='vfa'"},
    {DEVICES("<disk type='file'><source file='/d'/></disk>"), VMD_ERROR_INVALID, "<target"},
    {DEVICES("<disk type='file'><target dev='vda'/></disk>"), VMD_ERROR_INVALID, "<source>"},
    {DEVICES("<disk type='file'><source file='/d'/><target dev='hda' bus='ide'/></disk>"),
     VMD_ERROR_UNSUPPORTED, "use bus='virtio'"},
    {DEVICES("<interface type='network'><source network='other'/></interface>"),
     VMD_ERROR_UNSUPPORTED, "network='other'"},
    {DEVICES("<interface type='bridge'><source bridge='br0'/></interface>"), VMD_ERROR_UNSUPPORTED,
     "type='bridge'"},
    {DEVICES("<interface type='user'><model type='e1000'/></interface>"), VMD_ERROR_UNSUPPORTED,
     "type='virtio'"},
    {DEVICES("<interface type='ethernet'/>"), VMD_ERROR_INVALID, "tap"},
    {DEVICES("<graphics type='vnc'/>"), VMD_ERROR_UNSUPPORTED, "<graphics>"},
    {DEVICES("<video/>"), VMD_ERROR_UNSUPPORTED, "<video>"},
    {DEVICES("<sound model='ich9'/>"), VMD_ERROR_UNSUPPORTED, "<sound>"},
    {DEVICES("<audio id='1' type='alsa'/>"), VMD_ERROR_UNSUPPORTED, "<audio>"},
    {DEVICES("<hostdev/>"), VMD_ERROR_UNSUPPORTED, "<hostdev"},
    {DEVICES("<hostdev mode='capabilities' type='storage'/>"), VMD_ERROR_UNSUPPORTED,
     "mode='capabilities' type='storage'"},
    {DEVICES("<hostdev mode='subsystem' type='usb'/>"), VMD_ERROR_UNSUPPORTED, "type='usb'"},
    {DEVICES("<hostdev type='pci'/>"), VMD_ERROR_INVALID, "<source>"},
    {DEVICES("<hostdev type='pci'><driver name='kvm'/></hostdev>"), VMD_ERROR_UNSUPPORTED, "kvm"},
    {DEVICES("<hostdev type='pci'><rom file='/rom'/></hostdev>"), VMD_ERROR_UNSUPPORTED, "<rom"},
    {DEVICES("<hostdev type='pci'><boot order='1'/></hostdev>"), VMD_ERROR_UNSUPPORTED, "<boot>"},
    {DEVICES(HOSTDEV("0x10000", "0", "0", "0")), VMD_ERROR_INVALID, "domain"},
    {DEVICES(HOSTDEV("0", "0x100", "0", "0")), VMD_ERROR_INVALID, "bus"},
    {DEVICES(HOSTDEV("0", "0", "0x20", "0")), VMD_ERROR_INVALID, "slot"},
    {DEVICES(HOSTDEV("0", "0", "0", "8")), VMD_ERROR_INVALID, "function"},
    {DEVICES(HOSTDEV("0", "0", "0", "-1")), VMD_ERROR_INVALID, "function"},
    {DEVICES(HOSTDEV("0", "0", "", "0")), VMD_ERROR_INVALID, "slot"},
    {DEVICES(HOSTDEV("0", "1x", "0", "0")), VMD_ERROR_INVALID, "bus"},
    {DEVICES(HOSTDEV("0", "99999999999999999999", "0", "0")), VMD_ERROR_INVALID, "bus"},
    {DEVICES("<tpm/>"), VMD_ERROR_UNSUPPORTED, "<tpm>"},
    {DEVICES("<memballoon model='virtio'><stats period='86401'/></memballoon>"), VMD_ERROR_INVALID,
     "period='86401'"},
    {DEVICES("<channel type='tcp'/>"), VMD_ERROR_UNSUPPORTED, "<channel type='tcp'>"},
    {DEVICES("<channel type='unix'><target type='guestfwd'/></channel>"), VMD_ERROR_UNSUPPORTED,
     "type='guestfwd'"},
    {DEVICES("<channel type='unix'><target type='virtio'/></channel>"), VMD_ERROR_UNSUPPORTED,
     "<target name"},
    {DEVICES(CHANNEL("<source mode='connect' path='/s'/>", "a")), VMD_ERROR_UNSUPPORTED,
     "mode='connect'"},
    {DEVICES(CHANNEL("<source mode='bind' path='/s'/>", "a")), VMD_ERROR_UNSUPPORTED, "path='/s'"},
    {DEVICES(CHANNEL("<log file='/l'/>", "a")), VMD_ERROR_UNSUPPORTED, "<log>"},
    {DEVICES(CHANNEL("", "a") CHANNEL("", "b") CHANNEL("", "c") CHANNEL("", "d") CHANNEL("", "e")),
     VMD_ERROR_LIMIT, "<channel>"},
};

START_TEST(elements_refused)
{
    g_autofree char *uuid = NULL;
    g_autoptr(GError) err = NULL;

    ck_assert_msg(domain_xml_read(refused[_i].xml, NULL, NULL, &uuid, &err) == NULL, "%s",
                  refused[_i].xml);
    ck_assert_msg(err && err->code == (int)refused[_i].kind, "%s: %s", err ? err->message : "",
                  refused[_i].xml);
    ck_assert_msg(strstr(err->message, refused[_i].text) != NULL, "%s", err->message);
    ck_assert_ptr_null(uuid);
}
END_TEST

/* A <cpu> with COUNT attributes, behind what only looks like some. */
static char *with_attributes(unsigned count)
{
    GString *xml = g_string_new(HEAD OS "<!-- <a = ' --><title><![CDATA[<b = \"]]></title>"
                                        "<?pi <c = '?><description>= &gt; = '</description><cpu");

    for (unsigned i = 0; i < count; i++)
        g_string_append_printf(xml, " a%u = '=>\"=!%u'", i, i);
    g_string_append(xml, "/></domain>");
    return g_string_free(xml, FALSE);
}

/* As many attributes as are taken, and one more, which is refused before anything is compared. */
START_TEST(attributes)
{
    g_autofree char *most = with_attributes(LIMIT_LIBVIRT_ATTRIBUTES);
    g_autofree char *more = with_attributes(LIMIT_LIBVIRT_ATTRIBUTES + 1);
    g_autoptr(vm_config) config = read_ok(most, NULL);
    g_autofree char *uuid = NULL;
    g_autoptr(GError) err = NULL;

    ck_assert_ptr_nonnull(config);
    ck_assert_ptr_null(domain_xml_read(more, NULL, NULL, &uuid, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    ck_assert_msg(strstr(err->message, "more than 64 attributes") != NULL, "%s", err->message);
}
END_TEST

static char *with_namespaces(unsigned count)
{
    GString *xml = g_string_new(HEAD OS "<metadata>");

    for (unsigned i = 0; i < count; i++)
        g_string_append_printf(xml, "<n:e xmlns:n='http://%u' text=' xmlns'/>", i);
    g_string_append(xml, "</metadata></domain>");
    return g_string_free(xml, FALSE);
}

/* Each prefix is looked for among the namespaces that are declared around it. */
START_TEST(namespaces)
{
    g_autofree char *most = with_namespaces(LIMIT_LIBVIRT_NAMESPACES);
    g_autofree char *more = with_namespaces(LIMIT_LIBVIRT_NAMESPACES + 1);
    g_autoptr(vm_config) config = read_ok(most, NULL);
    g_autofree char *uuid = NULL;
    g_autoptr(GError) err = NULL;

    ck_assert_ptr_nonnull(config);
    ck_assert_ptr_null(domain_xml_read(more, NULL, NULL, &uuid, &err));
    ck_assert_msg(strstr(err->message, "more than 256 namespaces") != NULL, "%s", err->message);
}
END_TEST

/* What clients keep has its bound while it is read. */
START_TEST(kept_bound)
{
    g_autofree char *text = g_strnfill(65536, 'a');
    g_autofree char *xml = g_strconcat(HEAD OS "<title>", text, "</title></domain>", NULL);
    g_autofree char *uuid = NULL;
    g_autoptr(GError) err = NULL;

    ck_assert_ptr_null(domain_xml_read(xml, NULL, NULL, &uuid, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
}
END_TEST

static char *find_volume(void *user, const char *pool, const char *volume, GError **err)
{
    if (strcmp(pool, user) == 0)
        return g_strconcat("/pools/", pool, "/", volume, NULL);
    vmd_fail(err, VMD_ERROR_INVALID, "there is no pool %s", pool);
    return NULL;
}

/* A volume of a pool is the file that it is. */
START_TEST(volumes)
{
    char pool[] = "p";
    const struct xml_options options = {.volume = find_volume, .user = pool};
    g_autofree char *uuid = NULL;
    g_autoptr(GError) err = NULL;
    g_autoptr(vm_config) config = domain_xml_read(
        DEVICES("<disk type='volume'><source pool='p' volume='v'/><target dev='vda'/></disk>"),
        &options, NULL, &uuid, &err);

    ck_assert_msg(config != NULL, "%s", err ? err->message : "");
    ck_assert_str_eq(config->disks[0]->path, "/pools/p/v");
    ck_assert_ptr_null(device_xml_read(
        "<disk type='volume'><source pool='q' volume='v'/><target dev='vda'/></disk>", &options,
        &err));
    ck_assert_str_eq(err->message, "there is no pool q");
}
END_TEST

START_TEST(disks_in_order)
{
    static const char *const came[] = {"vda", "vdb", "sda", "sdaa", "sdc", "vdc", "sdb"};
    g_autoptr(vm_config) config = read_ok(DOMAIN(""), NULL);
    g_autoptr(GString) order = g_string_new(NULL);

    config->n_disks = G_N_ELEMENTS(came);
    config->disks = g_new0(struct vm_disk_config *, config->n_disks);
    for (size_t i = 0; i < config->n_disks; i++) {
        config->disks[i] = vm_disk_config_new();
        config->disks[i]->id = g_strdup(came[i]);
    }
    domain_xml_order_disks(config);
    for (size_t i = 0; i < config->n_disks; i++)
        g_string_append_printf(order, "%s ", config->disks[i]->id);
    ck_assert_str_eq(order->str, "vda vdb vdc sda sdb sdc sdaa ");
    /* One whose target is that of its place: all stay where they are. */
    g_free(config->disks[6]->id);
    config->disks[6]->id = g_strdup("mine");
    g_free(config->disks[0]->id);
    config->disks[0]->id = g_strdup("vdz");
    domain_xml_order_disks(config);
    ck_assert_str_eq(config->disks[0]->id, "vdz");
}
END_TEST

/* Where the daemon was told so, screens are dropped; all else is refused as it was. */
START_TEST(headless)
{
    const struct xml_options options = {.headless = true};
    g_autofree char *uuid = NULL;
    g_autoptr(GError) err = NULL;
    g_autoptr(vm_config) config = domain_xml_read(
        DEVICES("<graphics type='vnc'/><video/><sound model='ich9'/><audio id='1' type='spice'/>"
                "<redirdev bus='usb' type='spicevmc'/><rng model='virtio'/>"),
        &options, NULL, &uuid, &err);

    ck_assert_msg(config != NULL, "%s", err ? err->message : "");
    ck_assert(config->devices->rng);
    ck_assert_ptr_null(domain_xml_read(DEVICES("<tpm/>"), &options, NULL, &uuid, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_UNSUPPORTED));
}
END_TEST

/* What is written is read the same, also where the XML says less than the configuration. */
START_TEST(round_trip)
{
    g_autoptr(vm_config) config = read_ok(taken[_i].xml, NULL);
    g_autofree char *xml = domain_xml_write(config, ID, _i % 2 ? &run : NULL);
    g_autofree char *uuid = NULL;
    g_autoptr(vm_config) again = domain_xml_read(xml, &own, config, &uuid, NULL);

    ck_assert_msg(again != NULL, "%s", xml);
    ck_assert_str_eq(uuid, ID);
    g_autoptr(json_object) x = vm_config_encode(config), y = vm_config_encode(again);
    ck_assert_msg(json_object_equal(x, y), "%s\n%s\n%s", json_object_to_json_string(x),
                  json_object_to_json_string(y), xml);
    ck_assert(!strstr(xml, "type=\"vmd\""));
    ck_assert((strstr(xml, " id=\"7\"") != NULL) == (_i % 2 == 1));
}
END_TEST

/* Where a channel's socket is, is a run's, and may be written back. */
START_TEST(channel_socket)
{
    g_autoptr(vm_config) config = read_ok(DEVICES(CHANNEL("", "a.0")), NULL);
    g_autofree char *live = domain_xml_write(config, ID, &run);
    g_autofree char *next = domain_xml_write(config, ID, NULL);

    ck_assert(strstr(live, "<source mode=\"bind\" path=\"/run/vmd/vms/" ID "/channel0\"/>") != NULL);
    ck_assert(strstr(live, "<target type=\"virtio\" name=\"a.0\"/>") != NULL);
    ck_assert(strstr(next, "<target type=\"virtio\" name=\"a.0\"/>") != NULL);
    ck_assert(!strstr(next, "channel0\"/><target") && !strstr(next, "/run/vmd"));
}
END_TEST

/* What XML has no word for outlives a definition anew; what it leaves out is gone. */
START_TEST(over_what_is_there)
{
    g_autoptr(vm_config) base =
        read_ok(DEVICES("<disk type='file'><source file='/d'/><target dev='vda'/></disk>"
                        "<interface type='user'><mac address='52:54:00:00:00:01'/></interface>"),
                NULL);

    base->hotplug->ports = 9;
    base->autostart = true;
    base->nics[0]->id = g_strdup("net5");
    base->nics[0]->n_hostfwd = 1;
    base->nics[0]->hostfwd = g_new0(struct vm_hostfwd_config *, 1);
    base->nics[0]->hostfwd[0] = vm_hostfwd_config_new();
    g_autoptr(vm_config) again = read_ok(
        DEVICES("<interface type='user'><mac address='52:54:00:00:00:01'/></interface>"), base);
    ck_assert_uint_eq(again->hotplug->ports, 9);
    ck_assert(again->autostart);
    ck_assert_uint_eq(again->n_disks, 0);
    ck_assert_uint_eq(again->n_nics, 1);
    ck_assert_str_eq(again->nics[0]->id, "net5");
    ck_assert_uint_eq(again->nics[0]->n_hostfwd, 1);
}
END_TEST

/* Foreign elements come back as they were, with their namespaces, wherever those were declared. */
START_TEST(verbatim)
{
    g_autoptr(vm_config) config = read_ok(
        "<domain type='kvm' xmlns:o='http://o'><name>a</name><memory unit='MiB'>64</memory>" OS
        "<metadata><o:info k='&quot;v'><o:os id='x'/><!-- c --></o:info><z "
        "xmlns='http://z'>t</z></metadata></domain>",
        NULL);
    g_autofree char *xml = domain_xml_write(config, ID, NULL);
    g_autofree char *o = domain_xml_kept(config, "metadata", "http://o");
    g_autofree char *z = domain_xml_kept(config, "metadata", "http://z");

    ck_assert(strstr(xml, "<o:os id=\"x\"/><!-- c --></o:info>") != NULL);
    ck_assert_str_eq(
        o, "<o:info xmlns:o=\"http://o\" k=\"&quot;v\"><o:os id=\"x\"/><!-- c --></o:info>");
    ck_assert_str_eq(z, "<z xmlns=\"http://z\">t</z>");
    ck_assert_ptr_null(domain_xml_kept(config, "metadata", "http://none"));
    ck_assert_ptr_null(domain_xml_kept(config, "title", NULL));
}
END_TEST

START_TEST(keeping)
{
    g_autoptr(vm_config) config = read_ok(DOMAIN(""), NULL);
    GError *err = NULL;

    ck_assert(domain_xml_keep(config, "title", NULL, NULL, "a < b", &err));
    ck_assert(domain_xml_keep(config, "metadata", "http://u", "u", "<w><x/></w>", &err));
    ck_assert(!domain_xml_keep(config, "metadata", "http://u", "u", "<w", &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    g_clear_error(&err);
    ck_assert_str_eq(
        config->libvirt_xml,
        "<title>a &lt; b</title><metadata><u:w xmlns:u=\"http://u\"><x/></u:w></metadata>");
    /* What could not be read again is not kept: with its namespace that is one attribute too many.
     */
    g_autoptr(GString) many = g_string_new("<w");
    for (int i = 0; i < LIMIT_LIBVIRT_ATTRIBUTES; i++)
        g_string_append_printf(many, " a%d=''", i);
    g_string_append(many, "/>");
    ck_assert(!domain_xml_keep(config, "metadata", "http://many", "m", many->str, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    g_clear_error(&err);
    ck_assert(!domain_xml_keep(config, "metadata", "http://v", "1", "<w/>", &err));
    ck_assert(strstr(err->message, "prefix"));
    g_clear_error(&err);
    /* As a client of another protocol may leave it. */
    g_autoptr(vm_config) broken = vm_config_copy(config);
    g_free(broken->libvirt_xml);
    broken->libvirt_xml = g_strdup("<");
    ck_assert(!domain_xml_keep(broken, "metadata", "http://v", "v", "<w/>", &err));
    g_clear_error(&err);
    ck_assert_str_eq(broken->libvirt_xml, "<");
    g_autofree char *title = domain_xml_kept(config, "title", NULL);
    ck_assert_str_eq(title, "a < b");
    ck_assert(domain_xml_keep(config, "title", NULL, NULL, NULL, &err));
    ck_assert(domain_xml_keep(config, "metadata", "http://u", NULL, NULL, &err));
    ck_assert_str_eq(config->libvirt_xml, "<metadata/>");
}
END_TEST

/* Names of disks that libvirt has none for. */
START_TEST(targets)
{
    static const char *const ids[] = {"disk0", "vda", "sda", "root", "vdx1", "vd"};
    static const char *const want[] = {"vdb", "vda", "sda", "vdc", "vdd", "vde"};
    g_autoptr(vm_config) config = read_ok(DOMAIN(""), NULL);

    config->n_disks = G_N_ELEMENTS(ids);
    config->disks = g_new0(struct vm_disk_config *, G_N_ELEMENTS(ids));
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        config->disks[i] = vm_disk_config_new();
        config->disks[i]->id = g_strdup(ids[i]);
        config->disks[i]->path = g_strdup("/d");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        g_autofree char *name = domain_xml_target(config, i);
        ck_assert_str_eq(name, want[i]);
    }
    g_autofree char *found =
        device_xml_find("<disk type='file'><target dev='vdc'/></disk>", config, NULL);
    ck_assert_str_eq(found, "root");
}
END_TEST

START_TEST(devices)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(device_spec) disk = device_xml_read(
        "<disk type='file'><source file='/d'/><target dev='vdb'/></disk>", NULL, NULL);
    g_autoptr(device_spec) nic = device_xml_read("<interface type='user'/>", NULL, NULL);

    ck_assert_int_eq(disk->kind, HOT_KIND_DISK);
    ck_assert_str_eq(disk->disk->id, "vdb");
    ck_assert_int_eq(nic->kind, HOT_KIND_NIC);
    ck_assert_ptr_null(device_xml_read("<tpm/>", NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_UNSUPPORTED));
}
END_TEST

/* A function of the host comes back as it was given; it is found by its alias or its address. */
START_TEST(host_functions)
{
    g_autoptr(device_spec) host = device_xml_read(HOSTDEV("0", "1", "2", "3"), NULL, NULL);
    g_autoptr(vm_config) config = read_ok(DEVICES(HOSTDEV("0", "1", "2", "3")), NULL);

    ck_assert_int_eq(host->kind, HOT_KIND_HOST);
    ck_assert_str_eq(host->host->device, "0000:01:02.3");
    config->host_devices[0]->id = g_strdup("card");
    g_autofree char *xml = domain_xml_write(config, ID, NULL);
    ck_assert_msg(strstr(xml, "<hostdev mode=\"subsystem\" type=\"pci\" managed=\"yes\">"), "%s", xml);
    ck_assert_msg(strstr(xml, "<address domain=\"0x0000\" bus=\"0x01\" slot=\"0x02\" "
                              "function=\"0x3\"/>"),
                  "%s", xml);
    g_autofree char *by_address = device_xml_find(HOSTDEV("0", "1", "2", "3"), config, NULL);
    g_autofree char *by_alias = device_xml_find(
        "<hostdev type='pci'><alias name='card'/></hostdev>", config, NULL);
    g_autofree char *other = device_xml_find(HOSTDEV("0", "1", "2", "4"), config, NULL);
    ck_assert_str_eq(by_address, "card");
    ck_assert_str_eq(by_alias, "card");
    ck_assert_ptr_null(other);
}
END_TEST

/* By its alias, its address, or as the only one. */
START_TEST(interfaces_found)
{
    static const struct {
        const char *xml, *id;
    } rows[] = {
        {"<interface type='user'><mac address='52:54:00:00:00:0B'/></interface>", "two"},
        {"<interface type='user'><alias name='one'/></interface>", "one"},
        {"<interface type='user'><mac address='52:54:00:00:00:0c'/></interface>", NULL},
        {"<interface type='user'/>", NULL},
    };
    g_autoptr(vm_config) config =
        read_ok(DEVICES("<interface type='user'><mac address='52:54:00:00:00:0a'/></interface>"
                        "<interface type='user'><mac address='52:54:00:00:00:0b'/></interface>"),
                NULL);

    config->nics[0]->id = g_strdup("one");
    config->nics[1]->id = g_strdup("two");
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *id = device_xml_find(rows[i].xml, config, NULL);
        ck_assert_msg(g_strcmp0(id, rows[i].id) == 0, "%s: %s", rows[i].xml, id ? id : "none");
    }
    vm_nic_config_free(config->nics[--config->n_nics]);
    g_autofree char *only = device_xml_find("<interface type='user'/>", config, NULL);
    ck_assert_str_eq(only, "one");
}
END_TEST

START_TEST(identity)
{
    g_autofree char *name = NULL, *uuid = NULL;

    ck_assert(domain_xml_identity(
        "<domain><name> a </name><uuid>AAAAAAAA-2222-3333-4444-555555555555</uuid></domain>", &name,
        &uuid, NULL));
    ck_assert_str_eq(name, "a");
    ck_assert_str_eq(uuid, "aaaaaaaa-2222-3333-4444-555555555555");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("libvirt_xml");
    TCase *tc = tcase_create("all");

    tcase_add_loop_test(tc, elements_taken, 0, G_N_ELEMENTS(taken));
    tcase_add_loop_test(tc, elements_refused, 0, G_N_ELEMENTS(refused));
    tcase_add_test(tc, channel_socket);
    tcase_add_loop_test(tc, round_trip, 0, G_N_ELEMENTS(taken));
    tcase_add_test(tc, attributes);
    tcase_add_test(tc, namespaces);
    tcase_add_test(tc, kept_bound);
    tcase_add_test(tc, volumes);
    tcase_add_test(tc, headless);
    tcase_add_test(tc, disks_in_order);
    tcase_add_test(tc, over_what_is_there);
    tcase_add_test(tc, verbatim);
    tcase_add_test(tc, keeping);
    tcase_add_test(tc, targets);
    tcase_add_test(tc, devices);
    tcase_add_test(tc, host_functions);
    tcase_add_test(tc, interfaces_found);
    tcase_add_test(tc, identity);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
