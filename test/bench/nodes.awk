#!/usr/bin/awk -f
#
# Reckons what nodes and a hub have to do, from what test/bench/nodes measured:
#
#   NODES=100 CALLS=10000000000 PEAK=3 CORES=16 \
#   test/bench/nodes.awk -v node=3000 -v hub=4000 -v fold=200000 -v bytes=400 -v wal=900
#
# node, hub, fold: calls a second that a node records, one subscription takes in and refresh()
# folds; bytes, wal: of a call on disk and in the write-ahead log.  A day is simulated in steps of
# a second: calls come as a sine between night and the busiest hour, the hub takes in what its
# cores can, and what it cannot waits.
#
BEGIN {
    nodes = ENVIRON["NODES"]; calls = ENVIRON["CALLS"]; peak = ENVIRON["PEAK"]; cores = ENVIRON["CORES"]
    pi = atan2(0, -1)
    average = calls / 30 / 86400
    workers = nodes < cores - 2 ? nodes : cores - 2
    capacity = workers * hub

    printf "reckoned: %d nodes, %.0f calls a month, %d times the average in the busiest hour, a hub of %d cores\n", nodes, calls, peak, cores
    printf "%-52s%10.0f\n", "calls a second, on average", average
    printf "%-52s%10.0f\n", "calls a second, in the busiest hour", average * peak
    printf "%-52s%10.1f\n", "a node's, in the busiest hour", average * peak / nodes
    printf "%-52s%9.1f%%\n", "of what a node can record", 100 * average * peak / nodes / node
    printf "%-52s%10.0f\n", "nodes that would do, at half of what they can", ceil(average * peak / (node / 2))
    printf "%-52s%10.0f\n", "calls a second that the hub can take in", capacity
    printf "%-52s%9.1f%%\n", "of that in the busiest hour", 100 * average * peak / capacity
    printf "%-52s%9.1f%%\n", "of one core for folding, on average", 100 * average / fold
    printf "%-52s%10.1f\n", "terabytes a month that the hub's ledger grows", calls * bytes / 1e12
    printf "%-52s%10.0f\n", "gigabytes a month that a node's ledger grows", calls * bytes / nodes / 1e9
    printf "%-52s%10.1f\n", "megabytes a second to the hub, in the busiest hour", average * peak * wal / 1e6

    # above the average for a sine to the power that has the wanted peak
    for (power = 1; ; power += 0.05) {
        sum = 0
        for (i = 0; i < 1440; i++) sum += shape(i / 1440)
        if (1440 / sum >= peak || power > 100) break
    }
    waiting = worst = 0
    for (s = 0; s < 2 * 86400; s++) {
        if (s == 86400) { worst = 0; late = 0 }
        waiting += average * 1440 / sum * shape((s % 86400) / 86400)
        done = waiting < capacity ? waiting : capacity
        waiting -= done
        if (waiting / capacity > worst) worst = waiting / capacity
        if (waiting > 0) late++
    }
    if (waiting > capacity)
        print "the hub falls behind, and never gets over it: more cores, or hubs for parts of the nodes"
    else
        printf "%-52s%10.1f\n%-52s%10.1f\n", "hours a day in which the hub lags", late / 3600, "seconds that it lags at most", worst
    printf "%-52s%10.1f\n", "minutes to catch up after an hour's outage at noon", 60 * average * peak / (capacity > average * peak ? capacity - average * peak : 1)
}
function shape(day) { return ((1 - cos(2 * pi * day)) / 2) ^ power }
function ceil(x) { return x == int(x) ? x : int(x) + 1 }
