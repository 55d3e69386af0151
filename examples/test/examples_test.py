"""The Python examples, with responses as OpenAI's and LiteLLM's clients return
them; by PGHOST, PGDATABASE, ..."""
import asyncio
import logging
import os
import sys
import types
import unittest
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# LiteLLM itself is not needed for its callback
custom_logger = types.ModuleType("litellm.integrations.custom_logger")
custom_logger.CustomLogger = type("CustomLogger", (), {})
sys.modules |= {"litellm": types.ModuleType("litellm"), "litellm.integrations": types.ModuleType("litellm.integrations"),
                "litellm.integrations.custom_logger": custom_logger}

import litellm_callback  # noqa: E402
import track_ai_usage as tracking  # noqa: E402
from track_ai_usage import track_ai_usage  # noqa: E402
from usage_recorder import UsageRecorder  # noqa: E402


logging.getLogger("usage_recorder").propagate = False  # what it warns of is asserted below
logging.getLogger("usage_recorder").addHandler(logging.NullHandler())


class Response:
    """As pydantic makes them."""

    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self, mode="python"):
        return self.fields


USAGE = {"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306, "prompt_tokens_details": {"cached_tokens": 1920}}
COST = "0.005615"


def completion(request_id):
    return Response(id=request_id, object="chat.completion", model="gpt-4o-2024-08-06", choices=[], usage=USAGE)


def chunks(request_id):
    yield Response(id=request_id, object="chat.completion.chunk", model="gpt-4o-2024-08-06", choices=[{"delta": {"content": "Hi"}}], usage=None)
    yield Response(id=request_id, object="chat.completion.chunk", model="gpt-4o-2024-08-06", choices=[{"delta": {}, "finish_reason": "stop"}], usage=None)
    yield Response(id=request_id, object="chat.completion.chunk", model="gpt-4o-2024-08-06", choices=[], usage=USAGE)


async def achunks(request_id):
    for chunk in chunks(request_id):
        yield chunk


class Examples(unittest.TestCase):
    def setUp(self):
        self.recorder = tracking.recorder = UsageRecorder("", retry_after=0.05)
        self.connection = psycopg.connect("", autocommit=True)
        self.addCleanup(self.connection.close)

    def row(self, request_id, columns="trim_scale(cost)::text, operation, user_id, success, error"):
        self.assertEqual(self.recorder.flush(), 0)
        return self.connection.execute(f"SELECT {columns} FROM usage_monitor.usage WHERE request_id = %s", [request_id]).fetchone()

    def test_decorator(self):
        @track_ai_usage("summarise", "gpt-4o", user_id="alice")
        def summarise(text):
            return completion("py-decorator")

        self.assertIsInstance(summarise("text"), Response)
        self.assertEqual(self.row("py-decorator"), (COST, "summarise", "alice", True, None))

    def test_decorator_async(self):
        @track_ai_usage("summarise", "gpt-4o")
        async def summarise():
            return completion("py-async")

        asyncio.run(summarise())
        self.assertEqual(self.row("py-async"), (COST, "summarise", None, True, None))

    def test_stream(self):
        @track_ai_usage("chat", "gpt-4o")
        def chat(request_id):
            return chunks(request_id)

        self.assertEqual(len(list(chat("py-stream"))), 3)
        self.assertEqual(self.row("py-stream"), (COST, "chat", None, True, None))
        # whoever leaves early pays all the same: recorded, and held
        for _ in chat("py-left"):
            break
        self.assertEqual(self.row("py-left", "cost, success, unpriced_reason"), (None, True, "the stream was cut"))

    def test_stream_async(self):
        @track_ai_usage("chat", "gpt-4o")
        async def chat():
            return achunks("py-astream")

        async def read():
            return [chunk async for chunk in await chat()]

        self.assertEqual(len(asyncio.run(read())), 3)
        self.assertEqual(self.row("py-astream"), (COST, "chat", None, True, None))

    def test_context_manager(self):
        with track_ai_usage("summarise", "gpt-4o", user_id="bob", tags={"feature": "search"}) as call:
            call.response = completion("py-context")
        self.assertEqual(self.row("py-context", "trim_scale(cost)::text, user_id, tags, duration_ms >= 0"),
                         (COST, "bob", {"feature": "search"}, True))

    def test_usage_alone(self):
        with track_ai_usage("embed", "text-embedding-3-small", request_id="py-usage") as call:
            call.response = {"object": "list", "data": [], "usage": {"prompt_tokens": 1000, "total_tokens": 1000}}
        self.assertEqual(self.row("py-usage", "trim_scale(cost)::text, model"), ("0.00002", "text-embedding-3-small"))

    def test_failure_is_raised_and_recorded(self):
        @track_ai_usage("summarise", "gpt-4o", request_id="py-failed")
        def summarise():
            raise TimeoutError("too slow")

        with self.assertRaises(TimeoutError):
            summarise()
        self.assertEqual(self.row("py-failed", "model, success, error, cost"), ("gpt-4o", False, "too slow", 0))

    def test_what_is_no_response_breaks_nothing(self):
        @track_ai_usage("answer", "gpt-4o", request_id="py-text")
        def answer():
            return "just text"

        self.assertEqual(answer(), "just text")
        self.assertEqual(self.row("py-text", "cost, unpriced_reason"), (None, "no count of meter input"))
        with track_ai_usage("answer", "gpt-4o", nonsense=1) as call:
            call.response = {"usage": {"prompt_tokens": -1, "completion_tokens": 1}}
        self.recorder.flush()
        self.assertEqual((self.recorder.refused, self.recorder.error.sqlstate), (1, "UM001"))
        with track_ai_usage("answer", "gpt-4o") as call:
            call.response = {"usage": {"prompt_tokens": object()}}
        self.recorder.flush()
        self.assertEqual(self.recorder.refused + self.recorder.dropped, 2)
        tracking.recorder = None
        self.assertEqual(answer(), "just text")

    def test_database_away(self):
        """Calls wait for it, and what is too much is dropped and counted."""
        recorder = tracking.recorder = UsageRecorder("host=/nowhere", limit=2, retry_after=0.05)
        for number in range(5):
            with track_ai_usage("summarise", "gpt-4o") as call:
                call.response = completion(f"py-away-{number}")
        self.assertGreaterEqual(recorder.dropped, 2)
        self.assertEqual(recorder.recorded, 0)
        self.assertEqual(recorder.flush(timeout=0.1) + recorder.dropped, 5)
        recorder.conninfo = ""
        self.assertEqual(recorder.flush(), 0)
        self.assertEqual(recorder.recorded + recorder.dropped, 5)

    def test_connection_ends(self):
        """A database that goes away for a while loses none, and delays nothing."""
        recorder = tracking.recorder = UsageRecorder("application_name=py_ends", retry_after=0.05)
        for number in range(30):
            if number % 10 == 5:
                recorder.flush()
                self.connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'py_ends'")
            with track_ai_usage("summarise", "gpt-4o") as call:
                call.response = completion(f"py-ends-{number}")
        self.assertEqual(recorder.flush(30), 0)
        self.assertEqual((recorder.recorded, recorder.refused, recorder.dropped), (30, 0, 0))
        count = self.connection.execute("SELECT count(*) FROM usage_monitor.usage WHERE request_id LIKE 'py-ends-%'").fetchone()[0]
        self.assertEqual(count, 30)

    def test_standby(self):
        """One that was the primary takes no rows until it is, and none is lost."""
        recorder = tracking.recorder = UsageRecorder("options='-c default_transaction_read_only=on'", retry_after=0.05)
        recorder.record(completion("py-standby"))
        with self.assertLogs("usage_recorder", "WARNING") as warned:
            self.assertEqual(recorder.flush(0.5), 1)
        self.assertIn("1 calls wait to be recorded: cannot execute INSERT in a read-only transaction", warned.output[0])
        recorder.conninfo = ""
        self.assertEqual(recorder.flush(30), 0)
        self.assertEqual((recorder.recorded, recorder.refused), (1, 0))

    def test_fork(self):
        """A child records its own calls, and the parent those that waited."""
        recorder = tracking.recorder = UsageRecorder("host=/nowhere", retry_after=0.05)
        recorder.record(completion("py-parent"))
        child = os.fork()
        if child == 0:
            recorder.conninfo = ""
            recorder.record(completion("py-child"))
            os._exit(recorder.flush(30))
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        recorder.conninfo = ""
        self.assertEqual(recorder.flush(30), 0)
        rows = self.connection.execute("SELECT request_id FROM usage_monitor.usage WHERE request_id IN ('py-parent', 'py-child') ORDER BY 1").fetchall()
        self.assertEqual(rows, [("py-child",), ("py-parent",)])

    def test_litellm(self):
        handler = litellm_callback.UsageLogger(self.recorder)
        payload = {"id": "py-litellm", "model": "gpt-4o-2024-08-06", "custom_llm_provider": "openai", "call_type": "acompletion",
                   "response_cost": 123, "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
                   "startTime": 1790000000.5, "endTime": 1790000002.0, "end_user": "carol", "messages": "secret",
                   "metadata": {"user_api_key_org_id": "acme", "user_api_key_team_alias": "search", "user_api_key_alias": "key-1", "usage_object": USAGE}}
        asyncio.run(handler.async_log_success_event({"standard_logging_object": payload}, completion("x"), None, None))
        self.assertEqual(self.row("py-litellm", "trim_scale(cost)::text, org, project, user_id, source, duration_ms, extract(epoch FROM ts)::float8"),
                         (COST, "acme", "search", "carol", "key-1", 1500, 1790000000.5))
        # Anthropic, as LiteLLM has it: all input tokens, and what of them was cached
        usage = {"prompt_tokens": 9000, "completion_tokens": 200, "total_tokens": 9200, "cache_read_input_tokens": 8000, "cache_creation_input_tokens": 500,
                 "prompt_tokens_details": {"cached_tokens": 8000, "cache_creation_tokens": 500}}
        payload = {"id": "py-litellm-2", "model": "claude-sonnet-4-5", "custom_llm_provider": "anthropic", "prompt_tokens": 9000, "completion_tokens": 200}
        handler.log_success_event({"standard_logging_object": payload}, Response(id="y", usage=usage), None, None)
        self.assertEqual(self.row("py-litellm-2", "trim_scale(cost)::text"), ("0.008775",))
        handler.log_success_event({"standard_logging_object": payload | {"id": "py-cached", "cache_hit": True}}, Response(id="y", usage=usage), None, None)
        self.assertIsNone(self.row("py-cached"))
        handler.log_failure_event({"standard_logging_object": {"id": "py-litellm-3", "model": "gpt-4o", "error_str": "too slow"}}, None, None, None)
        self.assertEqual(self.row("py-litellm-3", "success, error, cost"), (False, "too slow", 0))
        handler.log_success_event(None, None, None, None)
        self.assertEqual(self.recorder.dropped, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
