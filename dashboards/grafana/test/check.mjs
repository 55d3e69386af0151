// See test/check.
import fs from 'node:fs';
import { execFileSync, spawnSync } from 'node:child_process';

let passed = 0, failed = 0, skipped = 0;
function check(name, problem) {
  if (problem) { failed++; console.log(`FAILED  ${name}\n        ${problem}`); } else passed++;
}
const attempt = f => { try { f(); return null; } catch (e) { return String(e.stderr || e.message).trim(); } };
function ask(sql, setting = '') {
  return execFileSync('psql', ['-XqAt', '-F', '\t', '-v', 'ON_ERROR_STOP=1'],
    { input: `SET ROLE regress_grafana; SET default_transaction_read_only = on; ${setting}\n${sql};\n`, stdio: ['pipe', 'pipe', 'pipe'] })
    .toString().trim().split('\n').filter(l => l !== '').map(l => l.split('\t'));
}

check('the dashboards are what make.mjs writes', attempt(() => execFileSync('node', ['make.mjs', '--check'], { stdio: 'pipe' })));

// the form, by Grafana's own types; and that a wrong one is found
const dashboards = ['usage', 'operation'].map(name => JSON.parse(fs.readFileSync(`${name}.json`)));
if (fs.existsSync('node_modules/typescript/bin/tsc') && fs.existsSync('node_modules/@grafana/schema')) {
  const typed = (name, dashboard) => {
    fs.writeFileSync(`node_modules/${name}.ts`, `import type { Dashboard } from '@grafana/schema';\nexport const d: Dashboard = ${JSON.stringify(dashboard)};\n`);
    return spawnSync('node', ['node_modules/typescript/bin/tsc', '--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--module', 'nodenext', '--moduleResolution', 'nodenext', `node_modules/${name}.ts`]);
  };
  for (const d of dashboards) {
    const result = typed(d.uid, d);
    check(`${d.uid} has the form of a dashboard`, result.status === 0 ? null : result.stdout.toString().slice(0, 2000));
  }
  const wrong = structuredClone(dashboards[0]);
  wrong.panels[0].gridPos = { hight: 1 };
  check('a wrong form is found', typed('wrong', wrong).status !== 0 ? null : 'it is not');
} else {
  skipped++;
  console.log('skipped: the form of the dashboards (npm cannot bring @grafana/schema and typescript)');
}

// as Grafana fills in what is chosen: an "All" with a value of its own as it is, else quoted
const iso = d => d.toISOString();
const day = 24 * 3600 * 1000;
const to = new Date(Date.now() + day), from = new Date(to.getTime() - 40 * day);
const quote = v => `'${v.replaceAll("'", "''")}'`;
function fill(sql, chosen, all, [first, last] = [from, to]) {
  return sql
    .replace(/\$__timeFilter\((\w+)\)/g, (m, c) => `${c} BETWEEN '${iso(first)}' AND '${iso(last)}'`)
    .replaceAll('$__timeFrom()', `'${iso(first)}'`).replaceAll('$__timeTo()', `'${iso(last)}'`)
    .replace(/\$(\w+)/g, (m, v) => {
      if (!(v in all)) throw new Error(`${m} is no variable`);
      return chosen[v] ? chosen[v].map(quote).join(',') : all[v];
    });
}
const none = {};
const hostile = ["x'); DROP TABLE usage_monitor.price; --", '$org ${model} $__timeFilter(day)', 'a"b\\', ''];
const choices = [
  ['all', none],
  ['one', { org: ['acme'], project: ['search'], model: ['gpt-4o'] }],
  ['several, hostile', { org: ['acme', ...hostile], project: hostile, model: ["nobody's", ...hostile] }],
];

