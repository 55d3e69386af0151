#!/usr/bin/python3
"""Tells the channels of usage_monitor.alert_channel of alerts, and sends digests.

Needs Python 3.9 and psycopg 3 (Debian: python3-psycopg), and a role with no
more than: SELECT usage_monitor.grant_access('relay', 'relay');

    DATABASE_URL=postgresql://relay@db.example/app RELAY_SECRETS=/etc/usage-relay ./relay.py

DATABASE_URL    which ledger; without it libpq's own variables say so
RELAY_SECRETS   a directory: secret:ops is what its file "ops" has
                ($CREDENTIALS_DIRECTORY of systemd if it is not set)
SMTP_URL        smtp://mail.example:25, smtp+starttls://user@mail.example:587
                or smtps://...; the password is the file "smtp" of that directory
MAIL_FROM       the sender of mail
RELAY_SECONDS   how often to look, unless an alert comes (5)
RELAY_PATIENCE  how many seconds a message may take in all (30)

Each message is claimed, sent and noted in one transaction.  If the relay or the
server dies in between, it is sent again: receivers are told at least once, in
order, and know a repetition by delivery_id (of mail by its Message-ID).  As
many relays as one likes may run; they do not send the same.
"""
import email.message
import email.policy
import email.utils
import http.client
import json
import os
import re
import select
import signal
import smtplib
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from decimal import Decimal

import psycopg

SECONDS = float(os.environ.get("RELAY_SECONDS", 5))
PATIENCE = float(os.environ.get("RELAY_PATIENCE", 30))
TIMEOUT = min(10, PATIENCE)  # of silence


class Failed(Exception):
    """What may be written beside the delivery: it has no secrets.  wait: so many seconds the receiver asks for."""

    def __init__(self, text, wait=None):
        super().__init__(text)
        self.wait = wait


def overdue(*_):
    """For SIGALRM: a receiver that answers, but byte by byte, must not keep the other channels waiting."""
    raise Failed(f"took more than {PATIENCE:g} s")


class Unfollowed(urllib.request.HTTPRedirectHandler):
    """A receiver that has moved would be sent a GET without the message."""

    def redirect_request(self, *args):
        return None


web = urllib.request.build_opener(Unfollowed)


