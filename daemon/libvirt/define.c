/* Domains out of XML, and XML out of domains. */
#include "daemon/libvirt/bridge_priv.h"
#include "proto/libvirt/xml/xml.h"

enum {
    XML_ALL = 0xf, /* secrets, the next run's, the processor, for a migration */
    XML_INACTIVE = 2,
    VALIDATE = 1 << 0, /* of define: against schemas; names are checked here in any case */
    CREATE_PAUSED = 1 << 0,
    CREATE_ALL = 0x1d, /* but that it ends with the connection */
};

/* Kinds of what is kept. */
enum { DESCRIPTION, TITLE, ELEMENT };

/* --- out --- */

static void get_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_dom *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, XML_ALL))
        return;
    bool next = a->flags & XML_INACTIVE;
    g_autoptr(vm_config) config =
        next ? vm_config_copy(vm_next_config_of(vm)) : bridge_live_config(vm);
    g_autofree char *dir = paths_vm_runtime(&c->bridge->daemon->paths, vm_id(vm));
    const struct xml_run run = {bridge_number(vm), dir};
    g_autofree char *xml =
        domain_xml_write(config, vm_id(vm), next || run.number <= 0 ? NULL : &run);
    libvirt_reply(request, &(struct libvirt_text){.value = xml});
}

/* --- in --- */

/* A domain that is being made, or made anew; steps are calls of methods. */
struct making {
    struct client *c; /* not valid once a call failed with GONE: nothing follows then */
    struct libvirt_request *request;
    char *id;
};

static void making_free(struct making *m)
{
    g_free(m->id);
    g_free(m);
}

static void made(void *arg, const void *result, int fd, const GError *err)
{
    struct making *m = arg;
    const struct vm_info *info = result;
    struct vm *vm = err ? NULL : registry_find(m->c->bridge->daemon->registry, info->id);

    if (err)
        bridge_fail_xml(m->request, err);
    else if (vm)
        bridge_reply_dom(m->request, vm);
    else
        libvirt_fail(m->request, LIBVIRT_ERR_NO_DOMAIN, LIBVIRT_FROM_DOMAIN,
                     "the domain is gone already");
    making_free(m);
}

static void deleted(void *arg, const void *result, int fd, const GError *err)
{
}

/* It stands before its first instruction; from here on it is gone with its run. */
static void made_paused(void *arg, const void *result, int fd, const GError *err)
{
    struct making *m = arg;
    struct vm *vm = err ? NULL : registry_find(m->c->bridge->daemon->registry, m->id);

    if (vm) {
        g_autoptr(vm_config) config = vm_config_copy(vm_next_config_of(vm));
        config->ephemeral = true;
        bridge_configure(m->c, vm, config, made, m);
        return;
    }
    if (!g_error_matches(err, VMD_ERROR, VMD_ERROR_GONE)) {
        struct vm_delete_params p = {.vm = m->id};
        rpc_local_call(m->c->rpc, API_VM_DELETE, &p, deleted, NULL);
    }
    bridge_fail_xml(m->request, err);
    making_free(m);
}

/* A VM that is to stand still cannot be made to vanish with its maker meanwhile: it is that later.
 */
static void start_paused(void *arg, const void *result, int fd, const GError *err)
{
    struct making *m = arg;
    const struct vm_info *info = result;

    if (err) {
        made(m, NULL, -1, err);
        return;
    }
    m->id = g_strdup(info->id);
    struct vm_start_params p = {.vm = m->id, .paused = true};
    rpc_local_call(m->c->rpc, API_VM_START, &p, made_paused, m);
}

static struct making *making_new(struct client *c, struct libvirt_request *request)
{
    struct making *m = g_new0(struct making, 1);

    m->c = c;
    m->request = request;
    return m;
}

/* The VM that XML defines anew, or NULL in OUT; false where name and UUID do not belong together.
 */
static bool existing(struct client *c, const char *xml, struct vm **out, GError **err)
{
    struct registry *registry = c->bridge->daemon->registry;
    g_autofree char *name = NULL, *uuid = NULL;

    if (!domain_xml_identity(xml, &name, &uuid, err))
        return false;
    struct vm *by_uuid = uuid ? registry_find(registry, uuid) : NULL;
    struct vm *by_name = name ? registry_find(registry, name) : NULL;
    if (by_name && by_name != by_uuid)
        return vmd_fail(err, VMD_ERROR_EXISTS, "the domain %s exists already, with the UUID %s",
                        vm_name(by_name), vm_id(by_name));
    if (by_uuid && by_name != by_uuid)
        return vmd_fail(err, VMD_ERROR_EXISTS, "the UUID %s is that of the domain %s", uuid,
                        vm_name(by_uuid));
    *out = by_uuid;
    return true;
}

static void define(struct client *c, struct libvirt_request *request, const char *xml)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *uuid = NULL;
    struct vm *vm = NULL;

    if (!existing(c, xml, &vm, &err)) {
        bridge_fail_xml(request, err);
        return;
    }
    g_autoptr(vm_config) config =
        domain_xml_read(xml, bridge_xml_options(c), vm ? vm_next_config_of(vm) : NULL, &uuid, &err);
    if (!config) {
        bridge_fail_xml(request, err);
        return;
    }
    config->ephemeral = false;
    if (vm) {
        bridge_configure(c, vm, config, made, making_new(c, request));
        return;
    }
    struct vm_create_params p = {.config = config, .id = uuid};
    rpc_local_call(c->rpc, API_VM_CREATE, &p, made, making_new(c, request));
}

