// Pictures to look at: node test/shots.mjs http://127.0.0.1:8765/ DIRECTORY [390-dark-zh ...]
import { mkdirSync } from 'node:fs'
import { launch, whole } from './browser.mjs'

const [base, out, ...only] = process.argv.slice(2)
mkdirSync(out, { recursive: true })
const browser = await launch()
for (const width of [390, 1280, 1920]) {
  for (const colorScheme of ['light', 'dark']) {
    for (const lang of ['en', 'zh']) {
      const name = `${width}-${colorScheme}-${lang}`
      if (only.length && !only.includes(name)) continue
      const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme, locale: lang === 'zh' ? 'zh-CN' : 'en-GB' })
      page.on('console', m => console.log(name, m.text()))
      page.on('pageerror', e => console.log(name, e.stack))
      await page.goto(base + (base.includes('?') ? '&' : '?') + 'lang=' + lang)
      await whole(page)
      await page.waitForTimeout(300)
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      if (wide > 0) console.log(name, 'wider than the window by', wide)
      await page.screenshot({ path: `${out}/${name}.png`, fullPage: true })
      await page.close()
    }
  }
}
await browser.close()
