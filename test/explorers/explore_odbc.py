# What a tool that explores by ODBC sees: each view with its description and
# that of its columns, and every number to the last digit.  Also reads what
# Cube is told of the views.
import decimal
import os
import sys

import pyodbc
import yaml

decimal.getcontext().prec = 1000

connection = pyodbc.connect(
    "Driver={PostgreSQL Unicode};Servername=%(PGHOST)s;Port=%(PGPORT)s;Database=%(PGDATABASE)s;UID=%(PGUSER)s;PWD=%(PGPASSWORD)s" % os.environ,
    autocommit=False)
# one moment for all questions
cursor = connection.cursor()
cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def ask(sql):
    return cursor.execute(sql).fetchall()


views = [(row.table_name, row.remarks) for row in cursor.tables(schema="usage_monitor", tableType="VIEW").fetchall()]
assert len(views) > 40, views
numbers = 0
for view, remarks in views:
    columns = [column.column_name for column in cursor.columns(table=view, schema="usage_monitor").fetchall()]
    # the driver leaves out what views say of themselves: it is in the catalogue
    for column, comment in [("", None)] + list(enumerate(columns, 1)):
        what = f"'usage_monitor.\"{view}\"'::regclass"
        described = ask(f"SELECT obj_description({what})" if column == "" else f"SELECT col_description({what}, {column})")[0][0]
        assert described, f"{view}.{comment or ''} is not described"
    rows = ask(f'SELECT * FROM usage_monitor."{view}"')
    exact = [i for i, column in enumerate(cursor.description) if column[1] is decimal.Decimal]
    for i in exact:
        values = [row[i] for row in rows if row[i] is not None]
        expected = ask(f'SELECT sum("{columns[i]}")::text FROM usage_monitor."{view}"')[0][0]
        assert (sum(values) if values else None) == (None if expected is None else decimal.Decimal(expected)), f"{view}.{columns[i]}"
        numbers += len(values)
assert numbers > 200, numbers

# one of thirty decimals, by itself
fine = ask("SELECT cost FROM usage_monitor.daily_usage WHERE org = 'fine'")[0][0]
assert fine == decimal.Decimal("0.000000123456789012345678901234"), fine

# each cube: its dimensions and measures can be asked for, its key is one, and its cost is the ledger's
total = ask("SELECT sum(cost) FROM usage_monitor.daily_total")[0][0]
with open(sys.argv[1], encoding="utf-8") as file:
    cubes = yaml.safe_load(file)["cubes"]
aggregate = {"sum": "sum({})", "max": "max({})", "number": "{}"}
for cube in cubes:
    measures = {m["name"]: aggregate[m["type"]].format(m["sql"]) for m in cube["measures"]}
    for name, sql in measures.items():
        for other, meaning in measures.items():
            sql = sql.replace("{" + other + "}", meaning)
        measures[name] = sql
    dimensions = [d["sql"] for d in cube["dimensions"]]
    key = [d["sql"] for d in cube["dimensions"] if d.get("primary_key")]
    assert len(key) == 1, cube["name"]
    select = ", ".join(f"{sql} AS {name}" for name, sql in measures.items())
    found = ask(f"SELECT {select}, count({key[0]}) - count(DISTINCT {key[0]}) AS doubles FROM {cube['sql_table']}")[0]
    assert found.doubles == 0, cube["name"]
    if cube.get("meta", {}).get("adds_up_to_the_ledger"):
        assert found.cost == total, (cube["name"], found.cost, total)
    grouped = ask(f"SELECT {', '.join(dimensions)}, {select} FROM {cube['sql_table']} GROUP BY {', '.join(str(i + 1) for i in range(len(dimensions)))}")
    assert len(grouped) > 0, cube["name"]
print(f"{len(views)} views, {numbers} exact numbers, {len(cubes)} cubes")
