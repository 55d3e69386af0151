# Reads usage_field.csv and prints the SQL that loads it.  Fields are not
# quoted, and have no commas in them.

BEGIN {
	QUOTE = "\047"
	n = 0
}

function literal(text)
{
	if (text == "")
		return "NULL"
	gsub(QUOTE, QUOTE QUOTE, text)
	return QUOTE text QUOTE
}

/^#/ || /^[ \t]*$/ {
	next
}

$0 == "family,path,meaning,note" {
	next
}

{
	if (split($0, f, ",") != 4 || f[1] == "" || f[2] == "" || f[3] == "") {
		printf "%s:%d: family, path, meaning and note are wanted\n", FILENAME, FNR > "/dev/stderr"
		failed = 1
		exit 1
	}
	line[++n] = sprintf("(%d, %s, %s, %s, %s, 'shipped')", n, literal(f[1]), literal(f[2]), literal(f[3]), literal(f[4]))
}

END {
	if (failed || n == 0)
		exit 1
	print "-- Generated from sql/record/usage_field.csv by sql/record/usage_field.awk.\n"
	print "INSERT INTO usage_monitor.usage_field (line, family, path, meaning, note, source) VALUES"
	for (i = 1; i <= n; i++)
		printf "    %s%s\n", line[i], (i < n ? "," : ";")
}