static void define_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_text *a = args;

    define(c, request, a->value);
}

static void define_xml_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_xml *a = args;

    if (bridge_flags(request, a->flags, VALIDATE))
        define(c, request, a->xml);
}

static void create_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_xml *a = args;
    g_autoptr(GError) err = NULL;
    g_autofree char *uuid = NULL;
    struct vm *vm = NULL;

    if (!bridge_flags(request, a->flags, CREATE_ALL))
        return;
    g_autoptr(vm_config) config =
        existing(c, a->xml, &vm, &err)
            ? domain_xml_read(a->xml, bridge_xml_options(c), NULL, &uuid, &err)
            : NULL;
    if (config && vm)
        vmd_fail(&err, VMD_ERROR_EXISTS, "the domain %s exists already", vm_name(vm));
    if (err) {
        bridge_fail_xml(request, err);
        return;
    }
    bool paused = a->flags & CREATE_PAUSED;
    config->ephemeral = !paused;
    struct vm_create_params p = {.config = config, .id = uuid, .start = !paused};
    rpc_local_call(c->rpc, API_VM_CREATE, &p, paused ? start_paused : made, making_new(c, request));
}

/* --- another name --- */

static void renamed(void *arg, const void *result, int fd, const GError *err)
{
    if (err)
        bridge_fail(arg, err);
    else
        libvirt_reply(arg, &(struct libvirt_number){0});
}

static void rename_domain(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_rename *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, 0))
        return;
    if (!a->name || vm_active(vm)) {
        libvirt_fail(request, a->name ? LIBVIRT_ERR_OPERATION_INVALID : LIBVIRT_ERR_INVALID_ARG,
                     LIBVIRT_FROM_DOMAIN, "a domain gets another name while it does not run");
        return;
    }
    g_autoptr(vm_config) config = vm_config_copy(vm_next_config_of(vm));
    g_free(config->name);
    config->name = g_strdup(a->name);
    bridge_configure(c, vm, config, renamed, request);
}

/* --- what clients keep with a domain --- */

static const char *kept_name(int32_t type)
{
    static const char *const names[] = {
        [DESCRIPTION] = "description", [TITLE] = "title", [ELEMENT] = "metadata"};

    return type >= 0 && type <= ELEMENT ? names[type] : NULL;
}

static void get_metadata(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_get_metadata *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);
    const char *name = kept_name(a->type);

    if (!vm)
        return;
    bool next = a->flags & XML_INACTIVE;
    g_autofree char *text = name && (a->type != ELEMENT || a->uri)
                                ? domain_xml_kept(next ? vm_next_config_of(vm) : vm_config_of(vm),
                                                  name, a->type == ELEMENT ? a->uri : NULL)
                                : NULL;
    if (text)
        libvirt_reply(request, &(struct libvirt_text){.value = text});
    else
        libvirt_fail(request, LIBVIRT_ERR_NO_METADATA, LIBVIRT_FROM_DOMAIN,
                     "the domain has no such metadata");
}

struct keeping {
    struct bridge *bridge;
    struct libvirt_request *request;
    char *id, *uri;
    int32_t kind;
};

static void metadata_set(void *arg, const void *result, int fd, const GError *err)
{
    struct keeping *k = arg;
    struct vm *vm = err ? NULL : registry_find(k->bridge->daemon->registry, k->id);

    if (vm)
        bridge_tell_metadata(k->bridge, vm, k->kind, k->uri);
    bridge_done(k->request, result, fd, err);
    g_free(k->id);
    g_free(k->uri);
    g_free(k);
}

static void keep_for(struct client *c, struct libvirt_request *request, const struct vm *vm,
                     struct vm_config *config, const struct libvirt_set_metadata *a)
{
    struct keeping *k = g_new0(struct keeping, 1);

    *k = (struct keeping){.bridge = c->bridge,
                          .request = request,
                          .id = g_strdup(vm_id(vm)),
                          .uri = a->type == ELEMENT ? g_strdup(a->uri) : NULL,
                          .kind = a->type};
    bridge_configure(c, vm, config, metadata_set, k);
}

static void set_metadata(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_set_metadata *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);
    const char *name = kept_name(a->type);
    g_autoptr(GError) err = NULL;

    if (!vm)
        return;
    g_autoptr(vm_config) config = vm_config_copy(vm_next_config_of(vm));
    if (!name || (a->type == ELEMENT && (!a->uri || (a->metadata && !a->key))))
        vmd_fail(&err, VMD_ERROR_INVALID,
                 "metadata needs a kind, and a URI and a key where it is an element");
    else if (domain_xml_keep(config, name, a->type == ELEMENT ? a->uri : NULL, a->key, a->metadata,
                             &err))
        keep_for(c, request, vm, config, a);
    if (err)
        bridge_fail_xml(request, err);
}

const struct bridge_row bridge_define_rows[] = {
    {LIBVIRT_DOMAIN_GET_XML_DESC, get_xml},
    {LIBVIRT_DOMAIN_DEFINE_XML, define_xml},
    {LIBVIRT_DOMAIN_DEFINE_XML_FLAGS, define_xml_flags},
    {LIBVIRT_DOMAIN_CREATE_XML, create_xml},
    {LIBVIRT_DOMAIN_RENAME, rename_domain},
    {LIBVIRT_DOMAIN_GET_METADATA, get_metadata},
    {LIBVIRT_DOMAIN_SET_METADATA, set_metadata},
};
const size_t bridge_define_count = G_N_ELEMENTS(bridge_define_rows);
