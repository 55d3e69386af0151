/*
 * mad_aggregate.c
 *		Tells whether a value is unlike those before it: an aggregate for a
 *		window whose last row is judged by the others.
 *
 * What is usual is the median, and the median absolute deviation.  The values
 * are kept sorted while the window moves, so a row costs a few comparisons:
 * that it is not unusual is known as soon as half of the others are found to
 * be further from the median than the deviation that would make it so.  To order
 * them for each takes 26 times as long and more (test/bench/cost.sql).
 */
#include "postgres.h"

#include "base/amount.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(usage_monitor_unusual_add);
PG_FUNCTION_INFO_V1(usage_monitor_unusual_remove);
PG_FUNCTION_INFO_V1(usage_monitor_unusual_final);
PG_FUNCTION_INFO_V1(usage_monitor_median);

/* The values of the window, in ascending order. */
typedef struct Window
{
	int			count;
	int			room;
	Numeric    *values;
	Numeric		last;			/* the one that came last, a copy */
	Numeric		k;				/* how many deviations are unusual */
	int			min_history;	/* with fewer others nothing is */
	bool		is_judged;		/* the one that came last, or is it history alone? */
} Window;

/* A normal distribution's standard deviation, from its absolute deviations. */
#define FROM_MEDIAN		"1.4826"
#define FROM_MEAN		"1.2533"

static Numeric
distance(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall1(numeric_abs, NumericGetDatum(minus(a, b))));
}

static int
compare_values(const void *a, const void *b)
{
	return compare(*(const Numeric *) a, *(const Numeric *) b);
}

/* How many of the values are less; with or_equal, or equal. */
static int
count_below(const Window *window, Numeric value, bool or_equal)
{
	int			low = 0;
	int			high = window->count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			order = compare(window->values[middle], value);

		if (order < 0 || (or_equal && order == 0))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The value in the middle, or the mean of the two. */
static Numeric
median(const Numeric *values, int count)
{
	if (count % 2 == 1)
		return values[count / 2];
	return divided(plus(values[count / 2 - 1], values[count / 2]), int64_to_numeric(2));
}

static Window *
window_of(FunctionCallInfo fcinfo, MemoryContext *context)
{
	/* anybody can call a function of type internal with NULL */
	if (!AggCheckCallContext(fcinfo, context))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the parts of aggregate \"%s\" cannot be called by themselves", "_unusual")));
	return PG_ARGISNULL(0) ? NULL : (Window *) PG_GETARG_POINTER(0);
}

/* An argument that says it is immutable, and is not, must do no harm. */
static void
refuse_change(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("an argument of aggregate \"%s\" changed while its window moved", "_unusual")));
}

/* Takes in a value. */
Datum
usage_monitor_unusual_add(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext before;
	Window	   *window = window_of(fcinfo, &context);
	int			place;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the arguments of aggregate \"%s\" must not be NULL", "_unusual")));

	before = MemoryContextSwitchTo(context);
	if (window == NULL)
	{
		window = palloc0(sizeof(Window));
		window->room = 32;
		window->values = palloc(sizeof(Numeric) * window->room);
		window->k = PG_GETARG_NUMERIC_COPY(2);
		window->min_history = PG_GETARG_INT32(3);
	}
	else
		pfree(window->last);
	if (window->count == window->room)
	{
		window->room *= 2;
		window->values = repalloc_huge(window->values, sizeof(Numeric) * window->room);
	}
	window->last = PG_GETARG_NUMERIC_COPY(1);
	window->is_judged = PG_GETARG_BOOL(4);
	place = count_below(window, window->last, true);
	memmove(&window->values[place + 1], &window->values[place],
			sizeof(Numeric) * (window->count - place));
	window->values[place] = PG_GETARG_NUMERIC_COPY(1);
	window->count++;
	MemoryContextSwitchTo(before);

	PG_RETURN_POINTER(window);
}

