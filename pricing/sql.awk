# Reads the catalogue's CSV files and prints the SQL that loads it:
#
#     awk -f sql.awk *.csv
#
# A file is known by its header: prices, model aliases or provider aliases.
# The first mistake ends the run with status 1, naming file and line.

BEGIN {
	PRICES = "provider,model,service_tier,currency,valid_from,valid_to,meter,amount,per,context_from,context_inclusive,window_start,window_end,window_days,window_zone,source,as_of"
	MODEL_ALIASES = "pattern,provider,model"
	PROVIDER_ALIASES = "alias,provider"
	DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
	INSTANT = "^(" DAY "T[0-9:.]+(Z|[+-][0-9][0-9]:[0-9][0-9]))?$"
	CLOCK = "^([0-2][0-9]:[0-5][0-9](:[0-5][0-9])?)?$"
	BATCH = 500
	QUOTE = "\047"
	nprices = npatterns = naliases = 0
}

function fail(message)
{
	printf "%s:%d: %s\n", FILENAME, FNR, message > "/dev/stderr"
	failed = 1
	exit 1
}

# Splits an RFC 4180 record into field[1..n]; quotes hold commas and doubled quotes.
function split_csv(line, field,		n, text, c)
{
	split("", field)
	if (line !~ /"/)
		return split(line, field, ",")
	n = 0
	for (;;) {
		if (substr(line, 1, 1) == "\"") {
			text = ""
			line = substr(line, 2)
			for (;;) {
				c = index(line, "\"")
				if (c == 0)
					fail("quoted field without an end")
				text = text substr(line, 1, c - 1)
				line = substr(line, c + 1)
				if (substr(line, 1, 1) != "\"")
					break
				text = text "\""
				line = substr(line, 2)
			}
			if (line != "" && substr(line, 1, 1) != ",")
				fail("text behind a quoted field")
			field[++n] = text
			if (line == "")
				return n
			line = substr(line, 2)
		} else {
			c = index(line ",", ",")
			text = substr(line, 1, c - 1)
			if (text ~ /"/)
				fail("quote inside a field that is not quoted")
			field[++n] = text
			if (c > length(line))
				return n
			line = substr(line, c + 1)
		}
	}
}

function literal(text)
{
	if (text == "")
		return "NULL"
	gsub(QUOTE, QUOTE QUOTE, text)
	return QUOTE text QUOTE
}

function once(seen, key, what)
{
	if (key in seen)
		fail("duplicate " what ", first in " seen[key])
	seen[key] = FILENAME ":" FNR
}

# Text that a pattern must match, or may be empty.
function check(name, text, pattern)
{
	if (text !~ pattern)
		fail("bad " name " \"" text "\"")
}

{
	sub(/\r$/, "")
}

FNR == 1 {
	if ($0 != PRICES && $0 != MODEL_ALIASES && $0 != PROVIDER_ALIASES)
		fail("unknown header")
	header = $0
	columns = split(header, name, ",")
	next
}

{
	n = split_csv($0, f)
	if (n != columns)
		fail(n " fields instead of " columns)
}

header == PRICES {
	tier = f[3] == "" ? "standard" : f[3]
	per = f[9] == "" ? "1000000" : f[9]
	context = f[10] == "" ? "0" : f[10]
	inclusive = f[11] == "" ? "false" : f[11]

	if (f[1] == "" || f[2] == "" || f[4] == "" || f[7] == "")
		fail("provider, model, currency and meter must not be empty")
	check("service_tier", tier, "^(standard|batch|flex|priority|fast|ultrafast)$")
	check("currency", f[4], "^[A-Z][A-Z][A-Z]$")
	check("valid_from", f[5], INSTANT)
	check("valid_to", f[6], INSTANT)
	check("meter", f[7], "^[a-z][a-z0-9_]*$")
	check("amount", f[8], "^[0-9]+([.][0-9]+)?$")
	check("per", per, "^[1-9][0-9]*$")
	check("context_from", context, "^[0-9]+$")
	check("context_inclusive", inclusive, "^(true|false)$")
	check("window_start", f[12], CLOCK)
	check("window_end", f[13], CLOCK)
	check("window_days", f[14], "^([{][1-7](,[1-7])*[}])?$")
	check("as_of", f[17], "^" DAY "$")
	if ((f[12] == "") != (f[13] == ""))
		fail("a window needs both a start and an end")

	# The price is what its first rate says; the others must agree.
	id = f[1] "/" f[2] "/" tier "/" f[5]
	rest = f[4] SUBSEP f[6] SUBSEP f[16] SUBSEP f[17]
	if (!(id in price)) {
		price[id] = ++nprices
		price_line[nprices] = sprintf("(%d, %s, %s, %s, %s, %s, %s, %s, %s)", nprices,
			literal(f[1]), literal(f[2]), literal(tier), literal(f[4]),
			literal(f[5]), literal(f[6]), literal(f[16]), literal(f[17]))
		price_rest[nprices] = rest
	} else if (price_rest[price[id]] != rest)
		fail("currency, valid_to, source or as_of unlike those of the price's other rates")

	p = price[id]
	once(seen_rate, p SUBSEP f[7] SUBSEP context SUBSEP f[12] SUBSEP f[13] SUBSEP f[14] SUBSEP f[15], "rate")
	rate_line[p, ++nrates[p]] = sprintf("(%d, %s, %s, %s, %s, %s, %s, %s, %s, %s)", p, literal(f[7]), f[8],
		per, context, inclusive, literal(f[12]), literal(f[13]), literal(f[14]), literal(f[15]))
}

header == MODEL_ALIASES {
	if (f[1] == "" || f[2] == "")
		fail("pattern and provider must not be empty")
	once(seen_pattern, f[1], "pattern")
	pattern_line[++npatterns] = sprintf("(%s, %s, %s, 'shipped')", literal(f[1]), literal(f[2]), literal(f[3]))
}

header == PROVIDER_ALIASES {
	if (f[1] == "" || f[2] == "")
		fail("alias and provider must not be empty")
	once(seen_alias, f[1], "alias")
	alias_line[++naliases] = sprintf("(%s, %s, 'shipped')", literal(f[1]), literal(f[2]))
}

# A comma-separated list of lines from..to of an array.
function list(lines, from, to,		i)
{
	for (i = from; i <= to; i++)
		printf "    %s%s\n", lines[i], (i < to ? "," : "")
}

function insert(head, lines, n,		from, to)
{
	for (from = 1; from <= n; from = to + 1) {
		to = from + BATCH - 1 < n ? from + BATCH - 1 : n
		printf "INSERT INTO %s VALUES\n", head
		list(lines, from, to)
		print ";\n"
	}
}

END {
	if (failed)
		exit 1

	print "-- Generated from pricing/*.csv by pricing/sql.awk.\n"
	for (from = 1; from <= nprices; from = to + 1) {
		to = from + BATCH - 1 < nprices ? from + BATCH - 1 : nprices
		# A price's number comes from its key, so that it stays when others come and go.
		print "WITH listed (n, provider, model, service_tier, currency, valid_from, valid_to, source, as_of) AS (VALUES"
		list(price_line, from, to)
		print "), numbered AS ("
		print "    SELECT *, -(('x' || left(md5(provider || '/' || model || '/' || service_tier || '/' || coalesce(valid_from, '')), 12))::bit(48)::bigint) AS price_id"
		print "      FROM listed"
		print "), loaded AS ("
		print "    INSERT INTO usage_monitor.price (price_id, provider, model, service_tier, currency, valid, origin, source, as_of)"
		print "    SELECT price_id, provider, model, service_tier, currency,"
		print "           tstzrange(valid_from::timestamptz, valid_to::timestamptz), 'shipped', source, as_of::date"
		print "      FROM numbered"
		print ")"
		print "INSERT INTO usage_monitor.price_rate (price_id, meter, amount, per, context_from, context_inclusive, window_start, window_end, window_days, window_zone)"
		print "SELECT numbered.price_id, r.meter, r.amount, r.per, r.context_from, r.context_inclusive,"
		print "       r.window_start::time, r.window_end::time, r.window_days::smallint[], r.window_zone"
		print "  FROM (VALUES"
		n = 0
		for (p = from; p <= to; p++)
			for (i = 1; i <= nrates[p]; i++)
				batch[++n] = rate_line[p, i]
		list(batch, 1, n)
		print "  ) AS r (n, meter, amount, per, context_from, context_inclusive, window_start, window_end, window_days, window_zone)"
		print "  JOIN numbered USING (n);\n"
	}
	insert("usage_monitor.model_alias (pattern, provider, model, origin)", pattern_line, npatterns)
	insert("usage_monitor.provider_alias (alias, provider, origin)", alias_line, naliases)
}
