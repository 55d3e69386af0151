/*
 * meter.h
 *		The billable quantities, and how they nest.
 */
#ifndef UM_METER_H
#define UM_METER_H

#include "base/text_span.h"

/* On which side of the bill a meter is. */
typedef enum UmSide
{
	UM_SIDE_INPUT,
	UM_SIDE_OUTPUT,
	UM_SIDE_OTHER
} UmSide;

#define UM_SIDES 3

/* What a quantity of it is. */
typedef enum UmMeterKind
{
	UM_KIND_TOKENS,
	UM_KIND_COUNT,				/* of something else; whole, as tokens are */
	UM_KIND_TOOL,				/* so often a tool was used, by a call that uses tokens too */
	UM_KIND_MEASURE				/* a time or a size, which may have a fraction */
} UmMeterKind;

/*
 * Some are no quantities but circumstances.  Where a call was served in one
 * region only, the rates of us_inference and eu_inference multiply what the
 * tokens cost.  What ends in _thinking and _short prices the tokens of a call
 * with reasoning, or with a short output, where the vendor has other rates for
 * these; they stand together in the list.  Of time, a second is billed at a
 * sixtieth of a minute, which is at a sixtieth of an hour.
 *
 * name, side, the meter that prices it where it has no rate of its own, kind.
 * A meter stands behind the one that it falls back to.
 */
#define UM_METERS(M) \
	M(INPUT, "input", INPUT, NONE, TOKENS) \
	M(CACHE_READ, "cache_read", INPUT, INPUT, TOKENS) \
	M(CACHE_WRITE, "cache_write", INPUT, INPUT, TOKENS) \
	M(CACHE_WRITE_1H, "cache_write_1h", INPUT, CACHE_WRITE, TOKENS) \
	M(INPUT_AUDIO, "input_audio", INPUT, INPUT, TOKENS) \
	M(INPUT_IMAGE, "input_image", INPUT, INPUT, TOKENS) \
	M(INPUT_VIDEO, "input_video", INPUT, INPUT, TOKENS) \
	M(CACHE_READ_AUDIO, "cache_read_audio", INPUT, CACHE_READ, TOKENS) \
	M(CACHE_READ_IMAGE, "cache_read_image", INPUT, CACHE_READ, TOKENS) \
	M(CACHE_READ_VIDEO, "cache_read_video", INPUT, CACHE_READ, TOKENS) \
	M(OUTPUT, "output", OUTPUT, NONE, TOKENS) \
	M(REASONING, "reasoning", OUTPUT, OUTPUT, TOKENS) \
	M(OUTPUT_AUDIO, "output_audio", OUTPUT, OUTPUT, TOKENS) \
	M(OUTPUT_IMAGE, "output_image", OUTPUT, OUTPUT, TOKENS) \
	M(OUTPUT_VIDEO, "output_video", OUTPUT, OUTPUT, TOKENS) \
	M(REQUEST, "request", OTHER, NONE, COUNT) \
	M(WEB_SEARCH, "web_search", OTHER, NONE, TOOL) \
	M(WEB_SEARCH_PREVIEW, "web_search_preview", OTHER, WEB_SEARCH, TOOL) \
	M(MAPS_SEARCH, "maps_search", OTHER, NONE, TOOL) \
	M(SEARCH_SOURCE, "search_source", OTHER, NONE, TOOL) \
	M(IMAGE, "image", OTHER, NONE, COUNT) \
	M(IMAGE_2K, "image_2k", OTHER, NONE, COUNT) \
	M(IMAGE_4K, "image_4k", OTHER, NONE, COUNT) \
	M(HOUR, "hour", OTHER, NONE, MEASURE) \
	M(MINUTE, "minute", OTHER, HOUR, MEASURE) \
	M(SECOND, "second", OTHER, MINUTE, MEASURE) \
	M(SECOND_1080P, "second_1080p", OTHER, NONE, MEASURE) \
	M(SECOND_4K, "second_4k", OTHER, NONE, MEASURE) \
	M(PAGE, "page", OTHER, NONE, COUNT) \
	M(ANNOTATED_PAGE, "annotated_page", OTHER, NONE, COUNT) \
	M(CHARACTER, "character", OTHER, NONE, COUNT) \
	M(GB, "gb", OTHER, NONE, MEASURE) \
	M(SESSION, "session", OTHER, NONE, COUNT) \
	M(FILE_SEARCH, "file_search", OTHER, NONE, TOOL) \
	M(CODE_INTERPRETER, "code_interpreter", OTHER, NONE, TOOL) \
	M(CLASSIFICATION, "classification", OTHER, NONE, COUNT) \
	M(CACHE_STORAGE, "cache_storage", OTHER, NONE, MEASURE) \
	M(OUTPUT_THINKING, "output_thinking", OTHER, NONE, COUNT) \
	M(INPUT_SHORT, "input_short", OTHER, NONE, COUNT) \
	M(CACHE_READ_SHORT, "cache_read_short", OTHER, NONE, COUNT) \
	M(OUTPUT_SHORT, "output_short", OTHER, NONE, COUNT) \
	M(US_INFERENCE, "us_inference", OTHER, NONE, COUNT) \
	M(EU_INFERENCE, "eu_inference", OTHER, NONE, COUNT)

typedef enum UmMeter
{
	UM_METER_NONE = -1,
#define M(symbol, name, side, fallback, kind) UM_METER_##symbol,
	UM_METERS(M)
#undef M
	UM_METER_COUNT
} UmMeter;

typedef struct UmMeterInfo
{
	const char *name;
	UmSide		side;
	UmMeter		fallback;
	UmMeterKind kind;
} UmMeterInfo;

/* An output of fewer tokens is short. */
#define UM_SHORT_OUTPUT 200

extern const UmMeterInfo um_meters[UM_METER_COUNT];
extern UmMeter um_meter_by_name(UmString name);
extern const char *um_meter_names(void);

#endif							/* UM_METER_H */
