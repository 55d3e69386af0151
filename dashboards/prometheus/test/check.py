"""Metrics by the real exporter and Prometheus; and one figure by every way out of the ledger.

For test/check, in a database that has the extension.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
import urllib.request
from decimal import Decimal

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "../../../test"))
from waiting import free_port, until  # noqa: E402

FILES = os.path.dirname(HERE)
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
EXPORTER = shutil.which("prometheus-sql-exporter") or shutil.which("sql_exporter")
NAMES = ["org", "provider", "model", "quota", "level", "state", "step"]
HOSTILE = '"},x{le="\\1"} 7\n# TYPE \'; DROP TABLE usage_monitor.usage --'

QUOTAS = """
SELECT usage_monitor.set_price('cheap', 0.37, 1.13);
SELECT usage_monitor.set_quota('company', 'all', NULL, 5);
SELECT usage_monitor.set_quota('each user', 'user', NULL, 4, period => 'lifetime', metric => 'requests');
"""
# of today, and of a month that is over
CALLS = """
INSERT INTO usage_monitor.usage (ts, org, project, user_id, model, input_tokens, output_tokens)
SELECT t.ts, (ARRAY['acme', 'initech', :'hostile'])[1 + n % 3], (ARRAY['search', NULL])[1 + n % 2], 'user ' || n % 7,
       (ARRAY['gpt-4o', 'cheap', 'claude-sonnet-4-5', 'nobody''s'])[1 + n % 4], 1234 + n, 567 + n
  FROM generate_series(1, 60) AS n
 CROSS JOIN (VALUES (now()), (now() - interval '40 days')) AS t (ts);
