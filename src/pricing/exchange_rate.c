/*
 * exchange_rate.c
 *		What currencies are worth in others.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "pricing/price.h"

typedef struct ExchangeRate
{
	char	   *from;
	char	   *to;
	TimestampTz valid_from;
	TimestampTz valid_to;
	Numeric		rate;
} ExchangeRate;

static ExchangeRate *rates;		/* by currencies and time */
static int	nrates;

static UmQuery read_exchange_rates = {
	.text = "SELECT from_currency, to_currency,"
	" coalesce(pg_catalog.lower(valid), '-infinity'),"
	" coalesce(pg_catalog.upper(valid), 'infinity'), rate"
	" FROM usage_monitor.exchange_rate"
	" ORDER BY from_currency COLLATE \"C\", to_currency COLLATE \"C\", 3"
};

static void
read_exchange_rate(void *to, HeapTuple row, TupleDesc desc)
{
	ExchangeRate *rate = to;

	rate->from = um_text_column(row, desc, 1);
	rate->to = um_text_column(row, desc, 2);
	rate->valid_from = um_int64_column(row, desc, 3);
	rate->valid_to = um_int64_column(row, desc, 4);
	rate->rate = um_numeric_column(row, desc, 5);
}

/* Reads all of them. */
void
um_exchange_rates_load(void)
{
	rates = um_spi_load(&read_exchange_rates, &nrates, sizeof(ExchangeRate), read_exchange_rate);
}

/*
 * What one unit of a currency is worth in another; false where nobody said.
 * um_price_book_load() has loaded the rates.
 */
bool
um_exchange_rate(const char *from, const char *to, TimestampTz ts, Numeric *rate)
{
	int			low = 0,
				high;

	/* the last range that starts at or before ts */
	high = nrates;
	while (low < high)
	{
		int			middle = (low + high) / 2;
		const ExchangeRate *probe = &rates[middle];
		int			order = strcmp(probe->from, from);

		if (order == 0)
			order = strcmp(probe->to, to);
		if (order < 0 || (order == 0 && probe->valid_from <= ts))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return false;
	low--;
	if (strcmp(rates[low].from, from) != 0 ||
		strcmp(rates[low].to, to) != 0 ||
		ts >= rates[low].valid_to)
		return false;
	*rate = rates[low].rate;
	return true;
}