for (const d of dashboards) {
  const variables = d.templating.list.filter(v => v.type === 'query');
  const all = Object.fromEntries(variables.map(v => [v.name, v.allValue]));
  for (const [choice, chosen] of choices) {
    for (const v of variables) {
      check(`${d.uid}, variable ${v.name}, ${choice}`, attempt(() => {
        if (ask(fill(v.query, chosen, all)).length === 0) throw new Error('it offers nothing');
      }));
    }
    for (const p of d.panels) {
      for (const t of p.targets) {
        check(`${d.uid}, ${p.title}, ${choice}`, attempt(() => {
          const rows = ask(fill(t.rawSql, chosen, all));
          if (choice === 'all' && rows.length === 0 && !['Alerts raised'].includes(p.title)) throw new Error('it shows nothing');
        }));
        // what is read from the ledger is read of the time that is shown
        if (choice === 'all' && t.rawSql.includes('usage_monitor.usage ')) {
          check(`${d.uid}, ${p.title}: by the ledger's index`, attempt(() => {
            const plan = ask('EXPLAIN (COSTS OFF) ' + fill(t.rawSql, chosen, all), 'SET enable_seqscan = off;').map(r => r[0]);
            if (!plan.some(l => /(Index|Recheck) Cond: .*ts >= /.test(l))) throw new Error(plan.join('\n'));
          }));
        }
        // a condition on the day reaches the rollup's index
        if (choice !== 'one' && t.rawSql.includes('day BETWEEN usage_monitor.ledger_day($__timeFrom())')) {
          check(`${d.uid}, ${p.title}, ${choice}: by the rollup's index`, attempt(() => {
            const plan = ask('EXPLAIN (COSTS OFF) ' + fill(t.rawSql, chosen, all), 'SET enable_seqscan = off;').map(r => r[0]);
            if (!plan.some(l => /(Index|Recheck) Cond: .*day >= /.test(l))) throw new Error(plan.join('\n'));
            if (plan.some(l => /on usage(_default)? /.test(l))) throw new Error('it reads the ledger:\n' + plan.join('\n'));
          }));
          // and of all projects or all models no more is read than their sums
          if (choice === 'all' && t.rawSql.includes('combined_usage')) {
            check(`${d.uid}, ${p.title}: by sums`, attempt(() => {
              const plan = ask('EXPLAIN (COSTS OFF) ' + fill(t.rawSql, chosen, all)).map(r => r[0]);
              if (plan.some(l => /_combined/.test(l))) throw new Error(plan.join('\n'));
            }));
          }
        }
      }
    }
  }
}

// the figures are those of report(): in one statement, in which no day turns
const [team] = dashboards;
const all = Object.fromEntries(team.templating.list.filter(v => v.type === 'query').map(v => [v.name, v.allValue]));
const shown = title => fill(team.panels.find(p => p.title === title).targets[0].rawSql, none, all);
const same = (title, column, expected) => check(`${title} is ${expected.slice(0, 60)}`, attempt(() => {
  const [[equal, is, should]] = ask(`SELECT f.is = e.should, f.is, e.should FROM (SELECT sum(p.${column}) AS is FROM (${shown(title)}) AS p) AS f, (SELECT (${expected}) AS should) AS e`);
  if (equal !== 't' || Number(should) === 0) throw new Error(`${is} is not ${should}`);
}));
same('Today', 'cost', "(usage_monitor.report('daily') #>> '{summary,cost}')::numeric");
same('This month', 'cost', "(usage_monitor.report('monthly') #>> '{summary,cost}')::numeric");
same('Last month', 'cost', "(usage_monitor.report('monthly') #>> '{comparison,previous,cost}')::numeric");
for (const [title, column] of [['In the range', 'cost'], ['Cost by model', 'value'], ['Cost by project', 'value'], ['Models', 'cost'], ['Projects', 'cost'], ['Users', 'cost']])
  same(title, column, `SELECT sum(cost) FROM usage_monitor.daily_total WHERE day BETWEEN usage_monitor.ledger_day('${iso(from)}') AND usage_monitor.ledger_day('${iso(to)}')`);

// a range is of the ledger's days, whose dates may be others than those of UTC
// and of the browser; each is shown where it begins
const evening = new Date(to.getTime() - 3 * day);
evening.setUTCHours(17, 0, 0, 0); // the ledger's clock, eight hours ahead, is at one
const narrow = [new Date(evening.getTime() - 5 * 60000), evening];
for (const [title, column] of [['In the range', 'cost'], ['Cost by model', 'value'], ['Cost by project', 'value'], ['Models', 'cost'], ['Users', 'cost'], ['Tags', 'calls'], ['Calls and failures', 'succeeded']]) {
  check(`${title}, of five minutes, is of the ledger's day`, attempt(() => {
    const what = column === 'cost' || column === 'value' ? 'sum(cost)' : column === 'calls' ? 'count(*) FILTER (WHERE tags IS NOT NULL)' : 'count(*) FILTER (WHERE success)';
    const [[equal, is, should]] = ask(`SELECT f.is = e.should, f.is, e.should
      FROM (SELECT sum(p.${column}) AS is FROM (${fill(team.panels.find(p => p.title === title).targets[0].rawSql, none, all, narrow)}) AS p) AS f,
           (SELECT ${what} AS should FROM usage_monitor.usage WHERE ts >= '${iso(new Date(evening.getTime() - day / 24))}' AND ts < '${iso(new Date(evening.getTime() + 23 * day / 24))}') AS e`);
    if (equal !== 't' || Number(should) === 0) throw new Error(`${is} is not ${should}`);
  }));
}
check('a day is shown where it begins by the ledger\'s clock', attempt(() => {
  const times = ask(`SELECT DISTINCT to_char(f.time AT TIME ZONE 'UTC', 'HH24:MI') FROM (${fill(team.panels.find(p => p.title === 'Calls and failures').targets[0].rawSql, none, all)}) AS f`);
  if (String(times) !== '16:00') throw new Error(String(times));
}));
check('the forecast has every day of the month', attempt(() => {
  const [[equal, is, should]] = ask(`SELECT f.days = e.days, f.days, e.days
    FROM (SELECT array_agg(f.day)::text AS days FROM (${shown('Forecast of this month')}) AS f WHERE f.cost IS NOT NULL OR f.forecast IS NOT NULL) AS f,
         (SELECT array_agg(d.day)::text AS days FROM generate_series(1, extract(day FROM date_trunc('month', usage_monitor.ledger_day(now())::timestamp) + interval '1 month - 1 day')::integer) AS d (day)) AS e`);
  if (equal !== 't') throw new Error(`${is} is not ${should}`);
}));

