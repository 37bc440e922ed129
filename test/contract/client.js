// Lets the vendor's client do what is asked for on standard input, and says
// what came of it: one JSON object a line each.
//
//   node client.js PACKAGE_DIRECTORY TOKEN
//
// The client has no option for the server's URL: it stands in the API file
// that comes with it.  Whoever starts this has changed that in a copy; unless
// it leads to loopback now, nothing is asked.

'use strict'

const fs = require('fs')
const path = require('path')
const readline = require('readline')

const [directory, token] = process.argv.slice(2)

function files(from) {
  return fs.readdirSync(from, { withFileTypes: true }).flatMap(entry =>
    entry.name === 'node_modules' ? [] :
      entry.isDirectory() ? files(path.join(from, entry.name)) : [path.join(from, entry.name)])
}

// All servers of all API files, those in comments too.
const servers = files(directory)
  .filter(name => /\.(ya?ml)$/.test(name))
  .flatMap(name => [...fs.readFileSync(name, 'utf8').matchAll(/^[ #\t]*-[ \t]*url:[ \t]*["']?([^"'\s]+)/gm)])
  .map(match => match[1])
const strangers = servers.filter(url => !/^http:\/\/127\.0\.0\.1:\d+(\/|$)/.test(url))

if (servers.length === 0 || strangers.length > 0) {
  console.error('the server is not on loopback:', strangers.join(' ') || 'none found')
  process.exit(3)
}

const client = require(directory)(token, { timeout: 5000 })

async function run(line) {
  const { service, method, parameters } = JSON.parse(line)
  const owner = service ? client[service] : client

  try {
    return { result: await owner[method](parameters) }
  } catch (error) {
    return { error: error && { code: error.code, message: error.message, reasons: error.reasons, additional_info: error.additional_info } }
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin }))
    console.log(JSON.stringify(await run(line)))
})()
