/* Rates and their thresholds; see rates.h. */
#include "vm/rates.h"

void rate_set(struct rate *rate, unsigned threshold)
{
    if (rate->threshold == threshold)
        return;
    rate->threshold = threshold;
    rate->low = false;
}

static enum rate_news judge(struct rate *rate, uint64_t part, uint64_t whole)
{
    rate->percent = 100.0 * (double)part / (double)whole;
    rate->counted = whole;
    if (!rate->threshold)
        return RATE_AS_BEFORE;
    if (!rate->low && rate->percent < rate->threshold) {
        rate->low = true;
        return RATE_FELL;
    }
    if (rate->low && rate->percent >= MIN(rate->threshold + RATES_MARGIN, 100)) {
        rate->low = false;
        return RATE_RECOVERED;
    }
    return RATE_AS_BEFORE;
}

enum rate_news rate_feed(struct rate *rate, uint64_t part, uint64_t whole)
{
    uint64_t counted = whole - rate->whole, of = part - rate->part;

    if (counted < LIMIT_XLATE_RATE_LEAST)
        return RATE_AS_BEFORE;
    rate->part = part;
    rate->whole = whole;
    /* The two are read one after the other while vCPUs count. */
    return judge(rate, MIN(of, counted), counted);
}

enum rate_news rate_feed_gauge(struct rate *rate, uint64_t part, uint64_t whole)
{
    return whole < LIMIT_XLATE_RATE_LEAST ? RATE_AS_BEFORE : judge(rate, MIN(part, whole), whole);
}
