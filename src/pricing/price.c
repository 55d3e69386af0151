/*
 * price.c
 *		The price book, cached for each name that calls are recorded under.
 *
 * What a name leads to (aliases, prefixes, dates) is decided in SQL, by
 * _usage_monitor._applicable_rates; it is asked once a name and backend, until
 * the price book changes.
 */
#include "postgres.h"

#include "base/amount.h"
#include "base/catalog.h"
#include "base/grow.h"
#include "base/setting.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "pricing/price.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* a client that invents names must not eat the backend's memory */
#define MAX_CACHED_NAMES	10000

/* a scale and size at which 10^12 units still fit into 127 bits mostly */
#define MAX_COMMON_SCALE	30

typedef struct NameKey
{
	UmString	org;			/* that has contracts; empty for all others */
	UmString	provider;		/* may be none */
	UmString	model;
} NameKey;

typedef struct NameEntry
{
	NameKey		key;
	UmPriceList list;
} NameEntry;

static MemoryContext cache_context;
static HTAB *names;
static NameEntry *last_name;	/* calls come in runs of one model */
static char **contractors;		/* the organisations that have prices of their own, sorted */
static int	ncontractors = -1;	/* neither they nor exchange rates and discounts are known */
static uint64 cache_generation;

static UmQuery read_rates = {
	.text = "SELECT * FROM _usage_monitor._applicable_rates($1, $2, $3)",
	.argtypes = {TEXTOID, TEXTOID, TEXTOID}
};

static UmQuery read_contractors = {
	.text = "SELECT DISTINCT org COLLATE \"C\" FROM usage_monitor.price WHERE org IS NOT NULL ORDER BY 1"
};

/* The columns of _applicable_rates. */
enum
{
	COL_LEADS_TO = 1,
	COL_RANK,
	COL_PRICE_ID,
	COL_PROVIDER,
	COL_MODEL,
	COL_SERVICE_TIER,
	COL_ORG,
	COL_CURRENCY,
	COL_VALID_FROM,
	COL_VALID_TO,
	COL_METER,
	COL_AMOUNT,
	COL_PER,
	COL_UNIT_PRICE,
	COL_CONTEXT_FROM,
	COL_CONTEXT_INCLUSIVE,
	COL_WINDOW_START,
	COL_WINDOW_END,
	COL_WINDOW_DAYS,
	COL_WINDOW_ZONE,
	COL_IS_LISTED
};

static uint32
name_hash(const void *key, Size keysize)
{
	const NameKey *name = key;
	uint32		hash;

	hash = hash_bytes((const unsigned char *) name->model.data, name->model.length);
	if (name->provider.length > 0)
		hash = hash_combine(hash, hash_bytes((const unsigned char *) name->provider.data,
											name->provider.length));
	if (name->org.length > 0)
		hash = hash_combine(hash, hash_bytes((const unsigned char *) name->org.data, name->org.length));
	return hash;
}

static int
name_match(const void *a, const void *b, Size keysize)
{
	const NameKey *x = a;
	const NameKey *y = b;

	return !(um_string_equal(x->model, y->model) && um_string_equal(x->provider, y->provider) &&
			 um_string_equal(x->org, y->org));
}

