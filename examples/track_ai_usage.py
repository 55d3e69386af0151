"""Records what a function, or the body of a with statement, calls.

    import track_ai_usage as tracking
    from track_ai_usage import track_ai_usage
    tracking.recorder = UsageRecorder("dbname=app user=recorder")

    @track_ai_usage("summarise", "gpt-4o", user_id="alice")
    def summarise(text):
        return client.chat.completions.create(...)      # what it returns is recorded, and returned

    with track_ai_usage("summarise", "gpt-4o") as call:
        call.response = client.chat.completions.create(...)

A stream is recorded when it is read.  What fails is recorded as failed, and
raised as ever.  The model is the response's, or else the one given here.
"""
import contextlib
import functools
import inspect
import time
from datetime import datetime, timezone

from usage_recorder import as_json, tells

recorder = None  # a UsageRecorder; None: nothing is recorded


class track_ai_usage:
    def __init__(self, function, model=None, **who):
        self.function, self.model, self.who, self.response = function, model, who, None

    def __enter__(self):
        self.ts, self.began = datetime.now(timezone.utc), time.monotonic()
        return self

    def __exit__(self, kind, error, traceback):
        if recorder is None:
            return
        try:
            # whoever leaves a stream early has not failed
            failed = {} if kind in (None, GeneratorExit) else {"success": False, "error": str(error) or kind.__name__}
            body = as_json({"error": failed["error"]} if failed and not self.response else self.response)
            recorder.record(body, **{"operation": self.function, "model": None if tells(body, "model") else self.model,
                                     "ts": self.ts, "duration_ms": (time.monotonic() - self.began) * 1000, **self.who, **failed})
        except Exception as problem:  # never the application's
            recorder.dropped, recorder.error = recorder.dropped + 1, problem

    def _end(self, result, stack):
        self.response = result
        if hasattr(result, "__next__") or hasattr(result, "__anext__"):
            self.response, rest = [], stack.pop_all()
            return self._stream(result, rest) if hasattr(result, "__next__") else self._astream(result, rest)
        return result

    def _stream(self, chunks, stack):
        with stack:
            for chunk in chunks:
                self.response.append(chunk)
                yield chunk

    async def _astream(self, chunks, stack):
        with stack:
            async for chunk in chunks:
                self.response.append(chunk)
                yield chunk

    def __call__(self, function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            with contextlib.ExitStack() as stack:
                call = stack.enter_context(track_ai_usage(self.function, self.model, **self.who))
                return call._end(function(*args, **kwargs), stack)

        @functools.wraps(function)
        async def awrapper(*args, **kwargs):
            with contextlib.ExitStack() as stack:
                call = stack.enter_context(track_ai_usage(self.function, self.model, **self.who))
                return call._end(await function(*args, **kwargs), stack)

        return awrapper if inspect.iscoroutinefunction(function) else wrapper
