/* Helpers over libxml2's trees. See xml_priv.h. */
#include "proto/libvirt/xml/xml_priv.h"

#include <errno.h>
#include <libxml/parser.h>

/* The document of TEXT, well-formed with its namespaces; NULL with ERR. */
static xmlDoc *parse(const char *text, size_t len, GError **err)
{
    xmlParserCtxt *parser = xmlNewParserCtxt();
    xmlDoc *doc = parser
                      ? xmlCtxtReadMemory(parser, text, (int)len, NULL, "UTF-8",
                                          XML_PARSE_NONET | XML_PARSE_NOERROR |
                                              XML_PARSE_NOWARNING | XML_PARSE_IGNORE_ENC)
                      : NULL;

    if (!doc || !parser->nsWellFormed) {
        const xmlError *why = xmlCtxtGetLastError(parser);
        g_autofree char *said = g_strchomp(g_strdup(why && why->message ? why->message : "no XML"));
        vmd_fail(err, VMD_ERROR_INVALID, "line %d of the XML: %s", why ? why->line : 1, said);
        xmlFreeDoc(doc);
        doc = NULL;
    }
    xmlFreeParserCtxt(parser);
    return doc;
}

/* Behind the first END in TEXT, or at TEXT's own end. */
static const char *behind(const char *text, const char *end)
{
    const char *found = strstr(text, end);

    return found ? found + strlen(end) : text + strlen(text);
}

/* Behind the tag at TEXT, a '<'; NULL: it has more attributes than are taken. What it declares is
 * added to *NAMESPACES. */
static const char *pass_tag(const char *text, unsigned *namespaces)
{
    char quote = '\0';

    for (unsigned attributes = 0; *text && (quote || *text != '>'); text++) {
        if (!quote && g_ascii_isspace(*text) && g_str_has_prefix(text + 1, "xmlns"))
            ++*namespaces;
        if (quote ? *text == quote : *text == '"' || *text == '\'')
            quote = quote ? '\0' : *text;
        else if (!quote && *text == '=' && ++attributes > LIMIT_LIBVIRT_ATTRIBUTES)
            return NULL;
    }
    return text;
}

/*
 * What makes a parser's work more than linear is refused before it begins: document types,
 * elements with attributes beyond number, each of which is compared with all before it, and
 * namespaces beyond number, among which each prefix is looked for.
 */
static bool scan(const char *text, GError **err)
{
    unsigned namespaces = 0;

    while ((text = strchr(text, '<'))) {
        if (g_str_has_prefix(text, "<!--"))
            text = behind(text + 4, "-->");
        else if (g_str_has_prefix(text, "<![CDATA["))
            text = behind(text, "]]>");
        else if (g_str_has_prefix(text, "<?"))
            text = behind(text, "?>");
        else if (text[1] == '!')
            return vmd_fail(err, VMD_ERROR_INVALID,
                            "the XML has a document type, which is not read");
        else if (!(text = pass_tag(text, &namespaces)))
            return vmd_fail(err, VMD_ERROR_INVALID,
                            "an element of the XML has more than %d attributes",
                            LIMIT_LIBVIRT_ATTRIBUTES);
        if (namespaces > LIMIT_LIBVIRT_NAMESPACES)
            return vmd_fail(err, VMD_ERROR_INVALID, "the XML declares more than %d namespaces",
                            LIMIT_LIBVIRT_NAMESPACES);
    }
    return true;
}

xmlNode *xml_open(const char *text, const char *name, GError **err)
{
    size_t len = strlen(text);

    if (len > XML_TEXT_MAX) {
        vmd_fail(err, VMD_ERROR_INVALID, "the XML has more than %d bytes", XML_TEXT_MAX);
        return NULL;
    }
    xmlDoc *doc = scan(text, err) ? parse(text, len, err) : NULL;
    if (!doc)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(doc);
    if (doc->intSubset || doc->extSubset)
        vmd_fail(err, VMD_ERROR_INVALID, "the XML has a document type, which is not read");
    else if (!root || (name && !xml_is(root, name)))
        vmd_fail(err, VMD_ERROR_INVALID, "the XML is no <%s>", name ? name : "element");
    else
        return root;
    xmlFreeDoc(doc);
    return NULL;
}

void xml_close(xmlNode *root)
{
    if (root)
        xmlFreeDoc(root->doc);
}

void xml_set_options(xmlNode *root, const struct xml_options *options)
{
    root->doc->_private = (void *)options;
}

const struct xml_options *xml_options(const xmlNode *node)
{
    static const struct xml_options none;

    return node->doc->_private ? node->doc->_private : &none;
}

bool xml_is(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && !node->ns &&
           strcmp((const char *)node->name, name) == 0;
}

