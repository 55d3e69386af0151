/*
 * meter.c
 *		The billable quantities, by name.
 */
#include "postgres.h"

#include "base/text_span.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "pricing/meter.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(usage_monitor_meter_names);
PG_FUNCTION_INFO_V1(usage_monitor_meter_side);

const UmMeterInfo um_meters[UM_METER_COUNT] = {
#define M(symbol, name, side, fallback, kind) {name, UM_SIDE_##side, UM_METER_##fallback, UM_KIND_##kind},
	UM_METERS(M)
#undef M
};

/* The meter of that name, or UM_METER_NONE. */
UmMeter
um_meter_by_name(UmString name)
{
	for (int m = 0; m < UM_METER_COUNT; m++)
		if (um_string_order(name, um_meters[m].name) == 0)
			return (UmMeter) m;
	return UM_METER_NONE;
}

/* All names, for a hint. */
const char *
um_meter_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int m = 0; m < UM_METER_COUNT; m++)
		appendStringInfo(&names, "%s%s", m == 0 ? "" : ", ", um_meters[m].name);
	return names.data;
}

Datum
usage_monitor_meter_side(PG_FUNCTION_ARGS)
{
	static const char *const side[UM_SIDES] = {"input", "output", "other"};
	UmMeter		meter = um_meter_by_name(um_text_string(PG_GETARG_DATUM(0), false));

	if (meter == UM_METER_NONE)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(side[um_meters[meter].side]));
}

Datum
usage_monitor_meter_names(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(um_meter_names()));
}
