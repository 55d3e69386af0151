/* What the two scripts that read @pydantic/genai-prices share. */
import { createRequire } from 'node:module'
import { resolve } from 'node:path'

/*
 * Vendors that are kept by hand, whether the package has them or not: it has
 * zhipuai in dollars, and zhipuai bills in yuan.
 */
export const byHand = new Set(['01-ai', 'ai21', 'alibaba', 'baichuan', 'baidu', 'bytedance', 'deepinfra', 'deepseek',
  'ollama', 'sambanova', 'sensenova', 'siliconflow', 'stepfun', 'tencent', 'upstage', 'v0', 'zhipuai'])

/* OpenAI gives these models' weights away and sells no calls to them: the package has a host's prices under its name, and Azure's from there. */
export const notSold = (provider, name) => ['openai', 'azure'].includes(provider.id) && name.startsWith('gpt-oss')

/* The package in the directory given, or the one that node finds by its name. */
export function load(path) {
  const require = createRequire(import.meta.url)
  return require(path ? resolve(path) : '@pydantic/genai-prices')
}

export function loadProviders(path) {
  return load(path).waitForUpdate()
}
