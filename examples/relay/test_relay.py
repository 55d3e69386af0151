"""Tests relay.py against receivers that are there: mail (aiosmtpd), HTTP and Alertmanager.

For examples/relay/check, in a database that has the extension.
"""
import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock
import urllib.error
import urllib.request
from contextlib import suppress
from decimal import Decimal
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg

import relay

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "../../test"))
from waiting import free_port, until  # noqa: E402

try:
    from aiosmtpd.controller import Controller
except ImportError:
    Controller = None
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


class Receiver:
    """An HTTP server that keeps what is posted to it, and fails where it is told to."""

    def __init__(self):
        self.posts, self.down, self.answers, self.held, self.endless = [], set(), {}, {}, set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path in receiver.down:
                    if random.random() < 0.5:
                        self.send_response(503)
                        self.send_header("Content-Length", "0")
                        self.end_headers()
                    self.close_connection = True
                    return
                receiver.posts.append((self.path, json.loads(body, parse_float=Decimal)))
                if self.path in receiver.held:
                    receiver.held[self.path].wait(60)
                if self.path in receiver.endless:
                    self.close_connection = True
                    with suppress(OSError):
                        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
                        for _ in range(600):
                            self.wfile.write(b".")
                            time.sleep(0.1)
                    return
                status, answer, *headers = receiver.answers.get(self.path, (200, b"ok"))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if status in (301, 302):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def at(self, path):
        return [body for where, body in self.posts if where == path]


class Mailbox:
    def __init__(self):
        self.mails, self.down, self.refused, self.seven_bits = [], False, set(), True

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.down:
            return "451 come again"
        self.seven_bits = self.seven_bits and envelope.content.isascii()
        self.mails.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"


class RelayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.admin = psycopg.connect(autocommit=True)
        cls.directory = tempfile.mkdtemp()
        cls.receiver = Receiver()
        cls.mailbox = Mailbox()
        cls.smtp = "smtp://127.0.0.1:9"
        if Controller:
            cls.controller = Controller(cls.mailbox, hostname="127.0.0.1", port=free_port())
            cls.controller.start()
            cls.smtp = f"smtp://127.0.0.1:{cls.controller.port}"
        cls.secret("hook", cls.receiver.url + "/hook")
        cls.relays = []
        cls.sql("SELECT usage_monitor.set_price('m', 1, 1)")
        cls.sql("SELECT usage_monitor.set_quota('users', 'user', NULL, 3, metric => 'requests', period => 'lifetime')")

    @classmethod
    def tearDownClass(cls):
        if Controller:
            cls.controller.stop()
        cls.receiver.server.shutdown()
        shutil.rmtree(cls.directory)

    def setUp(self):
        self.sql("DELETE FROM usage_monitor.alert_channel")
        self.sql("SELECT usage_monitor.resolve_alerts(before => 'infinity')")
        self.receiver.posts.clear()
        self.receiver.down.clear()
        self.receiver.endless.clear()
        self.mailbox.mails.clear()
        self.mailbox.refused.clear()

    def tearDown(self):
        while self.relays:
            self.kill(self.relays.pop())

    @classmethod
    def sql(cls, statement, *values):
        # after a restart of the server it connects again
        for attempt in range(50):
            try:
                if cls.admin.closed:
                    cls.admin = psycopg.connect(autocommit=True)
                cursor = cls.admin.execute(statement, values)
                return cursor.fetchall() if cursor.description else None
            except psycopg.OperationalError:
                cls.admin.close()
                time.sleep(0.2)
        raise AssertionError("the server does not come back")

    @classmethod
    def secret(cls, name, value):
        with open(os.path.join(cls.directory, name), "w", encoding="utf-8") as file:
            file.write(value + "\n")

    def start(self, **settings):
        # env -i: nothing but what the relay says that it needs
        environment = {name: os.environ[name] for name in ("PGHOST", "PGPORT", "PGDATABASE", "PATH") if name in os.environ}
        environment.update(PGUSER="relay", PGPASSWORD="relay", RELAY_SECRETS=self.directory, SMTP_URL=self.smtp,
                           MAIL_FROM="Usage <usage@example.com>", RELAY_SECONDS="0.2", **settings)
        with open(os.path.join(self.directory, "log"), "ab") as log:
            process = subprocess.Popen([sys.executable, "-B", os.path.join(HERE, "relay.py")], env=environment, stdout=log, stderr=log)
        self.relays.append(process)
        return process

    @staticmethod
    def kill(process):
        process.send_signal(signal.SIGKILL)
        process.wait()

    def channel(self, name, kind, target, **others):
        columns = ", ".join(["name", "kind", "target", *others])
        self.sql(f"INSERT INTO usage_monitor.alert_channel ({columns}) VALUES ({', '.join(['%s'] * (3 + len(others)))})",
                 name, kind, target, *others.values())

    def call(self, user, calls=3):
        self.sql("INSERT INTO usage_monitor.usage (model, user_id, input_tokens) SELECT 'm', %s, 1 FROM generate_series(1, %s)", user, calls)

    def pending(self):
        return self.sql("SELECT count(*) FROM usage_monitor.alert_delivery WHERE delivered_at IS NULL")[0][0]

    def test_nothing_is_lost(self):
        """At least once and in order, while relay and server die and receivers are down; nothing of what was rolled back."""
        self.channel("hook", "webhook", "secret:hook")
        if Controller:
            self.channel("mail", "email", "ops@example.com")
        restarts = []
        stop = threading.Event()

        def write():
            # each user reaches two levels at once; every other transaction is rolled back
            number, connection = 0, None
            while not stop.is_set():
                number += 1
                try:
                    connection = connection or psycopg.connect()
                    connection.execute("INSERT INTO usage_monitor.usage (model, user_id, input_tokens) "
                                       "SELECT 'm', %s, 1 FROM generate_series(1, 3)",
                                       (f"{'gone' if number % 2 else 'stays'} {number} {restarts}",))
                    if number % 2:
                        connection.rollback()
                    else:
                        connection.commit()
                except psycopg.Error:
                    connection = None
                time.sleep(0.1)

        writer = threading.Thread(target=write)
        writer.start()
        kills = 0
        try:
            for turn in range(11):
                self.start()
                if turn in (2, 6):
                    self.receiver.down.add("/hook")
                    self.mailbox.down = turn == 6
                if turn in (5, 9):
                    self.receiver.down.clear()
                    self.mailbox.down = False
                time.sleep(random.uniform(0.3, 1.5))
                if turn in (3, 7):
                    data = self.sql("SHOW data_directory")[0][0]
                    subprocess.run(["pg_ctl", "-D", data, "-m", "immediate", "-s", "-w", "restart"], check=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    restarts.append(turn)
                if turn < 10:
                    self.kill(self.relays.pop())
                    kills += 1
        finally:
            stop.set()
            writer.join()
        resolved = self.sql("SELECT usage_monitor.resolve_alerts(quota => 'users')")[0][0]
        until("all delivered", lambda: self.pending() == 0, 120)
        expected = self.sql("SELECT event, alert_id FROM usage_monitor.alert_delivery WHERE channel = 'hook' ORDER BY delivery_id")
        told = list(dict.fromkeys((body["event"], body["alert"]["alert_id"]) for body in self.receiver.at("/hook")))
        self.assertGreater(len(expected), 20)
        self.assertEqual(told, expected)
        self.assertEqual(len([event for event, _ in expected if event == "resolved"]), resolved)
        alerts = dict(self.sql("SELECT alert_id, subject FROM usage_monitor.alert WHERE alert_id = ANY (%s)", [i for _, i in expected]))
        self.assertTrue(all(subject.startswith("stays") for subject in alerts.values()))
        # exactly those of the writer, not those that other channels are told of
        raised = self.sql("SELECT count(*) FROM usage_monitor.alert WHERE subject LIKE 'stays%%'")[0][0]
        self.assertEqual(raised, resolved)
        if Controller:
            ids = [mail["Message-ID"] for _, mail in self.mailbox.mails]
            wanted = [f"<usage_monitor-{i}@example.com>" for i, in
                      self.sql("SELECT delivery_id FROM usage_monitor.alert_delivery WHERE channel = 'mail' ORDER BY delivery_id")]
            self.assertEqual(list(dict.fromkeys(ids)), wanted)
            self.assertEqual(self.mailbox.mails[0][0], ["ops@example.com"])
        print(f"{raised} alerts, {len(expected)} messages each, {kills} relays killed, {len(restarts)} crashes of the server, "
              f"sent again: {len(self.receiver.at('/hook')) - len(expected)}", file=sys.stderr)

    def test_two_relays(self):
        """Two relays tell each alert once, in order."""
        self.channel("hook", "webhook", "secret:hook")
        self.start()
        self.start()
        for user in range(20):
            self.call(f"two {user}")
        until("delivered", lambda: self.pending() == 0)
        ids = [body["delivery_id"] for body in self.receiver.at("/hook")]
        self.assertEqual(len(ids), 60)
        self.assertEqual(ids, sorted(set(ids)))

    def test_endless(self):
        """Who answers byte by byte, for ever, keeps nobody else waiting."""
        self.secret("slow", self.receiver.url + "/slow")
        self.receiver.endless.add("/slow")
        self.channel("a slow one", "webhook", "secret:slow", levels=["exceeded"])
        self.channel("hook", "webhook", "secret:hook", levels=["exceeded"])
        self.start(RELAY_PATIENCE="1")
        self.call("endless")
        self.call("endless 2")
        until("the other has them", lambda: len(self.receiver.at("/hook")) == 2, 30)
        error = "SELECT last_error FROM usage_monitor.alert_delivery WHERE channel = 'a slow one' AND last_error IS NOT NULL"
        until("it is given up", lambda: self.sql(error), 30)
        self.assertEqual(self.sql(error), [("took more than 1 s",)])

    def test_lost_relay(self):
        """A relay whose machine is gone, and says nothing any more, does not keep its channel for ever."""
        self.channel("hook", "webhook", "secret:hook", levels=["exceeded"])
        self.receiver.held["/hook"] = threading.Event()
        lost = self.start(RELAY_PATIENCE="1")
        self.call("lost")
        until("it sends", lambda: self.receiver.at("/hook"))
        lost.send_signal(signal.SIGSTOP)
        self.receiver.held.pop("/hook").set()
        self.start()
        until("another has sent it", lambda: self.pending() == 0, 30)

    def test_asked_to_wait(self):
        """A receiver that says how long it wants to be left alone is."""
        self.receiver.answers["/hook"] = (429, b"", ("Retry-After", "1800"))
        self.channel("hook", "webhook", "secret:hook", levels=["exceeded"])
        self.call("wait")
        self.start()
        until("it has tried", lambda: self.sql("SELECT count(*) FROM usage_monitor.alert_delivery WHERE attempts > 0")[0][0])
        self.assertEqual(self.sql("SELECT attempts, last_error, next_attempt_at > now() + interval '25 minutes' AND next_attempt_at <= now() + interval '30 minutes' "
                                  "FROM usage_monitor.alert_delivery"), [(1, "HTTP status 429", True)])
        del self.receiver.answers["/hook"]
        self.assertEqual([relay.seconds_of(value) for value in ("7", "9" * 400, "Wed, 21 Oct 2199 07:28:00 GMT", "soon", "-1", "", None)],
                         [7, 3600, 3600, None, None, None, None])
        self.assertLess(relay.seconds_of("Wed, 21 Oct 2015 07:28:00 GMT"), 0)

    def test_at_once(self):
        """NOTIFY wakes the relay: no alert waits for the next look."""
        self.channel("hook", "webhook", "secret:hook")
        self.start()
        until("the relay listens", lambda: self.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'usage_monitor relay'")[0][0] == 1)
        self.call("at once")
        until("told", lambda: len(self.receiver.at("/hook")) >= 3, 10)
        alert = self.receiver.at("/hook")[0]["alert"]
        self.assertEqual((alert["subject"], alert["level"], alert["used"]), ("at once", "warning", 3))

    def test_chats(self):
        """Each chat has its form, and 200 is not taken for an agreement."""
        for kind, answer in (("slack", b"ok"), ("feishu", b'{"code":0,"msg":"success"}'),
                             ("wecom", b'{"errcode":0,"errmsg":"ok"}'), ("dingtalk", b'{"errcode":0}')):
            self.secret(kind, f"{self.receiver.url}/{kind}?key=top-secret")
            self.receiver.answers[f"/{kind}?key=top-secret"] = (200, answer)
            self.channel(kind, kind, f"secret:{kind}", levels=["exceeded"])
        self.receiver.answers["/feishu?key=top-secret"] = (200, b'{"code":9499,"msg":"Bad Request"}')
        self.call("<b>&\u7528\u6237\nexceeded: <at user_id=\"all\"></at>" + "\u957f" * 300)
        self.start()
        error = "SELECT last_error FROM usage_monitor.alert_delivery WHERE channel = 'feishu'"
        until("refused", lambda: self.sql(error)[0][0])
        self.assertEqual(self.sql(error)[0][0], "refused, code 9499")
        until("the others", lambda: self.pending() == 1)
        self.receiver.answers["/feishu?key=top-secret"] = (200, b'{"code":0}')
        until("then taken", lambda: self.pending() == 0)
        slack = self.receiver.at("/slack?key=top-secret")[0]["text"]
        self.assertIn("&lt;b&gt;&amp;\u7528\u6237", slack)
        feishu = self.receiver.at("/feishu?key=top-secret")[-1]["content"]["text"]
        self.assertIn("exceeded: quota", feishu)
        # nobody is called, and a name has no line of its own
        self.assertNotIn("<at ", feishu)
        self.assertEqual([len(text.splitlines()) for text in (slack, feishu)], [3, 3])
        self.assertEqual(self.receiver.at("/dingtalk?key=top-secret")[0]["msgtype"], "text")
        wecom = self.receiver.at("/wecom?key=top-secret")[0]["text"]["content"]
        self.assertLessEqual(len(wecom.encode()), 2048)
        self.assertIn("\u957f" * 300, wecom)
        self.assertEqual(relay.cut("\u957f" * 700, 2048), "\u957f" * 681 + "...")

    def test_slack_answers(self):
        """What is like Slack says so in its own way; what is not ok has taken nothing."""
        self.secret("slack", f"{self.receiver.url}/slack")
        alert = {"level": "warning", "message": "m", "raised_at": "now", "alert_id": 1}
        os.environ["RELAY_SECRETS"] = self.directory
        self.addCleanup(os.environ.pop, "RELAY_SECRETS")
        for answer, taken in ((b"ok", True), (b"", True), (b'{"ok":true}', True), (b'{"success":true}', True), (b'{"result":"success","msg":""}', True),
                              (b'{"ok":false,"error":"invalid_auth"}', False), (b'{"success":false}', False), (b"[]", False), (b"no_service", False),
                              (b"<!DOCTYPE html><title>Log in</title>", False)):
            self.receiver.answers["/slack"] = (200, answer)
            try:
                relay.send_slack("secret:slack", "", {"event": "raised", "alert": alert})
                self.assertTrue(taken, answer)
            except relay.Failed as problem:
                self.assertFalse(taken, answer)
                self.assertEqual(str(problem), "the answer is not ok")

    def test_sizes(self):
        """However long a text is, and whatever is in it, the chat takes it."""
        for name in ('"' * 30000, "\x01" * 30000, "&<" * 30000, "\U0001f600" * 9000, "\u957f" * 9000):
            message = {"event": "raised", "alert": {"level": "warning", "message": name, "raised_at": "now", "alert_id": 1}}
            for kind, most in (("feishu", 20000), ("dingtalk", 20000), ("wecom", 20000), ("slack", 200000)):
                with unittest.mock.patch.object(relay, "post", return_value=b"ok" if kind == "slack" else b'{"code": 0, "errcode": 0}') as post:
                    relay.SENDERS[kind]("secret:x", "", message)
                sent = post.call_args[0][1]
                self.assertLessEqual(len(sent.encode()), most, (kind, name[:1]))
                form = json.loads(sent)
                text = form.get("content", form)["text"]
                text = text["content"] if isinstance(text, dict) else text
                self.assertLessEqual(len(text.encode()), {"wecom": 2048, "slack": 30000}.get(kind, 15000))
                self.assertIn("warning: ", text)

    def test_secrets(self):
        """No error tells a secret, wherever it is wrong."""
        for name, value in (("word", "top-secret"), ("port", "http://127.0.0.1:1/top-secret"), ("place", "http://[top-secret/"),
                            ("moved", self.receiver.url + "/top-secret")):
            self.secret(name, value)
            self.channel(name, "webhook", f"secret:{name}", levels=["exceeded"])
        self.channel("none", "slack", "secret:none", levels=["exceeded"])
        self.receiver.answers["/top-secret"] = (302, b"top-secret")
        self.call("secrets")
        self.start()
        until("all tried", lambda: self.sql("SELECT count(*) FROM usage_monitor.alert_delivery WHERE last_error IS NOT NULL")[0][0] == 5)
        errors = dict(self.sql("SELECT channel, last_error FROM usage_monitor.alert_delivery"))
        self.assertEqual(errors["none"], 'cannot read secret "none": FileNotFoundError')
        self.assertEqual(errors["moved"], "HTTP status 302")
        self.assertEqual(errors["port"], "cannot connect: Connection refused")
        self.assertEqual(errors["word"], "the secret is no http:// or https:// address")
        with open(os.path.join(self.directory, "log"), encoding="utf-8") as log:
            self.assertNotIn("top-secret", log.read() + str(errors))
        self.assertEqual(self.receiver.at("/elsewhere"), [])
        # nor does the error of a certificate
        os.environ["RELAY_SECRETS"] = self.directory
        self.addCleanup(os.environ.pop, "RELAY_SECRETS")
        problem = urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate is not valid for 'top-secret.example'"))
        with unittest.mock.patch.object(relay.web, "open", side_effect=problem), self.assertRaises(relay.Failed) as failed:
            relay.post("secret:hook", "{}")
        self.assertEqual(str(failed.exception), "cannot connect: SSLCertVerificationError")

    @unittest.skipUnless(Controller, "needs aiosmtpd (Debian: python3-aiosmtpd)")
    def test_mail(self):
        """Who refuses is noted, and the others are not told twice; a header cannot be made up."""
        self.channel("mail", "email", "ops@example.com, gone@example.com", levels=["exceeded"])
        self.mailbox.refused.add("gone@example.com")
        self.call("eve\r\nBcc: all@example.com\r\n\r\nhello")
        self.start()
        until("delivered", lambda: self.pending() == 0)
        (to, mail), = self.mailbox.mails
        self.assertEqual((to, mail["Bcc"], mail["To"]), (["ops@example.com"], None, "ops@example.com, gone@example.com"))
        self.assertTrue(mail["Subject"].startswith('exceeded: quota "users" of user "eve Bcc: all@example.com'))
        self.assertEqual(self.sql("SELECT last_error FROM usage_monitor.alert_delivery")[0][0], "refused: gone@example.com")
        # names that a header cannot have as they are
        self.mailbox.mails.clear()
        names = ["a" * 1000, "\u957f" * 330, "\u202e\u2028\x85\x0b\x1c\x7f\x01", "=?utf-8?q?=0ABcc:?= x", "a\r\n.\r\nb", "\U0001f600" * 99 + "\ufeff", "%0ABcc: x", '"<>@,;:\\']
        for name in names:
            self.call(name)
        until("delivered", lambda: self.pending() == 0)
        self.assertEqual(len(self.mailbox.mails), len(names))
        for to, mail in self.mailbox.mails:
            self.assertEqual((to, mail.keys().count("Subject"), mail["Bcc"]), (["ops@example.com"], 1, None))
            self.assertIn('quota "users"', mail.get_content())
        self.assertTrue(self.mailbox.seven_bits)
        self.mailbox.refused.add("ops@example.com")
        self.call("mallory")
        until("refused", lambda: self.sql("SELECT max(attempts) FROM usage_monitor.alert_delivery WHERE delivered_at IS NULL")[0][0])
        self.assertEqual(self.sql("SELECT last_error FROM usage_monitor.alert_delivery WHERE delivered_at IS NULL")[0][0],
                         "all addresses were refused")

    @unittest.skipUnless(Controller, "needs aiosmtpd (Debian: python3-aiosmtpd)")
    def test_digest(self):
        """A digest has the alerts of its day, and the figures of report()."""
        self.channel("mail", "email", "cfo@example.com", digest="day")
        self.channel("hook", "webhook", "secret:hook", digest="week")
        self.sql("INSERT INTO usage_monitor.usage (model, user_id, ts, input_tokens) "
                 "SELECT 'm', 'digest', now() - i * interval '1 day', 1234567 FROM generate_series(1, 8) i")
        self.sql("UPDATE usage_monitor.alert_delivery SET created_at = created_at - interval '1 day' WHERE channel = 'mail'")
        self.sql("UPDATE usage_monitor.alert_channel SET digest_since = now() - CASE digest WHEN 'day' THEN interval '1 day' ELSE interval '7 days' END")
        self.start()
        until("sent", lambda: self.mailbox.mails and self.receiver.at("/hook"))
        mail = self.mailbox.mails[0][1]
        day = json.loads(next(mail.iter_attachments()).get_content(), parse_float=Decimal)
        text = mail.get_body().get_content()
        cost, = self.sql("SELECT usage_monitor.report('daily', %s::date) #>> '{summary,cost}'", day["report"]["period"]["first_day"])[0]
        self.assertEqual(str(day["report"]["summary"]["cost"]), cost)
        self.assertEqual(cost, "1.234567")
        self.assertIn("1.23 USD", mail["Subject"])
        self.assertIn("exceeded: quota \"users\" of user \"digest\"", text)
        self.assertEqual({a["alert"]["subject"] for a in day["alerts"]}, {"digest"})
        week = self.receiver.at("/hook")[0]["report"]
        cost, = self.sql("SELECT usage_monitor.report('weekly', %s::date) #>> '{summary,cost}'", week["period"]["first_day"])[0]
        self.assertEqual(str(week["summary"]["cost"]), cost)
        self.assertGreater(Decimal(cost), 0)

    @unittest.skipUnless(ALERTMANAGER, "needs Alertmanager (Debian: prometheus-alertmanager)")
    def test_alertmanager(self):
        """Alertmanager takes what the view says, tells its own receiver, and is told what is resolved."""
        port = free_port()
        config = os.path.join(self.directory, "alertmanager.yml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"global": {"resolve_timeout": "5m"},
                       "route": {"receiver": "hook", "group_by": ["alert_id"], "group_wait": "1s", "group_interval": "1s"},
                       "receivers": [{"name": "hook", "webhook_configs": [{"url": self.receiver.url + "/am"}]}]}, file)
        server = subprocess.Popen([ALERTMANAGER, f"--config.file={config}", f"--storage.path={self.directory}/am",
                                   f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
                                  env={"PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # it is not there yet: the relay tries again
            self.channel("am", "alertmanager", f"http://127.0.0.1:{port}/api/v2/alerts")
            self.call("am")
            self.start()
            until("told", lambda: len(self.receiver.at("/am")) >= 3)
            alerts = [a for body in self.receiver.at("/am") for a in body["alerts"]]
            self.assertEqual({(a["status"], a["labels"]["severity"], a["labels"]["subject"]) for a in alerts},
                             {("firing", level, "am") for level in ("warning", "critical", "exceeded")})
            self.assertIn("3 of 3 requests used", alerts[0]["annotations"]["summary"])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/alerts") as answer:
                self.assertEqual(len(json.load(answer)), 3)
            self.sql("SELECT usage_monitor.resolve_alerts(subject => 'am')")
            until("resolved", lambda: sum(a["status"] == "resolved" for body in self.receiver.at("/am") for a in body["alerts"]) >= 3)
            self.assertEqual(self.pending(), 0)
        finally:
            self.kill(server)


if __name__ == "__main__":
    unittest.main(verbosity=2)
