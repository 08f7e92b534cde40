/* See devices.h. */
#include "vmctl/devices.h"

bool parse_port(const char *text, uint16_t *out)
{
    guint64 v;

    if (!g_ascii_string_to_unsigned(text, 10, 1, 65535, &v, NULL))
        return false;
    *out = (uint16_t)v;
    return true;
}

/* "FILE[,format=raw|qcow2][,readonly][,serial=S][,onerror=WHAT]"; a comma of the file's name is written twice. */
bool parse_disk(const char *text, struct vm_disk_config **out, GError **err)
{
    struct vm_disk_config *disk = vm_disk_config_new();
    g_autoptr(GString) file = g_string_new(NULL);
    const char *at = text;

    for (; *at && (*at != ',' || at[1] == ','); at++) {
        at += *at == ',';
        g_string_append_c(file, *at);
    }
    disk->path = g_canonicalize_filename(file->str, NULL);
    g_auto(GStrv) words = g_strsplit(*at ? at + 1 : "", ",", -1);
    bool ok = file->len > 0 || vmd_fail(err, VMD_ERROR_INVALID, "--disk needs a file");
    for (char **w = words; ok && *w; w++) {
        if (strcmp(*w, "readonly") == 0)
            disk->readonly = true;
        else if (g_str_has_prefix(*w, "format="))
            ok = vm_disk_format_from_string(*w + 7, &disk->format, err);
        else if (g_str_has_prefix(*w, "serial="))
            disk->serial = g_strdup(*w + 7);
        else if (g_str_has_prefix(*w, "onerror="))
            ok = vm_disk_onerror_from_string(*w + 8, &disk->onerror, err);
        else
            ok = vmd_fail(err, VMD_ERROR_INVALID,
                          "--disk: '%s' is not one of format=, readonly, serial=, onerror=", *w);
    }
    if (ok)
        *out = disk;
    else
        vm_disk_config_free(disk);
    return ok;
}

struct vm_host_config *parse_host(const char *text)
{
    struct vm_host_config *host = vm_host_config_new();
    bool short_form = strlen(text) == strlen("01:00.0");

    g_free(host->device);
    host->device = g_strconcat(short_form ? "0000:" : "", text, NULL);
    return host;
}

/* As types.schema has them. */
enum { GPU_SHARE_MOST = 1000, GPU_LAUNCHES_MOST = 1024 };

bool parse_gpu(const char *text, struct vm_gpu_config **out, GError **err)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    g_autoptr(vm_gpu_config) gpu = vm_gpu_config_new();

    bool known = words[0] && vm_gpu_backend_from_string(words[0], &gpu->backend, NULL);
    const char *memory = NULL;
    uint64_t number;

    for (unsigned i = 1; known && words[i]; i++) {
        if (g_str_has_prefix(words[i], "memory="))
            memory = words[i] + strlen("memory=");
        else if (g_str_has_prefix(words[i], "device=") && !gpu->device)
            gpu->device = g_strdup(words[i] + strlen("device="));
        else if (g_str_has_prefix(words[i], "share=") &&
                 g_ascii_string_to_unsigned(words[i] + strlen("share="), 10, 1, GPU_SHARE_MOST,
                                            &number, NULL))
            gpu->share = (uint32_t)number;
        else if (g_str_has_prefix(words[i], "launches=") &&
                 g_ascii_string_to_unsigned(words[i] + strlen("launches="), 10, 0,
                                            GPU_LAUNCHES_MOST, &number, NULL))
            gpu->launches = (uint32_t)number;
        else
            known = false;
    }
    if (!known)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "--gpu %s is not of the form soft|cuda|hip[,device=GPU][,memory=SIZE], with "
                        ",share=1 to %d and ,launches=0 to %d",
                        text, GPU_SHARE_MOST, GPU_LAUNCHES_MOST);
    if (memory && !size_parse(memory, &gpu->memory, err))
        return false;
    if (gpu->memory < MIB(LIMIT_GPU_MEMORY_MIN_MIB) ||
        gpu->memory > MIB((uint64_t)LIMIT_GPU_MEMORY_MAX_MIB) || gpu->memory % MIB(1)) {
        g_autofree char *least = size_format(MIB(LIMIT_GPU_MEMORY_MIN_MIB));
        g_autofree char *most = size_format(MIB((uint64_t)LIMIT_GPU_MEMORY_MAX_MIB));
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "--gpu: memory is a size from %s to %s, a multiple of 1 MiB, not '%s'",
                        least, most, memory);
    }
    *out = g_steal_pointer(&gpu);
    return true;
}

/* "tcp:HOSTPORT:PORT", or "tcp:HOSTADDR:HOSTPORT:PORT". */
static bool parse_hostfwd(const char *text, struct vm_hostfwd_config **out, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", -1);
    guint n = g_strv_length(parts);
    struct vm_hostfwd_config *fwd = vm_hostfwd_config_new();

    if ((n == 3 || n == 4) && net_proto_from_string(parts[0], &fwd->proto, NULL) &&
        parse_port(parts[n - 2], &fwd->host_port) && parse_port(parts[n - 1], &fwd->guest_port)) {
        if (n == 4) {
            g_free(fwd->host_addr);
            fwd->host_addr = g_strdup(*parts[1] ? parts[1] : "0.0.0.0");
        }
        *out = fwd;
        return true;
    }
    vm_hostfwd_config_free(fwd);
    return vmd_fail(err, VMD_ERROR_INVALID,
                    "hostfwd=%s is not of the form tcp:HOSTPORT:PORT or tcp:ADDRESS:HOSTPORT:PORT",
                    text);
}

static bool nic_word(struct vm_nic_config *nic, GPtrArray *fwds, const char *word, GError **err)
{
    struct vm_hostfwd_config *fwd = NULL;

    if (g_str_has_prefix(word, "hostfwd=")) {
        if (!parse_hostfwd(word + 8, &fwd, err))
            return false;
        g_ptr_array_add(fwds, fwd);
    } else if (g_str_has_prefix(word, "mac=")) {
        g_free(nic->mac);
        nic->mac = g_strdup(word + 4);
    } else {
        return vmd_fail(err, VMD_ERROR_INVALID, "--net: '%s' is not one of hostfwd=, mac=", word);
    }
    return true;
}

/* "user[,hostfwd=...]...", "tap=NAME", each with ",mac=". */
bool parse_net(const char *text, struct vm_nic_config **out, GError **err)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    struct vm_nic_config *nic = vm_nic_config_new();
    GPtrArray *fwds = g_ptr_array_new();
    bool ok = true;

    if (words[0] && g_str_has_prefix(words[0], "tap=")) {
        nic->kind = VM_NIC_KIND_TAP;
        nic->tap = g_strdup(words[0] + 4);
    } else if (g_strcmp0(words[0], "user") != 0) {
        ok = vmd_fail(err, VMD_ERROR_INVALID, "--net %s is not one of user, tap=NAME, none", text);
    }
    for (char **w = words + 1; ok && *w; w++)
        ok = nic_word(nic, fwds, *w, err);
    nic->n_hostfwd = fwds->len;
    nic->hostfwd = (struct vm_hostfwd_config **)g_ptr_array_free(fwds, FALSE);
    if (ok)
        *out = nic;
    else
        vm_nic_config_free(nic);
    return ok;
}
