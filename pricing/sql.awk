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
	nprices = nrates = npatterns = naliases = 0
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

function once(seen, key, what)
{
	if (key in seen)
		fail("duplicate " what ", first in " seen[key])
	seen[key] = FILENAME ":" FNR
}

# One line of a list.
function line(a, b, c, d, e, f, g, h, i, j)
{
	return a "\t" b "\t" c "\t" d "\t" e "\t" f "\t" g "\t" h "\t" i "\t" j
}

# Text that a pattern must match, or may be empty.
function check(name, text, pattern)
{
	if (text !~ pattern)
		fail("bad " name " \"" text "\"")
}

{
	sub(/\r$/, "")
	if (index($0, "\t") || index($0, "$listed$"))
		fail("a tab or $listed$, which the list that is made of it keeps for itself")
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
		price_line[nprices] = line(nprices, f[1], f[2], tier, f[4], f[5], f[6], f[16], f[17])
		price_rest[nprices] = rest
	} else if (price_rest[price[id]] != rest)
		fail("currency, valid_to, source or as_of unlike those of the price's other rates")

	p = price[id]
	once(seen_rate, p SUBSEP f[7] SUBSEP context SUBSEP f[12] SUBSEP f[13] SUBSEP f[14] SUBSEP f[15], "rate")
	rate_line[++nrates] = line(p, f[7], f[8], per, context, inclusive, f[12], f[13], f[14], f[15])
}

header == MODEL_ALIASES {
	if (f[1] == "" || f[2] == "")
		fail("pattern and provider must not be empty")
	once(seen_pattern, f[1], "pattern")
	pattern_line[++npatterns] = line(f[1], f[2], f[3])
}

header == PROVIDER_ALIASES {
	if (f[1] == "" || f[2] == "")
		fail("alias and provider must not be empty")
	once(seen_alias, f[1], "alias")
	alias_line[++naliases] = line(f[1], f[2])
}

# Prints a list as a table with a column f, whose elements are the fields.  As
# text: so many rows of VALUES take the server longer to read than to store.  With
# OFFSET 0, which has a line taken apart once and not for each of its fields.
function listed(lines, n,		i)
{
	printf "(SELECT string_to_array(line, E'\\t', '') AS f FROM string_to_table($listed$"
	for (i = 1; i <= n; i++)
		printf "%s%s", (i > 1 ? "\n" : ""), lines[i]
	print "$listed$, E'\\n') AS line OFFSET 0) AS list"
}

END {
	if (failed)
		exit 1

	print "-- Generated from pricing/*.csv by pricing/sql.awk.\n"
	# A price's number comes from its key, so that it stays when others come and go.
	print "WITH price AS ("
	print "    SELECT f, -(('x' || left(md5(f[2] || '/' || f[3] || '/' || f[4] || '/' || coalesce(f[6], '')), 12))::bit(48)::bigint) AS price_id"
	print "      FROM"
	listed(price_line, nprices)
	print "), loaded AS ("
	print "    INSERT INTO usage_monitor.price (price_id, provider, model, service_tier, currency, valid, origin, source, as_of)"
	print "    SELECT price_id, f[2], f[3], f[4], f[5], tstzrange(f[6]::timestamptz, f[7]::timestamptz), 'shipped', f[8], f[9]::date"
	print "      FROM price"
	print ")"
	print "INSERT INTO usage_monitor.price_rate (price_id, meter, amount, per, context_from, context_inclusive, window_start, window_end, window_days, window_zone)"
	print "SELECT price.price_id, list.f[2], list.f[3]::numeric, list.f[4]::numeric, list.f[5]::bigint, list.f[6]::boolean,"
	print "       list.f[7]::time, list.f[8]::time, list.f[9]::smallint[], list.f[10]"
	print "  FROM"
	listed(rate_line, nrates)
	print "  JOIN price ON price.f[1] = list.f[1];\n"

	print "INSERT INTO usage_monitor.model_alias (pattern, provider, model, origin)"
	print "SELECT f[1], f[2], f[3], 'shipped'"
	print "  FROM"
	listed(pattern_line, npatterns)
	print ";\n"

	print "INSERT INTO usage_monitor.provider_alias (alias, provider, origin)"
	print "SELECT f[1], f[2], 'shipped'"
	print "  FROM"
	listed(alias_line, naliases)
	print ";"
}