// unpriced_usage has the same calls, by day
check('Why calls have no cost, of every one that has none', attempt(() => {
  const [[first, start]] = ask(`SELECT usage_monitor.ledger_day('${iso(from)}'), to_char((usage_monitor.ledger_day('${iso(from)}')::timestamp AT TIME ZONE usage_monitor.ledger_time_zone()) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`);
  const reasons = fill(dashboards[1].panels.find(p => p.title === 'Why calls have no cost').targets[0].rawSql, none, {}, [new Date(start), to]);
  const [[equal, is, should]] = ask(`SELECT w.calls = u.requests, w.calls, u.requests FROM (SELECT sum(calls) AS calls FROM (${reasons}) AS w) AS w,
    (SELECT sum(requests) AS requests FROM usage_monitor.unpriced_usage WHERE day >= '${first}') AS u`);
  if (equal !== 't') throw new Error(`${is} is not ${should}`);
}));

// whichever views they come from: those of everything, and of everything by name
const offered = v => ask(fill(v.query, none, all)).map(r => r.at(-1));
const everything = Object.fromEntries(team.templating.list.filter(v => v.type === 'query').map(v => [v.name, offered(v)]));
everything.project.push('');
for (const p of team.panels.filter(p => p.targets[0].rawSql.includes('combined_usage'))) {
  for (const named of [['org', 'project', 'model'], ['org'], ['project'], ['model'], ['org', 'project'], ['project', 'model']]) {
    check(`${p.title}, with every ${named.join(' and ')} by name`, attempt(() => {
      const chosen = Object.fromEntries(named.map(n => [n, everything[n]]));
      // in one statement, in which no day turns
      const rows = c => `(SELECT jsonb_agg(to_jsonb(r) ORDER BY to_jsonb(r)) FROM (${fill(p.targets[0].rawSql, c, all)}) AS r)`;
      const [[same, is, should]] = ask(`SELECT s.is = s.should, s.is, s.should FROM (SELECT ${rows(chosen)} AS is, ${rows(none)} AS should) AS s`);
      if (same !== 't') throw new Error(`${is}\nis not\n${should}`);
    }));
  }
}

// what the rules of Grafana's own alerting ask
const rules = fs.readFileSync('provisioning/alerting/usage_monitor.yaml', 'utf8');
const asked = [...rules.matchAll(/rawSql: (.*)/g)].map(m => m[1]);
check('there are rules', asked.length === 3 ? null : `${asked.length}`);
// each fires on what is wrong now, and on nothing once that is mended
const fires = sql => ask(sql).some(row => Number(row.at(-1)) > (sql.includes('tail_calls') ? 1e6 : 0));
const mend = sql => execFileSync('psql', ['-XqAt', '-v', 'ON_ERROR_STOP=1', '-c', sql], { stdio: 'pipe' });
const [alertRule, unpricedRule, tailRule] = asked;
check('rule: open alerts fire', attempt(() => { if (!fires(alertRule)) throw new Error('it does not'); }));
check('rule: unpriced calls fire', attempt(() => { if (!fires(unpricedRule)) throw new Error('it does not'); }));
check('rule: a short tail does not', attempt(() => { if (fires(tailRule)) throw new Error('it does'); }));
mend("SELECT usage_monitor.resolve_alerts(before => 'infinity')");
mend("INSERT INTO usage_monitor.ignored_model (pattern) VALUES ('nobody*')");
check('rule: resolved alerts do not fire', attempt(() => { if (fires(alertRule)) throw new Error('it does'); }));
check('rule: calls to models that need no price do not fire', attempt(() => { if (fires(unpricedRule)) throw new Error('it does'); }));
check('prices are still there', attempt(() => { if (Number(ask('SELECT count(*) FROM usage_monitor.price')[0][0]) < 10) throw new Error('they are gone'); }));

console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed ? 1 : 0);