xmlNode *xml_element(xmlNode *node)
{
    while (node && node->type != XML_ELEMENT_NODE)
        node = node->next;
    return node;
}

xmlNode *xml_child(const xmlNode *node, const char *name)
{
    for (xmlNode *n = node ? node->children : NULL; n; n = n->next) {
        if (xml_is(n, name))
            return n;
    }
    return NULL;
}

/* TEXT as ours, libxml2's freed. */
static char *take(xmlChar *text)
{
    char *own = text ? g_strstrip(g_strdup((const char *)text)) : NULL;

    xmlFree(text);
    return own;
}

char *xml_attr(const xmlNode *node, const char *name)
{
    return node ? take(xmlGetNoNsProp(node, (const xmlChar *)name)) : NULL;
}

char *xml_text(const xmlNode *node)
{
    return node ? take(xmlNodeGetContent(node)) : NULL;
}

char *xml_child_attr(const xmlNode *node, const char *name, const char *attr)
{
    return xml_attr(xml_child(node, name), attr);
}

char *xml_child_text(const xmlNode *node, const char *name)
{
    return xml_text(xml_child(node, name));
}

bool xml_attr_is(const xmlNode *node, const char *name, const char *value)
{
    g_autofree char *got = xml_attr(node, name);

    return g_strcmp0(got, value) == 0;
}

char *xml_dump(const xmlNode *node)
{
    xmlBuffer *buffer = xmlBufferCreate();
    xmlNode *copy = xmlDocCopyNode((xmlNode *)node, node->doc, 1);

    xmlNodeDump(buffer, node->doc, copy, 0, 0);
    char *out = g_strdup((const char *)xmlBufferContent(buffer));
    xmlFreeNode(copy);
    xmlBufferFree(buffer);
    return out;
}

bool xml_refuse(GError **err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "%s", text);
}

bool xml_number(const char *text, uint64_t *out)
{
    char *end = NULL;

    if (!text || !g_ascii_isdigit(*text))
        return false;
    errno = 0;
    *out = g_ascii_strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static const struct {
    const char *name;
    uint64_t bytes;
} units[] = {
    {"b", 1},           {"bytes", 1},        {"KB", 1000},     {"k", 1 << 10},
    {"KiB", 1 << 10},   {"MB", 1000000},     {"M", 1 << 20},   {"MiB", 1 << 20},
    {"GB", 1000000000}, {"G", 1 << 30},      {"GiB", 1 << 30}, {"TB", 1000000000000},
    {"T", 1ULL << 40},  {"TiB", 1ULL << 40},
};

static bool read_size(const xmlNode *node, const char *usual, uint64_t *out, GError **err)
{
    g_autofree char *text = xml_text(node), *unit = xml_attr(node, "unit");
    uint64_t n = 0, each = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        if (strcmp(unit ? unit : usual, units[i].name) == 0)
            each = units[i].bytes;
    }
    if (!each || !xml_number(text, &n) || n > UINT64_MAX / each)
        return vmd_fail(err, VMD_ERROR_INVALID, "<%s> is no size: '%s' %s", node->name, text,
                        unit ? unit : "");
    *out = n * each;
    return true;
}

bool xml_bytes(const xmlNode *node, uint64_t *out, GError **err)
{
    return read_size(node, "KiB", out, err);
}

bool xml_size(const xmlNode *node, uint64_t *out, GError **err)
{
    return read_size(node, "bytes", out, err);
}

static bool apply(const struct xml_rule *rule, struct vm_config *config, xmlNode *node,
                  GError **err)
{
    if (rule->screen && xml_options(node)->headless)
        return true;
    if (rule->refused)
        return xml_refuse(err, "<%s>: %s", node->name, rule->refused);
    return !rule->read || rule->read(config, node, err);
}

bool xml_apply(const struct xml_rule *rules, size_t count, struct vm_config *config, xmlNode *node,
               GError **err)
{
    uint64_t seen = 0; /* a bit a rule */

    g_assert(count <= 64);
    for (xmlNode *n = xml_element(node->children); n; n = xml_element(n->next)) {
        size_t i = 0;
        while (i < count && !xml_is(n, rules[i].name))
            i++;
        if (i == count)
            return xml_refuse(err, "<%s%s%s>: vmd does not know it",
                              n->ns && n->ns->prefix ? (const char *)n->ns->prefix : "",
                              n->ns && n->ns->prefix ? ":" : "", n->name);
        if (rules[i].once && (seen & UINT64_C(1) << i))
            return vmd_fail(err, VMD_ERROR_INVALID, "<%s> is there twice", n->name);
        seen |= UINT64_C(1) << i;
        if (!apply(&rules[i], config, n, err))
            return false;
    }
    return true;
}
