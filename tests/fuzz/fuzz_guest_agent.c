/* What a host says to the guest's agent: lines are found, and each has one answer, which is a line.
 */
#include "guest/agent/verbs.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* The answer says what was asked, by its number, and is read as it was written. */
static void check_answer(const struct line *line, uint32_t id)
{
    struct line_words words;
    g_autofree char *text = g_memdup2(line->text, line->length);
    uint32_t number;

    g_assert(line->length && line->length <= LINE_MAX_BYTES && text[line->length - 1] == '\n');
    g_assert(!memchr(text, '\n', line->length - 1));
    g_assert(line_split(text, line->length - 1, &words) && words.n >= 2);
    g_assert(line_number(words.word[0], UINT32_MAX, &number) && number == id);
    g_assert(strcmp(words.word[1], "ok") == 0 ||
             (strcmp(words.word[1], "error") == 0 && words.n == 4));
}

/* Words that were read are read again as they were written. */
static void check_words(const struct line_words *words)
{
    g_autofree struct line *line = g_new0(struct line, 1);
    struct line_words again;

    g_assert(words->n <= LINE_MAX_WORDS && !words->word[words->n]);
    for (unsigned i = 0; i < words->n; i++)
        line_add(line, words->word[i]);
    g_assert(line_end(line)); /* as short as it was, or shorter */
    g_assert(line_split(line->text, line->length - 1, &again) && again.n == words->n);
    for (unsigned i = 0; i < again.n; i++)
        g_assert(strcmp(again.word[i], words->word[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree struct line_reader *reader = g_new0(struct line_reader, 1);
    g_autofree struct line *answer = g_new0(struct line, 1);

    while (size) {
        struct line_words words;
        size_t used;
        enum line_event event = line_read(reader, data, size, &used);
        g_assert(used > 0 && used <= size && reader->length < LINE_MAX_BYTES);
        data += used;
        size -= used;
        if (event != LINE_READY || !line_split(reader->text, reader->length, &words))
            continue;
        check_words(&words);
        uint32_t id = 0;
        bool numbered = line_number(words.word[0], UINT32_MAX, &id);
        g_assert(verbs_answer("/nonexistent", &words, answer) == numbered);
        if (numbered)
            check_answer(answer, id);
    }
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const seeds[] = {
        "1 hello 1\n",
        "2 ping\n3 pci-rescan\n",
        "4 pci-remove 0000:00:02.0\n5 slot-power 0-2 off\n",
        "6 scsi-rescan 0\n7 scsi-remove 0:0:0:1\n",
        "8 cpu-online 1\n9 cpu-offline 1\n",
        "10 memory-online online_movable\n11 a%20%ff\n",
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const uint8_t *)seeds[n], (guint)strlen(seeds[n]));
    return true;
}
