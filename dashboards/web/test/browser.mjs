// Chromium, as the tests and the screenshots use it.
import { execFileSync } from 'node:child_process'
import { chromium } from 'playwright-core'

export function chromiumPath () {
  try { return process.env.CHROMIUM ?? execFileSync('sh', ['-c', 'command -v chromium || command -v chromium-browser'], { encoding: 'utf8' }).trim() } catch { return null }
}
export const launch = () => chromium.launch({
  executablePath: chromiumPath(),
  // as root, without a sandbox of its own, and asking nobody for anything
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
})
// until the figures are there, and all that comes after them
export const whole = page => page.waitForFunction(() => document.documentElement.dataset.whole === 'true', null, { timeout: 60000 })
