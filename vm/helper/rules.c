/* Who may have which interface. See rules.h. */
#include "vm/helper/rules.h"

#include "machine/net/tap_open.h"

#include <fnmatch.h>
#include <grp.h>
#include <pwd.h>

#define RULES_MAX 256

enum who { WHO_ANYONE, WHO_USER, WHO_GROUP };

struct rule {
    enum who who;
    uint32_t id;
    char *pattern, *bridge;
};

struct helper_rules {
    GArray *rows; /* struct rule */
};

static void rule_clear(void *p)
{
    struct rule *r = p;

    g_free(r->pattern);
    g_free(r->bridge);
}

void helper_rules_free(struct helper_rules *rules)
{
    if (!rules)
        return;
    g_array_free(rules->rows, TRUE);
    g_free(rules);
}

static bool is_host(const char *name)
{
    return g_str_has_prefix(name, HELPER_HOST_PREFIX);
}

static bool parse_who(const char *word, struct rule *r)
{
    guint64 number;

    if (strcmp(word, "*") == 0) {
        r->who = WHO_ANYONE;
        return true;
    }
    r->who = *word == '@' ? WHO_GROUP : WHO_USER;
    word += *word == '@';
    if (g_ascii_string_to_unsigned(word, 10, 0, UINT32_MAX - 1, &number, NULL)) {
        r->id = (uint32_t)number;
        return true;
    }
    if (r->who == WHO_GROUP) {
        const struct group *g = getgrnam(word);
        r->id = g ? g->gr_gid : 0;
        return g;
    }
    const struct passwd *p = getpwnam(word);
    r->id = p ? p->pw_uid : 0;
    return p;
}

/* One line; empty ones give no rule. Returns what is wrong, or NULL. */
static const char *parse_line(const char *line, GArray *rows)
{
    g_autofree char *text = g_strndup(line, strcspn(line, "#"));
    g_auto(GStrv) words = g_strsplit_set(g_strstrip(text), " \t", -1);
    const char *word[3] = {NULL};
    unsigned n = 0;
    struct rule r = {0};

    for (unsigned i = 0; words[i]; i++) {
        if (!*words[i])
            continue;
        if (n == G_N_ELEMENTS(word))
            return "there are more than three words";
        word[n++] = words[i];
    }
    if (n == 0)
        return NULL;
    if (n == 1)
        return "the interfaces are missing";
    if (!parse_who(word[0], &r))
        return "there is no such user or group";
    if (n == 3 && is_host(word[1]))
        return "a PCI function has no bridge";
    if (n == 3 && !tap_name_valid(word[2]))
        return "the bridge has no valid name";
    if (rows->len == RULES_MAX)
        return "there are more than 256 rules";
    r.pattern = g_strdup(word[1]);
    r.bridge = g_strdup(n == 3 ? word[2] : NULL);
    g_array_append_val(rows, r);
    return NULL;
}

struct helper_rules *helper_rules_parse(const char *path, const char *text, GError **err)
{
    struct helper_rules *rules = g_new0(struct helper_rules, 1);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    rules->rows = g_array_new(FALSE, FALSE, sizeof(struct rule));
    g_array_set_clear_func(rules->rows, rule_clear);
    for (unsigned i = 0; lines[i]; i++) {
        const char *wrong = parse_line(lines[i], rules->rows);
        if (wrong) {
            vmd_fail(err, VMD_ERROR_INVALID, "%s:%u: %s", path, i + 1, wrong);
            helper_rules_free(rules);
            return NULL;
        }
    }
    return rules;
}

struct helper_rules *helper_rules_load(const char *path, GError **err)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) why = NULL;

    if (!g_file_get_contents(path, &text, NULL, &why)) {
        if (g_error_matches(why, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return helper_rules_parse(path, "", err);
        vmd_fail(err, VMD_ERROR_IO, "%s", why->message);
        return NULL;
    }
    return helper_rules_parse(path, text, err);
}

static bool in_group(const struct helper_peer *peer, gid_t gid)
{
    if (peer->gid == gid)
        return true;
    for (size_t i = 0; i < peer->n_groups; i++) {
        if (peer->groups[i] == gid)
            return true;
    }
    return false;
}

static bool is_who(const struct rule *r, const struct helper_peer *peer)
{
    if (r->who == WHO_ANYONE)
        return true;
    return r->who == WHO_USER ? peer->uid == r->id : in_group(peer, r->id);
}

bool helper_rules_hosts(const struct helper_rules *rules)
{
    for (guint i = 0; i < rules->rows->len; i++) {
        if (is_host(g_array_index(rules->rows, struct rule, i).pattern))
            return true;
    }
    return false;
}

bool helper_rules_allow(const struct helper_rules *rules, const struct helper_peer *peer,
                        const char *name, const char **bridge)
{
    *bridge = NULL;
    for (guint i = 0; i < rules->rows->len; i++) {
        const struct rule *r = &g_array_index(rules->rows, struct rule, i);
        if (is_host(r->pattern) == is_host(name) && is_who(r, peer) &&
            fnmatch(r->pattern, name, FNM_PERIOD) == 0) {
            *bridge = r->bridge;
            return true;
        }
    }
    return peer->uid == 0;
}
