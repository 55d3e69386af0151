/*
 * mad_aggregate.c
 *		Tells whether a value is unlike those before it: an aggregate for a
 *		window whose last row is judged by the others.
 *
 * What is usual is the median, and the median absolute deviation.  The values
 * are kept sorted while the window moves, so a row costs a few comparisons:
 * that it is not unusual is known as soon as half of the others are found to
 * be further from the median than the deviation that would make it so.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(usage_monitor_unusual_add);
PG_FUNCTION_INFO_V1(usage_monitor_unusual_remove);
PG_FUNCTION_INFO_V1(usage_monitor_unusual_final);

/* The values of the window, in ascending order. */
typedef struct Window
{
	int			count;
	int			room;
	Datum	   *values;
	Datum		last;			/* the one that came last, a copy */
	Datum		k;				/* how many deviations are unusual */
	int			min_history;	/* with fewer others nothing is */
} Window;

/* A normal distribution's standard deviation, from its absolute deviations. */
#define FROM_MEDIAN		"1.4826"
#define FROM_MEAN		"1.2533"

static Datum
constant(const char *digits)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

static Datum
plus(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_add, a, b);
}

static Datum
minus(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_sub, a, b);
}

static Datum
times(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_mul, a, b);
}

static Datum
divided(Datum a, int n)
{
	return DirectFunctionCall2(numeric_div, a, NumericGetDatum(int64_to_numeric(n)));
}

static Datum
distance(Datum a, Datum b)
{
	return DirectFunctionCall1(numeric_abs, minus(a, b));
}

static int
compare(Datum a, Datum b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, a, b));
}

static int
compare_values(const void *a, const void *b)
{
	return compare(*(const Datum *) a, *(const Datum *) b);
}

/* How many of the values are less; with or_equal, or equal. */
static int
count_below(const Window *window, Datum value, bool or_equal)
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
static Datum
median(const Datum *values, int count)
{
	if (count % 2 == 1)
		return values[count / 2];
	return divided(plus(values[count / 2 - 1], values[count / 2]), 2);
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

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the arguments of aggregate \"%s\" must not be NULL", "_unusual")));

	before = MemoryContextSwitchTo(context);
	if (window == NULL)
	{
		window = palloc0(sizeof(Window));
		window->room = 32;
		window->values = palloc(sizeof(Datum) * window->room);
		window->k = NumericGetDatum(PG_GETARG_NUMERIC_COPY(2));
		window->min_history = PG_GETARG_INT32(3);
	}
	else
		pfree(DatumGetPointer(window->last));
	if (window->count == window->room)
	{
		window->room *= 2;
		window->values = repalloc_huge(window->values, sizeof(Datum) * window->room);
	}
	window->last = NumericGetDatum(PG_GETARG_NUMERIC_COPY(1));
	place = count_below(window, window->last, true);
	memmove(&window->values[place + 1], &window->values[place],
			sizeof(Datum) * (window->count - place));
	window->values[place] = NumericGetDatum(PG_GETARG_NUMERIC_COPY(1));
	window->count++;
	MemoryContextSwitchTo(before);

	PG_RETURN_POINTER(window);
}

/* Takes out a value that was taken in. */
Datum
usage_monitor_unusual_remove(PG_FUNCTION_ARGS)
{
	Window	   *window = window_of(fcinfo, NULL);
	Datum		value;
	int			place;

	if (window == NULL || PG_ARGISNULL(1))
		refuse_change();
	value = NumericGetDatum(PG_GETARG_NUMERIC(1));
	place = count_below(window, value, false);
	if (place == window->count || compare(window->values[place], value) != 0)
		refuse_change();
	pfree(DatumGetPointer(window->values[place]));
	window->count--;
	memmove(&window->values[place], &window->values[place + 1],
			sizeof(Datum) * (window->count - place));
	PG_RETURN_POINTER(window);
}

/*
 * {median, standard deviation} of the other values, if the last one is more
 * than k deviations away from the median; else NULL.
 */
Datum
usage_monitor_unusual_final(PG_FUNCTION_ARGS)
{
	Window	   *window = window_of(fcinfo, NULL);
	Window		others;
	Datum		result[2];
	Datum		away;
	Datum		threshold;
	Datum	   *deviation;
	int			own;

	/* of no others nothing is usual */
	if (window == NULL || window->count < 2 || window->count - 1 < window->min_history)
		PG_RETURN_NULL();

	/* the others, in place: the last one goes to the end for a moment */
	own = count_below(window, window->last, false);
	if (own == window->count)
		refuse_change();
	others = *window;
	others.count--;
	away = window->values[own];
	memmove(&window->values[own], &window->values[own + 1],
			sizeof(Datum) * (others.count - own));
	window->values[others.count] = away;

	result[0] = DirectFunctionCall1(numeric_trim_scale, median(others.values, others.count));
	away = distance(window->last, result[0]);
	result[1] = (Datum) 0;

	/* below which deviation it is unusual; a little more, for a quotient is rounded */
	threshold = times(constant("1.000001"),
					  DirectFunctionCall2(numeric_div, away,
										  times(window->k, constant(FROM_MEDIAN))));
	if (count_below(&others, plus(result[0], threshold), false) -
		count_below(&others, minus(result[0], threshold), true) >= others.count / 2)
	{
		deviation = palloc(sizeof(Datum) * others.count);
		for (int i = 0; i < others.count; i++)
			deviation[i] = distance(others.values[i], result[0]);
		qsort(deviation, others.count, sizeof(Datum), compare_values);
		result[1] = times(constant(FROM_MEDIAN), median(deviation, others.count));
		if (compare(result[1], constant("0")) == 0)
		{
			/* half of the values are the same: the mean deviation, or a hundredth of that value */
			Datum		sum = deviation[0];

			for (int i = 1; i < others.count; i++)
				sum = plus(sum, deviation[i]);
			result[1] = times(constant(FROM_MEAN), divided(sum, others.count));
			threshold = times(constant("0.01"), result[0]);
			if (compare(threshold, result[1]) > 0)
				result[1] = threshold;
		}
		result[1] = DirectFunctionCall1(numeric_trim_scale, result[1]);
		if (compare(away, times(window->k, result[1])) <= 0)
			result[1] = (Datum) 0;
	}

	/* and back to its place */
	away = window->values[others.count];
	memmove(&window->values[own + 1], &window->values[own],
			sizeof(Datum) * (others.count - own));
	window->values[own] = away;

	if (result[1] == (Datum) 0)
		PG_RETURN_NULL();
	PG_RETURN_ARRAYTYPE_P(construct_array(result, 2, NUMERICOID, -1, false, TYPALIGN_INT));
}
