/*
 * discount.c
 *		What organisations pay less than everybody's price.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "pricing/price.h"

typedef struct Discount
{
	char	   *org;
	char	   *provider;		/* NULL: any */
	char	   *model;			/* NULL: any */
	TimestampTz valid_from;
	TimestampTz valid_to;
	Numeric		percent;
} Discount;

static Discount *discounts;		/* by organisation, the closest first */
static int	ndiscounts;

static UmQuery read_discounts = {
	.text = "SELECT org, provider, model,"
	" coalesce(pg_catalog.lower(valid), '-infinity'),"
	" coalesce(pg_catalog.upper(valid), 'infinity'), percent"
	" FROM usage_monitor.discount"
	" ORDER BY org COLLATE \"C\", model IS NULL, provider IS NULL"
};

static void
read_discount(void *to, HeapTuple row, TupleDesc desc)
{
	Discount   *discount = to;

	discount->org = um_text_column(row, desc, 1);
	discount->provider = um_text_column(row, desc, 2);
	discount->model = um_text_column(row, desc, 3);
	discount->valid_from = um_int64_column(row, desc, 4);
	discount->valid_to = um_int64_column(row, desc, 5);
	discount->percent = um_numeric_column(row, desc, 6);
}

/* Reads all of them. */
void
um_discounts_load(void)
{
	discounts = um_spi_load(&read_discounts, &ndiscounts, sizeof(Discount), read_discount);
}

/*
 * The discount of an organisation on a model of a provider, in percent: that
 * on the model before that on the provider before that on everything.
 * um_price_book_load() has loaded them.
 */
bool
um_discount(UmString org, const char *provider, const char *model, TimestampTz ts, Numeric *percent)
{
	int			low = 0,
				high;

	/* the organisation's first */
	high = ndiscounts;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (um_string_order(org, discounts[middle].org) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < ndiscounts; low++)
	{
		const Discount *discount = &discounts[low];

		if (um_string_order(org, discount->org) != 0)
			break;
		if (ts >= discount->valid_from && ts < discount->valid_to &&
			(discount->provider == NULL ||
			 (provider != NULL && strcmp(discount->provider, provider) == 0)) &&
			(discount->model == NULL || strcmp(discount->model, model) == 0))
		{
			*percent = discount->percent;
			return true;
		}
	}
	return false;
}
