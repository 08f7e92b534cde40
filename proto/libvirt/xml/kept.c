/* What the configuration keeps for clients: title, description, and elements of others' namespaces
 * in metadata. */
#include "proto/libvirt/xml/xml_priv.h"

static xmlNode *open_kept(const struct vm_config *config)
{
    g_autofree char *all =
        g_strconcat("<k>", config->libvirt_xml ? config->libvirt_xml : "", "</k>", NULL);

    return xml_open(all, "k", NULL);
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
    if (!metadata)
        metadata = xmlNewChild(root, NULL, (const xmlChar *)"metadata", NULL);
    xmlNode *copy = xmlDocCopyNode(given, root->doc, 1);
    xml_close(given);
    xmlAddChild(metadata, copy);
    if (!copy->ns || strcmp((const char *)copy->ns->href, uri) != 0)
        xmlSetNs(copy, xmlNewNs(copy, (const xmlChar *)uri, (const xmlChar *)key));
    return true;
}

bool domain_xml_keep(struct vm_config *config, const char *name, const char *uri, const char *key,
                     const char *value, GError **err)
{
    xmlNode *root = open_kept(config), *old = root ? find(root, name, uri) : NULL;
    GString *all = g_string_new(NULL);
    bool ok = true;

    if (old) {
        xmlUnlinkNode(old);
        xmlFreeNode(old);
    }
    if (value && uri)
        ok = put_metadata(root, uri, key, value, err);
    else if (value)
        xmlNewTextChild(root, NULL, (const xmlChar *)name, (const xmlChar *)value);
    for (xmlNode *n = root ? root->children : NULL; n; n = n->next) {
        g_autofree char *text = xml_dump(n);
        g_string_append(all, text);
    }
    xml_close(root);
    if (ok) {
        g_free(config->libvirt_xml);
        config->libvirt_xml = all->len ? g_strdup(all->str) : NULL;
    }
    g_string_free(all, TRUE);
    return ok;
}
