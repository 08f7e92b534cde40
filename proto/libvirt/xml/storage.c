/* Storage pools and volumes as libvirt's XML, and back. */
#include "proto/libvirt/xml/storage.h"

#include "proto/libvirt/xml/xml_priv.h"

/* --- pools ------------------------------------------------------------------------------------ */

static bool read_uuid(const xmlNode *root, char **uuid, GError **err)
{
    g_autofree char *text = xml_child_text(root, "uuid");

    if (!text)
        return true;
    *uuid = g_ascii_strdown(text, -1);
    return g_uuid_string_is_valid(*uuid) ||
           vmd_fail(err, VMD_ERROR_INVALID, "<uuid> is none: '%s'", text);
}

static bool read_pool(const xmlNode *root, struct pool_xml *out, GError **err)
{
    g_autofree char *type = xml_attr(root, "type");

    if (g_strcmp0(type, "dir") != 0)
        return xml_refuse(err, "<pool type='%s'>: pools are of type dir", type ? type : "");
    out->name = xml_child_text(root, "name");
    out->path = xml_child_text(xml_child(root, "target"), "path");
    if (!out->name || !out->path)
        return vmd_fail(err, VMD_ERROR_INVALID, "a pool has a <name> and a <target><path>");
    return read_uuid(root, &out->uuid, err);
}

bool pool_xml_read(const char *text, struct pool_xml *out, GError **err)
{
    xmlNode *root = xml_open(text, "pool", err);
    struct pool_xml got = {0};

    if (!root)
        return false;
    bool ok = read_pool(root, &got, err);
    xml_close(root);
    if (ok)
        *out = got;
    else
        pool_xml_clear(&got);
    return ok;
}

void pool_xml_clear(struct pool_xml *p)
{
    g_free(p->name);
    g_free(p->uuid);
    g_free(p->path);
    *p = (struct pool_xml){0};
}

/* The rights of a file. */
static char *permissions(uint32_t mode, uint32_t uid, uint32_t gid)
{
    return g_strdup_printf("    <permissions>\n      <mode>0%03o</mode>\n      <owner>%u</owner>\n"
                           "      <group>%u</group>\n    </permissions>\n",
                           mode & 07777, uid, gid);
}

char *pool_xml_write(const struct pool_xml *p, const struct pool_state *s)
{
    g_autofree char *rights = s->there ? permissions(s->mode, s->uid, s->gid) : g_strdup("");
    g_autofree char *path = g_markup_escape_text(p->path, -1);
    g_autofree char *name = g_markup_escape_text(p->name, -1);

    return g_strdup_printf("<pool type='dir'>\n  <name>%s</name>\n  <uuid>%s</uuid>\n"
                           "  <capacity unit='bytes'>%" G_GUINT64_FORMAT "</capacity>\n"
                           "  <allocation unit='bytes'>%" G_GUINT64_FORMAT "</allocation>\n"
                           "  <available unit='bytes'>%" G_GUINT64_FORMAT "</available>\n"
                           "  <source>\n  </source>\n  <target>\n    <path>%s</path>\n%s"
                           "  </target>\n</pool>\n",
                           name, p->uuid, s->capacity, s->allocation, s->available, path, rights);
}

/* --- volumes ---------------------------------------------------------------------------------- */

static bool read_format(const xmlNode *target, bool *qcow2, const char *what, GError **err)
{
    g_autofree char *format = xml_child_attr(target, "format", "type");

    *qcow2 = g_strcmp0(format, "qcow2") == 0;
    return !format || *qcow2 || strcmp(format, "raw") == 0 ||
           xml_refuse(err, "%s of format '%s': images are raw or qcow2", what, format);
}

static bool read_volume(const xmlNode *root, struct volume_xml *out, GError **err)
{
    const xmlNode *target = xml_child(root, "target"), *backing = xml_child(root, "backingStore"),
                  *capacity = xml_child(root, "capacity"),
                  *allocation = xml_child(root, "allocation");

    out->name = xml_child_text(root, "name");
    out->backing = xml_child_text(backing, "path");
    out->has_allocation = allocation != NULL;
    if (out->backing && !*out->backing)
        g_clear_pointer(&out->backing, g_free);
    if (!out->name || !capacity)
        return vmd_fail(err, VMD_ERROR_INVALID, "a volume has a <name> and a <capacity>");
    if (target && xml_child(target, "encryption"))
        return xml_refuse(err, "<encryption>: vmd makes no encrypted images");
    return xml_size(capacity, &out->capacity, err) &&
           (!allocation || xml_size(allocation, &out->allocation, err)) &&
           read_format(target, &out->qcow2, "a volume", err) &&
           read_format(backing, &out->backing_qcow2, "a backing store", err);
}

bool volume_xml_read(const char *text, struct volume_xml *out, GError **err)
{
    xmlNode *root = xml_open(text, "volume", err);
    struct volume_xml got = {0};

    if (!root)
        return false;
    bool ok = read_volume(root, &got, err);
    xml_close(root);
    if (ok)
        *out = got;
    else
        volume_xml_clear(&got);
    return ok;
}

void volume_xml_clear(struct volume_xml *v)
{
    g_free(v->name);
    g_free(v->backing);
    *v = (struct volume_xml){0};
}

char *volume_xml_write(const char *name, const char *path, const struct volume_state *s)
{
    g_autofree char *rights = permissions(s->mode, s->uid, s->gid);
    g_autofree char *in_name = g_markup_escape_text(name, -1);
    g_autofree char *in_path = g_markup_escape_text(path, -1);

    return g_strdup_printf("<volume type='file'>\n  <name>%s</name>\n  <key>%s</key>\n"
                           "  <capacity unit='bytes'>%" G_GUINT64_FORMAT "</capacity>\n"
                           "  <allocation unit='bytes'>%" G_GUINT64_FORMAT "</allocation>\n"
                           "  <physical unit='bytes'>%" G_GUINT64_FORMAT "</physical>\n"
                           "  <target>\n    <path>%s</path>\n    <format type='%s'/>\n%s"
                           "  </target>\n</volume>\n",
                           in_name, in_path, s->capacity, s->allocation, s->physical, in_path,
                           s->qcow2 ? "qcow2" : "raw", rights);
}
