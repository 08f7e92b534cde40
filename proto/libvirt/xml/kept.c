/* What the configuration keeps for clients: title, description, and elements of others' namespaces
 * in metadata. */
#include "proto/libvirt/xml/xml_priv.h"

static xmlNode *open_text(const char *text, GError **err)
{
    g_autofree char *all = g_strconcat("<k>", text ? text : "", "</k>", NULL);

    return xml_open(all, "k", err);
}

static xmlNode *open_kept(const struct vm_config *config)
{
    return open_text(config->libvirt_xml, NULL);
}

/* The element of namespace URI below METADATA. */
static xmlNode *of_namespace(const xmlNode *metadata, const char *uri)
{
    for (xmlNode *n = metadata ? xml_element(metadata->children) : NULL; n;
         n = xml_element(n->next)) {
        if (n->ns && n->ns->href && strcmp((const char *)n->ns->href, uri) == 0)
            return n;
    }
    return NULL;
}

static xmlNode *find(const xmlNode *root, const char *name, const char *uri)
{
    xmlNode *node = xml_child(root, name);

    return uri ? of_namespace(node, uri) : node;
}

char *domain_xml_kept(const struct vm_config *config, const char *name, const char *uri)
{
    xmlNode *root = open_kept(config), *node = root ? find(root, name, uri) : NULL;
    char *out = !node ? NULL : uri ? xml_dump(node) : xml_text(node);

    xml_close(root);
    return out;
}

/* VALUE, an element, below the metadata of ROOT, in the namespace URI with the prefix KEY. */
static bool put_metadata(xmlNode *root, const char *uri, const char *key, const char *value,
                         GError **err)
{
    xmlNode *given = xml_open(value, NULL, err), *metadata = xml_child(root, "metadata");

    if (!given)
        return false;
    if (key && xmlValidateNCName((const xmlChar *)key, 0) != 0) {
        xml_close(given);
        return vmd_fail(err, VMD_ERROR_INVALID, "'%s' is no prefix of a namespace", key);
    }
    if (!metadata)
        metadata = xmlNewChild(root, NULL, (const xmlChar *)"metadata", NULL);
    xmlNode *copy = xmlDocCopyNode(given, root->doc, 1);
    xml_close(given);
    xmlAddChild(metadata, copy);
    if (!copy->ns || strcmp((const char *)copy->ns->href, uri) != 0)
        xmlSetNs(copy, xmlNewNs(copy, (const xmlChar *)uri, (const xmlChar *)key));
    return true;
}

/* Whether what would be kept is within the bounds of what is read. */
static bool can_be_kept(const char *text, GError **err)
{
    if (strlen(text) > XML_KEPT_MAX)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "title, description and metadata have more than %d bytes", XML_KEPT_MAX);
    xmlNode *root = open_text(text, err);
    xml_close(root);
    return root != NULL;
}

bool domain_xml_keep(struct vm_config *config, const char *name, const char *uri, const char *key,
                     const char *value, GError **err)
{
    xmlNode *root = open_text(config->libvirt_xml, err);
    bool ok = true;

    if (!root)
        return false;
    GString *all = g_string_new(NULL);
    xmlNode *old = find(root, name, uri);
    if (old) {
        xmlUnlinkNode(old);
        xmlFreeNode(old);
    }
    if (value && uri)
        ok = put_metadata(root, uri, key, value, err);
    else if (value)
        xmlNewTextChild(root, NULL, (const xmlChar *)name, (const xmlChar *)value);
    for (xmlNode *n = root->children; n; n = n->next) {
        g_autofree char *text = xml_dump(n);
        g_string_append(all, text);
    }
    xml_close(root);
    ok = ok && can_be_kept(all->str, err);
    if (ok) {
        g_free(config->libvirt_xml);
        config->libvirt_xml = all->len ? g_strdup(all->str) : NULL;
    }
    g_string_free(all, TRUE);
    return ok;
}
