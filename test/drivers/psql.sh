# The calls through psql.
set -euo pipefail

# check WHAT EXPECTED STATEMENT
check() {
    local answer
    answer=$(psql -XqAt -v VERBOSITY=sqlstate -c "$3" 2>&1) || true
    [ "$answer" = "$2" ] || { echo "$1: $answer, not $2"; exit 1; }
}

check 'cost' 0.0075 \
    "INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)
     VALUES ('alice', 'test-model', 1000, 500) RETURNING cost"

{
    echo 'PREPARE call (bigint, bigint) AS
          INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)
          VALUES ($$bob$$, $$test-model$$, $1, $2) RETURNING cost = 0.0035 * $1 / 1000;'
    for i in {1..10}; do
        echo "EXECUTE call ($((1000 * i)), $((100 * i)));"
    done
} >"$TMPDIR/prepared.sql"
[ "$(psql -XqAt -f "$TMPDIR/prepared.sql" | sort | uniq -c | tr -d ' ')" = 10t ] ||
    { echo 'prepared statement: wrong cost'; exit 1; }

check 'tags and time' 0.006 \
    "INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, output_tokens, tags)
     VALUES ('2026-01-02 03:04:05.678901+01', 'carol', 'test-model', 2000, 100, '{\"workflow\": \"summary\"}')
     RETURNING cost"

for i in {1..100}; do
    echo "dave,test-model,$i,$((2 * i))"
done | psql -Xq -c '\copy usage_monitor.usage (user_id, model, input_tokens, output_tokens) FROM pstdin (FORMAT csv)'

call="INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens)
      VALUES ('r-1', 'erin', 'test-model', 400, 100) ON CONFLICT DO NOTHING RETURNING cost"
check 'first try' 0.002 "$call"
check 'retry' '' "$call"

check 'no price' '' \
    "INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)
     VALUES ('heidi', 'no-such-model', 10, 10) RETURNING cost"
check 'negative count' 'ERROR:  UM001' \
    "INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('test-model', -1)"
check 'blocking quota' 'ERROR:  UM100' \
    "INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)
     VALUES ('grace', 'test-model', 0, 10000)"
check 'reading the ledger' 'ERROR:  42501' 'SELECT user_id FROM usage_monitor.usage'
check 'changing a price' 'ERROR:  42501' 'UPDATE usage_monitor.price_rate SET amount = 0'

PGUSER=$RECORDER
check 'record()' '0.008|2000' \
    "SELECT cost, input_tokens
     FROM usage_monitor.record('{\"id\": \"r-2\", \"object\": \"chat.completion\", \"model\": \"test-model\", \"choices\": [],
         \"usage\": {\"prompt_tokens\": 2000, \"completion_tokens\": 300, \"total_tokens\": 2300}}', user_id => 'frank')"
check 'inserting past record()' 'ERROR:  42501' \
    "INSERT INTO usage_monitor.usage (model, input_tokens) VALUES ('test-model', 1)"