UPDATE usage_monitor.usage SET success = false WHERE usage_id % 9 = 0;
SELECT usage_monitor.refresh();
INSERT INTO usage_monitor.usage (org, model, cost) VALUES ('acme', 'gpt-4o', 0.000000123456789);
CALL usage_monitor.maintain();
"""


def psql(sql, *options, role=None):
    """What psql prints of these statements, in one transaction if they are several."""
    user = ["-U", role] if role else []
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *user, *options],
                          input=sql, text=True, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.rstrip("\n")


def rows(sql):
    return json.loads(psql(f"SELECT coalesce(jsonb_agg(r), '[]') FROM ({sql}) AS r"), parse_float=Decimal)


def replaced(text, *pairs):
    """The file with these parts replaced, each of which must be there."""
    for old, new in pairs:
        if old not in text:
            raise AssertionError(f'"{old}" is not in the file any more')
        text = text.replace(old, new)
    return text


def read(name):
    with open(os.path.join(FILES, name), encoding="utf8") as file:
        return file.read()


def in_one_day(test):
    """What is read one after the other is of the same day: once more, where midnight has passed."""
    def run(self):
        today = "SELECT usage_monitor.ledger_day(now())"
        day = psql(today)
        try:
            test(self)
        except AssertionError:
            if day == psql(today):
                raise
            psql(CALLS, "-v", f"hostile={HOSTILE}")
            test(self)
    return run


@unittest.skipUnless(PROMTOOL, "there is no promtool (Debian: prometheus)")
class Rules(unittest.TestCase):
    """What promtool says"""

    def promtool(self, *arguments):
        return subprocess.run([PROMTOOL, *arguments], cwd=FILES, text=True, capture_output=True, check=False)

    def test_files_are_valid(self):
        for command in (["check", "config", "prometheus.yml"], ["check", "rules", "usage_monitor.rules.yml"]):
            done = self.promtool(*command)
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    def test_rules_fire_when_they_should(self):
        done = self.promtool("test", "rules", "test/rules_test.yml")
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    def test_rules_that_say_something_else_are_found(self):
        rules, tests = read("usage_monitor.rules.yml"), read("test/rules_test.yml")
        thresholds = re.findall(r"(?:>=?|==|for:) \S+$|> \S+ \* sum[^>]*> \S+$", rules, re.MULTILINE)
        self.assertGreaterEqual(len(thresholds), 12)
        with tempfile.TemporaryDirectory() as directory:
            for threshold in thresholds:
                # the rule without it always fires, or at once
                changed = rules.replace(threshold, "for: 0s" if threshold.startswith("for") else ">= 0")
                for name, text in (("r.yml", changed), ("t.yml", tests.replace("../usage_monitor.rules.yml", "r.yml"))):
                    with open(os.path.join(directory, name), "w", encoding="utf8") as file:
                        file.write(text)
                done = subprocess.run([PROMTOOL, "test", "rules", "t.yml"], cwd=directory, capture_output=True, check=False)
                self.assertNotEqual(done.returncode, 0, threshold)


class Figures(unittest.TestCase):
    """What Prometheus has, beside what SQL says"""

    @classmethod
    def setUpClass(cls):
        psql(QUOTAS + CALLS, "-v", f"hostile={HOSTILE}")
        cls.running, cls.url = [], None
        cls.directory = tempfile.TemporaryDirectory()
        if not (PROMETHEUS and EXPORTER):
            return
        exporter, server = free_port(), free_port()
        cls.url = f"http://127.0.0.1:{server}"
        cls.write("exporter.yml", replaced(
            read("prometheus-sql-exporter.yml"), ("interval: 1m", "interval: 1s"),
            ("@localhost/app?sslmode=prefer", f"@127.0.0.1:{os.environ['PGPORT']}/metrics?sslmode=disable")))
        cls.write("prometheus.yml", replaced(
            read("prometheus.yml"), ("scrape_interval: 1m", "scrape_interval: 1s"), ("localhost:9237", f"127.0.0.1:{exporter}"),
            ("rule_files: [", "global: {evaluation_interval: 1s}\nrule_files: [" + FILES + "/")))
        # the exporter's driver stops at variables of libpq that it does not know
        cls.start(EXPORTER, "-config.file", "exporter.yml", "-web.listen-address", f"127.0.0.1:{exporter}",
                  env={"PGPASSWORD": "prometheus", "LOGLEVEL": "warn"})
        cls.start(PROMETHEUS, "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{server}")

    @classmethod
    def write(cls, name, text):
        with open(os.path.join(cls.directory.name, name), "w", encoding="utf8") as file:
            file.write(text)

    @classmethod
    def start(cls, *command, env=None):
        with open(os.path.join(cls.directory.name, os.path.basename(command[0]) + ".log"), "w", encoding="utf8") as log:
            cls.running.append(subprocess.Popen(command, cwd=cls.directory.name, env=env, stdout=log, stderr=log))

    @classmethod
    def tearDownClass(cls):
        for process in cls.running:
            process.terminate()
        for process in cls.running:
            process.wait(30)
        cls.directory.cleanup()

    def setUp(self):
        if self._testMethodName.startswith("test_prometheus") and not self.url:
            self.skipTest("there is no prometheus-sql-exporter or no prometheus (Debian: packages of these names)")

    def ask(self, query):
        """The series of a query: labels, and the value as Prometheus writes it."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": query}), timeout=10) as answer:
                return [(series["metric"], series["value"][1]) for series in json.load(answer)["data"]["result"]]
        except OSError:
            return []

    def told(self):
        return {(labels["__name__"], *(labels.get(name, "") for name in NAMES)): Decimal(value)
                for labels, value in self.ask('{__name__=~"usage_monitor_.+"}')}

    @staticmethod
    def said():
        """metrics() as its role reads it, with the digits that a float has."""
        return {("usage_monitor_" + row["metric"], *(row[name] for name in NAMES)): Decimal(repr(float(row["value"])))
                for row in rows("SELECT * FROM usage_monitor.metrics()")}

    def arrives(self):
        told = {}

        def same():
            nonlocal told
            told = self.told()
            return told == self.said()
        try:
            until("Prometheus has what SQL says", same)
        except AssertionError:
            said = self.said()
            logs = subprocess.run("tail -n 5 *.log", shell=True, cwd=self.directory.name, text=True, capture_output=True, check=False).stdout
            self.fail(f"only in Prometheus: {set(told.items()) - set(said.items())}\nonly in SQL: {set(said.items()) - set(told.items())}\n{logs}")
        return told

    @in_one_day
    def test_prometheus_1_has_every_figure_to_the_digit(self):
        told = self.arrives()
        self.assertEqual({org for name, org, *_ in told if name == "usage_monitor_cost_today"}, {"", "acme", "initech", HOSTILE})
        self.assertGreater(told[("usage_monitor_alerts", "", "", "", "", "exceeded", "open", "")], 0)
        self.assertGreater(sum(v for (name, *_), v in told.items() if name == "usage_monitor_unpriced_requests_today"), 0)
        # no name of a user anywhere
        self.assertNotIn("user 1", str(told.keys()))
        # and no more names than these of where it comes from
        for labels, _ in self.ask("usage_monitor_cost_today"):
            self.assertLessEqual(labels.keys(), {"__name__", "job", "instance", "host", "database", "org", "provider", "model"})

    @in_one_day
    def test_prometheus_2_follows_the_ledger_both_ways(self):
        before = self.arrives()
        usage_id = psql("INSERT INTO usage_monitor.usage (org, model, input_tokens) VALUES ('acme', 'cheap', 1000000) RETURNING usage_id")
        after = self.arrives()
        key = ("usage_monitor_cost_today", "acme", psql(f"SELECT coalesce(provider, '') FROM usage_monitor.usage WHERE usage_id = {usage_id}"), "cheap", "", "", "", "")
        self.assertEqual(after[key] - before[key], Decimal("0.37"))
        psql(f"SELECT usage_monitor.void_call({usage_id}, 'a test')")
        self.assertEqual(self.arrives()[key], before[key])

    def test_prometheus_3_fires(self):
        until("alerts fire", lambda: {"UsageMonitorAlertOpen", "UsageMonitorQuotaNearlyUsed"} <= {
            labels["alertname"] for labels, _ in self.ask('ALERTS{alertstate="firing"}')})
        self.assertEqual([value for _, value in self.ask('sql_exporter_last_scrape_failed{query="usage_monitor"}')], ["0"])

    @in_one_day
    def test_one_number(self):
        """Today's cost, by every way out of the ledger, to the last digit."""
        with open(os.path.join(FILES, "..", "grafana", "usage.json"), encoding="utf8") as file:
            dashboard = json.load(file)
        everything = {v["name"]: v["allValue"] for v in dashboard["templating"]["list"] if v["type"] == "query"}
        everything |= {"__timeFrom": "now", "__timeTo": "now"}

        def grafana(title):
            [sql] = [p["targets"][0]["rawSql"] for p in dashboard["panels"] if p["title"] == title]
            return re.sub(r"\$(\w+)", lambda m: everything[m.group(1)], sql)
        orgs = "(SELECT DISTINCT org FROM usage_monitor.daily_usage) AS o"
        today, tomorrow = "usage_monitor.ledger_day(now())", "usage_monitor.ledger_day(now()) + 1"
        ways = {
            "the ledger": f"SELECT sum(cost) FROM usage_monitor.usage WHERE usage_monitor.ledger_day(ts) = {today}",
            "daily_total": f"SELECT cost FROM usage_monitor.daily_total WHERE day = {today}",
            "daily_usage": f"SELECT sum(cost) FROM usage_monitor.daily_usage WHERE day = {today}",
            "page_data()": f"SELECT (usage_monitor.page_data({today}, {tomorrow}) #>> '{{sums,today,cost}}')::numeric",
            "page_data(), its days": f"SELECT sum((d ->> 'cost')::numeric) FROM jsonb_array_elements(usage_monitor.page_data({today}, {tomorrow}) -> 'days') AS d",
            "Grafana": grafana("Today"),
            "Grafana, the last moment": grafana("In the range"),
            "Grafana, by model": f"SELECT sum(value) FROM ({grafana('Cost by model')}) AS g",
            "metrics()": "SELECT sum(value) FROM usage_monitor.metrics() WHERE metric = 'cost_today'",
            "metrics(), one by name": "SELECT sum(value) FROM usage_monitor.metrics(1) WHERE metric = 'cost_today'",
            "focus()": f'SELECT sum("BilledCost") FROM usage_monitor.focus({today}, {tomorrow})',
            "report()": "SELECT (usage_monitor.report('daily') #>> '{summary,cost}')::numeric",
            "dashboard()": "SELECT (usage_monitor.dashboard() #>> '{current,day,cost}')::numeric",
        }
        # these know months: this one has no other day's calls, unless midnight has just passed
        ways_by_month = {
            "the ledger, the month": f"SELECT sum(cost) FROM usage_monitor.usage WHERE usage_monitor.ledger_day(ts) >= date_trunc('month', {today})",
            "monthly_total": f"SELECT cost FROM usage_monitor.monthly_total WHERE month = date_trunc('month', {today})",
            "metrics(), the month": "SELECT sum(value) FROM usage_monitor.metrics() WHERE metric = 'cost_this_month'",
            "statement()": f"SELECT sum(s.exact_amount) FROM {orgs} CROSS JOIN LATERAL usage_monitor.statement(o.org, {today}) AS s",
            "statement_json()": f"SELECT sum((usage_monitor.statement_json(o.org, {today}) ->> 'exact_amount')::numeric) FROM {orgs}",
        }
        # in one snapshot
        figures = json.loads(psql("SELECT jsonb_object_agg(name, trim_scale(value)::text) FROM (VALUES "
                                  + ", ".join(f"('{name}', ({sql}))" for name, sql in {**ways, **ways_by_month}.items()) + ") AS v (name, value)"))
        number = figures["the ledger"]
        # it has more digits than are shown anywhere
        self.assertRegex(number, r"^\d+\.\d{12,}$")
        self.assertEqual(figures, {**dict.fromkeys(ways, number), **dict.fromkeys(ways_by_month, figures["the ledger, the month"])})
        if self.url:
            self.arrives()
            [(_, value)] = self.ask("sum(usage_monitor_cost_today)")
            # floats that are added up are right to the 14th digit or so
            self.assertAlmostEqual(float(value) / float(number), 1, delta=1e-14)
            self.assertEqual(round(Decimal(value), 12), round(Decimal(number), 12))

    def test_prometheus_9_says_when_the_ledger_cannot_be_read(self):
        psql("ALTER ROLE prometheus NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'prometheus'")
        until("the exporter says that it cannot read",
              lambda: [value for _, value in self.ask('sql_exporter_last_scrape_failed{query="usage_monitor"}')] == ["1"])
        until("the rule waits for its five minutes",
              lambda: ("UsageMonitorNotRead", "pending") in [(labels["alertname"], labels["alertstate"]) for labels, _ in self.ask("ALERTS")])
        # what it last read is still told
        self.assertTrue(self.ask("usage_monitor_cost_today"))
        psql("ALTER ROLE prometheus LOGIN")
        until("it reads again", lambda: [value for _, value in self.ask('sql_exporter_last_scrape_failed{query="usage_monitor"}')] == ["0"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
