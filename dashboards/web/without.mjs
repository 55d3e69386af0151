// A page's data less all names of users: their list, the quotas and alerts of
// single users or sessions, and what alerts tell of who reached them.
const ofPeople = x => x.scope === 'user' || x.scope === 'session'

export function withoutUsers (page) {
  const { user, ...parts } = page.parts
  const { user: filter, ...filters } = page.filters
  return {
    ...page,
    filters,
    parts,
    quotas: { ...page.quotas, listed: page.quotas.listed.filter(q => !ofPeople(q)) },
    alerts: {
      ...page.alerts,
      listed: page.alerts.listed.filter(a => !ofPeople(a) && !['user_id', 'session_id'].some(d => d in (a.details?.dimensions ?? {})))
        .map(({ message, details, acknowledged_by: by, ...a }) => ({ ...a, details: details && { kind: details.kind, day: details.day, model: details.model, expected: details.expected, rule: details.rule } }))
    }
  }
}