/* Empties the cache. */
static void
reset_cache(void)
{
	HASHCTL		control = {.keysize = sizeof(NameKey), .entrysize = sizeof(NameEntry),
		.hash = name_hash, .match = name_match};

	names = NULL;
	last_name = NULL;
	ncontractors = -1;
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext,
											  "usage_monitor prices",
											  ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(cache_context);

	control.hcxt = cache_context;
	names = hash_create("usage_monitor prices", 64, &control,
						HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

/* Empties the cache where the price book has changed since it was filled. */
static void
validate_cache(void)
{
	uint64		generation = um_generation(UM_TOPIC_PRICE);

	if (cache_generation != generation)
	{
		cache_generation = 0;
		reset_cache();
		um_watch(UM_TOPIC_PRICE);
		cache_generation = generation;
	}
}

/* Reads a window; NULL where the rate has none. */
static UmWindow *
read_window(HeapTuple row, TupleDesc desc)
{
	UmWindow   *window;
	bool		no_start,
				no_end,
				no_days,
				no_zone;
	Datum		start = SPI_getbinval(row, desc, COL_WINDOW_START, &no_start);
	Datum		end = SPI_getbinval(row, desc, COL_WINDOW_END, &no_end);
	Datum		days = SPI_getbinval(row, desc, COL_WINDOW_DAYS, &no_days);
	Datum		zone = SPI_getbinval(row, desc, COL_WINDOW_ZONE, &no_zone);

	if (no_start && no_end && no_days)
		return NULL;

	window = palloc(sizeof(UmWindow));
	window->start = no_start ? 0 : DatumGetTimeADT(start);
	window->end = no_end ? USECS_PER_DAY : DatumGetTimeADT(end);
	window->days = 0;
	if (no_days)
		window->days = UM_EVERY_DAY;
	else
	{
		Datum	   *elements;
		int			nelements;

		deconstruct_array(DatumGetArrayTypeP(days), INT2OID, 2, true, TYPALIGN_SHORT,
						  &elements, NULL, &nelements);
		for (int i = 0; i < nelements; i++)
			window->days |= 1 << DatumGetInt16(elements[i]);
	}
	window->zone = um_time_zone(no_zone ? "UTC" : TextDatumGetCString(zone), "a price's window");
	return window;
}

/* Brings all unit prices to one scale, so that costs add up as integers; false where they do not fit. */
static bool
find_common_scale(UmPriceList *list)
{
	for (int pass = 0; pass < 2; pass++)
		for (int p = 0; p < list->nprices; p++)
			for (int r = 0; r < list->prices[p].nrates; r++)
			{
				UmRate	   *rate = &list->prices[p].rates[r];
				UmDecimal	unit;

				if (!um_decimal_from_numeric(rate->unit_price, &unit) ||
					unit.scale > MAX_COMMON_SCALE)
					return false;
				if (pass == 0)
					list->scale = Max(list->scale, unit.scale);
				else if (!um_decimal_rescale(&unit, list->scale))
					return false;
				rate->mantissa = unit.mantissa;
			}
	return true;
}

/* Reads a price, without its rates. */
static void
read_price(UmPrice *price, HeapTuple row, TupleDesc desc)
{
	char	   *tier = um_text_column(row, desc, COL_SERVICE_TIER);
	bool		isnull;

	price->price_id = um_int64_column(row, desc, COL_PRICE_ID);
	price->rank = (int) um_int64_column(row, desc, COL_RANK);
	if (!um_tier_by_name(um_string_of(tier), &price->tier))
		elog(ERROR, "price %lld has an unknown service tier", (long long) price->price_id);
	price->listed = DatumGetBool(SPI_getbinval(row, desc, COL_IS_LISTED, &isnull));
	price->org = um_text_column(row, desc, COL_ORG);
	price->provider = um_text_column(row, desc, COL_PROVIDER);
	price->model = um_text_column(row, desc, COL_MODEL);
	price->currency = um_text_column(row, desc, COL_CURRENCY);
	price->from = um_int64_column(row, desc, COL_VALID_FROM);
	price->to = um_int64_column(row, desc, COL_VALID_TO);
}

/* Adds the rate of a row to its price; one without a rate prices nothing. */
static void
read_rate(UmPrice *price, HeapTuple row, TupleDesc desc)
{
	char	   *meter = um_text_column(row, desc, COL_METER);
	UmRate	   *rate;
	bool		isnull;

	if (meter == NULL)
		return;
	UM_GROW(price->rates, price->nrates);
	rate = &price->rates[price->nrates++];
	rate->meter = um_meter_by_name(um_string_of(meter));
	if (rate->meter == UM_METER_NONE)
		elog(ERROR, "price %lld has an unknown meter", (long long) price->price_id);
	if (rate->meter >= UM_METER_OUTPUT_THINKING && rate->meter <= UM_METER_OUTPUT_SHORT)
		price->by_circumstance = true;
	rate->amount = um_numeric_column(row, desc, COL_AMOUNT);
	rate->per = um_numeric_column(row, desc, COL_PER);
	rate->unit_price = um_numeric_column(row, desc, COL_UNIT_PRICE);
	rate->free = compare(rate->unit_price, zero()) == 0;
	rate->context_from = um_int64_column(row, desc, COL_CONTEXT_FROM);
	rate->context_inclusive = DatumGetBool(SPI_getbinval(row, desc, COL_CONTEXT_INCLUSIVE, &isnull));
	rate->window = read_window(row, desc);
}

/* Reads what the name leads to.  Rates come price by price. */
static void
load_list(const NameKey *key, UmPriceList *list)
{
	Datum		values[3];
	char		nulls[3] = {' ', ' ', ' '};
	UmPrice    *price = NULL;
	MemoryContext old;
	UmSpi		spi;

	values[1] = um_string_text(key->model);
	if (key->provider.data != NULL)
		values[0] = um_string_text(key->provider);
	else
		nulls[0] = 'n';
	values[2] = um_string_text(key->org);

	old = MemoryContextSwitchTo(cache_context);
	um_spi_read(&spi, &read_rates, values, nulls);
	memset(list, 0, sizeof(UmPriceList));
	list->prices = palloc0(sizeof(UmPrice) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		int64		price_id = DatumGetInt64(SPI_getbinval(row, desc, COL_PRICE_ID, &isnull));

		if (i == 0)
			list->provider = um_text_column(row, desc, COL_LEADS_TO);
		if (isnull)
			break;				/* known, perhaps, but not priced */
		if (price == NULL || price->price_id != price_id)
		{
			price = &list->prices[list->nprices++];
			read_price(price, row, desc);
			/* not a contract's: the model is the same for everybody */
			if (list->model == NULL && price->org == NULL && strcmp(price->model, "*") != 0)
				list->model = price->model;
		}
		read_rate(price, row, desc);
	}
	if (!find_common_scale(list))
		list->scale = -1;
	um_spi_end(&spi);
	MemoryContextSwitchTo(old);
}

static void
read_contractor(void *to, HeapTuple row, TupleDesc desc)
{
	*(char **) to = um_text_column(row, desc, 1);
}

static int
compare_contractor(const void *org, const void *contractor)
{
	return um_string_order(*(const UmString *) org, *(char *const *) contractor);
}

/* Has the organisation prices of its own? */
static bool
has_contract(UmString org)
{
	return bsearch(&org, contractors, ncontractors, sizeof(char *), compare_contractor) != NULL;
}

/*
 * Loads what calls are priced by beside their prices, unless it is good still:
 * exchange rates, discounts, and who has prices of his own.  So nothing of it
 * goes stale while a call is being priced.
 */
void
um_price_book_load(void)
{
	validate_cache();
	while (ncontractors < 0)
	{
		MemoryContext old = MemoryContextSwitchTo(cache_context);

		um_exchange_rates_load();
		um_discounts_load();
		contractors = um_spi_load(&read_contractors, &ncontractors, sizeof(char *), read_contractor);
		MemoryContextSwitchTo(old);
		/* which may have been found stale meanwhile */
		validate_cache();
	}
}

/*
 * The prices of a model at a provider, which need not be given, for calls of an
 * organisation (an empty one: one without contracts).  What others agreed on
 * does not decide what a name leads to.
 */
const UmPriceList *
um_price_list(UmString org, UmString provider, UmString model)
{
	NameKey		key = {UM_EMPTY, provider, model};
	NameEntry  *entry;
	UmPriceList list;

	for (;;)
	{
		um_price_book_load();
		key.org = has_contract(org) ? org : UM_EMPTY;
		if (last_name != NULL && name_match(&key, &last_name->key, 0) == 0)
			return &last_name->list;
		entry = hash_search(names, &key, HASH_FIND, NULL);
		if (entry != NULL)
		{
			last_name = entry;
			return &entry->list;
		}
		if (hash_get_num_entries(names) >= MAX_CACHED_NAMES)
		{
			reset_cache();
			continue;
		}
		load_list(&key, &list);
		/* while it was, the cache may have become stale: then once more */
		if (cache_generation == um_generation(UM_TOPIC_PRICE))
			break;
	}

	key.org.data = MemoryContextStrdup(cache_context, pnstrdup(key.org.data, key.org.length));
	key.model.data = MemoryContextStrdup(cache_context, pnstrdup(model.data, model.length));
	if (provider.data != NULL)
		key.provider.data = MemoryContextStrdup(cache_context, pnstrdup(provider.data, provider.length));
	entry = hash_search(names, &key, HASH_ENTER, NULL);
	entry->list = list;
	last_name = entry;
	return &entry->list;
}

/*
 * Chooses the price in force, of the first origin (a rank is an origin) that
 * has one for the call's tier; the standard one of that origin fills its gaps.
 * Where there is only a standard price, what the tier costs is not known: a
 * batch is not billed like other calls.  Catalogues that list the model are
 * asked one after another; an agreed price is not mixed with what others pay.
 */
bool
um_price_choose(const UmPriceList *list, UmString org, UmTier tier, TimestampTz ts,
				UmPriceChoice *choice)
{
	choice->own = choice->standard = NULL;
	for (int p = 0; p < list->nprices; p++)
	{
		const UmPrice *price = &list->prices[p];

		if (ts < price->from || ts >= price->to)
			continue;
		if (price->org != NULL && um_string_order(org, price->org) != 0)
			continue;
		if (choice->own != NULL)
		{
			if (price->rank != choice->own->rank)
				break;
		}
		else if (choice->standard != NULL && price->rank != choice->standard->rank)
		{
			if (!choice->standard->listed || strcmp(price->model, choice->standard->model) != 0)
				break;
			choice->standard = NULL;
		}
		if (price->tier == tier && choice->own == NULL &&
			(price->nrates > 0 || tier == UM_TIER_STANDARD))
			choice->own = price;
		if (price->tier == UM_TIER_STANDARD && choice->standard == NULL)
			choice->standard = price;
	}
	return choice->own != NULL || choice->standard != NULL;
}

/* Is the instant in the window?  A window past midnight belongs to the day it starts on. */
static bool
in_window(const UmWindow *window, TimestampTz ts)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;
	int64		time;
	int			weekday;
	bool		next_day = false;

	if (timestamp2tm(ts, &zone, &tm, &fsec, NULL, window->zone) != 0)
		return false;
	time = ((tm.tm_hour * MINS_PER_HOUR + tm.tm_min) * SECS_PER_MINUTE + tm.tm_sec)
		* USECS_PER_SEC + fsec;

	if (window->start < window->end)
	{
		if (time < window->start || time >= window->end)
			return false;
	}
	else if (time < window->end)
		next_day = true;
	else if (time < window->start)
		return false;

	weekday = j2day(date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - (next_day ? 1 : 0));
	return (window->days & (1 << (weekday == 0 ? 7 : weekday))) != 0;
}

/* The price's rate of just this meter: the highest context tier, a window before none. */
const UmRate *
um_price_own_rate(const UmPrice *price, UmMeter meter, int64 context, TimestampTz ts)
{
	const UmRate *best = NULL;

	for (int r = 0; r < price->nrates; r++)
	{
		const UmRate *rate = &price->rates[r];

		if (rate->meter != meter)
			continue;
		if (rate->context_from > 0 &&
			(context < rate->context_from ||
			 (context == rate->context_from && !rate->context_inclusive)))
			continue;
		if (best != NULL &&
			(best->context_from > rate->context_from ||
			 (best->context_from == rate->context_from &&
			  (best->window != NULL || rate->window == NULL))))
			continue;
		if (rate->window == NULL || in_window(rate->window, ts))
			best = rate;
	}
	return best;
}

/*
 * The rate that prices a meter: its own in the call's tier, its own in the
 * standard tier, or that of the meter it falls back to.
 */
const UmRate *
um_price_rate(const UmPriceChoice *choice, UmMeter meter, int64 context,
			  TimestampTz ts, const UmPrice **price)
{
	const UmRate *rate;

	for (; meter != UM_METER_NONE; meter = um_meters[meter].fallback)
	{
		if (choice->own != NULL &&
			(rate = um_price_own_rate(choice->own, meter, context, ts)) != NULL)
		{
			*price = choice->own;
			return rate;
		}
		if (choice->standard != NULL && choice->standard != choice->own &&
			(rate = um_price_own_rate(choice->standard, meter, context, ts)) != NULL)
		{
			*price = choice->standard;
			return rate;
		}
	}
	return NULL;
}