/* Takes out a value that was taken in. */
Datum
usage_monitor_unusual_remove(PG_FUNCTION_ARGS)
{
	Window	   *window = window_of(fcinfo, NULL);
	Numeric		value;
	int			place;

	if (window == NULL || PG_ARGISNULL(1))
		refuse_change();
	value = PG_GETARG_NUMERIC(1);
	place = count_below(window, value, false);
	if (place == window->count || compare(window->values[place], value) != 0)
		refuse_change();
	pfree(window->values[place]);
	window->count--;
	memmove(&window->values[place], &window->values[place + 1],
			sizeof(Numeric) * (window->count - place));
	PG_RETURN_POINTER(window);
}

/*
 * {median, standard deviation} of the other values, if the last one is to be
 * judged and more than k deviations away from the median; else NULL.
 */
Datum
usage_monitor_unusual_final(PG_FUNCTION_ARGS)
{
	Window	   *window = window_of(fcinfo, NULL);
	Window		others;
	Numeric		usual;
	Numeric		result = NULL;
	Numeric		away;
	Numeric		threshold;
	Datum		parts[2];
	int			own;

	/* of no others nothing is usual */
	if (window == NULL || !window->is_judged || window->count < 2 || window->count - 1 < window->min_history)
		PG_RETURN_NULL();

	/* the others, in place: the last one goes to the end for a moment */
	own = count_below(window, window->last, false);
	if (own == window->count)
		refuse_change();
	others = *window;
	others.count--;
	away = window->values[own];
	memmove(&window->values[own], &window->values[own + 1],
			sizeof(Numeric) * (others.count - own));
	window->values[others.count] = away;

	usual = trimmed(median(others.values, others.count));
	away = distance(window->last, usual);

	/* below which deviation it is unusual; a little more, for a quotient is rounded */
	threshold = times(amount_of_text("1.000001"),
					  divided(away, times(window->k, amount_of_text(FROM_MEDIAN))));
	if (count_below(&others, plus(usual, threshold), false) -
		count_below(&others, minus(usual, threshold), true) >= others.count / 2)
	{
		Numeric    *deviation = palloc(sizeof(Numeric) * others.count);
		Numeric		estimate;

		for (int i = 0; i < others.count; i++)
			deviation[i] = distance(others.values[i], usual);
		qsort(deviation, others.count, sizeof(Numeric), compare_values);
		estimate = times(amount_of_text(FROM_MEDIAN), median(deviation, others.count));
		if (compare(estimate, zero()) == 0)
		{
			/* half of the values are the same: the mean deviation, or a hundredth of that value */
			Numeric		sum = deviation[0];

			for (int i = 1; i < others.count; i++)
				sum = plus(sum, deviation[i]);
			estimate = times(amount_of_text(FROM_MEAN), divided(sum, int64_to_numeric(others.count)));
			threshold = times(amount_of_text("0.01"), usual);
			if (compare(threshold, estimate) > 0)
				estimate = threshold;
		}
		estimate = trimmed(estimate);
		if (compare(away, times(window->k, estimate)) > 0)
			result = estimate;
	}

	/* and back to its place */
	away = window->values[others.count];
	memmove(&window->values[own + 1], &window->values[own],
			sizeof(Numeric) * (others.count - own));
	window->values[own] = away;

	if (result == NULL)
		PG_RETURN_NULL();
	parts[0] = NumericGetDatum(usual);
	parts[1] = NumericGetDatum(result);
	PG_RETURN_ARRAYTYPE_P(construct_array(parts, 2, NUMERICOID, -1, false, TYPALIGN_INT));
}

/*
 * _median(): the median of the values that are not NULL; NULL: there are none.
 * Where one value is in the middle it is the mean of that with itself: as many
 * decimals as a quotient has, which quotients by it have then, too.
 */
Datum
usage_monitor_median(PG_FUNCTION_ARGS)
{
	Datum	   *elements;
	bool	   *nulls;
	int			nelements;
	Numeric    *values;
	int			count = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), NUMERICOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &nelements);
	values = palloc(sizeof(Numeric) * Max(nelements, 1));
	for (int i = 0; i < nelements; i++)
		if (!nulls[i])
			values[count++] = DatumGetNumeric(elements[i]);
	if (count == 0)
		PG_RETURN_NULL();
	qsort(values, count, sizeof(Numeric), compare_values);
	PG_RETURN_NUMERIC(divided(plus(values[(count - 1) / 2], values[count / 2]), int64_to_numeric(2)));
}
