"""A queue in front of record(): what calls a model never waits for the ledger,
and never fails because of it.  The examples beside this one fill it.

    recorder = UsageRecorder("dbname=app user=recorder")
    recorder.record(response, user_id="alice")     # returns at once
    recorder.flush()                               # before the process ends
    recorder.recorded, recorder.refused, recorder.dropped, recorder.error
"""
import atexit
import queue
import threading
import time
import uuid
from datetime import datetime, timezone

import psycopg
from psycopg.types.json import Jsonb

ARGUMENTS = ("provider", "model", "org", "department", "project", "user_id", "session_id", "operation", "source",
             "request_id", "ts", "duration_ms", "success", "error", "tags")
RECORD = f"SELECT FROM usage_monitor.record(%(response)s, {', '.join(f'{name} => %({name})s' for name in ARGUMENTS)})"


def as_json(response):
    """What a client library returned, as it came: an object, or a list of them."""
    if isinstance(response, (list, tuple)):
        return [as_json(part) for part in response]
    for method, arguments in (("model_dump", {"mode": "json"}), ("to_dict", {}), ("dict", {})):
        if hasattr(response, method):
            return getattr(response, method)(**arguments)
    return response if isinstance(response, dict) else {"usage": None}


def tells(body, name):
    """Does the body, a chunk of it, or the message or response in one, say its id, model, ...?"""
    return any(isinstance(inner, dict) and inner.get(name)
               for part in (body if isinstance(body, list) else [body]) if isinstance(part, dict)
               for inner in (part, part.get("message"), part.get("response")))


class UsageRecorder:
    def __init__(self, conninfo="", limit=10000, retry_after=1.0):  # limit: so many wait while the database is away
        self.recorded, self.refused, self.dropped, self.error = 0, 0, 0, None
        self.conninfo, self.retry_after, self.queue = conninfo, retry_after, queue.Queue(limit)
        threading.Thread(target=self._run, name="usage_recorder", daemon=True).start()
        atexit.register(self.flush)

    def record(self, response, **who):
        try:
            body = as_json(response)
            call = dict.fromkeys(ARGUMENTS) | {"ts": datetime.now(timezone.utc)} | who
            # what is sent again after an interruption counts once
            call["request_id"] = call["request_id"] or (None if tells(body, "id") else str(uuid.uuid4()))
            call["tags"] = Jsonb(call["tags"]) if call["tags"] is not None else None
            self.queue.put_nowait(call | {"response": Jsonb(body)})
        except Exception as error:  # a full queue, or what is no response
            self.dropped, self.error = self.dropped + 1, error

    def _run(self):
        connection = None
        while call := self.queue.get():
            while call is not None:
                try:
                    if connection is None or connection.closed:
                        connection = psycopg.connect(self.conninfo, autocommit=True)
                    connection.execute(RECORD, call)
                    self.recorded, call = self.recorded + 1, None
                except psycopg.OperationalError as error:  # the database is away, or asks to try again
                    self.error = error
                    time.sleep(self.retry_after)
                except Exception as error:  # again would be refused again
                    self.refused, self.error, call = self.refused + 1, error, None
            self.queue.task_done()

    def flush(self, timeout=5.0):
        """Waits until all is recorded, or so long; returns how many still wait."""
        end = time.monotonic() + timeout
        while self.queue.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)
        return self.queue.unfinished_tasks
