// A client in JavaScript that loses its socket and comes back: node resume.mjs URL
//
// It obeys the lines of its standard input (cut, resume, quit) and prints one line of
// JSON for everything that happens. The session token of the welcome and the position of
// the last message are all that it keeps.
import { createInterface } from 'node:readline'
import WebSocket from 'ws'

const url = process.argv[2]
const positions = {} // topic → "<epoch>:<offset>", of the last message seen
let session // the token of the last welcome
let socket

const print = (line) => process.stdout.write(JSON.stringify(line) + '\n')

function connect() {
  const protocols = ['switchboard.v1']
  if (session) protocols.push('session.' + Buffer.from(session).toString('base64url'))
  socket = new WebSocket(url, protocols)
  const mine = socket
  mine.on('message', (data) => {
    if (mine === socket) receive(JSON.parse(data))
  })
  mine.on('close', (code) => print({ event: 'closed', code }))
  mine.on('error', (error) => print({ event: 'error', message: error.message }))
}

function receive(message) {
  const { type, topic, offset, payload } = message
  if (type === 'system_message' && payload.event === 'connection_established') {
    session = payload.session.token
    if (payload.held) {
      socket.send(JSON.stringify({ type: 'session_restore', payload: { positions } }))
    } else {
      Object.assign(positions, payload.topics)
    }
    print({ event: 'welcome', held: payload.held, protocol: socket.protocol })
  } else if (type === 'session_restored') {
    print({ event: 'restored', topics: payload.topics })
  } else if (type === 'gap') {
    print({ event: 'gap', payload })
  } else if (offset) {
    const epoch = positions[topic].split(':')[0]
    positions[topic] = `${epoch}:${offset}`
    print({ event: 'message', type, n: payload?.n })
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'cut') socket.terminate()
  else if (line === 'resume') connect()
  else if (line === 'quit') {
    socket.close(1000)
    process.stdin.destroy()
  }
})

connect()
