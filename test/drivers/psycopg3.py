"""The calls through psycopg (3)."""

import os
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import psycopg
from psycopg.types.json import Jsonb

INSERT = """
    INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)
    VALUES (%s, %s, %s, %s) RETURNING cost"""

RESPONSE = {
    "id": "r-2", "object": "chat.completion", "model": "test-model", "choices": [],
    "usage": {"prompt_tokens": 2000, "completion_tokens": 300, "total_tokens": 2300},
}


def one(conn, statement, *values, **options):
    row = conn.execute(statement, values, **options).fetchone()
    return row and row[0]


def refused(sqlstate, conn, statement, *values):
    try:
        conn.execute(statement, values)
    except psycopg.Error as error:
        assert error.sqlstate == sqlstate, error
        return error.diag
    else:
        raise AssertionError("not refused: " + statement)


with psycopg.connect(autocommit=True) as conn:
    cost = one(conn, INSERT, "alice", "test-model", 1000, 500)
    assert isinstance(cost, Decimal) and cost == Decimal("0.0075"), cost

    for i in range(1, 11):
        cost = one(conn, INSERT, "bob", "test-model", 1000 * i, 100 * i, prepare=True)
        assert cost == Decimal("0.0035") * i, cost

    cost = one(
        conn,
        """INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, output_tokens, tags)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING cost""",
        datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=1))),
        "carol", "test-model", 2000, 100, Jsonb({"workflow": "summary"}))
    assert cost == Decimal("0.006"), cost

    with conn.cursor().copy("""COPY usage_monitor.usage (user_id, model, input_tokens, output_tokens)
                               FROM STDIN (FORMAT binary)""") as copy:
        copy.set_types(["text", "text", "int8", "int8"])
        for i in range(1, 101):
            copy.write_row(("dave", "test-model", i, 2 * i))

    call = """INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens)
              VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING cost"""
    assert one(conn, call, "r-1", "erin", "test-model", 400, 100) == Decimal("0.002")
    assert one(conn, call, "r-1", "erin", "test-model", 400, 100) is None

    assert one(conn, INSERT, "heidi", "no-such-model", 10, 10) is None
    refused("UM001", conn, INSERT, "ivan", "test-model", -1, 0)
    diag = refused("UM100", conn, INSERT, "grace", "test-model", 0, 10000)
    assert (diag.schema_name, diag.table_name, diag.constraint_name) == ("usage_monitor", "quota", "grace")
    assert diag.message_detail is None and diag.context is None, diag
    refused("42501", conn, "SELECT user_id FROM usage_monitor.usage")
    refused("42501", conn, "UPDATE usage_monitor.price_rate SET amount = 0")

with psycopg.connect(user=os.environ["RECORDER"], autocommit=True) as conn:
    row = conn.execute("SELECT cost, input_tokens FROM usage_monitor.record(%s, user_id => %s)",
                       (Jsonb(RESPONSE), "frank")).fetchone()
    assert row == (Decimal("0.008"), 2000), row
    diag = refused("UM100", conn, "SELECT FROM usage_monitor.record(%s, user_id => %s)",
                   Jsonb(RESPONSE | {"id": "r-3"} | {"usage": {"prompt_tokens": 9000, "completion_tokens": 900, "total_tokens": 9900}}), "grace")
    assert diag.constraint_name == "grace" and diag.context is None, diag
    refused("42501", conn, INSERT, "ivan", "test-model", 1, 0)