def secret(name):
    directory = os.environ.get("RELAY_SECRETS") or os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise Failed("RELAY_SECRETS is not set")
    try:
        with open(os.path.join(directory, os.path.basename(name)), encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise Failed(f'cannot read secret "{name}": {type(problem).__name__}') from None


def seconds_of(retry_after):
    """Of a Retry-After header, which has seconds or a date; no more than an hour."""
    try:
        return min(float(retry_after) if retry_after.isdecimal() else email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time(), 3600)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None


def post(target, body):
    """Posts JSON, and returns the answer."""
    url = secret(target[len("secret:"):]) if target.startswith("secret:") else target
    if not url.startswith(("http://", "https://")):
        raise Failed("the secret is no http:// or https:// address")
    headers = {"Content-Type": "application/json", "User-Agent": "usage_monitor-relay"}
    try:
        with web.open(urllib.request.Request(url, body.encode(), headers), timeout=TIMEOUT) as answer:
            return answer.read(65536)
    except urllib.error.HTTPError as problem:
        raise Failed(f"HTTP status {problem.code}", seconds_of(problem.headers.get("Retry-After"))) from None
    except urllib.error.URLError as problem:
        reason = problem.reason
        # the text of a certificate's error has the host's name
        raise Failed("cannot connect: " + (getattr(reason, "reason", None) or type(reason).__name__) if isinstance(reason, ssl.SSLError)
                     else f"cannot connect: {reason.strerror or type(reason).__name__}" if isinstance(reason, OSError)
                     else "cannot connect") from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        # of an address that is none the text has all of it
        raise Failed(f"cannot post: {type(problem).__name__}") from None


def flat(text):
    """On one line: a name is not to look like another alert."""
    return " ".join(text.split())


def line(event, alert):
    return flat(("resolved: " if event == "resolved" else f"{alert['level']}: ") + alert["message"])


def number(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def text_of(message):
    """Subject and text for people."""
    if message["event"] != "digest":
        told = line(message["event"], message["alert"])
        return told, f"{told}\n\nraised {message['alert']['raised_at']}, alert {message['alert']['alert_id']}"
    report, alerts = message["report"], message["alerts"]
    summary, currency = report["summary"], report["currency"]
    # an unknown sum is not zero
    cost = lambda part: "unpriced" if part["cost"] is None else f"{number(part['cost'])} {currency}"
    subject = f"AI usage of {report['period']['name']}: {cost(summary)}, alerts: {len(alerts)}"
    lines = [subject, "", f"calls {number(summary['requests'])}, failed {number(summary['errors'])}, "
                          f"tokens {number(summary['total_tokens'])}, without a price {number(summary['unpriced_requests'])}"]
    for title, key, name in (("By model", "by_model", "model"), ("By project", "by_project", "project"), ("By user", "by_user", "user_id")):
        lines += ["", title] + [f"  {flat(part[name] or '(not given)')}: {cost(part)}, calls {number(part['requests'])}"
                                for part in report[key][:10]]
    if alerts:
        lines += ["", "Alerts"] + [f"  {line(a['event'], a['alert'])}" for a in alerts[:50]]
        if len(alerts) > 50:
            lines.append(f"  and {len(alerts) - 50} more")
    return subject, "\n".join(lines)


def cut(text, most):
    """No more than so many bytes, and whole characters."""
    return text if len(text.encode()) <= most else text.encode()[:most - 3].decode(errors="ignore") + "..."


def send_webhook(target, body, message):
    post(target, body)


def send_slack(target, body, message):
    text = text_of(message)[1].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    answer = post(target, json.dumps({"text": cut(text, 30000)}, ensure_ascii=False))
    # chats that take Slack's form say so in JSON; what else is there, the page of a proxy say, has taken nothing
    try:
        outcome = json.loads(answer)
        taken = outcome.get("ok", outcome.get("success", outcome.get("result") == "success")) is True
    except (ValueError, AttributeError):
        taken = answer.strip().lower() in (b"ok", b"")
    if not taken:
        raise Failed("the answer is not ok")


def chat(form, code, most):
    """Chats that answer 200 whatever happens, and say in the answer what did."""

    def send(target, body, message):
        # Feishu calls everybody together where a text has <at user_id="all">
        text = re.sub("<(?=at\\b)", "<\u200b", text_of(message)[1], flags=re.IGNORECASE)
        text = cut(text, most)
        # none takes more than 20 kB, and JSON has six bytes for some characters
        while len((sent := json.dumps(form(text), ensure_ascii=False)).encode()) > 19000:
            text = cut(text, len(text.encode()) * 3 // 4)
        answer = post(target, sent)
        try:
            outcome = json.loads(answer)[code]
        except (ValueError, KeyError, TypeError):
            raise Failed(f"the answer has no {code}") from None
        if outcome != 0:
            raise Failed(f"refused, {code} {outcome}")
    return send


def send_email(target, body, message):
    if not os.environ.get("SMTP_URL") or not os.environ.get("MAIL_FROM"):
        raise Failed("SMTP_URL and MAIL_FROM are not both set")
    where = urllib.parse.urlsplit(os.environ["SMTP_URL"])
    sender, to = email.utils.parseaddr(os.environ["MAIL_FROM"])[1], [address.strip() for address in target.split(",")]
    subject, text = text_of(message)
    # not every server on the way takes eight bits
    mail = email.message.EmailMessage(email.policy.SMTP.clone(cte_type="7bit"))
    mail["From"], mail["To"], mail["Date"] = os.environ["MAIL_FROM"], ", ".join(to), email.utils.formatdate()
    mail["Subject"] = cut(" ".join(subject.split()), 200)
    # the same again if it is sent again
    mail["Message-ID"] = f"<usage_monitor-{message['delivery_id']}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    if message["event"] == "digest":
        mail.add_attachment(body.encode(), maintype="application", subtype="json", filename="digest.json")
    try:
        if where.scheme == "smtps":
            server = smtplib.SMTP_SSL(where.hostname, where.port or 465, timeout=TIMEOUT, context=ssl.create_default_context())
        else:
            server = smtplib.SMTP(where.hostname, where.port or 25, timeout=TIMEOUT)
        with server:
            if where.scheme == "smtp+starttls":
                server.starttls(context=ssl.create_default_context())
            if where.username:
                server.login(urllib.parse.unquote(where.username), secret("smtp"))
            refused = server.send_message(mail, sender, to)
    except smtplib.SMTPRecipientsRefused:
        raise Failed("all addresses were refused") from None
    except smtplib.SMTPResponseException as problem:
        raise Failed(f"SMTP status {problem.smtp_code}") from None
    except (OSError, smtplib.SMTPException) as problem:
        raise Failed(f"cannot send: {type(problem).__name__}") from None
    return f"refused: {', '.join(refused)}" if refused else None


SENDERS = {
    "webhook": send_webhook,
    "alertmanager": send_webhook,
    "email": send_email,
    "slack": send_slack,
    "feishu": chat(lambda text: {"msg_type": "text", "content": {"text": text}}, "code", 15000),
    "wecom": chat(lambda text: {"msgtype": "text", "text": {"content": text}}, "errcode", 2048),
    "dingtalk": chat(lambda text: {"msgtype": "text", "text": {"content": text}}, "errcode", 15000),
}


def deliver_next(connection):
    """Sends the message that is due first; False: there is none."""
    with connection.transaction():
        claimed = connection.execute(
            "SELECT channel, kind, target, event, delivery_ids, message::text FROM usage_monitor.claim_delivery()").fetchone()
        if claimed is None:
            return False
        channel, kind, target, event, ids, body = claimed
        delivered, error, wait = True, None, None
        # again each second: leaving a connection may take long, too
        signal.setitimer(signal.ITIMER_REAL, PATIENCE, 1)
        try:
            error = SENDERS[kind](target, body, json.loads(body, parse_float=Decimal))
        except Failed as problem:
            delivered, error, wait = False, str(problem), problem.wait
        except Exception as problem:  # one channel must not end the others
            delivered, error = False, f"the relay failed: {type(problem).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        connection.execute("SELECT usage_monitor.note_delivery(%s, %s, %s, %s, make_interval(secs => %s))",
                           (channel, ids, error, delivered, wait))
    if event != "state" or ids or error:
        print(f"{channel}: {event} {ids}: {error or 'delivered'}", flush=True)
    return True


def relay():
    with psycopg.connect(os.environ.get("DATABASE_URL", ""), autocommit=True, application_name="usage_monitor relay") as connection:
        # who is lost with its machine must not keep its channel from the others
        connection.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", (f"{2 * PATIENCE:g}s",))
        notified = []
        connection.add_notify_handler(notified.append)
        connection.execute("LISTEN usage_monitor_alert")
        while True:
            while deliver_next(connection):
                pass
            # what came meanwhile is not waited for again
            if not notified and select.select([connection.fileno()], [], [], SECONDS)[0]:
                connection.execute("SELECT")
            notified.clear()


def main():
    pause = 1
    signal.signal(signal.SIGALRM, overdue)
    while True:
        began = time.monotonic()
        try:
            relay()
        except (psycopg.Error, Failed) as problem:
            if time.monotonic() - began > 60:
                pause = 1
            # libpq's messages name host and role, never the password
            print(f"{' '.join(str(problem).split())}; again in {pause} s", file=sys.stderr, flush=True)
        time.sleep(pause)
        pause = min(2 * pause, 60)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
